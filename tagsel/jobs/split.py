"""Splitting a mapped event list into pieces.

Invariant: every row that has an address is in exactly one piece, once; the same list and map give the same
pieces in the same order, whatever the machine. There is always at least one piece, if need be without
events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tagsel.aod import EventMap, Wanted
from tagsel.errors import JobError, did_you_mean
from tagsel.events import EventList
from tagsel.jobs.broker import Topology, broker
from tagsel.jobs.piece import Piece

Ints = npt.NDArray[np.int64]

EVENTS_PER_JOB = 10_000
"""How many events a piece has where nothing else bounds it."""

BYTES_PER_JOB = 2_000_000_000
"""How many bytes a piece touches that is bounded by bytes, and nothing was said."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Mapped rows of a list, in order: row of the list, index of its file, entry there."""

    row: Ints
    file: Ints
    entry: Ints


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to split: `keys` gives the order of rows, and (domain, atom) of each.

    A piece never spans two domains, unless `joins` lets small ones be joined; an atom is never cut. `bytes_of` says
    what each row in order touches, by its atom, where pieces are bounded by that.
    """

    keys: Callable[[_Rows, EventMap, EventList], tuple[Ints, Ints, Ints]]
    bound: int | None
    joins: bool
    help: str
    bytes_of: Callable[[_Rows, EventMap, Ints, Ints], Ints] | None = None


def _by_events(rows: _Rows, event_map: EventMap, events: EventList) -> tuple[Ints, Ints, Ints]:
    order = np.arange(len(rows.row))
    return order, np.zeros(len(order), np.int64), order


def _by_file(rows: _Rows, event_map: EventMap, events: EventList) -> tuple[Ints, Ints, Ints]:
    order = np.argsort(rows.file, kind="stable")
    return order, rows.file[order], np.arange(len(order))


def _by_site(rows: _Rows, event_map: EventMap, events: EventList) -> tuple[Ints, Ints, Ints]:
    sites = sites_of(event_map)
    names = sorted(set(sites))
    site = np.array([names.index(s) for s in sites], np.int64)[rows.file]
    order = np.argsort(site, kind="stable")
    return order, site[order], np.arange(len(order))


def _by_lumi(rows: _Rows, event_map: EventMap, events: EventList) -> tuple[Ints, Ints, Ints]:
    run, lumi = events.run[rows.row], events.lumi[rows.row]
    order = np.lexsort((lumi, run))
    new = (np.diff(run[order]) != 0) | (np.diff(lumi[order]) != 0)
    block = np.cumsum(np.r_[0, new.astype(np.int64)])[: len(order)]
    return order, np.zeros(len(order), np.int64), block


def _by_bytes(rows: _Rows, event_map: EventMap, events: EventList) -> tuple[Ints, Ints, Ints]:
    unknown = [f for f in event_map.files if f.bytes <= 0 or f.file_entries <= 0]
    if unknown:
        raise JobError(
            f"cannot split by bytes: the size or number of entries of {len(unknown)} files is unknown: "
            f"{unknown[0].lfn or unknown[0].guid}",
            hint="ingest them with --aod, or split by file or events",
            files=[f.guid for f in unknown],
        )
    order = np.lexsort((rows.entry, rows.file))
    file = rows.file[order]
    cluster = rows.entry[order] // np.array([f.cluster for f in event_map.files], np.int64)[file]
    new = (np.diff(file) != 0) | (np.diff(cluster) != 0)
    return order, np.zeros(len(order), np.int64), np.cumsum(np.r_[0, new.astype(np.int64)])[: len(order)]


def _bytes_of(rows: _Rows, event_map: EventMap, order: Ints, atom: Ints) -> Ints:
    """Bytes that each row touches, in order: those of its cluster by the first of its rows, none by the others."""
    cost = np.zeros(len(order), np.int64)
    first = np.flatnonzero(np.r_[True, np.diff(atom) != 0][: len(order)])
    clusters = [(f.cluster, f.file_entries, f.bytes) for f in event_map.files]
    size, entries, whole = np.array(clusters, np.int64).reshape(-1, 3)[rows.file[order[first]]].T
    begin = rows.entry[order[first]] // size * size
    rows_in_cluster = np.clip(entries - begin, 0, size)  # the last cluster of a file may be short
    cost[first] = whole // entries * rows_in_cluster + whole % entries * rows_in_cluster // entries
    return cost


WAYS = {
    "events": _Way(_by_events, EVENTS_PER_JOB, False, "so many events, in the list's order"),
    "file": _Way(_by_file, None, True, "one file"),
    "site": _Way(_by_site, None, False, "the files of one site"),
    "lumi": _Way(_by_lumi, EVENTS_PER_JOB, False, "whole luminosity blocks"),
    "bytes": _Way(_by_bytes, None, False, "so many bytes touched, by file, whole clusters", _bytes_of),
}
"""What a piece is made of, by the name of the way."""


def split(
    event_map: EventMap,
    events: EventList,
    *,
    by: str = "events",
    events_per_job: int | None = None,
    min_events: int | None = None,
    bytes_per_job: int | None = None,
) -> tuple[Piece, ...]:
    """Pieces of at most `events_per_job` events (more only where one luminosity block, or cluster, has more), and by
    bytes of at most `bytes_per_job` (more only where one cluster of a file has more).

    A remainder of fewer than `min_events` events joins its neighbour. JobError for an unknown way, a bound below 1, a
    minimum above `events_per_job`, and files of unknown size where bytes bound.
    """
    _check_bounds(by, events_per_job, min_events, bytes_per_job)
    way = WAYS[by]
    rows = _mapped_rows(event_map)
    order, domain, atom = way.keys(rows, event_map, events)
    touched = way.bytes_of(rows, event_map, order, atom) if way.bytes_of else np.zeros(len(order), np.int64)
    bounds = _bounds(domain, atom, events_per_job or way.bound, touched, bytes_per_job or BYTES_PER_JOB)
    bounds = _joined(bounds, domain, min_events or 0, way.joins)
    sites = sites_of(event_map)
    pieces = tuple(
        Piece(number, _files(event_map, events, rows, order[a:b]), _site(sites, rows.file[order[a:b]]))
        for number, (a, b) in enumerate(bounds)
    )
    if sum(p.n_events for p in pieces) != len(events) - len(event_map.unmapped):
        raise JobError("splitting lost events: this is a fault of tagsel", events=len(events))
    return pieces


def _check_bounds(by: str, events_per_job: int | None, min_events: int | None, bytes_per_job: int | None) -> None:
    """JobError for an unknown way, a bound below 1, and bounds that contradict each other or the way."""
    if by not in WAYS:
        raise JobError(f"cannot split by {by!r}", hint=did_you_mean(by, WAYS) or f"by {', '.join(WAYS)}", by=by)
    bounds = {"events per job": events_per_job, "minimum of events": min_events, "bytes per job": bytes_per_job}
    for name, value in bounds.items():
        if value is not None and value < 1:
            raise JobError(f"{name}: {value} was given, 1 or more was expected")
    if events_per_job is not None and min_events is not None and min_events > events_per_job:
        raise JobError(
            f"minimum of events: {min_events:,} was given, more than the {events_per_job:,} events of a piece",
            hint=f"--min-events {max(events_per_job // 2, 1)}",
        )
    if bytes_per_job is not None and WAYS[by].bytes_of is None:
        raise JobError(f"bytes per job bound pieces by bytes only, not by {by}", hint="--by bytes")


def split_piece(
    piece: Piece, first: int, *, by: str, into: int | None = None, events_per_job: int | None = None
) -> tuple[Piece, ...]:
    """A piece `into` so many of about equal length, or of at most `events_per_job` events, numbered from `first` on,
    its events in its order; a luminosity block is not cut where the job is split by those.

    JobError unless one of the two is given, and where less than two pieces come out of it.
    """
    n = piece.n_events
    count, ends = _even_ends(n, into, events_per_job)
    starts = _atoms(piece) if by == "lumi" else np.arange(n)
    nearest = np.minimum(np.searchsorted(starts, ends), len(starts) - 1)
    cuts = sorted(set(starts[nearest].tolist() if n else ()) - {0})
    if not cuts or (into is not None and by != "lumi" and len(cuts) + 1 != into):
        of = "one luminosity block" if by == "lumi" and n > 1 else f"{n:,} events"
        raise JobError(f"piece {piece.number} of {of} cannot be split into {count:,} pieces", piece=piece.number)
    return tuple(
        Piece(first + k, _between(piece, a, b), piece.site) for k, (a, b) in enumerate(pairwise([0, *cuts, n]))
    )


def _even_ends(n: int, into: int | None, events_per_job: int | None) -> tuple[int, Ints]:
    """How many pieces n events make, `into` so many or of so many events each, and where all but the last end."""
    if into is not None and events_per_job is None:
        return into, np.arange(1, into) * n // into
    if events_per_job is None or into is not None:
        raise JobError("how a piece is split anew: one of into and events per job was expected", hint="--into 2")
    if events_per_job < 1:
        raise JobError(f"events per job: {events_per_job} was given, 1 or more was expected")
    count = -(-n // events_per_job)
    return count, np.arange(1, count) * events_per_job


def _atoms(piece: Piece) -> Ints:
    """Positions in a piece at which a luminosity block begins."""
    run, lumi = np.empty(piece.n_events, np.int64), np.empty(piece.n_events, np.int64)
    for f in piece.files:
        run[f.rows], lumi[f.rows] = f.run, f.lumi
    return np.flatnonzero(np.r_[True, (np.diff(run) != 0) | (np.diff(lumi) != 0)][: piece.n_events])


def _between(piece: Piece, begin: int, end: int) -> tuple[Wanted, ...]:
    """What the events of a piece at positions [begin, end) ask of each file."""
    parts = [f.take((f.rows >= begin) & (f.rows < end)) for f in piece.files]
    return tuple(replace(f, rows=f.rows - begin) for f in parts if len(f))


def sites_of(event_map: EventMap) -> list[str]:
    """The site at which each mapped file is processed, "" where none is known: as a broker said, else where it is."""
    if not any(f.site for f in event_map.files):
        here = {}
        for file in event_map.files:
            here[file.guid] = [(site, "") for site in file.sites]
        event_map = broker(event_map, here, Topology())[1]
    return [f.site for f in event_map.files]


def _site(sites: list[str], files: Ints) -> str:
    """The site of a piece: that of most of its events, then by name."""
    counts = Counter(sites[i] for i in files.tolist())
    return min(counts, key=lambda site: (-counts[site], site), default="")


def _mapped_rows(event_map: EventMap) -> _Rows:
    """Rows of the list that have an address, in the list's order."""
    file = np.full(event_map.events, -1, np.int64)
    entry = np.full(event_map.events, -1, np.int64)
    for i, f in enumerate(event_map.files):
        file[f.rows], entry[f.rows] = i, f.entries
    row = np.flatnonzero(file >= 0)
    return _Rows(row, file[row], entry[row])


def _bounds(domain: Ints, atom: Ints, most: int | None, touched: Ints, most_bytes: int) -> list[tuple[int, int]]:
    """[start, stop) of pieces: a new one where the domain changes, or where the next atom would make it too long, or
    touch too much."""
    if not len(domain):
        return [(0, 0)]
    starts = np.flatnonzero(np.r_[True, (np.diff(domain) != 0) | (np.diff(atom) != 0)])
    stops = np.r_[starts[1:], len(domain)]
    sums = np.r_[0, np.cumsum(touched)]
    bounds: list[tuple[int, int]] = []
    first = 0
    for a, b in zip(starts.tolist(), stops.tolist(), strict=True):
        full = (most is not None and b - first > most) or sums[b] - sums[first] > most_bytes
        if a > first and (full or domain[a] != domain[first]):
            bounds.append((first, a))
            first = a
    return [*bounds, (first, len(domain))]


def _joined(bounds: list[tuple[int, int]], domain: Ints, least: int, across: bool) -> list[tuple[int, int]]:
    """Pieces of fewer than `least` events joined to the one before (of the same domain, unless `across`)."""
    joined: list[tuple[int, int]] = []
    for a, b in bounds:
        if joined and b > a:
            before, end = joined[-1]
            small = b - a < least or end - before < least
            if small and (across or domain[before] == domain[a]):
                joined[-1] = (before, b)
                continue
        joined.append((a, b))
    return joined


def _files(event_map: EventMap, events: EventList, rows: _Rows, which: Ints) -> tuple[Wanted, ...]:
    """What the chosen rows (in the piece's order) ask of each file."""
    files = []
    for i in dict.fromkeys(rows.file[which].tolist()):
        f = event_map.files[i]
        at = np.flatnonzero(rows.file[which] == i)
        row = rows.row[which[at]]
        entries = rows.entry[which[at]]
        files.append(
            Wanted(
                f.guid,
                f.pfn,
                f.lfn,
                f.file_entries,
                at,
                entries,
                events.run[row],
                events.lumi[row],
                events.event[row],
                f.others,
            )
        )
    return tuple(files)
