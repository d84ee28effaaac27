"""Before dispatch: what a job will read and compute, beside a scan of everything; and afterwards how true that was.

Bytes are counted in a few of the files and scaled by what the map estimates of all, piece by piece; times come from
jobs that ran before, how many pieces run at once and how long they queue from those of the same engine. Invariant: a
forecast says what it rests on, and what it does not know it does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from tagsel.aod import EventMap, OpenFile, Visits, Wanted, cost_of, visits_of
from tagsel.aod.mapping import MappedFile
from tagsel.errors import AccessError
from tagsel.jobs.piece import Piece, Recipe

SAMPLE = 8
"""How many files are opened to measure bytes."""

READINGS = 64
"""How many readings of files by pieces are counted in these."""

USUAL = {"start_s": 1.5, "read_s_per_byte": 1e-8, "process_s_per_event": 1e-5}
"""Where no job ran before: CPU seconds to start a piece, to read a byte (at 100 MB/s), and for a simple script."""


@dataclass(frozen=True)
class Cost:
    """What finished pieces took together: CPU seconds to start, to read and in `process`, and what they did.

    `wall_s` are the seconds that each was there, summed; `wait_s` passed from submission until the first began, and
    then `span_s` until the last had ended: both 0 where that is not known, as of a job that was run again in part.
    """

    pieces: int = 0
    events: int = 0
    bytes: int = 0
    start_s: float = 0.0
    read_s: float = 0.0
    process_s: float = 0.0
    wall_s: float = 0.0
    wait_s: float = 0.0
    span_s: float = 0.0

    @property
    def time_s(self) -> float:
        """Seconds from submission until the last piece had ended; 0 where that is not known."""
        return self.wait_s + self.span_s if self.span_s else 0.0

    @property
    def cpu_s(self) -> float:
        """CPU seconds in all."""
        return self.start_s + self.read_s + self.process_s

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


@dataclass(frozen=True)
class Rates:
    """CPU seconds for a piece to start, for a byte read and for an event processed; `basis` says whence.

    `wall_per_cpu` are the seconds that a piece is there for each of its CPU.
    """

    start_s: float
    read_s_per_byte: float
    process_s_per_event: float
    basis: str
    wall_per_cpu: float = 1.0

    def cpu_s(self, pieces: int, size: int, events: int) -> float:
        """CPU seconds of so many pieces, bytes and events."""
        return pieces * self.start_s + size * self.read_s_per_byte + events * self.process_s_per_event


def rates(costs: Iterable[tuple[str, Mapping[str, Any]]], script: str) -> Rates:
    """What earlier jobs took, (script, cost) of each: of this script if there are any, else of all; medians.

    >>> rates([], "ab").basis
    'no job ran here before: usual values'
    """
    earlier = [(sha, Cost(**cost)) for sha, cost in costs]
    every = [cost for _, cost in earlier if cost.events]
    mine = [cost for sha, cost in earlier if sha == script and cost.events]
    basis = mine or every
    if not basis:
        return Rates(**USUAL, basis="no job ran here before: usual values")
    number = f"{len(basis)} earlier job{'s' * (len(basis) > 1)}"
    return Rates(
        median([cost.start_s / cost.pieces for cost in basis]),
        _read_s_per_byte(basis),
        median([cost.process_s / cost.events for cost in basis]),
        f"{number} of this script" if mine else f"{number} of other scripts",
        _wall_per_cpu(basis),
    )


def _read_s_per_byte(costs: Iterable[Cost]) -> float:
    rates = [cost.read_s / cost.bytes for cost in costs if cost.bytes]
    return median(rates) if rates else USUAL["read_s_per_byte"]


def _wall_per_cpu(costs: Iterable[Cost]) -> float:
    ratios = [cost.wall_s / cost.cpu_s for cost in costs if cost.wall_s]
    return median(ratios) if ratios else 1.0


@dataclass(frozen=True)
class Pace:
    """How an engine works through pieces: so many at once, the first of them after `wait_s` in its queue."""

    slots: int
    wait_s: float = 0.0

    def time_s(self, pieces: int, wall_s: float) -> float:
        """Seconds for pieces that take `wall_s` together, one as long as the other.

        >>> Pace(2, wait_s=10.0).time_s(3, 6.0)  # two rounds of 2 s each
        14.0
        """
        return self.wait_s + -(-pieces // self.slots) * wall_s / pieces if pieces else 0.0


def pace(costs: Iterable[Mapping[str, Any]]) -> Pace | None:
    """That of an engine by the costs of earlier jobs on it: as many at once as ever were; None where none is known.

    >>> pace([Cost(8, wall_s=80.0, wait_s=30.0, span_s=21.0).to_json()])
    Pace(slots=4, wait_s=30.0)
    """
    past = [Cost(**cost) for cost in costs]
    timed = [cost for cost in past if cost.span_s]
    if not timed:
        return None
    slots = max(round(cost.wall_s / cost.span_s) for cost in timed)
    return Pace(max(1, slots), median(cost.wait_s for cost in timed))


@dataclass(frozen=True)
class Forecast:
    """A job before it runs. `bytes` are compressed bytes of the baskets that it reads; `scan_…` is the same of all
    files with all of their entries, 0 where their sizes are not known; `measured` files were opened for it. `time_s` is
    from submission to the end of the last piece, 0 where nothing is known of the engine. `verdict` is the map's."""

    files: int
    files_total: int
    events: int
    events_total: int
    pieces: int
    bytes: int
    scan_bytes: int
    cpu_s: float
    scan_cpu_s: float
    measured: int
    basis: str
    time_s: float = 0.0
    verdict: str = ""

    @property
    def times(self) -> float:
        """How many times the CPU of a full scan is that of the job; 0 where it is not known."""
        return self.scan_cpu_s / self.cpu_s if self.scan_cpu_s and self.cpu_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {**asdict(self), "times": round(self.times, 2)}


def foretell(
    event_map: EventMap, pieces: Sequence[Piece], recipe: Recipe, known: Rates, at: Pace | None = None
) -> Forecast:
    """The forecast of a job over a mapped list in these pieces, on an engine of such a pace.

    What each piece reads is counted for itself: a cluster that two pieces share is read by both.
    """
    readings = _readings(event_map, pieces, recipe)
    measured = _measured(event_map, readings, recipe)
    size = sum(measured.bytes.get((r.file.guid, r.piece), round(measured.scale * r.estimate)) for r in readings)
    scan = round(event_map.bytes_total * measured.kept)
    n, total = sum(len(f.entries) for f in event_map.files), event_map.entries_total
    whole, cpu = scan and total, known.cpu_s(len(pieces), size, n)
    return Forecast(
        len(event_map.files),
        max(event_map.files_total, len(event_map.files)),
        n,
        total,
        len(pieces),
        size,
        scan,
        round(cpu, 3),
        round(known.cpu_s(event_map.files_total, scan, total), 3) if whole else 0.0,
        measured.files,
        known.basis,
        round(at.time_s(len(pieces), cpu * known.wall_per_cpu), 3) if at else 0.0,
        event_map.verdict,
    )


@dataclass(frozen=True, eq=False)
class _Reading:
    """What a piece reads of a file, and how many bytes that is by the map's estimate of its clusters."""

    piece: int
    file: MappedFile
    wanted: Wanted
    visits: Visits

    @property
    def estimate(self) -> float:
        """Estimated bytes; 0 where the file's size is not known."""
        touched = sum(replace(self.file, entries=entries).touched for entries in self.visits.entries)
        return touched * max(self.file.bytes, 0)


@dataclass(frozen=True)
class _Measure:
    """What opening some of the files gave: `bytes` by file and piece, as they were counted; how many times the map's
    estimate that was; of whole files the share of the branches; and how many files were opened for it."""

    bytes: Mapping[tuple[str, int], int]
    scale: float = 1.0
    kept: float = 1.0
    files: int = 0


def _readings(event_map: EventMap, pieces: Sequence[Piece], recipe: Recipe) -> list[_Reading]:
    """What the pieces read, one for each piece and file."""
    files = {file.guid: file for file in event_map.files}
    readings = []
    for piece in pieces:
        visits = visits_of(piece.files, recipe.batch)
        readings += [_Reading(piece.number, files[w.guid], w, v) for w, v in zip(piece.files, visits, strict=True)]
    return readings


def _measured(event_map: EventMap, readings: Sequence[_Reading], recipe: Recipe) -> _Measure:
    """Count what some readings of some files take; files that cannot be had are left out."""
    step = max(1, len(event_map.files) // SAMPLE)
    chosen = event_map.files[::step][:SAMPLE]
    most = max(1, READINGS // max(1, len(chosen)))
    counted: dict[tuple[str, int], int] = {}
    estimate, branches, total, opened = 0.0, 0, 0, 0
    for file in chosen:
        mine = [r for r in readings if r.file is file]
        mine = mine[:: -(-len(mine) // most)] if mine else []
        measure = _counted(event_map, file, mine, recipe) if mine else None
        if measure is None:
            continue
        sizes, whole, size = measure
        counted |= {(file.guid, r.piece): n for r, n in zip(mine, sizes, strict=True)}
        estimate += sum(r.estimate for r in mine)
        branches, total, opened = branches + whole, total + size, opened + 1
    if not estimate or not total:
        return _Measure(counted, files=opened)
    return _Measure(counted, sum(counted.values()) / estimate, branches / total, opened)


def _counted(
    event_map: EventMap, file: MappedFile, readings: Sequence[_Reading], recipe: Recipe
) -> tuple[list[int], int, int] | None:
    """The bytes of readings of one file, those of reading the same branches of all of its entries, and its size; None
    where it cannot be had."""
    first = readings[0].wanted
    none = first.take(np.zeros(len(first), bool))
    try:
        with OpenFile(none, event_map.layout) as opened:
            columns = opened.columns(recipe.branches)
            costs = [cost_of(opened, columns, r.wanted.entries, r.visits) for r in readings]
            opening = costs[0].opened // readings[0].visits.opens
            return [c.read + c.opened for c in costs], opened.bytes_of_all(columns) + opening, opened.file.bytes
    except AccessError:
        return None


def accuracy(told: Mapping[str, Any], was: Cost) -> dict[str, float]:
    """How far a forecast was off: (forecast - fact) / fact of bytes, CPU and time; only of what can be compared.

    >>> accuracy({"bytes": 110, "cpu_s": 1.0}, Cost(1, 5, 100, 1.0, 0.5, 0.5))
    {'bytes': 0.1, 'cpu_s': -0.5}
    """
    pairs = {"bytes": was.bytes, "cpu_s": was.cpu_s, "time_s": was.time_s}
    return {name: round(told[name] / fact - 1, 3) for name, fact in pairs.items() if fact and told.get(name)}
