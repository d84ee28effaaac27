"""The accepted rows of a cut by compiled steps: the fast way of `evaluate`, for all row groups at once.

Where a row has no answer, or a list is too short, it raises `Unanswered`. Invariant: what it gives is what the
interpreter gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, pairwise

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.thread_pool import parallel_map
from tagsel.engine import steps as known
from tagsel.engine.bitmap_cache import MASKS, Masks, Notes, Recalled, recall
from tagsel.engine.bitmaps import Bits, Taken
from tagsel.engine.chain import Chain, Job, Units
from tagsel.engine.compiler import ordered, steps_of
from tagsel.engine.row_groups import Fates, Mask, addresses
from tagsel.engine.trigger_menus import by_menu
from tagsel.engine.zones import Verdict
from tagsel.language import Node
from tagsel.language.bounds import ALL, NONE, SOME
from tagsel.language.tree import columns_of_all
from tagsel.store import Frame, OpenParts, watched

LITTLE = 200_000
"""Rows x steps below which other threads are not woken."""

MASKS_PAY = 400_000_000
"""Comparisons (rows x cost of steps) below which judging rows again is faster than to look for masks and note them."""

Ints = npt.NDArray[np.int64]
Progress = Callable[[int], None] | None


class Unanswered(Exception):
    """A row has no answer, or a list is too short: the interpreter says which, and of which event."""


@dataclass(frozen=True, eq=False)
class Accepted:
    """One input's accepted rows: how many, and which (None where only counted); bytes of the columns touched; steps
    that masks spared, by row group.
    """

    count: int
    bytes: int
    spared: int
    taken: Taken | None


@dataclass(frozen=True)
class How:
    """How to evaluate: whether rows are listed or only counted, threads, which masks are used and filled (None: none),
    the tier ("kernel" or "interpreter"), and whether row groups of damaged parts may be lost."""

    listing: bool
    threads: int = 0
    masks: Masks | None = MASKS
    progress: Progress = None
    tier: str = "kernel"
    allow_losses: bool = False


def accept(frame: Frame, cut: Node, verdict: Verdict, fates: Fates, how: How) -> Accepted:
    """The accepted rows of one input. StoreError: a part is damaged. Unanswered: a row has no answer."""
    run = (verdict.cut != NONE) & (fates.alive > 0)
    sure = 0
    if not how.listing:
        taken = run & (verdict.cut == ALL)
        sure, run = int(fates.alive[taken].sum()), run & ~taken
    if _comparisons(cut, verdict, frame, run) < MASKS_PAY:
        how = replace(how, masks=None)
    count, taken, touched, spared = sure, [], 0, 0
    for batch, columns, groups in _batches(steps_of(cut), verdict.steps == SOME, frame, fates, run):
        work = batch.work(columns, groups, how)
        passed = _run(work, frame.rows[groups], how)
        if work.notes is not None and how.masks is not None:
            work.notes.keep(how.masks)
        if how.listing:
            taken.append((groups, work.job.accepted, work.bits.addresses, work.bits))
        count, touched, spared = count + passed, touched + work.bytes, spared + work.spared
        del work  # what it has decoded goes before the next batch comes
    return Accepted(count, touched, spared, Taken.of(taken) if how.listing else None)


def _comparisons(cut: Node, verdict: Verdict, frame: Frame, run: npt.NDArray[np.bool_]) -> float:
    """What running a cut on some row groups would cost, if every step met every row."""
    costs = [known.known(step).cost for step in steps_of(cut)]
    return float((verdict.steps == SOME)[:, run].T @ costs @ frame.rows[run])


def _batches(
    steps: Sequence[Node], undecided: npt.NDArray[np.bool_], frame: Frame, fates: Fates, run: npt.NDArray[np.bool_]
) -> Iterator[tuple[_Cut, frozenset[str], Ints]]:
    """The row groups to run, of parts with the same columns, and with the same menu where chains are asked for, in
    batches that bound the memory: masks take some bits and bytes a row, columns that are decoded all of theirs."""
    for columns, members in frame.kinds:
        for mine, groups in by_menu(steps, frame, columns, members[run[members]]):
            read = columns_of_all(mine) & columns
            for begin, end in frame.batches(read, groups, at_once(frame, read, groups)):
                yield _Cut(mine, undecided, frame, fates), columns, groups[begin:end]


MAPPED_AT_ONCE, DECODED_AT_ONCE = 1 << 25, 1 << 19
"""Rows of a batch, about."""


def at_once(frame: Frame, columns: Iterable[str], groups: Ints) -> int:
    """How many rows of some row groups to take together."""
    return MAPPED_AT_ONCE if frame.mapped(columns, groups) else DECODED_AT_ONCE


@dataclass(frozen=True, eq=False)
class _Work:
    """A job and the parts that it reads, where it notes the accepted rows, its steps' fingerprints in the job's order,
    bytes of its columns, and where it notes masks."""

    job: Job
    opened: OpenParts
    bits: Bits
    prints: Sequence[str]
    bytes: int
    spared: int
    notes: Notes | None


@dataclass(frozen=True, eq=False)
class _Cut:
    """The steps of a cut on one input, and where the zones leave each undecided, (steps, G)."""

    steps: Sequence[Node]
    undecided: npt.NDArray[np.bool_]
    frame: Frame
    fates: Fates

    def work(self, columns: frozenset[str], groups: Ints, how: How) -> _Work:
        """The chain over some row groups of parts with these columns."""
        frame = self.frame
        wanted = [n for n in range(len(self.steps)) if self.undecided[n, groups].any()]
        node_of = {id(self.steps[n]): n for n in wanted}
        chosen = ordered([self.steps[n] for n in wanted], known.rank)
        needed = self.undecided[[node_of[id(step)] for step in chosen]][:, groups]
        prints = [known.print_of(step) for step in chosen]
        opened = frame.open(groups)
        recalled, before, alive = None, int(np.count_nonzero(needed)), self.fates.masks(groups)
        if how.masks is not None:
            parts = np.unique(frame.part_of[groups]).tolist()
            recalled = recall(how.masks, frame, alive, parts, chosen, prints)
            needed = needed & ~recalled.done[:, groups]
        run = np.asarray(needed.any(axis=1))
        chosen, prints, needed = list(compress(chosen, run)), list(compress(prints, run)), needed[run]
        notes = Notes.on(frame, groups, chosen, prints, needed) if how.masks is not None else None
        chain = known.chain_of(chosen, prints, frame, columns)
        bits = Bits.of(frame.rows[groups] if how.listing else groups[:0])
        job, size = self._job(chain, opened, groups, alive, needed, recalled, notes, bits)
        return _Work(job, opened, bits, prints, size, before - int(np.count_nonzero(needed)), notes)

    def _job(
        self,
        chain: Chain,
        opened: OpenParts,
        groups: Ints,
        alive: Mapping[int, Mask],
        needed: npt.NDArray[np.bool_],
        recalled: Recalled | None,
        notes: Notes | None,
        bits: Bits,
    ) -> tuple[Job, int]:
        """The job, and the bytes of the columns that it may touch."""
        frame = self.frame
        memory = {name: opened.memory(name, groups) for name in sorted(chain.columns)}
        units = Units(
            frame.rows[groups],
            addresses(alive, groups),
            {name: m.addresses for name, m in memory.items()},
            {name: m.sizes for name, m in memory.items()},
            [alive, recalled, notes, *memory.values()],
        )
        job = chain.job(
            units,
            needed=needed,
            left=recalled.addresses(frame, groups) if recalled else None,
            notes=notes.addresses if notes else None,
            accepted=bits.addresses if len(bits.addresses) else None,
        )
        return job, sum(int(m.sizes.sum()) * int(m.type[1:]) for m in memory.values())


def _run(work: _Work, sizes: Ints, how: How) -> int:
    """Run a job in pieces of some row groups each, in several threads, and learn of its steps; the number of accepted
    rows. Unanswered: a row has no answer."""
    job, prints = work.job, work.prints
    threads = how.threads or threads_here()
    if len(job.chain.steps) * int(sizes.sum()) < LITTLE:
        threads = 1
    ranges = pieces(sizes, threads)
    seen = np.zeros((len(ranges), len(prints), 2), np.int64)

    def one(number: int) -> int:
        return work.job.run(*ranges[number], seen[number])  # the work, not the job: it owns what that points to

    progress = how.progress
    told = None if progress is None else lambda number: progress(int(sizes[slice(*ranges[number])].sum()))
    done = parallel_map(watched(one), range(len(ranges)), threads, told)
    work.opened.check_whole()
    if any(count < 0 for count in done):
        raise Unanswered
    known.learn(prints, seen.sum(axis=0))
    return sum(done)


PIECE_ROWS = 1 << 20
"""Rows of a piece, about, at most; a row group is not cut."""


def pieces(sizes: Ints, threads: int = 1, most: int = 0) -> list[tuple[int, int]]:
    """Ranges of row groups of about `most` rows (0: PIECE_ROWS); for several threads at least two each, so that they
    end together."""
    most = most or PIECE_ROWS
    if threads > 1:
        most = min(most, -(-int(sizes.sum()) // (2 * threads)))
    if 0 < int(sizes.sum()) <= most:
        return [(0, len(sizes))]
    number = (np.cumsum(sizes) - 1) // max(most, 1)
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(sizes)]
    return list(pairwise(edges)) if len(sizes) else []
