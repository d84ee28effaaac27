"""Splitting: every event once, in a fixed order, whole luminosity blocks, remainders joined."""

from __future__ import annotations

from collections import Counter
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tagsel.aod import map_events
from tagsel.errors import JobError
from tagsel.events import EventList
from tagsel.jobs import WAYS, Piece, split
from tagsel.jobs.split import sites_of

GUIDS = [f"{i:08X}-0000-0000-0000-000000000000" for i in range(5)]
rows = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 4)), max_size=60)
bounds = st.one_of(st.none(), st.integers(1, 20))


def listed(places: list[tuple[int, int, int]]) -> EventList:
    """One event for each (file, run, lumi); entries count within the file."""
    seen: Counter[int] = Counter()
    entries = []
    for f, _, _ in places:
        entries.append(seen[f])
        seen[f] += 1
    return EventList.from_arrays(
        [r for _, r, _ in places],
        [lb for _, _, lb in places],
        list(range(len(places))),
        [f for f, _, _ in places],
        GUIDS,
        entries,
    )


FILES = [
    SimpleNamespace(guid=g, lfn=f"aod/{i}.root", pfn="", entries=60, bytes=90_000_000) for i, g in enumerate(GUIDS)
]
"""Of 90 MB each, so of 3 clusters of about 30 MB: 20 entries."""


def order_of(piece: Piece) -> list[int]:
    """The event numbers of a piece, in its order."""
    out = np.full(piece.n_events, -1)
    for f in piece.files:
        out[f.rows] = f.event
    return out.tolist()  # type: ignore[no-any-return]


@given(rows, st.sampled_from(sorted(WAYS)), bounds, bounds)
def test_feature_58_103_every_event_in_one_piece_in_a_fixed_order(
    places: list[tuple[int, int, int]], by: str, most: int | None, least: int | None
) -> None:
    assume(most is None or least is None or least <= most)
    events = listed(places)
    sites = {g: [SimpleNamespace(site="ABCA"[i % 4], pfn="")] for i, g in enumerate(GUIDS) if i}
    found = map_events(events, FILES, sites)
    pieces = split(found, events, by=by, events_per_job=most, min_events=least)
    numbers = [n for p in pieces for n in order_of(p)]
    assert sorted(numbers) == list(range(len(places)))
    assert [p.number for p in pieces] == list(range(len(pieces))) and pieces
    again = split(found, events, by=by, events_per_job=most, min_events=least)
    assert [(order_of(p), p.site) for p in again] == [(order_of(p), p.site) for p in pieces]
    for p in pieces:
        for f in p.files:
            assert [(e.guid, e.entry) for e in events if e.event in f.event.tolist()] == [
                (f.guid, n) for n in sorted(f.entries.tolist())
            ]
    if least is None and most is not None and by not in ("lumi", "bytes"):
        assert all(p.n_events <= most for p in pieces)
    if by == "events":
        assert numbers == events.event.tolist()
    if by == "file" and least is None:
        assert all(len(p.files) <= 1 for p in pieces)


@given(rows, st.sampled_from(sorted(WAYS)), bounds, st.integers(1, 20))
def test_feature_59_no_piece_is_smaller_than_asked_for_unless_it_stands_alone(
    places: list[tuple[int, int, int]], by: str, most: int | None, least: int
) -> None:
    """By site a small piece has no neighbour but those of its site; else only a job of one piece may be smaller."""
    assume(most is None or least <= most)
    events = listed(places)
    sites = {g: [SimpleNamespace(site="ABCA"[i % 4], pfn="")] for i, g in enumerate(GUIDS) if i}
    found = map_events(events, FILES, sites)
    pieces = split(found, events, by=by, events_per_job=most, min_events=least)
    assert sorted(n for p in pieces for n in order_of(p)) == list(range(len(places)))
    alone = Counter(p.site for p in pieces)
    assert all(p.n_events >= least or alone[p.site] == 1 for p in pieces)


BYTES = 30_000_000
"""What one cluster of FILES has: 20 of 60 entries of 90 MB."""


def clusters(piece: Piece) -> set[tuple[str, int]]:
    """(file, cluster) that a piece touches."""
    return {(f.guid, int(e) // 20) for f in piece.files for e in f.entries}


@given(rows, st.integers(1, 5))
def test_feature_58_by_bytes_no_cluster_is_touched_twice(places: list[tuple[int, int, int]], most: int) -> None:
    """Pieces of at most `most` clusters, as many as fit, in the order of files and entries; the estimates add up."""
    events = listed(places)
    found = map_events(events, FILES, {})
    pieces = split(found, events, by="bytes", bytes_per_job=most * BYTES + 1)
    touched = [clusters(p) for p in pieces]
    assert sum(map(len, touched)) == len(set().union(*touched))
    assert sum(map(len, touched)) * BYTES == found.bytes_touched_estimate
    assert [len(t) for t in touched[:-1]] == [most] * (len(touched) - 1) and len(touched[-1]) <= most
    numbers = [n for p in pieces for n in order_of(p)]
    at = {e.event: (e.guid, e.entry) for e in events}
    assert [at[n] for n in numbers] == sorted(at.values())


def test_feature_58_by_bytes_a_cluster_that_is_larger_is_a_piece_of_its_own() -> None:
    """Entries 0 to 49 of a file of 60 entries in 3 clusters: 20, 20 and 10 selected; the bytes of each are whole."""
    events = listed([(0, 1, 1)] * 50)
    found = map_events(events, FILES, {})
    assert sizes(split(found, events, by="bytes", bytes_per_job=1)) == [20, 20, 10]
    assert sizes(split(found, events, by="bytes", bytes_per_job=60_000_000)) == [40, 10]
    assert sizes(split(found, events, by="bytes", bytes_per_job=60_000_000, min_events=11)) == [50]
    assert sizes(split(found, events, by="bytes")) == [50]  # 90 MB of the usual 2 GB
    assert sizes(split(found, events, by="bytes", events_per_job=20)) == [20, 20, 10]


def test_feature_58_by_bytes_needs_the_sizes_of_files() -> None:
    events = listed([(0, 1, 1), (1, 1, 1)])
    found = map_events(events, FILES[:1], {})
    with pytest.raises(JobError, match=f"of 1 files is unknown: {GUIDS[1]}"):
        split(found, events, by="bytes")
    with pytest.raises(JobError, match="bytes per job bound pieces by bytes only, not by file"):
        split(found, events, by="file", bytes_per_job=10)
    with pytest.raises(JobError, match="bytes per job: 0 was given"):
        split(found, events, by="bytes", bytes_per_job=0)


@given(rows, bounds, bounds)
def test_feature_36_no_luminosity_block_in_two_pieces(
    places: list[tuple[int, int, int]], most: int | None, least: int | None
) -> None:
    assume(most is None or least is None or least <= most)
    events = listed(places)
    pieces = split(map_events(events, [], {}), events, by="lumi", events_per_job=most, min_events=least)
    blocks = [{(r, lb) for f in p.files for r, lb in zip(f.run.tolist(), f.lumi.tolist(), strict=True)} for p in pieces]
    assert sum(map(len, blocks)) == len(set().union(*blocks))
    if most is not None and least is None:
        assert all(p.n_events <= most or len(b) == 1 for p, b in zip(pieces, blocks, strict=True))


def sizes(pieces: tuple[Piece, ...]) -> list[int]:
    return [p.n_events for p in pieces]


def test_feature_59_small_remainders_join_their_neighbour() -> None:
    events = listed([(0, 1, 1)] * 23)
    found = map_events(events, [], {})
    assert sizes(split(found, events, events_per_job=10)) == [10, 10, 3]
    assert sizes(split(found, events, events_per_job=10, min_events=3)) == [10, 10, 3]
    assert sizes(split(found, events, events_per_job=10, min_events=4)) == [10, 13]
    small = listed([(f, 1, 1) for f, n in enumerate((2, 9, 1, 1, 8)) for _ in range(n)])
    found = map_events(small, [], {})
    assert sizes(split(found, small, by="file")) == [2, 9, 1, 1, 8]
    # 2 joins 9; 1 joins these; 1 joins these; 8 stands.
    assert sizes(split(found, small, by="file", min_events=3)) == [13, 8]


def test_sites_hold_whole_pieces(maker: ModuleType) -> None:
    events = listed([(0, 1, 1)] * 3 + [(1, 1, 1)] * 5 + [(2, 1, 1)] * 4)
    copies = {
        GUIDS[0]: [maker.Replica("CNAF"), maker.Replica("BNL")],
        GUIDS[1]: [maker.Replica("CNAF")],
        GUIDS[2]: [],
    }
    found = map_events(events, [], copies)
    assert sites_of(found) == ["CNAF", "CNAF", ""]  # CNAF holds 8 of the wanted events, BNL 3
    pieces = split(found, events, by="site", events_per_job=6)
    assert [(p.site, p.n_events) for p in pieces] == [("", 4), ("CNAF", 6), ("CNAF", 2)]


def test_fault_25_no_event_is_one_empty_piece() -> None:
    none = listed([])
    for by in WAYS:
        (piece,) = split(map_events(none, [], {}), none, by=by)
        assert (piece.n_events, piece.files, piece.site) == (0, (), "")


def test_what_cannot_be_split() -> None:
    events = listed([(0, 1, 1)])
    found: Any = map_events(events, [], {})
    with pytest.raises(JobError, match="cannot split by 'files'") as caught:
        split(found, events, by="files")
    assert caught.value.hint == "did you mean file?"
    with pytest.raises(JobError, match="events per job: 0 was given"):
        split(found, events, events_per_job=0)
    with pytest.raises(JobError, match="minimum of events: 100 was given, more than the 50 events") as caught:
        split(found, events, events_per_job=50, min_events=100)
    assert caught.value.hint == "--min-events 25"
    assert sizes(split(found, events, events_per_job=50, min_events=50)) == [1]
