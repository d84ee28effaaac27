"""The map of an event list: every row once, sites, costs, and what it says when something is unknown."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.aod import map_events
from tagsel.aod.mapping import CLUSTER_BYTES
from tagsel.errors import EventListError
from tagsel.events import EventList, Reference

GUIDS = [f"{i:08X}-0000-0000-0000-000000000000" for i in range(4)]
place = st.tuples(st.sampled_from(["", *GUIDS]), st.integers(-1, 50))


def listed(places: list[tuple[str, int]]) -> EventList:
    """A list with one event a place, numbered from 1 on."""
    table = sorted({g for g, _ in places})
    codes = [table.index(g) for g, _ in places]
    events = range(1, len(places) + 1)
    return EventList.from_arrays(
        [1] * len(places), [1] * len(places), list(events), codes, table, [e for _, e in places]
    )


@given(st.lists(place, max_size=40))
def test_feature_57_every_row_is_in_one_file_or_named_as_unmapped(places: list[tuple[str, int]]) -> None:
    events = listed(places)
    found = map_events(events, [], {})
    rows = [row for f in found.files for row in f.rows.tolist()] + found.unmapped.tolist()
    assert sorted(rows) == list(range(len(events)))
    for f in found.files:
        assert [(events[row].guid, events[row].entry) for row in f.rows.tolist()] == [
            (f.guid, e) for e in f.entries.tolist()
        ]
        assert (np.diff(f.entries) >= 0).all()
    assert {(events[r].guid, events[r].entry) for r in found.unmapped.tolist()} == {
        (g, e) for g, e in places if not g or e < 0
    }
    assert [f.guid for f in found.files] == sorted({g for g, e in places if g and e >= 0})


def test_files_entries_and_sites(maker: ModuleType) -> None:
    events = listed([(GUIDS[1], 7), (GUIDS[0], 3), (GUIDS[1], 2)])
    files = [maker.File(GUIDS[0], "a.root", "", 10, 100), maker.File(GUIDS[1], "b.root", "", 10, 100)]
    copies = {GUIDS[1]: [maker.Replica("ROMA"), maker.Replica("CNAF"), maker.Replica("CNAF")]}
    said = map_events(events, files, copies).to_json()
    assert said["files"] == [
        {"guid": GUIDS[0], "lfn": "a.root", "pfn": "", "others": [], "entries": [3], "sites": []},
        {"guid": GUIDS[1], "lfn": "b.root", "pfn": "", "others": [], "entries": [2, 7], "sites": ["CNAF", "ROMA"]},
    ]
    assert (said["files_touched"], said["files_total"], said["unmapped"], said["unknown_files"]) == (2, 2, [], [])


def test_feature_02_another_stage_of_the_same_list() -> None:
    raw = Reference.of([0, 0], [GUIDS[3]], [40, 12])
    events = EventList.from_arrays([1, 1], [1, 1], [5, 6], [0, 0], [GUIDS[0]], [1, 2], references={"raw": raw})
    found = map_events(events, [], {}, stage="raw")
    # The list's order is that of its AOD entries 1, 2; in the RAW file these are entries 40 and 12.
    assert [(f.guid, f.entries.tolist(), f.rows.tolist()) for f in found.files] == [(GUIDS[3], [12, 40], [1, 0])]
    assert found.unknown_files == [GUIDS[3]]
    with pytest.raises(EventListError, match="no references to stage 'esd'"):
        map_events(events, [], {}, stage="esd")


def test_whether_it_is_worth_it(maker: ModuleType) -> None:
    # A file of 100 clusters of 100 entries; entries 0, 1 and 250 are in clusters 0, 0 and 2: 2 of 100
    # clusters.
    large = maker.File(GUIDS[0], "large.root", "", 10_000, 100 * CLUSTER_BYTES)
    found = map_events(listed([(GUIDS[0], e) for e in (0, 1, 250)]), [large], {})
    assert found.files[0].touched == 0.02
    assert found.bytes_touched_estimate == 2 * CLUSTER_BYTES
    assert found.worth_it
    assert found.verdict == "touches 1 of 1 files, about 60 MB of 3 GB (2%): worth it against a full scan"
    # One entry in each of 60 clusters is 60 % of everything.
    found = map_events(listed([(GUIDS[0], 100 * k) for k in range(60)]), [large], {})
    assert (found.share, found.worth_it) == (0.6, False)
    assert found.verdict.endswith("(60%): a full scan costs about the same")


def test_without_sizes_files_are_counted(maker: ModuleType) -> None:
    files = [maker.File(g, g, "", -1, -1) for g in GUIDS]
    found = map_events(listed([(GUIDS[2], 4)]), files, {})
    assert (found.share, found.files_total, found.bytes_total) == (0.25, 4, 0)
    assert found.verdict == "touches 1 of 4 files (25%): worth it against a full scan"


def test_fault_25_a_list_of_no_events(maker: ModuleType, sample: Any) -> None:
    found = sample.map(sample.events([]))
    assert (found.files, found.unmapped.tolist(), found.share) == ((), [], 0.0)
    assert found.example == sample.files[0].pfn
    assert found.verdict == "nothing to read: no event has an address"


def test_feature_60_the_path_is_a_replica_that_exists(maker: ModuleType, sample: Any) -> None:
    f = sample.files[0]
    moved = maker.File(f.guid, f.lfn, "/nowhere/x.root", f.entries, f.bytes)
    copies = {f.guid: [maker.Replica("FAR", "root://far//x.root"), maker.Replica("HERE", f"file://{f.pfn}")]}
    events = sample.events([0])
    assert map_events(events, [moved], copies).files[0].pfn == f.pfn
    assert map_events(events, [moved], {}).files[0].pfn == "/nowhere/x.root"
    far = {f.guid: [maker.Replica("TAPE", "srm://tape//x.root"), maker.Replica("FAR", "root://far//x.root")]}
    found = map_events(events, [moved], far).files[0]  # what can be read at all, before what is not there
    assert (found.pfn, found.others) == ("root://far//x.root", ("/nowhere/x.root",))
