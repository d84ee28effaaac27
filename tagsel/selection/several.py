"""The rows of several cuts in one pass of compiled steps: what regions and cutflows are made of.

A step that several cuts have is run once. Invariant: the counts and bits of a cut are those of a selection of its own;
where something is out of the ordinary, None is given, and the scan row group by row group must tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.thread_pool import parallel_map
from tagsel.engine.chain import Units
from tagsel.engine.compiler import steps_of
from tagsel.engine.several import SeveralJob
from tagsel.kernels import kernel_cache
from tagsel.kernels import several as loop
from tagsel.kernels.native import KernelSource
from tagsel.language import Node
from tagsel.language.bounds import NONE, SOME
from tagsel.language.tree import columns_of
from tagsel.selection import steps as known
from tagsel.selection.accept import LITTLE, Progress, at_once, pieces
from tagsel.selection.bits import Bits
from tagsel.selection.menus import by_menu
from tagsel.selection.plan import Verdict
from tagsel.selection.rows import Fates, addresses
from tagsel.selection.run import Prepared
from tagsel.store import Frame, watched

Ints = npt.NDArray[np.int64]
Keep = Callable[[Ints, npt.NDArray[np.uint64]], None]


A_JUDGEMENT = 2e-9
"""Seconds that the loops spare, about, for a row and a cut."""


def loops_at_hand(prepared: Prepared, cuts: int, *more: KernelSource) -> bool:
    """Whether the loop over several cuts, and `more` kernels, are there, or to be compiled at once."""
    spares = prepared.read * cuts * A_JUDGEMENT
    return prepared.query.tier == "kernel" or kernel_cache.at_hand(loop.judge_several, *more, spares=spares)


@dataclass(frozen=True, eq=False)
class Cuts:
    """C cuts of one input as distinct steps: the steps, which of them each cut has, and what the zones say of both:
    `undecided` (steps, G), `live` (C, G)."""

    steps: Sequence[Node]
    own: Sequence[Sequence[int]]
    undecided: npt.NDArray[np.bool_]
    live: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, cuts: Sequence[Node | None], verdicts: Sequence[Verdict | None], groups: int) -> Cuts:
        """Of cuts (None: one that every row passes) with their verdicts (None: all is undecided)."""
        steps: dict[str, int] = {}
        trees, undecided, own = list[Node](), list[npt.NDArray[np.bool_]](), []
        for cut, verdict in zip(cuts, verdicts, strict=True):
            mine = []
            for k, step in enumerate(steps_of(cut) if cut is not None else ()):
                at = steps.setdefault(known.print_of(step), len(steps))
                if at == len(trees):
                    trees.append(step)
                    undecided.append(np.ones(groups, np.bool_) if verdict is None else verdict.steps[k] == SOME)
                mine.append(at)
            own.append(tuple(dict.fromkeys(mine)))
        live = [np.ones(groups, np.bool_) if v is None else v.cut != NONE for v in verdicts]
        return cls(trees, own, np.array(undecided, np.bool_).reshape(len(trees), groups), np.array(live))

    def batches(self, frame: Frame, fates: Fates) -> Iterator[tuple[Sequence[Node], frozenset[str], Ints]]:
        """Steps, columns and row groups that are run together: of parts with the same columns, and of one menu."""
        run = self.live.any(axis=0) & (fates.alive > 0)
        for columns, members in frame.kinds:
            for steps, groups in by_menu(self.steps, frame, columns, members[run[members]]):
                read = frozenset(c for step in steps for c in columns_of(step)) & columns
                for begin, end in frame.batches(read, groups, at_once(frame, read, groups)):
                    yield steps, columns, groups[begin:end]


@dataclass(frozen=True, eq=False)
class Found:
    """How many rows each cut accepts, (C,) int64, and bytes of the columns that were looked at."""

    counts: Ints
    bytes: int


def count_several(
    cuts: Cuts, frame: Frame, fates: Fates, threads: int = 0, *, keep: Keep | None = None, progress: Progress = None
) -> Found | None:
    """How many rows each cut accepts; None where a row has no answer. StoreError: a part is damaged.

    `keep` is called for each batch with its row groups, and with addresses of the accepted rows' bits, (C, U).
    """
    total, size = np.zeros(len(cuts.own), np.int64), 0
    for steps, columns, groups in cuts.batches(frame, fates):
        order = sorted(range(len(steps)), key=lambda n: known.known(steps[n]).cost)
        place = {n: k for k, n in enumerate(order)}
        opened = frame.open(groups)
        chosen = [steps[n] for n in order]
        chain = known.chain_of(chosen, [known.print_of(s) for s in chosen], frame, columns)
        memory = {name: opened.memory(name, groups) for name in sorted(chain.columns)}
        alive = fates.masks(groups)
        units = Units(
            frame.rows[groups],
            addresses(alive, groups),
            {name: m.addresses for name, m in memory.items()},
            {name: m.sizes for name, m in memory.items()},
            [alive, *memory.values()],
        )
        bits = [Bits.of(frame.rows[groups]) for _ in cuts.own] if keep else []
        out = np.array([b.addresses for b in bits], np.uint64) if keep else None
        job = SeveralJob.of(
            chain,
            kernel_cache.function(loop.judge_several),
            [[place[n] for n in own] for own in cuts.own],
            units,
            needed=cuts.undecided[order][:, groups],
            live=cuts.live[:, groups],
            accepted=out,
        )
        counts = _run(job, frame.rows[groups], threads, progress)
        opened.check_whole()
        if counts is None:
            return None
        total += counts
        size += sum(int(m.sizes.sum()) * int(m.type[1:]) for m in memory.values())
        if keep is not None and out is not None:
            keep(groups, out)
    return Found(total, size)


def _run(job: SeveralJob, sizes: Ints, threads: int, progress: Progress) -> Ints | None:
    """A job in pieces of some row groups each, in several threads; None where a piece gives no answer."""
    workers = (threads or threads_here()) if job.cuts * int(sizes.sum()) >= LITTLE else 1
    ranges = pieces(sizes, workers)
    counts = np.zeros((len(ranges), job.cuts), np.int64)
    told = None if progress is None else lambda number: progress(int(sizes[slice(*ranges[number])].sum()))

    def one(number: int) -> int:
        return job.run(*ranges[number], counts[number])

    done = parallel_map(watched(one), range(len(ranges)), workers, told)
    return counts.sum(axis=0) if not any(done) else None
