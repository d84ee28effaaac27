"""Sidecars, counters and row groups that claim more than their part holds: refused, or made again, never believed.

Rows 65 and 66 of the faults: each claim is checked before an address is made of it, by both evaluators alike.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.base.cache import clear_memory
from tagsel.errors import StoreError
from tagsel.schema import Attribute, Schema
from tagsel.selection import Input, Query, count
from tagsel.store import (
    Frame,
    NewPart,
    Part,
    Snapshot,
    Source,
    Table,
    arrow_schema,
    eventindex,
    footers,
    lookup,
    places,
    write_part,
    zones,
)
from tagsel.store.mapping import MAPPED_FILES
from tagsel.store.parts import MOST_ROWS

IDS = (
    Attribute("run", "int32", role="id"),
    Attribute("lumi", "int32", role="id"),
    Attribute("event", "int64", role="id"),
)
MUONS = (
    Attribute("nMuon", "int64", role="counter"),
    Attribute("Muon.pt", "float32", unit="GeV", is_list=True, counter="nMuon"),
)
SCHEMA = Schema((*IDS, Attribute("MET_pt", "float32", unit="GeV"), *MUONS), "wrong places")
ROWS = 300


def rows(counts: np.ndarray, lists: list[list[float]]) -> pa.RecordBatch:
    """Events of one run: MET_pt is the event's number."""
    n = len(counts)
    columns = {
        "run": np.ones(n, np.int32),
        "lumi": np.ones(n, np.int32),
        "event": np.arange(n),
        "nMuon": counts,
        "MET_pt": np.arange(n, dtype=np.float32),
        "Muon_pt": lists,
    }
    schema = arrow_schema(SCHEMA)
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def two_muons() -> pa.RecordBatch:
    """Two muons of 30 GeV in every event."""
    return rows(np.full(ROWS, 2), [[30.0, 30.0]] * ROWS)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A dataset of two parts of 300 events."""
    made = Table.create(tmp_path / "d", SCHEMA)
    parts = [write_part(made.folder, SCHEMA, [two_muons()], [Source(f"G{k}", f"{k}", ROWS, 0, {})]) for k in range(2)]
    made.append([part for part in parts[:1] if part], SCHEMA, {})
    return made


def answer(snapshot: Snapshot, cut: str, tier: str) -> int:
    """Events that pass, by one evaluator."""
    query = Query((Input("d", snapshot, True, "d"),), (("", cut),), tier=tier, remember=False)
    return count(query).accepted


def forged(part: Part, column: str, **fields: int) -> None:
    """Rewrite a sidecar so that all of its checksums are right, and fields of a column's first row group are not."""
    path = zones.sidecar_path(part.path)
    data = bytearray(path.read_bytes())
    _, _, columns, groups, *_ = zones._HEADER.unpack_from(data)
    start = zones._HEADER.size
    directory = np.frombuffer(bytes(data[start : start + columns * zones._ENTRY.itemsize]), zones._ENTRY).copy()
    at = int(np.searchsorted(directory["hash"], zones._hash(column)))
    size = len(zones.FIELDS) * groups * 8
    block_at = start + directory.nbytes + at * size
    block = np.frombuffer(bytes(data[block_at : block_at + size]), "<i8").reshape(len(zones.FIELDS), groups).copy()
    for name, value in fields.items():
        block[zones.FIELDS.index(name), 0] = value
    data[block_at : block_at + size] = block.tobytes()
    directory["crc"][at] = zlib.crc32(block.tobytes())
    data[start : start + directory.nbytes] = directory.tobytes()
    path.write_bytes(zones.bound(bytes(data), part.path))
    zones._opened.cache_clear()


@pytest.mark.parametrize("tier", ["kernel", "interpreter"])
@pytest.mark.parametrize(
    "fields",
    [
        {"start": 1 << 40},
        {"start": -8},
        {"start": 1 << 62},
        {"values": 1 << 62},
        {"values": -1},
        {"body": 1 << 61},
        {"size": 1 << 63 - 1},
        {"kind": 7},
    ],
)
def test_fault_66_a_sidecar_that_points_beyond_its_part_is_made_again(
    table: Table, fields: dict[str, int], tier: str
) -> None:
    """MET_pt is 0 to 299, so 199 events have more than 100 GeV."""
    snapshot = table.snapshot()
    forged(snapshot.parts[0], "MET_pt", **fields)
    assert answer(Table.open(table.folder).snapshot(), "MET_pt > 100", tier) == 199


@pytest.mark.parametrize("tier", ["kernel", "interpreter"])
def test_fault_66_a_sidecar_with_too_few_values_is_refused(table: Table, tier: str) -> None:
    """299 values of a column lie within the file, but the row group has 300 rows."""
    forged(table.snapshot().parts[0], "MET_pt", values=ROWS - 1)
    with pytest.raises(StoreError, match=r"MET_pt.*299 values.*300 rows"):
        answer(Table.open(table.folder).snapshot(), "MET_pt > 100", tier)


def foreign(folder: Path, batch: pa.RecordBatch) -> tuple[Table, NewPart]:
    """A dataset, and a part that plain pyarrow wrote into its folder."""
    made = Table.create(folder, SCHEMA)
    path = folder / "x"
    pq.write_table(pa.Table.from_batches([batch]), path, compression="none", use_dictionary=False)
    name = footers.part_name(footers.read_footer(path), batch.num_rows)
    path.rename(folder / name)
    return made, NewPart(name, batch.num_rows, (folder / name).stat().st_size)


MOVED = np.array([3, 1, *[2] * (ROWS - 2)])  # as many values in all, in other events
MORE = np.array([3, *[2] * (ROWS - 1)])
LESS = np.array([1, *[2] * (ROWS - 1)])
WRAPS = np.array([1 << 62, 1 << 62, 1 << 62, 1 << 62, *[2] * (ROWS - 4)])  # the sum of the first four is 0 mod 2^64


@pytest.mark.parametrize("counts", [MOVED, MORE, LESS, WRAPS], ids=["moved", "more", "less", "wraps"])
def test_fault_66_append_compares_a_foreign_part_s_counters_with_its_lists(tmp_path: Path, counts: np.ndarray) -> None:
    made, part = foreign(tmp_path / "d", rows(counts, [[30.0, 30.0]] * ROWS))
    with pytest.raises(
        StoreError, match=rf"{part.name}.*Muon_pt.*2 values in row 0, its counter nMuon says {counts[0]}"
    ):
        made.append([part], SCHEMA, {})


@pytest.mark.parametrize("counts", [MORE, LESS, WRAPS], ids=["more", "less", "wraps"])
@pytest.mark.parametrize("tier", ["kernel", "interpreter"])
def test_fault_66_both_evaluators_refuse_counters_that_are_not_their_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: np.ndarray, tier: str
) -> None:
    """The part has been committed already, by an older tagsel. A sum of lengths that wraps crashed here."""
    made, part = foreign(tmp_path / "d", rows(counts, [[30.0, 10.0]] * ROWS))
    monkeypatch.setattr("tagsel.store.checks._check_lists", lambda part, schema: None)
    made.append([part], SCHEMA, {})
    with pytest.raises(StoreError, match="600 values, its counter nMuon says"):
        answer(made.snapshot(), "count(Muon.pt > 20) >= 1", tier)


def test_fault_66_check_deep_finds_lists_that_changed_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tagsel.selection.contents import addresses

    made, part = foreign(tmp_path / "d", rows(MOVED, [[30.0, 30.0]] * ROWS))
    monkeypatch.setattr("tagsel.store.checks._check_lists", lambda part, schema: None)
    snapshot = made.append([part], SCHEMA, {})
    assert not addresses(snapshot).lost
    lost_rows, why = addresses(snapshot, deep=True).lost[part.name]
    assert lost_rows == ROWS and "its counter nMuon says 3" in why


def test_fault_66_row_groups_that_int32_cannot_count_are_refused() -> None:
    """Machine code counts the rows of a row group in int32: 2^31 - 1 at most."""
    rows = MOST_ROWS + 1
    with pytest.raises(StoreError, match="2,147,483,648 rows"):
        Frame([Part("x", Path("d"), rows, 1, (rows,), frozenset())])


@pytest.mark.parametrize("tier", ["kernel", "interpreter"])
def test_fault_65_a_part_overwritten_in_place_with_its_times_kept(table: Table, tier: str) -> None:
    """Size and time of the last write are as before, the time of the last change is not; the page's CRC is wrong."""
    snapshot = table.snapshot()
    part = snapshot.parts[0]
    assert answer(snapshot, "MET_pt > 100", tier) == 199
    state = part.path.stat()
    (where,) = np.flatnonzero(np.array(list(part.kinds)) == "MET_pt")
    chunk = pq.read_metadata(part.path).row_group(0).column(int(where))
    with part.path.open("r+b") as file:
        file.seek(chunk.data_page_offset + chunk.total_compressed_size - 4)
        file.write(np.float32(1).tobytes())  # the last event has 1 GeV: 198 would pass
    os.utime(part.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = part.path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (state.st_size, state.st_mtime_ns, state.st_ino)
    with pytest.raises(StoreError, match="MET_pt, row group 0: its CRC does not match"):
        answer(snapshot, "MET_pt > 100", tier)
    clear_memory(MAPPED_FILES)


@pytest.mark.parametrize("starts", [[1, 2], [0, 0], [0, ROWS], [0, -5], []], ids=str)
def test_fault_66_stretches_that_are_not_those_of_the_rows_are_refused(starts: list[int]) -> None:
    """Machine code goes through the bits of the rows from one stretch's start to the next one's."""
    ids = {name: np.zeros(len(starts), np.int32) for name in ("run", "lumi")}
    data = places.encode({"ids": places.Stretches(np.array(starts, np.int64), ids)})
    with pytest.raises(ValueError, match="300 rows"):
        places.decode(data, ROWS)


def test_fault_66_a_file_code_without_a_name_is_refused() -> None:
    fields = {"code": np.array([0, 1], np.int32), "entry": np.zeros(2, np.int64)}
    data = places.encode({"aod": places.Stretches(np.array([0, 5]), fields, ("one file",))})
    with pytest.raises(ValueError, match="300 rows"):
        places.decode(data, ROWS)


@pytest.mark.parametrize("column, value", [("event_starts", 1 << 40), ("row_starts", -1), ("event_bits", 65)])
def test_fault_66_an_event_index_that_points_beyond_itself_is_made_again(table: Table, column: str, value: int) -> None:
    """Its checksums are right, its first block is not: event 7 is in row 7."""
    part = table.snapshot().parts[0]
    path = eventindex.index_path(part.path)
    data = bytearray(path.read_bytes())
    head = eventindex._HEADER.unpack_from(data)
    index = eventindex.EventIndex(np.frombuffer(bytes(data), np.uint8), head[1], head[2])
    field = getattr(index._is, column)
    at = eventindex._HEADER.size
    for name, values in vars(index._is).items():
        if name == column:
            break
        at += values.nbytes
    data[at : at + field.itemsize] = np.array([value]).astype(field.dtype).tobytes()
    end = len(data) - index._words.nbytes
    crc = zlib.crc32(bytes(data[eventindex._HEADER.size : end]), zlib.crc32(bytes(data[: eventindex._HEADER.size - 8])))
    data[eventindex._HEADER.size - 8 : eventindex._HEADER.size] = crc.to_bytes(8, "little")
    with pytest.raises(ValueError, match="beyond it"):
        eventindex.EventIndex(np.frombuffer(bytes(data), np.uint8), head[1], head[2])
    path.write_bytes(bytes(data))
    which, rows_found = lookup.find_in(part, np.array([1], np.int32), np.array([7]))
    assert (which.tolist(), rows_found.tolist()) == ([0], [7])
