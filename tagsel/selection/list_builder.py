"""Builds event lists from accepted rows: identities, and the file and entry of each event at every stage.

Accepted rows arrive in three forms: row numbers in one row group (`events_of_group`), row numbers in a snapshot
(`events_of_rows`), and bits (`events_of_bits`). The parts of a snapshot keep *stretches*, rows of one run and
luminosity block, or of one file with entries that rise by one; where they do not, columns are read. For bits, the
stretches of all kinds are cut into *segments*, in which everything is constant or rises by one, and a compiled loop
writes each column of the list in the list's own order.

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

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EventColumns:
    """Events of one input, a value an event in each column, (n,): identities, and files and entries by stage.

    `in_order`: the events have the list's order, without ties.
    """

    source: int
    run: Codes
    lumi: Codes
    event: Ints
    stages: Mapping[str, Reference]
    weight: npt.NDArray[np.float64] | None = None
    in_order: bool = False

    def take(self, positions: Ints) -> EventColumns:
        """The events at these positions."""
        stages = {stage: reference.take(positions) for stage, reference in self.stages.items()}
        weight = None if self.weight is None else self.weight[positions]
        return EventColumns(
            self.source, self.run[positions], self.lumi[positions], self.event[positions], stages, weight
        )


def event_list(
    blocks: Sequence[EventColumns],
    inputs: Sequence[Input],
    ledger: Ledger | None,
    provenance: Mapping[str, object],
) -> EventList:
    """The list of the events of all blocks; simulation carries its sample, the dataset's where none is given."""
    stages = [stage for stage in STAGES if _is_referenced(blocks, stage)]
    sizes = [len(block.event) for block in blocks]
    if len(blocks) > 1:  # they are joined into new columns
        require(bytes_of(sum(sizes), len(stages)), f"the list of {sum(sizes):,} events")
    sample = _samples(blocks, inputs)
    return EventList.of_stored(
        _joined([block.run for block in blocks], np.int32),
        _joined([block.lumi for block in blocks], np.int32),
        _joined([block.event for block in blocks], np.int64),
        {stage: _joined_reference(blocks, stage) for stage in stages},
        sample,
        ledger,
        provenance,
        in_order=len(blocks) == 1 and blocks[0].in_order,
        by_lumi=sample is None and any(source.by_lumi for source in inputs),
    )


def bytes_of(events: int, stages: int) -> int:
    """Bytes of the columns of a list: run, lumi and event, and a file's code and an entry for each stage."""
    return events * (4 + 4 + 8 + stages * (4 + 8))


def _samples(blocks: Sequence[EventColumns], inputs: Sequence[Input]) -> Names | None:
    """The sample of each event of simulation; None for data."""
    if not any(source.simulation for source in inputs):
        return None
    sources = [np.full(len(block.event), block.source, np.int64) for block in blocks]
    names = [source.sample or source.dataset for source in inputs]
    return Names.of(_joined(sources, np.int64), names)


def _is_referenced(blocks: Sequence[EventColumns], stage: str) -> bool:
    """Whether the file of any event is known at a stage; else the list has no such stage."""
    references = (block.stages.get(stage) for block in blocks)
    return any(reference is not None and any(reference.guid.values) for reference in references)


def _joined(arrays: Sequence[Array], dtype: type[np.generic]) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _joined_reference(blocks: Sequence[EventColumns], stage: str) -> Reference:
    """One reference over all blocks: their tables joined, unknown where a block lacks the stage."""
    references = [block.stages.get(stage) or Reference.unknown(len(block.event)) for block in blocks]
    if len(references) == 1:
        return references[0]
    names: list[str] = []
    codes = []
    for reference in references:
        codes.append(reference.guid.codes.astype(np.int64) + len(names))
        names += reference.guid.values
    entry = _joined([reference.entry for reference in references], np.int64)
    return Reference(Names.of(_joined(codes, np.int64), names), frozen(entry))


# -- rows of one row group


def events_of_group(unit: Unit, rows: Ints) -> EventColumns:
    """The events of some rows of a row group, in the order of the rows. StoreError: the part is damaged."""
    part, group = unit.part, unit.group
    ids = part.read(group, ["run", "lumi", "event"])
    places = part.places() if len(rows) else {}
    first_row = sum(part.groups[:group])
    stages = {}
    for stage in STAGES:
        if stage in places:
            stages[stage] = _reference_of(places[stage], rows + first_row)
        elif f"{stage}_guid" in part.columns:
            codes, names = part.read_codes(group, f"{stage}_guid")
            entry = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"]
            stages[stage] = Reference.of(codes[rows], names, entry[rows])
    return EventColumns(unit.source, ids["run"][rows], ids["lumi"][rows], ids["event"][rows], stages)


# -- rows of a snapshot


def events_of_rows(source: int, frame: Frame, rows: Ints, events: Ints | None = None) -> EventColumns:
    """The events of some rows of an input, `rows` rising; `events` are their event numbers, where they are known.

    The events have the list's order, by file and entry, wherever stretches give it; else that of the rows.
    """
    if events is None:
        events = event_numbers(frame, rows)
    order = _slices_in_order(frame.places("aod"), rows) if len(rows) else None

    def arranged(values: Array) -> Array:
        return values if order is None else np.concatenate([values[piece] for piece in order])

    ids = ids_of(frame, rows)
    stages = {}
    for stage in _stages(frame):
        reference = stage_of(frame, stage, rows)
        codes = frozen(arranged(reference.guid.codes))
        stages[stage] = Reference(Names(codes, reference.guid.values), frozen(arranged(reference.entry)))
    return EventColumns(source, arranged(ids["run"]), arranged(ids["lumi"]), arranged(events), stages)


def event_numbers(frame: Frame, rows: Ints) -> Ints:
    """The event numbers of rows of a snapshot, rising: (len(rows),) int64."""
    return _columns(frame, rows, {"event": np.dtype(np.int64)})["event"]


def ids_of(frame: Frame, rows: Ints) -> Mapping[str, Array]:
    """Run and lumi of rows of a snapshot, rising: (len(rows),) int32 each."""
    ids = frame.places("ids")
    if ids is None:
        return _columns(frame, rows, {"run": np.dtype(np.int32), "lumi": np.dtype(np.int32)})
    return {name: _value_of_rows(ids, ids.fields[name], rows) for name in ("run", "lumi")}


def stage_of(frame: Frame, stage: str, rows: Ints) -> Reference:
    """The files and entries of rows of a snapshot, rising, at one stage."""
    stretches = frame.places(stage)
    if stretches is not None:
        return _reference_of(stretches, rows)
    return _reference_from_columns(frame, stage, rows)


def _stages(frame: Frame) -> list[str]:
    """The stages that a part of a snapshot has columns for."""
    return [stage for stage in STAGES if _has_column(frame, f"{stage}_guid")]


def _has_column(frame: Frame, name: str) -> bool:
    return any(name in columns for columns, _ in frame.kinds)


def _slices_in_order(files: Stretches | None, rows: Ints) -> list[slice] | None:
    """Slices of `rows`, each within a stretch of one file, in the list's order.

    None where the rows have that order already, or the order is unknown.
    """
    if files is None:
        return None
    bounds, hit = _bounds(files, rows)
    rank = _file_codes(files, hit)[0]
    order = np.lexsort((files.fields["entry"][hit], rank))
    if bool((order[1:] > order[:-1]).all()):
        return None
    begin, end = bounds[hit][order].tolist(), bounds[hit + 1][order].tolist()
    return [slice(*piece) for piece in zip(begin, end, strict=True)]


def _bounds(stretches: Stretches, rows: Ints) -> tuple[Ints, Ints]:
    """Where in `rows` those of each stretch begin, and the stretches that have some."""
    bounds = np.append(np.searchsorted(rows, stretches.starts), len(rows))
    return bounds, np.flatnonzero(np.diff(bounds))


def _file_codes(files: Stretches, hit: Ints) -> tuple[Codes, tuple[str, ...]]:
    """The file of each stretch in `hit`, as a code into the sorted table of just these files; and the table."""
    codes, inverse = np.unique(files.fields["code"][hit], return_inverse=True)
    names = [files.names[code] for code in codes.tolist()]
    table, code_of = _sorted_table(names)
    return code_of[inverse], table


def _sorted_table(names: Sequence[str]) -> tuple[tuple[str, ...], Codes]:
    """Names as a sorted table, and the place of each name in it."""
    table = tuple(sorted(names))
    place = {name: at for at, name in enumerate(table)}
    return table, np.array([place[name] for name in names], np.int32)


def _value_of_rows(stretches: Stretches, values: Array, rows: Ints) -> Array:
    """The value of each row: that of its stretch."""
    if len(stretches.starts) > len(rows):
        return values[stretches.of(rows)]
    return np.repeat(values, np.diff(np.append(np.searchsorted(rows, stretches.starts), len(rows))))


def _reference_of(stretches: Stretches, rows: Ints) -> Reference:
    """The files and entries of rows, rising, by stretches: nothing is read or decoded."""
    bounds, hit = _bounds(stretches, rows)
    codes, names = _file_codes(stretches, hit) if len(hit) else (np.empty(0, np.int32), ())
    sizes = np.diff(bounds)[hit]
    shift = (stretches.fields["entry"] - stretches.starts)[hit]
    return Reference(Names(frozen(np.repeat(codes, sizes)), names), frozen(rows + np.repeat(shift, sizes)))


def _reference_from_columns(frame: Frame, stage: str, rows: Ints) -> Reference:
    """The files and entries of rows as their columns say; unknown where a part lacks them."""
    codes, entry = np.zeros(len(rows), np.int32), np.full(len(rows), -1, np.int64)
    table = {"": 0}
    for part, group, inside, where in frame.pieces(rows):
        if f"{stage}_guid" in part.columns:
            part_codes, names = part.read_codes(group, f"{stage}_guid")
            code_of = np.array([table.setdefault(name, len(table)) for name in names], np.int32)
            codes[where] = code_of[part_codes[inside]]
            entry[where] = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"][inside]
    return Reference.of(codes, tuple(table), entry)


def _columns(frame: Frame, rows: Ints, dtypes: Mapping[str, np.dtype[Any]]) -> Mapping[str, Array]:
    """Columns of rows of a snapshot, rising, that all parts have."""
    columns = {name: np.empty(len(rows), dtype) for name, dtype in dtypes.items()}
    for part, group, inside, where in frame.pieces(rows):
        for name, values in part.read(group, dtypes).items():
            columns[name][where] = values[inside]
    return columns


# -- bits of a snapshot's rows, by compiled code

LITTLE = 50_000
"""Events below which other threads are not woken."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """The file of each segment, as codes (S,) into sorted names; a row's entry is its number plus `shift`, (S,)."""

    code: Codes
    names: tuple[str, ...]
    shift: Ints


@dataclass(frozen=True, eq=False)
class Segments:
    """S segments of the rows of a snapshot: in each run, luminosity block and files are constant, and entries rise.

    `starts` (S + 1,) int64: the first row of each; `groups` (G + 1,): the first segment of each row group; `run` and
    `lumi`, (S,) int32; `order`, (S,): the segments as a list has them, which is sure to be its order if `in_order`.
    """

    starts: Ints
    groups: Ints
    run: Codes
    lumi: Codes
    stages: Mapping[str, _Stage]
    order: Ints
    in_order: bool


def segments(frame: Frame) -> Segments | None:
    """The segments of a snapshot; None where its parts do not keep stretches. StoreError: a part is damaged."""
    return frame.memo.get_or_create("row-segments", None, lambda: _segments(frame))


def _segments(frame: Frame) -> Segments | None:
    ids = frame.places("ids")
    places = {stage: frame.places(stage) for stage in _stages(frame)}
    files = {stage: stretches for stage, stretches in places.items() if stretches is not None}
    if ids is None or len(files) < len(places):
        return None
    firsts = [ids.starts, frame.first_rows, *(stretches.starts for stretches in files.values())]
    starts = np.unique(np.concatenate(firsts))
    stages = {stage: _stage(stretches, starts) for stage, stretches in files.items()}
    ends = np.append(starts, frame.rows.sum())
    order, in_order = _segment_order(stages.get("aod"), starts, np.diff(ends))
    at = ids.of(starts)
    return Segments(
        ends,
        np.searchsorted(starts, np.append(frame.first_rows, ends[-1])),
        ids.fields["run"][at],
        ids.fields["lumi"][at],
        stages,
        order,
        in_order,
    )


def _stage(files: Stretches, starts: Ints) -> _Stage:
    """The files of the segments that begin at `starts`."""
    at = files.of(starts)
    table, code_of = _sorted_table(files.names)
    return _Stage(code_of[files.fields["code"][at]], table, (files.fields["entry"] - files.starts)[at])


def _segment_order(aod: _Stage | None, starts: Ints, sizes: Ints) -> tuple[Ints, bool]:
    """Segments by file and entry, and whether no entry occurs twice and no segment begins inside another."""
    if aod is None:
        return np.arange(len(starts)), False
    first = starts + aod.shift
    order = np.lexsort((first, aod.code))
    code, begin, end = aod.code[order], first[order], (first + sizes)[order]
    return order, bool(((code[1:] != code[:-1]) | (begin[1:] >= end[:-1])).all())


def events_of_bits(source: int, frame: Frame, accepted: Taken, threads: int = 0) -> EventColumns:
    """The events of the rows of an input whose bits are set. StoreError: a part is damaged."""
    row_segments = segments(frame)
    if row_segments is None:
        return events_of_rows(source, frame, accepted.rows(frame))
    writer = _Writer.of(frame, row_segments, accepted, threads)
    total = int(accepted.counts.sum())
    stages = row_segments.stages
    require(bytes_of(total, len(stages)), f"the list of {total:,} events")
    columns = _Columns.of(total, tuple(stages))
    hit = np.flatnonzero(writer.counts)
    constants = [(row_segments.run, columns.run), (row_segments.lumi, columns.lumi)]
    rising, names = [], {}
    for name, stage in stages.items():
        code, names[name] = _used_files(stage, hit)
        constants.append((code, columns.stages[name][0]))
        rising.append((stage.shift, columns.stages[name][1]))
    writer.write(constants, rising, columns.event)
    references = {}
    for name, (codes, entry) in columns.stages.items():
        references[name] = Reference(Names(frozen(codes), names[name]), frozen(entry))
    in_order = row_segments.in_order
    return EventColumns(source, columns.run, columns.lumi, columns.event, references, in_order=in_order)


def _used_files(stage: _Stage, hit: Ints) -> tuple[Codes, tuple[str, ...]]:
    """The file of each segment as a code into the table of the files of the segments in `hit`; and the table."""
    used = np.flatnonzero(np.bincount(stage.code[hit], minlength=len(stage.names)))
    code_of = np.zeros(len(stage.names), np.int32)
    code_of[used] = np.arange(len(used))
    return code_of[stage.code], tuple(stage.names[code] for code in used.tolist())


@dataclass(frozen=True, eq=False)
class _Columns:
    """Columns of a list; `stages` have the codes and entries."""

    run: Codes
    lumi: Codes
    event: Ints
    stages: dict[str, tuple[Codes, Ints]]

    @classmethod
    def of(cls, total: int, stages: Sequence[str]) -> _Columns:
        """For so many events, not yet filled."""
        dtypes: list[type[np.generic]] = [np.int32, np.int32, np.int64]
        dtypes += [np.int32, np.int64] * len(stages)
        run, lumi, event, *rest = together(total, dtypes)
        references = zip(rest[::2], rest[1::2], strict=True)
        return cls(run, lumi, event, dict(zip(stages, references, strict=True)))


LARGE = 1 << 20
"""Bytes from which at least HUGE bytes are allocated: pages that are never touched cost nothing."""
HUGE = 1 << 22
"""Bytes from which NumPy asks the system for huge pages: it makes a few instead of thousands."""


def together(size: int, dtypes: Sequence[type[np.generic]]) -> list[Array]:
    """Arrays of `size` values each, not filled, in one piece of memory.

    >>> [a.dtype.name for a in together(3, [np.int32, np.int64])]
    ['int32', 'int64']
    """
    lengths = [size * np.dtype(dtype).itemsize for dtype in dtypes]
    rounded = [-(-length // 64) * 64 for length in lengths]
    starts = np.cumsum([0, *rounded]).tolist()
    total = starts.pop()
    memory = np.empty(max(total, HUGE) if total >= LARGE else total, np.uint8)
    arrays = []
    for start, length, dtype in zip(starts, lengths, dtypes, strict=True):
        arrays.append(memory[start : start + length].view(dtype))
    return arrays


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes the columns of the accepted rows in `accepted`; `counts` (S,) are how many each segment has."""

    frame: Frame
    segments: Segments
    accepted: Taken
    counts: Ints
    units: Table
    threads: int

    @classmethod
    def of(cls, frame: Frame, segments: Segments, accepted: Taken, threads: int) -> _Writer:
        """With the rows counted by segment."""
        units = LISTED_UNIT.zeros(len(accepted.groups))
        units["bits"] = accepted.addresses
        units["first_row"] = frame.first_rows[accepted.groups]
        units["first_segment"] = segments.groups[accepted.groups]
        units["end_segment"] = segments.groups[accepted.groups + 1]
        workers = (threads or threads_here()) if int(accepted.counts.sum()) >= LITTLE else 1
        writer = cls(frame, segments, accepted, np.zeros(len(segments.run), np.int64), units, workers)
        writer._run(0, len(units), _Job([], []))
        return writer

    def write(self, constants: list[tuple[Array, Array]], rising: list[tuple[Array, Array]], event: Ints) -> None:
        """Fill columns: pairs of the values by segment, and the column."""
        order, dest = self.segments.order, np.empty(len(self.counts), np.int64)
        ordered_counts = self.counts[order]
        dest[order] = np.cumsum(ordered_counts) - ordered_counts
        job, written = _Job(constants, rising, dest, event), 0
        groups = self.accepted.groups
        for begin, end in self.frame.batches(["event"], groups, at_once(self.frame, ["event"], groups)):
            batch = groups[begin:end]
            opened = self.frame.open(batch, again=True)
            memory = opened.memory("event", batch)
            self.units["events"][begin:end] = memory.addresses
            written += self._run(begin, end, job, memory)
            opened.check_whole()
            del memory  # what it has decoded goes before the next batch comes
        if written != len(event):
            raise RuntimeError(f"{written} events of {len(event)} were written")

    def _run(self, begin: int, end: int, job: _Job, memory: object = None) -> int:
        """Run the kernel over some units, in pieces that have about as many events each; give the events' number."""
        kernel = kernel_cache.function(listing.write_events)
        table = job.table(self.units, self.segments.starts, self.counts)
        owners = self, job, memory

        def run_piece(piece: tuple[int, int], owners: object = owners) -> int:  # they live as long as a thread is at it
            rows = np.empty(listing.CHUNK, np.int32)
            return kernel(address_of(table), address_of(rows), begin + piece[0], begin + piece[1])

        return sum(
            parallel_map(watched(run_piece), pieces(self.accepted.counts[begin:end], self.threads), self.threads)
        )


class _Job:
    """The table that the kernel reads first, and the arrays to which it points."""

    def __init__(
        self,
        constants: list[tuple[Array, Array]],
        rising: list[tuple[Array, Array]],
        dest: Ints | None = None,
        event: Ints | None = None,
    ) -> None:
        self.arrays = constants, rising  # their memory lives as long as the job
        self.constants, self.rising = _pairs(constants), _pairs(rising)
        self.dest, self.event = dest, event

    def table(self, units: Table, starts: Ints, counts: Ints) -> Table:
        """The job as `kernels.listing` reads it."""
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
    """The addresses of the values by segment, and of the column, of some columns."""
    table = COLUMN_PAIR.zeros(len(pairs))
    table["by_segment"] = [address_of(by_segment) for by_segment, _ in pairs]
    table["column"] = [address_of(column) for _, column in pairs]
    return table
