"""Before dispatch: what a job will read and compute, against a scan of everything; and afterwards how true that was.

Bytes are measured on a few of the files and scaled by what the map estimates of all; times come from jobs that ran
before, how many pieces run at once and how long they queue from those of the same engine. Invariant: a forecast says
what it rests on, and what it does not know it does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from tagsel.aod import EventMap, forecast
from tagsel.aod.mapping import WORTH
from tagsel.errors import AccessError
from tagsel.events import EventList

SAMPLE = 8
"""How many files are opened to measure bytes."""

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
    known = [(sha, Cost(**cost)) for sha, cost in costs]
    mine = [cost for sha, cost in known if sha == script and cost.events]
    told = mine or [cost for _, cost in known if cost.events]
    if not told:
        return Rates(**USUAL, basis="no job ran here before: usual values")
    number = f"{len(told)} earlier job{'s' * (len(told) > 1)}"
    return Rates(
        median(c.start_s / c.pieces for c in told),
        median(c.read_s / c.bytes for c in told if c.bytes) if any(c.bytes for c in told) else USUAL["read_s_per_byte"],
        median(c.process_s / c.events for c in told),
        f"{number} of this script" if mine else f"{number} of other scripts",
        median([c.wall_s / c.cpu_s for c in told if c.wall_s] or [1.0]),
    )


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
    known = [cost for cost in (Cost(**told) for told in costs) if cost.span_s]
    if not known:
        return None
    return Pace(max(max(1, round(c.wall_s / c.span_s)) for c in known), median(c.wait_s for c in known))


@dataclass(frozen=True)
class Forecast:
    """A job before it runs. `bytes` are compressed bytes of the baskets that it reads; `scan_…` is the same of all
    files with all of their entries, 0 where their sizes are not known; `measured` files were opened for it. `time_s` is
    from submission to the end of the last piece, 0 where nothing is known of the engine."""

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

    @property
    def times(self) -> float:
        """How many times the CPU of a full scan is that of the job; 0 where it is not known."""
        return self.scan_cpu_s / self.cpu_s if self.scan_cpu_s and self.cpu_s else 0.0

    @property
    def verdict(self) -> str:
        """Whether the way by TAG is worth it, for people.

        >>> Forecast(1, 10, 5, 5000, 1, 10**6, 10**8, 2.0, 60.0, 1, "").verdict
        'by TAG 30 times less CPU and 100 times fewer bytes than a full scan'
        """
        if not self.files:
            return "nothing to read"
        if not self.times:
            return "nothing can be said of a full scan: sizes or entries of files are not known"
        if self.times < 1 / WORTH and self.scan_bytes * WORTH < self.bytes:
            return "don't: a full scan costs about the same"
        fewer = self.scan_bytes / self.bytes if self.bytes else 0.0
        return f"by TAG {_number(self.times)} times less CPU and {_number(fewer)} times fewer bytes than a full scan"

    def to_json(self) -> dict[str, Any]:
        """All of it by name, with the verdict."""
        return {**asdict(self), "times": round(self.times, 2), "verdict": self.verdict}


def foretell(
    event_map: EventMap, events: EventList, branches: Sequence[str], pieces: int, known: Rates, at: Pace | None = None
) -> Forecast:
    """The forecast of a job over a mapped list in so many pieces, on an engine of such a pace."""
    read, kept, measured = _measured(event_map, events, branches)
    size = round(event_map.bytes_touched_estimate * read)
    scan = round(event_map.bytes_total * kept)
    n, total = sum(len(f.entries) for f in event_map.files), event_map.entries_total
    whole, cpu = scan and total, known.cpu_s(pieces, size, n)
    return Forecast(
        len(event_map.files), max(event_map.files_total, len(event_map.files)), n, total, pieces, size, scan,
        round(cpu, 3),
        round(known.cpu_s(event_map.files_total, scan, total), 3) if whole else 0.0,
        measured, known.basis, round(at.time_s(pieces, cpu * known.wall_per_cpu), 3) if at else 0.0,
    )  # fmt: skip


def _measured(event_map: EventMap, events: EventList, branches: Sequence[str]) -> tuple[float, float, int]:
    """Of what the map estimates, the share that reading the branches takes; of whole files, the share of the branches;
    and how many files were opened for that: those that cannot be had are left out."""
    step = max(1, len(event_map.files) // SAMPLE)
    chosen = event_map.files[::step][:SAMPLE]
    some = replace(event_map, files=chosen, unmapped=np.empty(0, np.int64))
    try:
        report = forecast(some, events, branches)
    except AccessError:
        return 1.0, 1.0, 0
    lost = {p.guid for p in report.problems}
    had = [f for f in chosen if f.guid not in lost]
    estimate = sum(f.touched * f.bytes for f in had if f.bytes > 0)
    if not estimate or not report.bytes_total:
        return 1.0, 1.0, 0
    return report.bytes_read / estimate, report.bytes_branches / report.bytes_total, len(had)


def accuracy(told: Mapping[str, Any], was: Cost) -> dict[str, float]:
    """How far a forecast was off: (forecast - fact) / fact of bytes, CPU and time; only of what can be compared.

    >>> accuracy({"bytes": 110, "cpu_s": 1.0}, Cost(1, 5, 100, 1.0, 0.5, 0.5))
    {'bytes': 0.1, 'cpu_s': -0.5}
    """
    pairs = {"bytes": was.bytes, "cpu_s": was.cpu_s, "time_s": was.time_s}
    return {name: round(told[name] / fact - 1, 3) for name, fact in pairs.items() if fact and told.get(name)}


def _number(value: float) -> str:
    """A factor for people.

    >>> _number(2.34), _number(31.7)
    ('2.3', '32')
    """
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"
