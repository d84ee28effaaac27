"""Files taken out of a dataset: which rows go, what is right afterwards, and what comes back."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tagsel.errors import StoreError
from tagsel.store import Snapshot, Source, Table, log, lookup, write_part
from tagsel.store.retract import losses
from tagsel.store.retraction import Places


def events(snapshot: Snapshot) -> list[int]:
    return [e for p in snapshot.parts for g in range(len(p.groups)) for e in p.read(g, ["event"])["event"].tolist()]


@pytest.fixture
def three(maker: ModuleType, tmp_path: Any) -> Table:
    """Files A, B, C of 40 rows each: events from 0, 100, 200; each has 10 rows in each of four AODs."""
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    for k, name in enumerate("ABC"):
        table.append([maker.part(table.folder, 40, guid=name, first_event=100 * k, seed=k)], maker.SCHEMA, {})
    return table


@pytest.mark.parametrize("compacted", [False, True])
def test_a_file_goes_with_its_rows_and_the_others_move_up(maker: ModuleType, three: Table, compacted: bool) -> None:
    if compacted:
        three.compact()
    before = three.snapshot()
    after = maker.retracted(three, "B")
    assert events(after) == [*range(40), *range(200, 240)]
    assert [(s.guid, s.first_row, s.entries) for s in after.sources] == [("A", 0, 40), ("C", 40, 40)]
    assert after.source_guids == {"A", "C"}
    assert [s.bookkeeping for s in after.sources] == [before.sources[0].bookkeeping] * 2
    (said,) = after.retractions
    assert (said.guid, said.rows, said.sources, said.partly) == ("B", 40, ("B",), {})
    assert (said.snapshot, said.reason, said.who, said.when) == (after.number, "bad", "me", "2018-06-01")
    assert not said.in_force({"A", "B"}) and said.in_force({"A", "C"})
    assert events(three.snapshot(before.number)) == events(before)


@pytest.mark.parametrize("compacted", [False, True])
def test_an_aod_goes_with_the_rows_that_point_to_it(maker: ModuleType, three: Table, compacted: bool) -> None:
    """Of each file the rows 10 to 19; their entries are 10 to 19, too."""
    if compacted:
        three.compact()
    after = maker.retracted(three, maker.GUIDS[1])
    left = [*range(10), *range(20, 40)]
    assert events(after) == [100 * k + e for k in range(3) for e in left]
    assert [(s.guid, s.first_row, s.entries) for s in after.sources] == [("A", 0, 30), ("B", 30, 30), ("C", 60, 30)]
    assert [s.bookkeeping for s in after.sources] == [{"processed": None, "gone": 10}] * 3
    (said,) = after.retractions
    assert (said.rows, said.sources, said.partly) == (30, (), {"A": 10, "B": 10, "C": 10})
    places = Places.of(three.folder, said.record)
    assert (places.files, places.runs) == ({maker.GUIDS[1]: [[10, 19]]}, {})
    assert places.holds(maker.GUIDS[1], np.array([9, 10, 19, 20, -1])).tolist() == [False, True, True, False, False]


def test_what_is_known_of_the_rows_is_right_afterwards(maker: ModuleType, three: Table) -> None:
    """Zones, luminosity blocks, index and places are those of the 90 rows that stay: a look at each says the same."""
    after = maker.retracted(three, maker.GUIDS[1])
    for part in after.parts:
        read = part.read(0, ["run", "lumi", "event", "MET_pt", "aod_entry"])
        zones = part.zones(["event", "MET_pt"])
        assert (zones["event"].min[0], zones["event"].max[0]) == (read["event"].min(), read["event"].max())
        assert zones["MET_pt"].nan_count[0] == np.isnan(read["MET_pt"]).sum()
        assert part.lumi_counts(0)[2].sum() == part.rows == 30
        assert maker.GUIDS[1] not in part.read_codes(0, "aod_guid")[1]
        assert part.places()["aod"].of(np.arange(30)).tolist() == [0] * 10 + [1] * 10 + [2] * 10
    wanted = np.array([5, 10, 19, 20, 110, 239], np.int64)
    found = lookup.find(after.parts, np.ones(6, np.int32), wanted)
    where = {int(wanted[w]): p.first_row + int(r) for p, which, rows in found for w, r in zip(which, rows, strict=True)}
    assert where == {5: 5, 20: 10, 239: 89}


def test_a_row_that_stays_alone_is_no_duplicate_any_more(maker: ModuleType, three: Table) -> None:
    """D repeats the events of A with the same AODs and entries: A's rows come first, D's 40 are marked until A goes."""
    three.append([maker.part(three.folder, 40, guid="D", first_event=0, seed=9)], maker.SCHEMA, {})
    assert three.snapshot().marks.rows().tolist() == list(range(120, 160))
    after = maker.retracted(three, "A")
    assert after.duplicate_rows() == 0
    assert Table.open(three.folder).snapshot().duplicate_rows() == 0
    again = maker.retracted(three, "B")
    assert (again.rows, again.duplicate_rows()) == (80, 0)


def test_marks_move_up_with_their_rows(maker: ModuleType, three: Table) -> None:
    three.append([maker.part(three.folder, 40, guid="D", first_event=0, seed=9)], maker.SCHEMA, {})
    assert maker.retracted(three, "B").marks.rows().tolist() == list(range(80, 120))


def test_feature_10_a_retraction_is_undone_and_done_again(maker: ModuleType, three: Table) -> None:
    before = three.snapshot()
    first = maker.retracted(three, "B")
    back = three.restore(before.number)
    assert (events(back), back.retractions, back.sources) == (events(before), (), before.sources)
    again = maker.retracted(three, "B")
    assert events(again) == events(first)
    assert [p.name for p in again.parts] == [p.name for p in first.parts]
    three.gc(dry_run=False, grace_s=0)
    assert events(three.snapshot()) == events(first)
    assert [r.snapshot for r in three.snapshot().retractions] == [6]
    for cache in (three.folder / "_tagsel").glob("manifest-*"):
        cache.unlink()
    assert log.latest(three.folder) == again.state
    three.append([maker.part(three.folder, 40, guid="B", first_event=100, seed=1)], maker.SCHEMA, {})
    assert events(three.snapshot()) == [*range(40), *range(200, 240), *range(100, 140)]
    assert not three.snapshot().retractions[0].in_force(three.snapshot().source_guids)


def test_all_rows_of_a_file_point_to_the_aod(maker: ModuleType, three: Table) -> None:
    """E's 10 rows are all in one AOD: with it E itself goes, and may be ingested again."""
    values = maker.columns(10, first_event=900)
    values["aod_guid"][:] = maker.GUIDS[1]
    part = write_part(three.folder, maker.SCHEMA, [maker.batch(values)], [Source("E", "e.root", 10, 0, {})])
    empty = Source("F", "empty.root", 0, 0, {})
    three.append([part], maker.SCHEMA, {}, [empty])
    after = maker.retracted(three, maker.GUIDS[1])
    assert [s.guid for s in after.sources] == ["A", "B", "C", "F"]
    assert after.retractions[-1].sources == ("E",)
    assert after.rows == 90 and after.sources[-1].first_row == 90
    assert [s.guid for s in maker.retracted(three, "F").sources] == ["A", "B", "C"]


def test_parts_that_come_to_hold_the_same_rows_stay_two(maker: ModuleType, tmp_path: Any) -> None:
    """Files A and B have the same 30 rows and 10 others each, which point to one AOD: 30 + 30 are left."""
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    for k, name in enumerate("AB"):
        values = maker.columns(40)
        values["event"][10:20] += 1000 * k
        source = Source(name, name, 40, 0, {})
        part = write_part(table.folder, maker.SCHEMA, [maker.batch(values)], [source])
        table.append([part], maker.SCHEMA, {})
    after = maker.retracted(table, maker.GUIDS[1])
    assert events(after) == [*range(10), *range(20, 40)] * 2
    assert len({p.name for p in after.parts}) == 2
    assert after.duplicate_rows() == 30


def test_a_dataset_that_changes_meanwhile_is_left_alone(maker: ModuleType, three: Table) -> None:
    lost = losses(three.snapshot(), maker.GUIDS[1])
    files = sorted(p.name for p in three.folder.glob("*.parquet"))
    three.append([maker.part(three.folder, 10, guid="G", first_event=900)], maker.SCHEMA, {})
    with pytest.raises(StoreError, match="changed while a file was retracted") as caught:
        three.retract(lost, {"guid": maker.GUIDS[1], "lfn": "", "reason": "", "who": "", "when": ""}, lambda s, n: {})
    assert caught.value.hint == "retract again"
    assert len(list(three.folder.glob("*.parquet"))) == len(files) + 1
    assert three.snapshot().rows == 130


def test_a_damaged_part_goes_with_its_file(maker: ModuleType, three: Table) -> None:
    """Its rows cannot be read: it is not known where they were, so the whole file is meant."""
    part = three.snapshot().parts[1]
    data = bytearray(part.path.read_bytes())
    data[100:2000] = bytes(1900)
    part.path.write_bytes(data)
    after = maker.retracted(three, "B")
    assert events(after) == [*range(40), *range(200, 240)]
    places = Places.of(three.folder, after.retractions[0].record)
    assert places.holds("B", np.array([0, 10**15])).all()


def test_nothing_to_take_out_is_nothing(maker: ModuleType, three: Table) -> None:
    lost = losses(three.snapshot(), "00000000-0000-4000-8000-00000000FFFF")
    assert not lost and not lost.parts and not lost.partly


def test_rows_without_an_aod_are_told_by_their_numbers(maker: ModuleType, tmp_path: Any) -> None:
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    values = maker.columns(20, run=7, first_event=30)
    values["aod_guid"][:], values["aod_entry"][:] = "", -1
    part = write_part(table.folder, maker.SCHEMA, [maker.batch(values)], [Source("A", "a", 20, 0, {})])
    table.append([part], maker.SCHEMA, {})
    places = Places.of(table.folder, maker.retracted(table, "A").retractions[0].record)
    assert (places.files, places.runs) == ({}, {"7": [[30, 49]]})
    assert places.holds_ids(np.array([7, 7, 8]), np.array([30, 50, 30])).tolist() == [True, False, False]
    assert table.snapshot().rows == 0 and not table.snapshot().parts
