"""Duplicate marks against a slow oracle: whatever the parts, the order of commits, and what was remembered."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.schema import Schema
from tagsel.store import Snapshot, Table, duplicates, layout, write_part
from tagsel.store.snapshots import duplicates_path

Row = tuple[int, int, str, int]  # run, event, guid, entry


def oracle(rows: list[Row]) -> list[int]:
    """Rows that are not the first of their (run, event) by (guid, entry, row)."""
    first: dict[tuple[int, int], tuple[str, int, int]] = {}
    for i, (run, event, guid, entry) in enumerate(rows):
        key, place = (run, event), (guid, entry, i)
        first[key] = min(first.get(key, place), place)
    kept = {place[2] for place in first.values()}
    return [i for i in range(len(rows)) if i not in kept]


def commit(maker: ModuleType, table: Table, parts: list[list[Row]], references: bool = True) -> Snapshot:
    """One append of these parts."""
    schema = Schema(maker.IDS if references else maker.IDS[:3])
    new = []
    for rows in parts:
        values = maker.columns(len(rows))
        values["run"], values["event"] = (np.array([r[i] for r in rows], t) for i, t in ((0, np.int32), (1, np.int64)))
        values["aod_guid"] = np.array([r[2] for r in rows], object)
        values["aod_entry"] = np.array([r[3] for r in rows], np.int64)
        new.append(write_part(table.folder, schema, [maker.batch(values, schema)]))
    unique = {p.name: p for p in new if p}  # the same rows make the same part, which a dataset takes once
    held = {p.name for p in table.snapshot().parts}
    return table.append([p for n, p in unique.items() if n not in held], schema, {}, evolve=True)


def rows_of(snapshot: Snapshot) -> list[Row]:
    out: list[Row] = []
    for part in snapshot.parts:
        for g in range(len(part.groups)):
            v = part.read(g, ["run", "event", "aod_guid", "aod_entry"])
            n = part.groups[g]
            guid, entry = v.get("aod_guid", [""] * n), v.get("aod_entry", [-1] * n)
            out += zip(v["run"].tolist(), v["event"].tolist(), list(guid), list(entry), strict=True)
    return out


def marked(snapshot: Snapshot) -> list[int]:
    """The marks as a selection asks for them: by part and row group."""
    out, row = [], 0
    for part in snapshot.parts:
        for g, n in enumerate(part.groups):
            mask = part.duplicates(g)
            if mask is not None:
                assert mask.any()
                out += (row + np.flatnonzero(mask)).tolist()
            row += n
    return out


row = st.tuples(
    st.integers(1, 3), st.integers(0, 6) | st.just(2**63 - 1), st.sampled_from(["A", "B", "C"]), st.integers(-1, 3)
)
commits = st.lists(st.lists(st.lists(row, max_size=6), min_size=1, max_size=2), min_size=1, max_size=3)


def check_counted_rows(snapshot: Snapshot, expected: list[int]) -> None:
    """Each marked row leads to the one row of its (run, event) that is not marked."""
    if not expected:
        return
    rows = [row[:2] for row in rows_of(snapshot)]
    counted = {event: number for number, event in enumerate(rows) if number not in expected}
    for repeated in (expected, expected[-1:]):
        numbers, events = snapshot.counted_rows(np.array(repeated)), snapshot.numbers_of(np.array(repeated))
        assert numbers.tolist() == [counted[rows[number]] for number in repeated]
        assert list(zip(events["run"], events["event"], strict=True)) == [rows[number] for number in repeated]


@given(commits, st.sampled_from([2, 100]), st.sampled_from([1, 4_000_000]))
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_feature_47_fault_09_marks_are_those_of_the_oracle(
    maker: ModuleType, tmp_path_factory: pytest.TempPathFactory, drawn: list, size: int, at_once: int
) -> None:
    """After each commit, and again from nothing: in a part, across parts, across commits; zero false negatives."""
    table = Table.create(tmp_path_factory.mktemp("d") / "ds", Schema(maker.IDS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", size)
        patch.setattr(duplicates, "_AT_ONCE", at_once)
        for parts in drawn:
            snapshot = commit(maker, table, parts)
            expected = oracle(rows_of(snapshot))
            assert marked(snapshot) == expected
            assert snapshot.duplicate_rows() == len(expected)
            check_counted_rows(snapshot, expected)
        duplicates_path(table.folder, snapshot.number).unlink(missing_ok=True)
        again = Table.open(table.folder).snapshot()
        assert marked(again) == expected


def test_a_file_read_twice_counts_each_event_once(maker: ModuleType, tmp_path: Path) -> None:
    """Two streams of 30 events share 10: 10 marks, all in the stream whose GUID sorts last, though it came first."""
    table = Table.create(tmp_path / "ds", Schema(maker.IDS))
    late = [(1, e, "B", e) for e in range(20, 50)]
    early = [(1, e, "A", e) for e in range(30)]
    commit(maker, table, [late])
    snapshot = commit(maker, table, [early])
    assert marked(snapshot) == list(range(10))
    assert snapshot.parts[1].duplicates(0) is None


def test_rows_without_references_go_by_their_place(maker: ModuleType, tmp_path: Path) -> None:
    table = Table.create(tmp_path / "ds", Schema(maker.IDS))
    commit(maker, table, [[(1, 1, "", 0), (1, 2, "", 0), (1, 1, "", 0)]], references=False)
    snapshot = commit(maker, table, [[(1, 2, "Z", 5)]])
    assert marked(snapshot) == [2, 3]


def test_equal_hashes_of_other_events_are_no_duplicates(maker: ModuleType, tmp_path: Path) -> None:
    """event = a ^ (run · mix) gives one hash for all runs; events stay in 63 bits for half of the runs."""
    mix, rows = 0x9E37_79B9_7F4A_7C15, []
    for run in range(1, 40):
        event = 5 ^ (run * mix % 2**64)
        if event < 2**63:
            rows.append((run, event, "A", run))
    assert len(rows) > 10
    table = Table.create(tmp_path / "ds", Schema(maker.IDS))
    assert marked(commit(maker, table, [rows])) == []
    assert marked(commit(maker, table, [[rows[3], (77, 5, "A", 1)]])) == oracle([*rows, rows[3], (77, 5, "A", 1)])


class OneEvent:
    """A part whose rows are all of one event, 10,000 in a row group."""

    columns = frozenset({"run", "lumi", "event"})

    def __init__(self, groups: int, first_row: int = 0) -> None:
        self.groups = (10_000,) * groups
        self.first_row = first_row
        self.reads = 0

    def read(self, group: int, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """Their values; the last row group is in another luminosity block."""
        self.reads += 1
        lumi = 2 if group == len(self.groups) - 1 else 1
        kinds = {"run": (np.int32, 5), "lumi": (np.int32, lumi), "event": (np.int64, 7)}
        return {name: np.full(10_000, *reversed(kinds[name])) for name in columns if name in kinds}

    def zones(self, columns: Iterable[str]) -> dict[str, SimpleNamespace]:
        """Their bounds by row group: each group has one value."""
        groups = [self.read(group, columns) for group in range(len(self.groups))]
        values = {name: np.array([rows[name][0] for rows in groups]) for name in columns}
        return {name: SimpleNamespace(min=bounds, max=bounds) for name, bounds in values.items()}


def test_rows_of_one_event_are_judged_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """10^6 rows of one event: the first counts. What is held are 8 bytes for each row, in the four or five arrays of
    hashes or row numbers that are needed at once, and what a batch needs."""
    monkeypatch.setattr(duplicates, "_AT_ONCE", 20_000)
    part = OneEvent(100)
    tracemalloc.start()
    try:
        marks = duplicates.extend(duplicates.NONE, [], [part])  # type: ignore[list-item]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(marks, np.arange(1, 1_000_000))
    assert peak < 48 * 1_000_000


def test_marks_of_many_parts_are_made_from_portions_of_them(tmp_path: Path) -> None:
    """50 parts of one row group, all of one event: a part is not read again for each part that follows it."""
    parts = [OneEvent(1, 10_000 * number) for number in range(50)]
    marks = duplicates.Marks(tmp_path / "marks", 1, parts).anew()
    assert np.array_equal(marks, np.arange(1, 500_000))
    assert max(part.reads for part in parts) <= 4


def test_damaged_marks_are_made_again(maker: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A flipped bit in any byte, and a file cut short anywhere, is named; the marks are those of the rows.

    Of three rows with one (run, event) the first counts: rows 1 and 2 are marked.
    """
    table = Table.create(tmp_path / "ds", Schema(maker.IDS))
    snapshot = commit(maker, table, [[(1, 1, "A", 0), (1, 1, "A", 1), (1, 1, "A", 2)]])
    path = duplicates_path(table.folder, snapshot.number)
    good = path.read_bytes()
    flipped = [bytes([*good[:at], good[at] ^ 1 << at % 8, *good[at + 1 :]]) for at in range(len(good))]
    for damage in [*flipped, *(good[:size] for size in range(0, len(good), 9))]:
        path.write_bytes(damage)
        caplog.clear()
        assert snapshot_marks(table) == [1, 2]
        if not damage.startswith(b"TAGSELD1"):
            assert f"{path} is damaged" in caplog.text
        assert path.read_bytes() == good


def test_marks_of_another_snapshot_are_not_used(
    maker: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sound files of another snapshot, of another dataset and of the older format: each has rows that are wrong here.

    Snapshot 1 has its row 1 marked; in snapshot 2 the new row 2 comes first by its GUID, so rows 0 and 1 are.
    """
    table = Table.create(tmp_path / "ds", Schema(maker.IDS))
    first = commit(maker, table, [[(1, 1, "B", 0), (1, 1, "B", 1)]])
    second = commit(maker, table, [[(1, 1, "A", 0)]])
    other = commit(maker, Table.create(tmp_path / "other", Schema(maker.IDS)), [[(1, 1, "B", 0), (1, 2, "B", 1)]])
    path = duplicates_path(table.folder, second.number)
    good = path.read_bytes()
    older = np.array([2], "<i8").tobytes()
    foreign = [first.marks.path.read_bytes(), other.marks.path.read_bytes()]
    for content in foreign:
        path.write_bytes(content)
        caplog.clear()
        assert second.marks.problem() == "is of another snapshot"
        assert snapshot_marks(table) == [0, 1]
        assert f"{path} is of another snapshot" in caplog.text
        assert path.read_bytes() == good
    path.write_bytes(struct.pack("<8sI4x", b"TAGSELD1", zlib.crc32(older)) + older)
    assert second.marks.problem() == ""
    assert snapshot_marks(table) == [0, 1]
    assert path.read_bytes() == good


def snapshot_marks(table: Table) -> list[int]:
    """The marks as a process reads them that had not opened the dataset yet."""
    snapshot = table.snapshot()
    return marked(Snapshot(table.folder, snapshot.state))


def test_old_row_groups_out_of_range_are_not_read(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a commit reads of the old parts: nothing when it brings another run."""
    from tagsel.store import Part

    table = Table.create(tmp_path / "ds", Schema(maker.IDS))
    commit(maker, table, [[(1, e, "A", e) for e in range(10)]])
    old = table.snapshot().parts[0].name
    read: list[str] = []
    original = Part.read
    monkeypatch.setattr(Part, "read", lambda self, g, c: read.append(self.name) or original(self, g, c))
    commit(maker, table, [[(2, e, "B", e) for e in range(10)]])
    assert read and old not in read
    commit(maker, table, [[(1, 9, "B", 0)]])
    assert old in read
