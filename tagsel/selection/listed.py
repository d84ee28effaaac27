"""From accepted rows, as bits, to the columns of an event list in its own order, written once by compiled code.

Rows of a snapshot are cut into segments: of one row group, run, luminosity block and file, with entries that rise by
one. What holds in a segment, and which comes first in a list, is worked out once for a snapshot. Invariant: the events
are those that `assemble` gives for the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.memory_limit import require
from tagsel.base.thread_pool import parallel_map
from tagsel.events import Names, Reference
from tagsel.events.names import frozen
from tagsel.kernels import kernel_cache, listing
from tagsel.kernels.layouts import COLUMN_PAIR, LISTED_UNIT, LISTING_JOB, Table
from tagsel.kernels.memory import address_of
from tagsel.schema import STAGES
from tagsel.selection.accept import at_once, pieces
from tagsel.selection.assemble import assemble
from tagsel.selection.bits import Taken
from tagsel.selection.gather import Accepted, bytes_of
from tagsel.store import Frame, watched

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Array = npt.NDArray[Any]

LITTLE = 50_000
"""Events below which other threads are not woken."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """Files by segment, as codes into sorted names, and what a row's number and its entry differ by, (S,)."""

    code: Codes
    names: tuple[str, ...]
    shift: Ints


@dataclass(frozen=True, eq=False)
class Segments:
    """S segments: `starts` (S + 1,) int64, the first row of each; `groups` (G + 1,), the first of each row group; runs
    and blocks, (S,) int32; stages; `order`, (S,), how a list has them, and whether it is sure to have them so."""

    starts: Ints
    groups: Ints
    run: Codes
    lumi: Codes
    stages: Mapping[str, _Stage]
    order: Ints
    in_order: bool


def segments(frame: Frame) -> Segments | None:
    """The segments of a snapshot; None where its parts do not keep them. StoreError: a part is damaged."""
    return frame.memo.get_or_create("row-segments", None, lambda: _made(frame))


def _made(frame: Frame) -> Segments | None:
    stages = [s for s in STAGES if any(f"{s}_guid" in p.columns for p in frame.parts)]
    known = {kind: frame.places(kind) for kind in ("ids", *stages)}
    ids = known.pop("ids")
    if ids is None or any(k is None for k in known.values()):
        return None
    firsts = [ids.starts, frame.first_rows, *(k.starts for k in known.values() if k is not None)]
    starts = np.unique(np.concatenate(firsts))
    at = {name: (k, k.of(starts)) for name, k in known.items() if k is not None}
    found = {}
    for name, (of, places) in at.items():
        table = sorted(of.names)
        rank = {text: n for n, text in enumerate(table)}
        code = np.array([rank[text] for text in of.names], np.int32)[of.fields["code"][places]]
        found[name] = _Stage(code, tuple(table), (of.fields["entry"] - of.starts)[places])
    ends = np.append(starts, frame.rows.sum())
    order, in_order = _order(found.get("aod"), starts, np.diff(ends))
    mine = ids.of(starts)
    return Segments(
        ends,
        np.searchsorted(starts, np.append(frame.first_rows, ends[-1])),
        ids.fields["run"][mine],
        ids.fields["lumi"][mine],
        found,
        order,
        in_order,
    )


def _order(aod: _Stage | None, starts: Ints, sizes: Ints) -> tuple[Ints, bool]:
    """Segments by file and entry, and whether none has an entry twice, or one of another between its own."""
    if aod is None:
        return np.arange(len(starts)), False
    first = starts + aod.shift
    order = np.lexsort((first, aod.code))
    code, begin, end = aod.code[order], first[order], (first + sizes)[order]
    return order, bool(((code[1:] != code[:-1]) | (begin[1:] >= end[:-1])).all())


def listed(source: int, frame: Frame, taken: Taken, threads: int = 0) -> Accepted:
    """The accepted rows of an input as identities and references. StoreError: a part is damaged."""
    known = segments(frame)
    if known is None:
        rows = taken.rows(frame)
        return assemble(source, frame, rows, _events(frame, rows))
    run = _Run.of(frame, known, taken, threads)
    total = int(taken.counts.sum())
    require(bytes_of(total, len(known.stages)), f"the list of {total:,} events")
    columns = _Columns.of(total, tuple(known.stages))
    hit = np.flatnonzero(run.counts)
    constants, rising, tables = [(known.run, columns.run), (known.lumi, columns.lumi)], [], {}
    for name, stage in known.stages.items():
        used = np.flatnonzero(np.bincount(stage.code[hit], minlength=len(stage.names)))
        code = np.zeros(len(stage.names), np.int32)
        code[used] = np.arange(len(used))
        tables[name] = tuple(stage.names[k] for k in used.tolist())
        constants.append((code[stage.code], columns.stages[name][0]))
        rising.append((stage.shift, columns.stages[name][1]))
    run.write(constants, rising, columns.event)
    stages = {n: Reference(Names(frozen(c), tables[n]), frozen(e)) for n, (c, e) in columns.stages.items()}
    return Accepted(source, columns.run, columns.lumi, columns.event, stages, in_order=known.in_order)


@dataclass(frozen=True, eq=False)
class _Columns:
    run: Codes
    lumi: Codes
    event: Ints
    stages: dict[str, tuple[Codes, Ints]]

    @classmethod
    def of(cls, total: int, stages: Sequence[str]) -> _Columns:
        """For so many events, not yet filled."""
        wanted: list[type[np.generic]] = [np.int32, np.int32, np.int64]
        wanted += [np.int32, np.int64] * len(stages)
        run, lumi, event, *rest = together(total, wanted)
        return cls(run, lumi, event, dict(zip(stages, zip(rest[::2], rest[1::2], strict=True), strict=True)))


LARGE = 1 << 20
"""Bytes from which memory is asked for as if it were HUGE at least: what is not touched costs nothing."""
HUGE = 1 << 22
"""Bytes from which NumPy asks the system for huge pages, of which a few are to be made instead of thousands."""


def together(size: int, dtypes: Sequence[type[np.generic]]) -> list[Array]:
    """Arrays of `size` values each, not filled, in one piece of memory.

    >>> [a.dtype.name for a in together(3, [np.int32, np.int64])]
    ['int32', 'int64']
    """
    ends = np.cumsum([0, *(-(-size * np.dtype(d).itemsize // 64) * 64 for d in dtypes)]).tolist()
    memory = np.empty(max(ends[-1], HUGE) if ends[-1] >= LARGE else ends[-1], np.uint8)
    return [memory[at:][: size * np.dtype(d).itemsize].view(d) for at, d in zip(ends, dtypes, strict=False)]


@dataclass(frozen=True, eq=False)
class _Run:
    """The kernel's memory for some accepted rows; `counts` (S,) are theirs by segment."""

    frame: Frame
    segments: Segments
    taken: Taken
    counts: Ints
    units: Table
    threads: int

    @classmethod
    def of(cls, frame: Frame, known: Segments, taken: Taken, threads: int) -> _Run:
        """With the rows counted by segment."""
        units = LISTED_UNIT.zeros(len(taken.groups))
        units["bits"] = taken.addresses
        units["first_row"] = frame.first_rows[taken.groups]
        units["first_segment"] = known.groups[taken.groups]
        units["end_segment"] = known.groups[taken.groups + 1]
        workers = (threads or threads_here()) if int(taken.counts.sum()) >= LITTLE else 1
        made = cls(frame, known, taken, np.zeros(len(known.run), np.int64), units, workers)
        made._run(0, len(units), _Job([], []))
        return made

    def write(self, constants: list[tuple[Array, Array]], rising: list[tuple[Array, Array]], event: Ints) -> None:
        """Fill columns: pairs of what holds by segment, and the column."""
        order, dest = self.segments.order, np.empty(len(self.counts), np.int64)
        mine = self.counts[order]
        dest[order] = np.cumsum(mine) - mine
        job, written = _Job(constants, rising, dest, event), 0
        groups = self.taken.groups
        for begin, end in self.frame.batches(["event"], groups, at_once(self.frame, ["event"], groups)):
            some = groups[begin:end]
            opened = self.frame.open(some, again=True)
            memory = opened.memory("event", some)
            self.units["events"][begin:end] = memory.addresses
            written += self._run(begin, end, job, memory)
            opened.check_whole()
            del memory  # what it has decoded goes before the next batch comes
        if written != len(event):
            raise RuntimeError(f"{written} events of {len(event)} were written")

    def _run(self, begin: int, end: int, job: _Job, memory: object = None) -> int:
        """The kernel over some units, in pieces that have about as many events each."""
        kernel = kernel_cache.function(listing.write_events)
        table = job.table(self.units, self.segments.starts, self.counts)
        owners = self, job, memory

        def one(piece: tuple[int, int], owners: object = owners) -> int:  # they live as long as a thread is at it
            rows = np.empty(listing.CHUNK, np.int32)
            return kernel(address_of(table), address_of(rows), begin + piece[0], begin + piece[1])

        return sum(parallel_map(watched(one), pieces(self.taken.counts[begin:end], self.threads), self.threads))


class _Job:
    """What the kernel reads first, and what it points to."""

    def __init__(
        self,
        constants: list[tuple[Array, Array]],
        rising: list[tuple[Array, Array]],
        dest: Ints | None = None,
        event: Ints | None = None,
    ) -> None:
        self.held = constants, rising
        self.constants, self.rising = _pairs(constants), _pairs(rising)
        self.dest, self.event = dest, event

    def table(self, units: Table, starts: Ints, counts: Ints) -> Table:
        """As `kernels.listing` reads it."""
        return LISTING_JOB.filled(
            units=address_of(units),
            starts=address_of(starts),
            counts=address_of(counts),
            dest=0 if self.dest is None else address_of(self.dest),
            constants=address_of(self.constants),
            constant_count=len(self.constants),
            rising=address_of(self.rising),
            rising_count=len(self.rising),
            events=0 if self.event is None else address_of(self.event),
        )


def _pairs(pairs: list[tuple[Array, Array]]) -> Table:
    """What holds by segment, and the column, of some columns."""
    table = COLUMN_PAIR.zeros(len(pairs))
    table["by_segment"] = [address_of(by_segment) for by_segment, _ in pairs]
    table["column"] = [address_of(column) for _, column in pairs]
    return table


def _events(frame: Frame, rows: Ints) -> Ints:
    """The event numbers of rows of the snapshot, rising."""
    found = np.empty(len(rows), np.int64)
    for part, group, inside, where in frame.pieces(rows):
        found[where] = part.read(group, ["event"])["event"][inside]
    return found
