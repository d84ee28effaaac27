"""The accepted rows of a cut by compiled steps: the fast way of `count` and `select`, for all row groups at once.

Where something is out of the ordinary (a damaged part whose loss is allowed, a row without an answer, a list that is
too short) it gives up, and the scan row group by row group tells it. Invariant: what it gives is what the scan gives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, pairwise

import numpy as np
import numpy.typing as npt

from tagsel.cores import threads as threads_here
from tagsel.expr import Node
from tagsel.expr.bounds import ALL, NONE, SOME
from tagsel.expr.chain import Chain, Job, Units
from tagsel.expr.lower import fits, ordered, steps_of
from tagsel.expr.nodes import columns_of
from tagsel.selection import steps as known
from tagsel.selection.masks import MASKS, Masks
from tagsel.selection.menus import by_menu
from tagsel.selection.plan import Plan
from tagsel.selection.remember import Notes, Recalled, recall
from tagsel.selection.rows import Fates, Mask, Rows, addresses
from tagsel.selection.threads import each
from tagsel.store import Frame

LITTLE = 200_000
"""Rows x steps below which other threads are not woken."""

Ints = npt.NDArray[np.int64]
Progress = Callable[[int], None] | None


@dataclass(frozen=True, eq=False)
class Passing:
    """One input's accepted rows: how many, their numbers in the snapshot, rising, and their event numbers (both None
    where only counted); the fates of the others; bytes of the columns touched; steps that masks spared, by row group.
    """

    count: int
    fates: Fates
    bytes: int
    spared: int = 0
    rows: Ints | None = None
    events: Ints | None = None


@dataclass(frozen=True)
class How:
    """How to run: whether rows are listed or only counted, threads, which masks are used and filled (None: none)."""

    listing: bool
    threads: int = 0
    masks: Masks | None = MASKS
    progress: Progress = None


def able(plan: Plan) -> bool:
    """Whether every input's cut can be run so: each step is a kernel, and no row can be without an answer."""
    return all(fits(b.cut.node) and not b.cut.node.raises for b in plan.inputs)


def accept(plan: Plan, rows: Rows, how: How) -> list[Passing] | None:
    """The accepted rows of every input, or None where the scan must tell. StoreError: a part is damaged."""
    found = []
    for index in range(len(plan.inputs)):
        one = _one_input(plan, rows, index, how)
        if one is None:
            return None
        found.append(one)
    return found


def _one_input(plan: Plan, rows: Rows, index: int, how: How) -> Passing | None:
    bound, verdict = plan.inputs[index], plan.verdicts[index]
    frame = bound.input.snapshot.frame
    fates = rows.fates(index, frame)
    run = (verdict.cut != NONE) & (fates.alive > 0)
    sure = 0
    if not how.listing:
        taken = run & (verdict.cut == ALL)
        sure, run = int(fates.alive[taken].sum()), run & ~taken
    found, touched, spared = [], 0, 0
    for cut, columns, groups in _batches(steps_of(bound.cut.node), verdict.steps == SOME, frame, fates, run):
        work = cut.work(columns, groups, how)
        batch = _run(work.job, frame.rows[groups], how)
        if batch is None:
            return None
        known.learn(work.prints, batch.seen)
        if work.notes is not None and how.masks is not None:
            work.notes.keep(how.masks)
        found.append(batch)
        touched, spared = touched + work.bytes, spared + work.spared
        del work  # what it has decoded goes before the next batch comes
    count = sure + sum(batch.count for batch in found)
    if not how.listing:
        return Passing(count, fates, touched, spared)
    return Passing(count, fates, touched, spared, *_in_order(found))


def _batches(
    steps: Sequence[Node], undecided: npt.NDArray[np.bool_], frame: Frame, fates: Fates, run: npt.NDArray[np.bool_]
) -> Iterator[tuple[_Cut, frozenset[str], Ints]]:
    """The row groups to run, of parts with the same columns, and with the same menu where chains are asked for, in
    batches that bound the memory: masks take some bits and bytes a row, columns that are decoded all of theirs."""
    for columns, members in frame.kinds:
        for mine, groups in by_menu(steps, frame, columns, members[run[members]]):
            read = frozenset(c for step in mine for c in columns_of(step)) & columns
            most = MAPPED_AT_ONCE if frame.mapped(read, groups) else DECODED_AT_ONCE
            number = (np.cumsum(frame.rows[groups]) - 1) // most
            for batch in np.split(groups, np.flatnonzero(np.diff(number)) + 1) if len(groups) else ():
                yield _Cut(mine, undecided, frame, fates), columns, batch


MAPPED_AT_ONCE, DECODED_AT_ONCE = 1 << 25, 1 << 19
"""Rows of a batch, about."""


@dataclass(frozen=True, eq=False)
class _Work:
    """A job, its steps' fingerprints in the job's order, bytes of its columns, where it notes masks."""

    job: Job
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
        frame.open(groups)
        recalled, before, alive = None, int(np.count_nonzero(needed)), self.fates.masks(groups)
        if how.masks is not None:
            parts = np.unique(frame.part_of[groups]).tolist()
            recalled = recall(how.masks, frame, alive, parts, chosen, prints)
            needed = needed & ~recalled.done[:, groups]
        run = np.asarray(needed.any(axis=1))
        chosen, prints, needed = list(compress(chosen, run)), list(compress(prints, run)), needed[run]
        notes = Notes.on(frame, groups, chosen, prints, needed) if how.masks is not None else None
        chain = known.chain_of(chosen, prints, frame, columns)
        job, size = self._job(chain, groups, alive, needed, recalled, notes, how.listing)
        return _Work(job, prints, size, before - int(np.count_nonzero(needed)), notes)

    def _job(
        self, chain: Chain, groups: Ints, alive: Mapping[int, Mask], needed: npt.NDArray[np.bool_],
        recalled: Recalled | None, notes: Notes | None, listing: bool,
    ) -> tuple[Job, int]:  # fmt: skip
        """The job, and the bytes of the columns that it may touch."""
        frame = self.frame
        memory = {name: frame.memory(name, groups) for name in sorted(chain.columns)}
        units = Units(
            frame.rows[groups], frame.first_rows[groups], addresses(alive, groups),
            {name: m.addresses for name, m in memory.items()}, {name: m.sizes for name, m in memory.items()},
            [alive, recalled, notes, *memory.values()],
        )  # fmt: skip
        event = frame.memory("event", groups) if listing else None
        job = chain.job(
            units, needed=needed, events=event.addresses if event else None,
            left=recalled.addresses(frame, groups) if recalled else None, notes=notes.addresses if notes else None,
        )  # fmt: skip
        size = sum(int(m.sizes.sum()) * int(m.type[1:]) for m in memory.values())
        return replace(job, held=[*job.held, event]), size


@dataclass(frozen=True, eq=False)
class _Piece:
    count: int
    rows: Ints
    events: Ints
    seen: Ints


def _in_order(found: Sequence[_Piece]) -> tuple[Ints, Ints]:
    """Rows and events of several runs, by row."""
    rows, events = _joined([p.rows for p in found]), _joined([p.events for p in found])
    filled = [p.rows for p in found if len(p.rows)]
    if all(a[-1] < b[0] for a, b in pairwise(filled)):
        return rows, events
    order = np.argsort(rows, kind="stable")
    return rows[order], events[order]


def _joined(arrays: Sequence[Ints]) -> Ints:
    return arrays[0] if len(arrays) == 1 else np.concatenate([_NONE, *arrays])


_NONE = np.empty(0, np.int64)


def _run(job: Job, sizes: Ints, how: How) -> _Piece | None:
    """Run a job in pieces of some row groups each, in several threads; None where a piece gives no answer."""
    threads = how.threads or threads_here()
    if len(job.chain.steps) * int(sizes.sum()) < LITTLE:
        threads = 1

    def one(piece: tuple[int, int]) -> _Piece:
        seen = np.zeros((len(job.chain.steps), 2), np.int64)
        if not how.listing:
            return _Piece(job.run(*piece, seen=seen), _NONE, _NONE, seen)
        return _written(job, piece, int(sizes[slice(*piece)].sum()), seen)

    progress = how.progress
    told = None if progress is None else lambda piece: progress(int(sizes[slice(*piece)].sum()))
    done = each(one, _pieces(sizes, threads), threads, told)
    if any(piece.count < 0 for piece in done):
        return None
    rows, events = _joined([d.rows for d in done]), _joined([d.events for d in done])
    return _Piece(sum(d.count for d in done), rows, events, np.sum([d.seen for d in done], axis=0))


def _written(job: Job, units: tuple[int, int], size: int, seen: Ints) -> _Piece:
    """Run a job over units of so many rows, and keep its accepted rows with their events."""
    room = getattr(_mine, "room", None)
    if room is None or room.shape[1] < size:
        room = _mine.room = np.empty((2, size), np.int64)
    count = job.run(*units, room[0], room[1], seen)
    taken = room[:, : max(count, 0)]
    if 2 * count > room.shape[1]:
        _mine.room = None  # mostly full: given away as it is, not copied
    else:
        taken = taken.copy()
    return _Piece(count, taken[0], taken[1], seen)


_mine = threading.local()
"""Each thread's room for the accepted rows of a piece; used again while pieces leave it mostly empty."""


PIECE_ROWS = 1 << 20
"""Rows of a piece, about, at most; a row group is not cut."""


def _pieces(sizes: Ints, threads: int) -> list[tuple[int, int]]:
    """Ranges of row groups, at least two a thread, so that threads end together."""
    most = PIECE_ROWS if threads == 1 else min(PIECE_ROWS, -(-int(sizes.sum()) // (2 * threads)))
    number = (np.cumsum(sizes) - 1) // max(most, 1)
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(sizes)]
    return list(pairwise(edges))
