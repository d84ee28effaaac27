"""Snapshots: what a commit adds, what is refused, what restore, compaction, pins and gc keep."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tagsel.errors import StoreError
from tagsel.schema import Attribute, Menu, Schema
from tagsel.store import CompactPlan, Snapshot, Source, Table, layout, log, upkeep, write_part


def events(snapshot: Snapshot) -> list[int]:
    """Event numbers in the snapshot's order."""
    return [int(e) for p in snapshot.parts for g in range(len(p.groups)) for e in p.read(g, ["event"])["event"]]


def test_a_new_dataset_is_snapshot_0_and_empty(maker: ModuleType, tmp_path: Path) -> None:
    table = Table.create(tmp_path / "new dataset", maker.SCHEMA)
    snapshot = table.snapshot()
    assert (snapshot.number, snapshot.rows, snapshot.bytes, snapshot.parts) == (0, 0, 0, ())
    assert (snapshot.schema, snapshot.sources, snapshot.duplicate_rows()) == (maker.SCHEMA, (), 0)
    assert Table.open(tmp_path / "new dataset").snapshots() == [0]


def test_a_dataset_is_made_once(maker: ModuleType, table: Table) -> None:
    with pytest.raises(StoreError, match="there is a dataset in"):
        Table.create(table.folder, maker.SCHEMA)
    assert table.snapshot().rows == 300


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no dataset in"):
        Table.open(tmp_path)


@pytest.mark.parametrize("without", ["run", "lumi", "event"])
def test_a_dataset_needs_its_ids(maker: ModuleType, tmp_path: Path, without: str) -> None:
    schema = Schema(tuple(a for a in maker.SCHEMA if a.name != without))
    with pytest.raises(StoreError, match=f"needs the attribute {without}"):
        Table.create(tmp_path / "ds", schema)


def test_parts_keep_the_order_of_commits_and_in_a_commit(maker: ModuleType, tmp_path: Path) -> None:
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    for firsts in ([70], [30, 50, 10]):
        new = [maker.part(table.folder, 5, first_event=f) for f in firsts]
        table.append(new, maker.SCHEMA, {})
    expected = [f + i for f in (70, 30, 50, 10) for i in range(5)]
    assert events(table.snapshot()) == expected
    for cache in (table.folder / "_tagsel").glob("manifest-*"):
        cache.unlink()
    assert events(Table.open(table.folder).snapshot()) == expected
    assert [p.first_row for p in table.snapshot().parts] == [0, 5, 10, 15]


def test_feature_15_snapshots_are_numbered_and_the_latest_is_the_default(maker: ModuleType, table: Table) -> None:
    table.append([maker.part(table.folder, 20, first_event=1000)], maker.SCHEMA, {})
    assert table.snapshots() == [0, 1, 2]
    assert [table.snapshot(n).rows for n in (0, 1, 2, None)] == [0, 300, 320, 320]
    for unknown in (3, -1):
        with pytest.raises(StoreError, match=f"no snapshot {unknown}: it has 0 to 2"):
            table.snapshot(unknown)


def test_feature_102_an_old_snapshot_gives_the_same_after_more_was_ingested(maker: ModuleType, table: Table) -> None:
    then = events(table.snapshot(1)), table.snapshot(1).bytes, [p.name for p in table.snapshot(1).parts]
    for first in (1000, 2000, 3000, 4000, 5000):
        table.append([maker.part(table.folder, 20, first_event=first)], maker.SCHEMA, {})
    again = Table.open(table.folder).snapshot(1)
    assert (events(again), again.bytes, [p.name for p in again.parts]) == then


def test_menus_and_sources_are_kept(maker: ModuleType, table: Table) -> None:
    menus = {7: Menu({"HLT_mu": ("trigger_0", 3)}, "SMK 7"), 9: Menu({"HLT_e": ("trigger_0", 1)})}
    empty = Source("E-0", "empty.root", 0, 0, {"processed": [[1, 5]]})
    first = [maker.part(table.folder, 20, first_event=f, guid=f"F-{f}") for f in (1000, 2000)]
    table.append(first, maker.SCHEMA, {7: menus[7]}, [empty])
    table.append([maker.part(table.folder, 5, first_event=5000, guid="F-5000")], maker.SCHEMA, menus)
    snapshot = Table.open(table.folder).snapshot()
    assert snapshot.menus == menus
    assert snapshot.menus[7].key == "SMK 7"
    assert [(s.guid, s.entries, s.first_row) for s in snapshot.sources[1:]] == [
        ("F-1000", 20, 300),
        ("F-2000", 20, 320),
        ("E-0", 0, 340),
        ("F-5000", 5, 340),
    ]
    assert snapshot.sources[3].bookkeeping == {"processed": [[1, 5]]}
    assert snapshot.source_guids >= {"F-1000", "E-0", "F-5000"}


def test_fault_04_a_source_without_rows_commits_as_bookkeeping(maker: ModuleType, table: Table) -> None:
    snapshot = table.append([], maker.SCHEMA, {}, [Source("E-0", "empty.root", 0, 0, {"generated": 850098})])
    assert (snapshot.number, snapshot.rows, snapshot.sources[-1].lfn) == (2, 300, "empty.root")
    assert snapshot.sources[-1].bookkeeping == {"generated": 850098}


# what is refused


def without(schema: Schema, column: str) -> Schema:
    return Schema(tuple(a for a in schema if a.column != column))


EXTRA = Attribute("extra", "float32")


@pytest.mark.parametrize(
    ("change", "says", "fields"),
    [
        (lambda s: without(s, "weight"), "lacks weight", {"missing": ["weight"], "extra": []}),
        (lambda s: Schema((*s.attributes, EXTRA)), "adds extra", {"missing": [], "extra": ["extra"]}),
    ],
)
def test_fault_05_missing_and_extra_columns_are_refused_by_name(
    maker: ModuleType, table: Table, change, says: str, fields: dict
) -> None:
    schema = change(maker.SCHEMA)
    values = {**maker.columns(10, first_event=500), "extra": np.zeros(10, np.float32)}
    new = write_part(table.folder, schema, [maker.batch(values, schema)])
    with pytest.raises(StoreError, match=says) as caught:
        table.append([new], schema, {})
    assert caught.value.fields == fields
    assert "--evolve" in caught.value.hint
    assert table.snapshots() == [0, 1]


@pytest.mark.parametrize("evolve", [False, True])
def test_fault_05_another_type_is_always_refused(maker: ModuleType, table: Table, evolve: bool) -> None:
    schema = Schema((*without(maker.SCHEMA, "MET_pt"), Attribute("MET_pt", "float64", unit="GeV")))
    values = maker.columns(10, first_event=500)
    values["MET_pt"] = values["MET_pt"].astype(np.float64)
    new = write_part(table.folder, schema, [maker.batch(values, schema)])
    with pytest.raises(StoreError, match=r"MET_pt is float32 \[GeV\] in the dataset and float64 \[GeV\] in the input"):
        table.append([new], schema, {}, evolve=evolve)
    assert table.snapshots() == [0, 1]


def test_fault_05_feature_07_with_evolve_a_column_is_missing_where_a_part_lacks_it(
    maker: ModuleType, table: Table
) -> None:
    schema = Schema((*without(maker.SCHEMA, "weight"), EXTRA))
    values = {**maker.columns(10, first_event=500), "extra": np.arange(10, dtype=np.float32)}
    new = write_part(table.folder, schema, [maker.batch(values, schema)])
    snapshot = table.append([new], schema, {}, evolve=True)
    assert snapshot.schema == Schema((*maker.SCHEMA, EXTRA), "test")
    old, late = snapshot.parts
    assert set(old.read(0, ["weight", "extra"])) == {"weight"}
    assert late.read(0, ["weight", "extra"])["extra"].tolist() == list(range(10))
    assert "weight" not in late.columns
    assert table.snapshot(1).schema == maker.SCHEMA


def test_the_columns_of_a_part_are_checked_not_believed(maker: ModuleType, table: Table) -> None:
    """A part that was written with other columns or types than the schema given at the commit says."""
    new = maker.part(table.folder, 10, without(maker.SCHEMA, "weight"), first_event=500)
    with pytest.raises(StoreError, match=r"columns of .* are not those of its schema"):
        table.append([new], maker.SCHEMA, {})
    schema = Schema((*without(maker.SCHEMA, "weight"), Attribute("weight", "float32", role="weight")))
    values = maker.columns(10, first_event=600)
    values["weight"] = values["weight"].astype(np.float32)
    new = write_part(table.folder, schema, [maker.batch(values, schema)])
    with pytest.raises(StoreError, match=r"weight .* is float, the schema says double"):
        table.append([new], maker.SCHEMA, {})


def test_fault_10_the_same_file_twice_is_refused_and_known_beforehand(maker: ModuleType, table: Table) -> None:
    one = table.append([maker.part(table.folder, 20, first_event=900, guid="A-1")], maker.SCHEMA, {})
    assert "A-1" in one.source_guids
    assert [s.guid for s in one.sources][-1] == "A-1"
    again = maker.part(table.folder, 20, first_event=900, guid="A-1")
    with pytest.raises(StoreError, match="is in the dataset already"):
        table.append([again], maker.SCHEMA, {})
    other = maker.part(table.folder, 20, first_event=950, guid="A-1")  # same file, other rows
    with pytest.raises(StoreError, match=r"GUID A-1.* is in the dataset already") as caught:
        table.append([other], maker.SCHEMA, {})
    assert caught.value.fields["guid"] == "A-1"
    assert table.snapshots() == [0, 1, 2]


def test_a_part_that_is_not_there_is_refused(maker: ModuleType, table: Table) -> None:
    new = maker.part(table.folder, 20, first_event=900)
    (table.folder / new.name).unlink()
    with pytest.raises(StoreError, match="is not there"):
        table.append([new], maker.SCHEMA, {})


# restore, compaction, pins, gc


def small(maker: ModuleType, table: Table, firsts: list[int], rows: int = 40) -> None:
    for first in firsts:
        table.append([maker.part(table.folder, rows, first_event=first, seed=first)], maker.SCHEMA, {})


def test_restore_is_a_new_snapshot_with_the_old_content(maker: ModuleType, table: Table) -> None:
    small(maker, table, [1000, 2000])
    restored = table.restore(2)
    assert (restored.number, events(restored)) == (4, events(table.snapshot(2)))
    assert restored.sources == table.snapshot(2).sources
    table.append([maker.part(table.folder, 40, first_event=2000, seed=2000)], maker.SCHEMA, {})
    assert events(table.snapshot()) == events(table.snapshot(3))
    assert table.restore(0).rows == 0


def content(snapshot: Snapshot) -> str:
    names = snapshot.schema.by_column
    read = {c: [p.read(g, [c])[c] for p in snapshot.parts for g in range(len(p.groups))] for c in names}
    return repr({c: np.concatenate(v).tolist() for c, v in read.items()})


def test_compaction_packs_small_neighbours_and_keeps_everything(
    maker: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 300 and 5 × 40 rows; small is below 100, large is 150: 300 stays, 40+40+40, 40+40."""
    monkeypatch.setattr(upkeep, "SMALL", 100)
    monkeypatch.setattr(upkeep, "LARGE", 150)
    small(maker, table, [1000, 2000, 0, 100, 5000])
    before = table.snapshot()
    marked = before.marks.rows().tolist()
    assert len(marked) == 80  # events 0–39 and 100–139 are in the first part, too
    plan = table.compact(dry_run=True)
    names = [p.name for p in before.parts]
    assert plan == CompactPlan((tuple(names[1:4]), tuple(names[4:6])), 200, sum(p.bytes for p in before.parts[1:]))
    assert table.snapshots()[-1] == before.number
    after = table.compact()
    assert isinstance(after, Snapshot)
    assert [p.rows for p in after.parts] == [300, 120, 80]
    assert content(after) == content(before)
    assert after.sources == before.sources
    assert after.marks.rows().tolist() == marked
    assert table.compact() == after  # nothing left to pack


def test_compaction_keeps_missing_columns_missing(maker: ModuleType, table: Table) -> None:
    """Parts with other columns are not packed together."""
    lean = without(maker.SCHEMA, "weight")
    for first in (1000, 2000):
        new = maker.part(table.folder, 10, lean, first_event=first)
        table.append([new], lean, {}, evolve=True)
    after = table.compact()
    assert [(p.rows, "weight" in p.columns) for p in after.parts] == [(300, True), (20, False)]


def test_a_packed_part_is_rebuilt_from_the_log_alone(maker: ModuleType, table: Table) -> None:
    small(maker, table, [1000])
    after = table.compact()
    for cache in (table.folder / "_tagsel").glob("manifest-*"):
        cache.unlink()
    assert Table.open(table.folder).snapshot().state == after.state


def garbage(table: Table, grace_s: float = 0, dry_run: bool = True) -> set[str]:
    return {p.name for p in table.gc(dry_run=dry_run, grace_s=grace_s)}


def test_gc_lists_first_and_keeps_what_is_needed(maker: ModuleType, table: Table) -> None:
    small(maker, table, [1000])
    orphan = maker.part(table.folder, 10, first_event=7000)
    (table.folder / ".tmp-1-x").write_bytes(b"half a part")
    (table.folder / "notes.parquet").write_bytes(b"somebody's own file")
    caches = {orphan.name.replace(".parquet", end) for end in (".zones", ".index")}
    expected = {orphan.name, *caches, ".tmp-1-x"}
    assert garbage(table) == expected
    assert (table.folder / orphan.name).exists()
    assert garbage(table, grace_s=3600) == set()  # too young: somebody may be about to commit it
    assert garbage(table, dry_run=False) == expected
    assert garbage(table) == set()
    assert table.snapshot(1).rows == 300
    assert table.snapshot().rows == 340


def test_feature_36_pinned_snapshots_outlive_compaction_and_gc(maker: ModuleType, table: Table) -> None:
    small(maker, table, [1000])
    table.pin(2, "list dimuon")
    table.pin(2, "tag summer")
    assert table.pins() == {2: ("list dimuon", "tag summer")}
    then = content(table.snapshot(2))
    table.compact()
    table.unpin(2, "tag summer")
    assert garbage(table) == set()
    assert content(table.snapshot(2)) == then
    table.unpin(2)
    assert len(garbage(table, dry_run=False)) == 6  # two parts, their zones and indexes
    with pytest.raises(StoreError, match=r"snapshot 2 .* no longer whole") as caught:
        table.snapshot(2)
    assert "pin" in caught.value.hint
    with pytest.raises(StoreError, match="not pinned"):
        table.unpin(2)
    assert content(table.snapshot()) == then
    with pytest.raises(StoreError, match="no longer whole"):
        table.restore(2)


def test_a_damaged_list_of_pins_stops_gc(maker: ModuleType, table: Table) -> None:
    table.pin(1, "x")
    (table.folder / "_tagsel" / "pins.json").write_text("{")
    with pytest.raises(StoreError, match=r"pins\.json is damaged"):
        table.gc(dry_run=False, grace_s=0)


def test_fault_15_a_reader_keeps_its_snapshot(maker: ModuleType, table: Table) -> None:
    """While a writer commits; after a compaction, within the grace period; and a clear error after it."""
    small(maker, table, [1000])
    reader = table.snapshot()
    then = content(reader)
    small(maker, table, [2000])
    assert content(reader) == then
    table.compact()
    assert garbage(table, grace_s=3600, dry_run=False) == set()
    assert content(reader) == then
    mapped = reader.parts[0].read(0, ["event"])["event"]
    garbage(table, dry_run=False)
    assert mapped.tolist() == list(range(300))  # what is mapped stays
    with pytest.raises(StoreError, match="removed by gc after a compaction") as caught:
        content(reader)
    assert caught.value.fields["path"] == str(reader.parts[0].path)


def test_fault_15_readers_beside_a_writer_always_see_a_whole_snapshot(maker: ModuleType, tmp_path: Path) -> None:
    """Each of 12 commits adds 10 rows: whatever a reader opens meanwhile has 10 rows for each number."""
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    seen: list[tuple[int, int, int]] = []
    done = threading.Event()

    def read() -> None:
        while True:
            last = done.is_set()
            snapshot = Table.open(table.folder).snapshot()
            seen.append((snapshot.number, snapshot.rows, len(events(snapshot))))
            if last:
                return

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(12):
        table.append([maker.part(table.folder, 10, first_event=10 * k)], maker.SCHEMA, {})
    done.set()
    reader.join()
    assert all(rows == found == 10 * number for number, rows, found in seen)
    assert seen[-1][0] == 12


def test_fault_18_order_is_by_sequence_when_the_clock_goes_backwards(maker: ModuleType, table: Table) -> None:
    """Every file is set to an hour in the future, then back to 1970, between commits."""
    for k, stamp in enumerate((time.time() + 3600, 0.0, 86400.0)):
        for path in (*table.folder.rglob("*.json"), *table.folder.glob("*.parquet")):
            os.utime(path, (stamp, stamp))
        table.append([maker.part(table.folder, 10, first_event=1000 - k)], maker.SCHEMA, {})
        for path in (table.folder / "_tagsel").glob("manifest-*"):
            path.unlink()
    numbers = events(table.snapshot())[300:]
    assert numbers == [f + i for f in (1000, 999, 998) for i in range(10)]


def test_fault_18_gc_spares_files_from_the_future(maker: ModuleType, table: Table) -> None:
    new = maker.part(table.folder, 10, first_event=1000)
    ahead = time.time() + 3600
    os.utime(table.folder / new.name, (ahead, ahead))
    assert new.name not in garbage(table)


# the manifest


def test_a_stale_or_damaged_manifest_is_not_believed(maker: ModuleType, table: Table) -> None:
    path = log.manifest_path(table.folder, 1)
    stale = path.read_bytes()
    small(maker, table, [1000])
    log.manifest_path(table.folder, 2).unlink()
    assert path.read_bytes() == stale
    assert table.snapshot().rows == 340
    newest = log.manifest_path(table.folder, 2)
    newest.write_bytes(newest.read_bytes().replace(b'"rows":40', b'"rows":41'))
    assert table.snapshot().rows == 340
    newest.write_bytes(b"{}")
    assert table.snapshot().rows == 340
    json.loads(stale)


def test_only_recent_and_pinned_manifests_are_kept(maker: ModuleType, table: Table) -> None:
    table.pin(1, "kept")
    small(maker, table, list(range(1000, 7000, 1000)), rows=5)
    assert log.manifests(table.folder) == [1, 5, 6, 7]
    assert table.snapshot(3).rows == 310


def test_a_foreign_commit_is_named_not_ignored(maker: ModuleType, table: Table) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    rows = pa.Table.from_batches([maker.batch(maker.columns(5))]).select(["run", "event"])
    write_deltalake(str(table.folder), rows, mode="append", schema_mode="merge")
    with pytest.raises(StoreError, match=r"version 2 .* was not written by tagsel"):
        table.snapshot()


def test_a_lost_commit_record_is_named(table: Table) -> None:
    for path in (table.folder / "_tagsel").glob("manifest-*"):
        path.unlink()
    name = log.record_of(table.folder, 1)
    (log.commits_folder(table.folder) / f"{name}.json").unlink()
    with pytest.raises(StoreError, match=f"{name}.json"):
        table.snapshot()


def test_row_groups_are_read_one_by_one(maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROW_GROUP", 16)
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    part = table.append([maker.part(table.folder, 40)], maker.SCHEMA, {}).parts[0]
    assert part.groups == (16, 16, 8)
    assert part.read(2, ["event"])["event"].tolist() == list(range(32, 40))
    assert part.zones(["event"])["event"].max.tolist() == [15, 31, 39]
