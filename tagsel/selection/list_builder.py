"""Builds event lists from accepted rows: identities, and the file and entry of each event at every stage.

Rows arrive in three forms: row numbers in one row group (`gather`), row numbers in a snapshot (`assemble`), and bits
(`listed`). A snapshot whose parts know their stretches is cut into segments: rows of one row group, run, luminosity
block and file, whose entries rise by one. A compiled loop then writes the columns of the list in the list's own order.

Invariant: all three give the same events; columns come from the parts as they are; a stage that a part lacks is
unknown there, never invented.
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
from tagsel.engine.bitmaps import Taken
from tagsel.engine.compiled_scan import at_once, pieces
from tagsel.engine.row_groups import Unit
from tagsel.events import EventList, Ledger, Names, Reference
from tagsel.events.names import frozen
from tagsel.kernels import kernel_cache, listing
from tagsel.kernels.layouts import COLUMN_PAIR, LISTED_UNIT, LISTING_JOB, Table
from tagsel.kernels.memory import address_of
from tagsel.schema import STAGES
from tagsel.selection.query import Input
from tagsel.store import Frame, Stretches, watched

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Accepted:
    """Accepted rows of one unit, or of a whole input: identities, and where they are at each stage. `in_order`: they
    are in the list's order, without ties."""

    source: int
    run: npt.NDArray[np.int32]
    lumi: npt.NDArray[np.int32]
    event: npt.NDArray[np.int64]
    stages: Mapping[str, Reference]
    weight: npt.NDArray[np.float64] | None = None
    in_order: bool = False

    def take(self, rows: Rows) -> Accepted:
        """Only the given positions."""
        stages = {stage: reference.take(rows) for stage, reference in self.stages.items()}
        weight = None if self.weight is None else self.weight[rows]
        return Accepted(self.source, self.run[rows], self.lumi[rows], self.event[rows], stages, weight)


def gather(unit: Unit, rows: Rows) -> Accepted:
    """Identities and references of the given rows of a row group."""
    part, group = unit.part, unit.group
    ids = part.read(group, ["run", "lumi", "event"])
    places, stages = part.places() if len(rows) else {}, {}
    for stage in STAGES:
        if stage in places:
            stages[stage] = _from_stretches(places[stage], rows + sum(part.groups[:group]))
        elif f"{stage}_guid" in part.columns:
            codes, table = part.read_codes(group, f"{stage}_guid")
            entry = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"]
            stages[stage] = Reference.of(codes[rows], table, entry[rows])
    return Accepted(unit.source, ids["run"][rows], ids["lumi"][rows], ids["event"][rows], stages)


def _from_stretches(known: Stretches, rows: Rows) -> Reference:
    """Where rows of a part are, by its stretches: nothing is read or decoded."""
    at = known.of(rows)
    used, codes = np.unique(known.fields["code"][at], return_inverse=True)
    entry = known.fields["entry"][at] + (rows - known.starts[at])
    return Reference.of(codes, [known.names[code] for code in used.tolist()], entry)


def bytes_of(events: int, stages: int) -> int:
    """Bytes of the columns of a list: run, lumi and event, and a file's code and an entry for each stage."""
    return events * (4 + 4 + 8 + stages * (4 + 8))


def event_list(
    blocks: Sequence[Accepted],
    inputs: Sequence[Input],
    ledger: Ledger | None,
    provenance: Mapping[str, object],
) -> EventList:
    """The list of all gathered rows; simulation carries its sample, the dataset's where none is given."""
    simulation = any(i.simulation for i in inputs)
    stages = [stage for stage in STAGES if any(_says(b.stages.get(stage)) for b in blocks)]
    samples = [i.sample or i.dataset for i in inputs]
    sizes = [len(b.event) for b in blocks]
    if len(blocks) > 1:  # they are joined into new columns
        require(bytes_of(sum(sizes), len(stages)), f"the list of {sum(sizes):,} events")
    sources = np.repeat(np.array([b.source for b in blocks], np.int64), sizes) if simulation else _NONE
    return EventList.of_stored(
        _joined([b.run for b in blocks], np.int32),
        _joined([b.lumi for b in blocks], np.int32),
        _joined([b.event for b in blocks], np.int64),
        {stage: _reference(blocks, stage) for stage in stages},
        Names.of(sources, samples) if simulation else None,
        ledger,
        provenance,
        in_order=len(blocks) == 1 and blocks[0].in_order,
        by_lumi=not simulation and any(i.by_lumi for i in inputs),
    )


_NONE = np.empty(0, np.int64)


def _says(reference: Reference | None) -> bool:
    """Whether it knows the file of any event; a stage of which nothing is known is none of the list's."""
    return reference is not None and any(reference.guid.values)


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _reference(blocks: Sequence[Accepted], stage: str) -> Reference:
    """One reference over all blocks: their tables joined, unknown where a block lacks the stage."""
    found = [b.stages.get(stage) or Reference.unknown(len(b.event)) for b in blocks]
    if len(found) == 1:
        return found[0]
    starts = np.cumsum([0, *(len(r.guid.values) for r in found)]).tolist()
    codes = [r.guid.codes.astype(np.int64) + start for r, start in zip(found, starts, strict=False)]
    names = [name for r in found for name in r.guid.values]
    return Reference(Names.of(_joined(codes, np.int64), names), frozen(_joined([r.entry for r in found], np.int64)))


Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


def assemble(source: int, frame: Frame, rows: Ints, events: Ints) -> Accepted:
    """The accepted rows of an input, `rows` rising, with their event numbers, as identities and references."""
    order = _order(frame.places("aod"), rows) if len(rows) else None

    def arranged(values: Array) -> Array:
        return values if order is None else np.concatenate([values[piece] for piece in order])

    ids = ids_of(frame, rows)
    stages = {}
    for stage in STAGES:
        if any(f"{stage}_guid" in p.columns for p in frame.parts):
            found = stage_of(frame, stage, rows)
            codes = frozen(arranged(found.guid.codes))
            stages[stage] = Reference(Names(codes, found.guid.values), frozen(arranged(found.entry)))
    return Accepted(source, arranged(ids["run"]), arranged(ids["lumi"]), arranged(events), stages)


def _order(files: Stretches | None, rows: Ints) -> list[slice] | None:
    """Pieces of `rows`, each within a stretch of one file, in the list's order; None where they have it, or it is not
    known to be so."""
    if files is None:
        return None
    bounds, hit = _bounds(files, rows)
    rank = _ranks(files, hit)[0]
    order = np.lexsort((files.fields["entry"][hit], rank))
    if bool((order[1:] > order[:-1]).all()):
        return None
    begin, end = bounds[hit][order].tolist(), bounds[hit + 1][order].tolist()
    return [slice(*piece) for piece in zip(begin, end, strict=True)]


def _bounds(of: Stretches, rows: Ints) -> tuple[Ints, Ints]:
    """Where in `rows` each stretch's begin, and the stretches that have some."""
    bounds = np.append(np.searchsorted(rows, of.starts), len(rows))
    return bounds, np.flatnonzero(np.diff(bounds))


def _ranks(files: Stretches, hit: Ints) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """The file of each stretch that was hit, as a code into the sorted table of just these files."""
    codes, inverse = np.unique(files.fields["code"][hit], return_inverse=True)
    names = [files.names[code] for code in codes.tolist()]
    table = tuple(sorted(names))
    rank = {name: n for n, name in enumerate(table)}
    return np.array([rank[name] for name in names], np.int32)[inverse], table


def ids_of(frame: Frame, rows: Ints) -> Mapping[str, Array]:
    """Run and lumi of rows of the snapshot, rising: (len(rows),) int32 each."""
    known = frame.places("ids")
    if known is None:
        return _columns(frame, rows, {"run": np.dtype(np.int32), "lumi": np.dtype(np.int32)})
    return {name: _spread(known, known.fields[name], rows) for name in ("run", "lumi")}


def _spread(of: Stretches, values: Array, rows: Ints) -> Array:
    """The value that holds in each row's stretch."""
    if len(of.starts) > len(rows):
        return values[of.of(rows)]
    return np.repeat(values, np.diff(np.append(np.searchsorted(rows, of.starts), len(rows))))


def stage_of(frame: Frame, stage: str, rows: Ints) -> Reference:
    """Where the rows are at one stage."""
    known = frame.places(stage)
    if known is None:
        return _stage_columns(frame, stage, rows)
    bounds, hit = _bounds(known, rows)
    ranks, table = _ranks(known, hit) if len(hit) else (np.empty(0, np.int32), ())
    sizes = np.diff(bounds)[hit]
    shift = (known.fields["entry"] - known.starts)[hit]
    return Reference(Names(np.repeat(ranks, sizes), table), rows + np.repeat(shift, sizes))


def _stage_columns(frame: Frame, stage: str, rows: Ints) -> Reference:
    """The same from the columns; unknown where a part lacks them."""
    codes, entry = np.zeros(len(rows), np.int32), np.full(len(rows), -1, np.int64)
    table = {"": 0}
    for part, group, inside, where in frame.pieces(rows):
        if f"{stage}_guid" in part.columns:
            read, names = part.read_codes(group, f"{stage}_guid")
            codes[where] = np.array([table.setdefault(n, len(table)) for n in names], np.int32)[read[inside]]
            entry[where] = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"][inside]
    return Reference.of(codes, tuple(table), entry)


def _columns(frame: Frame, rows: Ints, wanted: Mapping[str, np.dtype[np.int32]]) -> Mapping[str, Array]:
    found = {name: np.empty(len(rows), dtype) for name, dtype in wanted.items()}
    for part, group, inside, where in frame.pieces(rows):
        for name, values in part.read(group, wanted).items():
            found[name][where] = values[inside]
    return found


Codes = npt.NDArray[np.int32]

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
    order, in_order = _segment_order(found.get("aod"), starts, np.diff(ends))
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


def _segment_order(aod: _Stage | None, starts: Ints, sizes: Ints) -> tuple[Ints, bool]:
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
