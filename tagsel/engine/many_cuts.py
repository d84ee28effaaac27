"""The rows of several cuts in one pass of compiled steps: what regions and cutflows are made of.

A step that several cuts have is run once. Invariant: the counts and bits of a cut are those of a selection of its own;
where a row has no answer, or a list is too short, `Unanswered` is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain as chain_of

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.thread_pool import parallel_map
from tagsel.engine import steps as known
from tagsel.engine.bitmaps import Bits
from tagsel.engine.chain import Chain, Units, scratch
from tagsel.engine.compiled_scan import LITTLE, Progress, Unanswered, at_once, pieces
from tagsel.engine.compiler import steps_of
from tagsel.engine.row_groups import Fates, addresses
from tagsel.engine.trigger_menus import by_menu
from tagsel.engine.zones import Verdict
from tagsel.kernels import kernel_cache
from tagsel.kernels import several as loop
from tagsel.kernels.layouts import CUT, LIST, SEVERAL_JOB, SEVERAL_STEP, SEVERAL_UNIT, Table, offset
from tagsel.kernels.memory import address_of
from tagsel.kernels.native import KernelSource, Loaded
from tagsel.language import Node
from tagsel.language.bounds import NONE, SOME
from tagsel.language.tree import columns_of_all
from tagsel.store import Frame, watched

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Keep = Callable[[Ints, npt.NDArray[np.uint64]], None]

A_JUDGEMENT = 2e-9
"""Seconds that the loops spare, about, for a row and a cut."""


def loops_at_hand(tier: str, rows: int, cuts: int, *more: KernelSource) -> bool:
    """Whether the loop over several cuts, and `more` kernels, are compiled, or worth compiling now for so many rows.

    `tier` is the one that the user asked for.
    """
    spares = rows * cuts * A_JUDGEMENT
    return tier == "kernel" or kernel_cache.at_hand(loop.judge_several, *more, spares=spares)


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
                read = columns_of_all(steps) & columns
                for begin, end in frame.batches(read, groups, at_once(frame, read, groups)):
                    yield steps, columns, groups[begin:end]


@dataclass(frozen=True, eq=False)
class Found:
    """How many rows each cut accepts, (C,) int64, and bytes of the columns that were looked at."""

    counts: Ints
    bytes: int


def count_several(
    cuts: Cuts, frame: Frame, fates: Fates, threads: int = 0, *, keep: Keep | None = None, progress: Progress = None
) -> Found:
    """How many rows each cut accepts. StoreError: a part is damaged. Unanswered: a row has no answer.

    `keep` is called for each batch with its row groups, and with addresses of the accepted rows' bits, (C, U).
    """
    total, size = np.zeros(len(cuts.own), np.int64), 0
    for steps, columns, groups in cuts.batches(frame, fates):
        order = sorted(range(len(steps)), key=lambda n: known.known(steps[n]).cost)
        place = {n: k for k, n in enumerate(order)}
        own_steps = [list(map(place.__getitem__, own)) for own in cuts.own]
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
            own_steps,
            units,
            needed=cuts.undecided[order][:, groups],
            live=cuts.live[:, groups],
            accepted=out,
        )
        counts = _run(job, frame.rows[groups], threads, progress)
        opened.check_whole()
        total += counts
        size += sum(int(m.sizes.sum()) * int(m.type[1:]) for m in memory.values())
        if keep is not None and out is not None:
            keep(groups, out)
    return Found(total, size)


def _run(job: SeveralJob, sizes: Ints, threads: int, progress: Progress) -> Ints:
    """A job in pieces of some row groups each, in several threads. Unanswered: a row has no answer."""
    workers = (threads or threads_here()) if job.cuts * int(sizes.sum()) >= LITTLE else 1
    ranges = pieces(sizes, workers)
    counts = np.zeros((len(ranges), job.cuts), np.int64)
    report = None if progress is None else lambda number: progress(int(sizes[slice(*ranges[number])].sum()))

    def one(number: int) -> int:
        return job.run(*ranges[number], counts[number])

    done = parallel_map(watched(one), range(len(ranges)), workers, report)
    if any(done):
        raise Unanswered
    total: Ints = counts.sum(axis=0)
    return total


@dataclass(frozen=True)
class SeveralJob:
    """Cuts over units, ready to run in several threads at once, each its own range of units."""

    chain: Chain
    loop: Loaded
    table: Table
    members: tuple[Ints, Ints]
    cuts: int
    held: Sequence[object] = field(repr=False)

    @classmethod
    def of(
        cls,
        chain: Chain,
        loop: Loaded,
        cuts: Sequence[Sequence[int]],
        units: Units,
        *,
        needed: Flags,
        live: Flags,
        accepted: Words | None = None,
    ) -> SeveralJob:
        """`cuts` are, for each, the steps of the chain that it has; C cuts, U units.

        `needed` (steps, U): where a step is not, every row passes it; `live` (C, U): where a cut is not, no row does;
        `accepted` (C, U): addresses where its rows are noted, a bit a row, 0 for not.
        """
        lists, steps = (LIST, len(chain.counters)), (SEVERAL_STEP, len(chain.steps))
        dtype = SEVERAL_UNIT.followed_by(lists=lists, steps=steps, cuts=(CUT, len(cuts)))
        table = np.zeros(len(units.rows), dtype)
        table["rows"], table["alive"] = units.rows, units.alive
        chain.fill_lists(table["lists"], units)
        held: list[object] = [units]
        for n in range(len(chain.steps)):
            held.append(chain.fill_step(table["steps"][:, n], n, units))
        table["steps"]["code"] *= needed.T
        table["cuts"]["live"] = live.T
        if accepted is not None:
            table["cuts"]["out"] = accepted.T
        having: list[list[int]] = [[] for _ in chain.steps]
        for cut, own in enumerate(cuts):
            for step in dict.fromkeys(own):
                having[step].append(cut)
        first = np.cumsum([0, *map(len, having)])
        members = first.astype(np.int64), np.array(list(chain_of.from_iterable(having)), np.int64)
        return cls(chain, loop, table, members, len(cuts), held)

    def run(self, begin: int, end: int, counts: Ints) -> int:
        """Run units `begin` … `end`, adding the accepted rows of each cut to `counts` (C,); 0, or an error's number."""
        room = np.empty((self.cuts + 2, loop.WORDS), np.uint64)
        dtype, (first_of, cut_of) = self.table.dtype, self.members
        job = SEVERAL_JOB.filled(
            units=address_of(self.table),
            unit_bytes=dtype.itemsize,
            lists=len(self.chain.counters),
            lists_at=offset(dtype, "lists"),
            steps=len(self.chain.steps),
            steps_at=offset(dtype, "steps"),
            cuts=self.cuts,
            cuts_at=offset(dtype, "cuts"),
            first_of=address_of(first_of),
            cut_of=address_of(cut_of),
            counts=address_of(counts),
            room=address_of(room),
        )
        return self.loop(address_of(job), scratch(len(self.chain.counters)), begin, end)
