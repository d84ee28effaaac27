"""Parts as they are written: layout, names, checks, and what a failing disk leaves."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.base import atomic_write
from tagsel.errors import IngestError, StoreError
from tagsel.schema import Attribute, Schema
from tagsel.store import arrow_schema, layout, write_part


def test_hot_chunks_are_one_plain_uncompressed_page(maker: ModuleType, tmp_path: Path) -> None:
    file = pq.ParquetFile(tmp_path / maker.part(tmp_path, 1000).name)
    group = file.metadata.row_group(0)
    for i, a in enumerate(maker.SCHEMA):
        chunk, column = group.column(i), file.schema.column(i)
        assert column.max_definition_level == column.max_repetition_level == int(a.is_list)  # REQUIRED
        if a.hot and a.type != "string":
            assert (chunk.compression, chunk.has_dictionary_page) == ("UNCOMPRESSED", False)
            assert set(chunk.encodings) <= {"PLAIN", "RLE"}
        else:
            assert chunk.compression == "ZSTD"
            assert chunk.has_dictionary_page == (a.type == "string")


def test_pages_hold_a_whole_row_group(maker: ModuleType, tmp_path: Path) -> None:
    """pyarrow cuts pages at 20,000 rows by itself; 50,000 rows of 8 bytes in one page are 400,000 bytes."""
    part = maker.part(tmp_path, 50_000)
    chunk = pq.ParquetFile(tmp_path / part.name).metadata.row_group(0).column(2)
    assert 400_000 < chunk.total_compressed_size < 400_100  # one page header of less than 100 bytes


def test_the_name_is_the_hash_of_the_footer(maker: ModuleType, tmp_path: Path) -> None:
    part = maker.part(tmp_path, 10)
    data = (tmp_path / part.name).read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    assert part.name == f"{hashlib.sha256(data[-length - 8 :]).hexdigest()[:32]}-10.parquet"
    assert (part.rows, part.bytes) == (10, len(data))


def test_the_name_depends_on_every_value(maker: ModuleType, tmp_path: Path) -> None:
    """Two parts with the same sizes and bounds, whose footers would be equal but for the content's hash."""
    values = maker.columns(10)
    swapped = {**values, "aod_entry": values["aod_entry"].copy()}
    swapped["aod_entry"][[4, 5]] = [5, 4]
    names = {write_part(tmp_path, maker.SCHEMA, [maker.batch(v)]).name for v in (values, swapped)}
    assert len(names) == 2


def test_row_groups_are_cut_and_joined_across_batches(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "ROW_GROUP", 100)
    whole = maker.batch(maker.columns(350))
    batches = [whole.slice(0, 30), whole.slice(30, 0), whole.slice(30, 250), whole.slice(280)]
    part = write_part(tmp_path, maker.SCHEMA, batches)
    file = pq.ParquetFile(tmp_path / part.name)
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [100, 100, 100, 50]
    assert str(file.read().to_pylist()) == str(pa.Table.from_batches([whole]).to_pylist())  # NaN equals NaN


def test_memory_is_bounded_by_a_row_group(maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 batches of 1,000 rows in groups of 5,000: what Arrow holds stays far below the 200,000 rows written."""
    monkeypatch.setattr(layout, "ROW_GROUP", 5_000)
    one = maker.batch(maker.columns(1_000))
    base, held = pa.total_allocated_bytes(), []

    def batches():
        for _ in range(200):
            held.append(pa.total_allocated_bytes() - base)
            yield maker.batch(maker.columns(1_000))

    write_part(tmp_path, maker.SCHEMA, batches())
    assert max(held) < 40 * one.nbytes  # of 200


@pytest.mark.parametrize("batches", [0, 1])
def test_fault_04_zero_rows_are_no_part_and_no_error(maker: ModuleType, tmp_path: Path, batches: int) -> None:
    empty = maker.batch(maker.columns(0))
    assert write_part(tmp_path, maker.SCHEMA, [empty] * batches) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("event", -1, pa.int64()),
        ("event", 2**63, pa.uint64()),
        ("event", 2**64 - 1, pa.uint64()),
        ("run", -5, pa.int32()),
        ("run", 2**31, pa.int64()),
        ("lumi", 2**32 - 1, pa.uint32()),
    ],
)
def test_fault_08_ids_out_of_range_are_refused_with_row_and_value(
    maker: ModuleType, tmp_path: Path, column: str, value: int, kind: pa.DataType
) -> None:
    whole = maker.batch(maker.columns(20))
    ids = whole.column(column).to_pylist()
    ids[13] = value
    bad = whole.set_column(whole.schema.get_field_index(column), column, pa.array(ids, kind))
    with pytest.raises(IngestError) as caught:
        write_part(tmp_path, maker.SCHEMA, [whole, bad])
    assert caught.value.fields == {"column": column, "row": 20 + 13, "value": value}
    assert list(tmp_path.iterdir()) == []


def test_fault_07_08_the_largest_event_number_is_kept_exactly(maker: ModuleType, tmp_path: Path) -> None:
    values = maker.columns(3)
    values["event"] = np.array([2**53 + 1, 2**63 - 1, 0])
    part = write_part(tmp_path, maker.SCHEMA, [maker.batch(values)])
    stored = pq.read_table(tmp_path / part.name, columns=["event"])["event"].to_pylist()
    assert stored == [2**53 + 1, 2**63 - 1, 0]


def test_unsigned_ids_that_fit_are_taken(maker: ModuleType, tmp_path: Path) -> None:
    whole = maker.batch(maker.columns(5))
    given = whole.set_column(2, "event", pa.array([1, 2, 3, 4, 5], pa.uint64()))
    part = write_part(tmp_path, maker.SCHEMA, [given])
    assert pq.read_table(tmp_path / part.name)["event"].to_pylist() == [1, 2, 3, 4, 5]


def test_feature_08_a_list_must_be_as_long_as_its_counter(maker: ModuleType, tmp_path: Path) -> None:
    values = maker.columns(20)
    batch = maker.batch(values)
    wrong = values["nMuon"].copy()
    wrong[7] += 1
    at = batch.schema.get_field_index("nMuon")
    with pytest.raises(IngestError, match=r"Muon\.pt has .* row 7, its counter nMuon") as caught:
        write_part(tmp_path, maker.SCHEMA, [batch.set_column(at, "nMuon", pa.array(wrong))])
    assert (caught.value.fields["column"], caught.value.fields["row"]) == ("Muon_pt", 7)


def _renamed(batch: pa.RecordBatch, old: str, new: str) -> pa.RecordBatch:
    return batch.rename_columns([new if n == old else n for n in batch.schema.names])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda b: _renamed(b, "weight", "w8"), r"missing \['weight'\], not in the schema \['w8'\]"),
        (lambda b: b.set_column(10, "MET_pt", pa.array(np.zeros(20))), "MET_pt is double .* float in the schema"),
        (lambda b: b.set_column(10, "MET_pt", pa.array([None] * 20, pa.float32())), "MET_pt has 20 nulls"),
    ],
)
def test_columns_must_be_those_of_the_schema(maker: ModuleType, tmp_path: Path, change, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        write_part(tmp_path, maker.SCHEMA, [change(maker.batch(maker.columns(20)))])
    assert list(tmp_path.iterdir()) == []


def test_strings_may_come_as_a_dictionary(maker: ModuleType, tmp_path: Path) -> None:
    batch = maker.batch(maker.columns(20))
    at = batch.schema.get_field_index("aod_guid")
    coded = batch.set_column(at, "aod_guid", batch.column("aod_guid").dictionary_encode())
    part = write_part(tmp_path, maker.SCHEMA, [coded])
    assert pq.read_table(tmp_path / part.name)["aod_guid"].to_pylist() == batch.column("aod_guid").to_pylist()


def test_arrow_types() -> None:
    schema = Schema((Attribute("word", "bits64"), Attribute("J.m", "float32", is_list=True, counter="nJ")))
    item = pa.field("element", pa.float32(), nullable=False)
    assert arrow_schema(schema) == pa.schema(
        [pa.field("word", pa.int64(), nullable=False), pa.field("J_m", pa.list_(item), nullable=False)]
    )


def test_feature_01_bytes_an_event_are_those_of_its_values(maker: ModuleType, tmp_path: Path) -> None:
    """131,072 events of 247 float32 and three ids (16 B): 1,004 B an event by arithmetic, at most 1 % more on disk."""
    rows = layout.ROW_GROUP
    schema = Schema(maker.IDS[:3] + tuple(Attribute(f"x{i}", "float32") for i in range(247)))
    values = {c: v for c, v in maker.columns(rows).items() if c in ("run", "lumi", "event")}
    noise = np.random.default_rng(1).random(rows).astype(np.float32)
    batch = maker.batch({**values, **{f"x{i}": noise for i in range(247)}}, schema)
    part = write_part(tmp_path, schema, [batch])
    per_event = part.bytes / rows
    print(f"{per_event:.1f} bytes an event")
    assert 1004 <= per_event <= 1.01 * 1004


_LIMITED = """
import resource, sys
sys.argv = ["", {folder!r}]
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("tagmaker", {maker!r}); m = importlib.util.module_from_spec(spec)
spec.loader.exec_module(m)
from tagsel.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    m.part(pathlib.Path({folder!r}), 20000)
except StoreError as error:
    print(error.fields["errno"], error.message)
"""


@pytest.mark.parametrize("limit", [0, 4096, 300_000])
def test_fault_11_a_full_disk_leaves_nothing_behind(maker: ModuleType, tmp_path: Path, limit: int) -> None:
    """The system itself refuses to let the file grow (RLIMIT_FSIZE): at the first byte, early, and late."""
    folder = tmp_path / "ds"
    folder.mkdir()
    code = _LIMITED.format(folder=str(folder), maker=maker.__file__, limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith(f"{errno.EFBIG} cannot write a part in {folder}")
    assert not done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2])
def test_fault_12_a_failing_fsync_aborts(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The file's own fsync, then the folder's: after either no part is acknowledged, and none is retried."""
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic_write, "_fsync", fsync)
    with pytest.raises(StoreError, match="Input/output error"):
        maker.part(tmp_path / "ds", 10)
    assert len(calls) == failing
    assert not list((tmp_path / "ds").glob(".tmp-*"))
