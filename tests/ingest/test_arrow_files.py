"""Files of columns as awkward, polars, DuckDB and Arrow write them: structures, extension types, folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import awkward as ak
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from builders import workspace

from tagsel.errors import IngestError
from tagsel.ingest import derive_source_schema, open_source
from tagsel.ingest.arrow_columns import check_places, columns_of, values_at
from tagsel.ingest.columnar import data_files, hive_keys, open_columnar

COUNTS = np.array([2, 0, 1, 3, 0, 1, 1, 0, 2, 0])
PT = np.arange(10, dtype=np.float32) * 3  # 0, 3, 6, …, 27
"""Of 10 events: events 0, 2, 3, 5, 6 and 8 have muons; those with one of pt > 10 are 3 (9, 12, 15), 5, 6 and 8."""


def ids(lumi: str = "lumi") -> dict[str, Any]:
    return {"run": np.full(10, 5, np.uint32), lumi: np.ones(10, np.uint32), "event": np.arange(10, dtype=np.uint64)}


def records(lumi: str = "lumi") -> ak.Array:
    """Events with muons as records, and a structure MET."""
    pt = ak.unflatten(PT, COUNTS)
    muon = ak.zip({"pt": pt, "eta": -pt})
    met = ak.zip({"pt": np.arange(10.0), "phi": np.zeros(10)})
    return ak.zip({**ids(lumi), "Muon": muon, "MET": met}, depth_limit=1)


def by_awkward(path: Path) -> None:
    ak.to_parquet(records(), path)


def by_awkward_plain(path: Path) -> None:
    ak.to_parquet(records(), path, extensionarray=False, list_to32=True)


def by_polars(path: Path) -> None:
    pl.DataFrame(ak.to_arrow_table(records(), extensionarray=False)).write_parquet(path)


def by_duckdb(path: Path) -> None:
    table = ak.to_arrow_table(records(), extensionarray=False)
    with duckdb.connect() as connection:
        connection.register("events", table)
        connection.execute(f"COPY events TO '{path}' (FORMAT parquet)")


def as_arrow(path: Path) -> None:
    table = ak.to_arrow_table(records(), extensionarray=False)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def as_stream(path: Path) -> None:
    table = ak.to_arrow_table(records(), extensionarray=False)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def as_feather(path: Path) -> None:
    pyarrow.feather.write_feather(ak.to_arrow_table(records(), extensionarray=False), path, chunksize=4)


WRITERS = (by_awkward, by_awkward_plain, by_polars, by_duckdb, as_arrow, as_stream, as_feather)


@pytest.mark.parametrize("write", WRITERS)
def test_lists_of_records_are_collections_and_structures_attributes(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    """4 events have a muon of pt > 10; MET.pt is the event's number: 3 are above 6."""
    path = tmp_path / "a.parquet"
    write(path)
    home = workspace(tmp_path)
    home.ingest(path, dataset="x.TAG")
    right = {"true": 10, "any(Muon.pt > 10)": 4, "MET_pt > 6": 3, "nMuon == 0": 4}
    assert {cut: home["x.TAG"].count(cut).accepted for cut in right} == right


def test_records_under_the_names_of_nanoaod_are_its_collections(tmp_path: Path) -> None:
    """The standard schema knows Muon_pt; the file has a list of structures Muon with a field pt."""
    path = tmp_path / "a.parquet"
    ak.to_parquet(records("luminosityBlock"), path)
    source = open_source(path)
    assert source.plan.name == "nanoaod"
    rows = pa.Table.from_batches(list(source.batches()))
    assert rows["Muon_pt"].to_pylist() == ak.unflatten(PT, COUNTS).to_list()
    assert rows["MET_pt"].to_pylist() == [float(n) for n in range(10)]
    assert source.schema["Muon.pt"].unit == "GeV"


def test_types_that_awkward_registers_do_not_hide_a_file(tmp_path: Path) -> None:
    """Once awkward has made an Arrow array, its types are extension types for the whole process."""
    path = tmp_path / "a.parquet"
    pq.write_table(ak.to_arrow_table(records(), extensionarray=True), path)
    assert isinstance(pq.ParquetFile(path).schema_arrow.field("run").type, pa.BaseExtensionType)
    rows = pa.Table.from_batches(list(open_source(path).batches()))
    assert rows["event"].to_pylist() == list(range(10))
    assert rows["Muon_pt"].to_pylist() == ak.unflatten(PT, COUNTS).to_list()


def test_a_column_that_cannot_be_typed_costs_no_other(tmp_path: Path) -> None:
    """Integers of 128 bits, of polars: Arrow refuses the whole file for them."""
    path = tmp_path / "a.parquet"
    wide = pl.Series([2**100] * 10, dtype=pl.Int128)
    pl.DataFrame({**ids(), "wide": wide, "x": list(range(10))}).write_parquet(path)
    with pytest.raises(pa.ArrowNotImplementedError):
        pq.ParquetFile(path)
    source = open_source(path)
    assert pa.Table.from_batches(list(source.batches()))["x"].to_pylist() == list(range(10))
    (line,) = [line for line in source.lines if line.name == "wide"]
    assert (line.type, line.reason) == ("fixed_size_binary[16]", "no attribute can hold their type")
    assert "No attribute can hold these: wide" in derive_source_schema(path)
    schema = tmp_path / "mine.toml"
    head = 'name = "mine"\nformat = "parquet"\nattributes = [{ name = "x", type = "int32" }]\n'
    schema.write_text(head + '[ids]\nrun = "run"\nlumi = "lumi"\nevent = "event"\n')
    home = workspace(tmp_path)
    home.ingest(path, dataset="x.TAG", schema=str(schema))
    assert home["x.TAG"].count("x > 6").accepted == 3


def test_an_arrow_file_whose_schema_arrow_cannot_read_says_what_to_do(tmp_path: Path) -> None:
    """Integers of 128 bits again: of an Arrow file not even the schema can be read."""
    path = tmp_path / "a.arrow"
    pl.DataFrame({**ids(), "wide": pl.Series([2**100] * 10, dtype=pl.Int128)}).write_ipc(path)
    with pytest.raises(IngestError, match=r"more than 64 bits") as caught:
        workspace(tmp_path).ingest(path, dataset="x.TAG")
    assert "write it as Parquet, or without columns of that type" in str(caught.value)


TEXTS = ["a", "bb", "a", "", "ccc", "bb", "a", "a", "ccc", "bb"]
LISTS = [TEXTS[:n] for n in COUNTS.tolist()]
LETTERS = pl.Enum(sorted(set(TEXTS)))
POLARS: dict[str, tuple[Any, list[Any]]] = {
    "text": (pl.String, TEXTS),
    "category": (pl.Categorical, TEXTS),
    "enum": (LETTERS, TEXTS),
    "texts": (pl.List(pl.String), LISTS),
    "categories": (pl.List(pl.Categorical), LISTS),
    "enums": (pl.List(LETTERS), LISTS),
    "numbers": (pl.List(pl.Float32), [[float(n)] * n for n in COUNTS.tolist()]),
    "pair": (pl.Array(pl.Float32, 2), [[float(n), 0.5] for n in range(10)]),
    "two texts": (pl.Array(pl.String, 2), [[text, "x"] for text in TEXTS]),
    "flag": (pl.Boolean, [n % 2 == 0 for n in range(10)]),
    "byte": (pl.Int8, list(range(10))),
}
"""Columns of polars: their types and values."""


@pytest.mark.parametrize("writer", ["write_ipc", "write_ipc_stream", "write_parquet"])
@pytest.mark.parametrize("null", [None, 3])
def test_columns_of_polars_in_one_file_hold_what_was_written(tmp_path: Path, writer: str, null: int | None) -> None:
    """Categories and texts are kept as views in Arrow; in row 3 all values are null, where `null` says so.

    A structure keeps its fields, and a column of dates, which no attribute can hold, costs no other column.
    """
    values = {name: [None if row == null else value for row, value in enumerate(v)] for name, (_, v) in POLARS.items()}
    columns = [pl.Series(name, values[name], dtype=kind) for name, (kind, _) in POLARS.items()]
    inside = pl.Struct({"kind": pl.Categorical, "of": pl.Int32})
    records = pl.Series("made", [{"kind": text, "of": row} for row, text in enumerate(TEXTS)], dtype=inside)
    dates = pl.Series("day", [date(2026, 1, 1)] * 10)
    path = tmp_path / "a.polars"
    getattr(pl.DataFrame({**ids(), **{c.name: c for c in (*columns, records, dates)}}), writer)(path)
    with open_columnar(path) as file:
        chunks = list(file.chunks([*values, "made.kind", "made.of"], 4))
    for name, expected in {**values, "made.kind": TEXTS, "made.of": list(range(10))}.items():
        assert [value for _, arrays in chunks for value in arrays[name].to_pylist()] == expected, name
    home = workspace(tmp_path)
    done = home.ingest(path, dataset="x.TAG")
    assert [line.name for line in done.report.left_out()] == ["day"]
    right = {text: sum(value == text for value in values["category"]) for text in ("a", "bb", "ccc")}
    assert {text: home["x.TAG"].count(f'category == "{text}"').accepted for text in right} == right


LONG = pa.array([f"{number:036d}" for number in range(64_000)])
"""Texts of 36 characters, each a different one: 40 bytes a row in memory, their offsets included."""

KEYS = LONG.dictionary_encode()
VIEWS = pa.DictionaryArray.from_arrays(KEYS.indices, KEYS.dictionary.cast(pa.string_view()))


@pytest.mark.parametrize("column", [LONG.cast(pa.string_view()), KEYS, VIEWS], ids=["view", "keys", "keys of views"])
@pytest.mark.parametrize("in_lists", [False, True])
def test_texts_of_one_batch_are_copied_once(tmp_path: Path, column: pa.Array, in_lists: bool) -> None:
    """64 slices of one batch: whatever Arrow would copy whole with each is in memory once.

    Indices, views of 16 bytes, texts, lists, and the copy, whose buffer doubles as it grows, are some 8 times 40 bytes
    a row at most; all texts with every slice are 64 times.
    """
    if in_lists:
        column = pa.ListArray.from_arrays(pa.array(np.arange(len(LONG) + 1), pa.int32()), column)
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(str(path), pa.schema([("text", column.type)])) as writer:
        writer.write_batch(pa.record_batch({"text": column}))
    memory = pa.default_memory_pool()
    texts: list[Any] = []
    with open_columnar(path) as file:
        before = memory.total_bytes_allocated()
        for _, arrays in file.chunks(["text"], 1000):
            texts += arrays["text"].to_pylist()
        allocated = memory.total_bytes_allocated() - before
    assert texts == ([[text] for text in LONG.to_pylist()] if in_lists else LONG.to_pylist())
    assert allocated < 8 * 40 * len(LONG)


def test_a_date_with_a_time_of_day_costs_no_other_column(tmp_path: Path) -> None:
    """Arrow calls milliseconds within a day no valid date64; no attribute holds dates, and the rest is read."""
    day = pa.array(range(10), pa.int64()).view(pa.date64())
    made = pa.StructArray.from_arrays([day, pa.array(range(10))], ["day", "of"])
    path = tmp_path / "a.arrow"
    table = pa.table({**ids(), "day": day, "made": made})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(pa.ArrowInvalid, match="whole number of days"):
        made.validate(full=True)
    home = workspace(tmp_path)
    done = home.ingest(path, dataset="x.TAG")
    assert {line.name for line in done.report.left_out()} == {"day", "made.day"}
    assert home["x.TAG"].count("made_of > 6").accepted == 3


@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [0, 400, 2, 3]])
@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.list_(pa.struct([("a", pa.int64())])), pa.string()])
def test_places_outside_of_the_values_are_found_before_a_value_is_looked_at(kind: pa.DataType, offsets: Any) -> None:
    """Offsets that go back or lie beyond the 3 values, which only a damaged file has."""
    places = pa.array(offsets, pa.int32()).buffers()[1]
    if kind == pa.string():
        array = pa.Array.from_buffers(kind, 3, [None, places, pa.py_buffer(b"abc")])
    else:
        values = pa.array([1, 2, 3])
        if kind.value_type != pa.int64():
            values = pa.StructArray.from_arrays([values], ["a"])
        array = pa.Array.from_buffers(kind, 3, [None, places], children=[values])
    (column,) = columns_of(pa.schema([("x", kind)]))
    with pytest.raises(pa.ArrowInvalid):
        check_places(array, column.path[1:])


# -- folders


def test_keys_of_folders_are_columns(tmp_path: Path) -> None:
    """10 events of each of two years: the year is no column of the files."""
    for year in (2017, 2018):
        folder = tmp_path / "d" / f"year={year}" / "stream=Muon%20B"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({**ids(), "run": np.full(10, year)}), folder / "part-0.parquet")
        (folder / "_SUCCESS").write_text("")
        (folder / ".part-0.parquet.crc").write_text("crc")
    home = workspace(tmp_path)
    done = home.ingest(tmp_path / "d", dataset="x.TAG")
    assert (len(done.landed), done.failed, done.events) == (2, (), 20)
    assert home["x.TAG"].count("year == 2018").accepted == 10
    assert home["x.TAG"].count('stream == "Muon B" && year < 2018').accepted == 10
    again = home.ingest(tmp_path / "d" / "year=2018" / "stream=Muon%20B" / "part-0.parquet", dataset="x.TAG")
    assert (len(again.already), again.events) == (1, 20)


def test_a_run_may_be_the_name_of_a_folder(tmp_path: Path) -> None:
    """Two files of the same bytes, in the folders of two runs: 10 events of each."""
    for run in (7, 9):
        (tmp_path / f"run={run}").mkdir()
        pq.write_table(pa.table({k: v for k, v in ids().items() if k != "run"}), tmp_path / f"run={run}" / "a.parquet")
    home = workspace(tmp_path)
    home.ingest(tmp_path / "run=7", tmp_path / "run=9", dataset="x.TAG")
    assert home["x.TAG"].count("run == 9").accepted == 10


def test_what_a_folder_holds(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="no file of data in this folder"):
        data_files([tmp_path])
    path = tmp_path / "year=__HIVE_DEFAULT_PARTITION__" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"year": [1], "x": [2]}), path)
    assert data_files([tmp_path, path]).files == (path, path)
    assert hive_keys(path) == {}
    assert hive_keys(Path("/x=1/plain/a=b=c/n=-3/f.parquet")) == {"a": "b=c", "n": -3}
    other = tmp_path / "year=5" / "a.parquet"
    other.parent.mkdir()
    path.rename(other)
    with open_columnar(other) as file:
        assert [list(map(pa.Array.to_pylist, arrays.values())) for _, arrays in file.chunks(["year"], 9)] == [[[1]]]


def test_what_tagsel_made_in_a_workspace_is_no_input(tmp_path: Path) -> None:
    """A folder holds a workspace, a file of 10 events, and one that the user keeps in the workspace, of 10 others.

    The parts of a.TAG and a job's result are passed over, and named; so is a link to a part.
    """
    home = workspace(tmp_path)
    for run, place in ((7, "mine.parquet"), (8, "W/mine.parquet")):
        pq.write_table(pa.table({**ids(), "run": np.full(10, run), "x": np.zeros(10)}), tmp_path / place)
    first = home.ingest(tmp_path / "mine.parquet", dataset="a.TAG")
    assert first.events == 10
    (part,) = (home.folder / "data" / "a.TAG").glob("*.parquet")
    result = home.folder / "jobs" / "0001" / "result.parquet"
    result.parent.mkdir(parents=True)
    shutil.copy(part, result)
    (tmp_path / "link.parquet").symlink_to(part)
    done = home.ingest(tmp_path, dataset="b.TAG")
    assert sorted(done.landed) == [str(tmp_path / "W" / "mine.parquet"), str(tmp_path / "mine.parquet")]
    left_out = {line.name: line.reason for line in done.report.left_out() if line.kind == "file"}
    assert set(left_out) == {str(part), str(result), str(tmp_path / "link.parquet")}
    assert left_out[str(part)] == f"tagsel made them in data of the workspace {home.folder}"
    for place in (part, part.parent, result, home.folder / "data"):
        with pytest.raises(IngestError, match="what tagsel made there is no input"):
            home.ingest(place, dataset="c.TAG")
    (tmp_path / "W" / "mine.parquet").unlink()
    parts_and_result = 1 + 2 + 1  # a part of a.TAG, two of b.TAG, the result
    with pytest.raises(IngestError, match=f"no file of data in this folder but {parts_and_result} that tagsel made"):
        home.ingest(home.folder, dataset="c.TAG")


def test_of_a_delta_table_only_its_newest_version_counts(tmp_path: Path) -> None:
    """Overwritten by 10 rows: the files of the first version are still there."""
    from deltalake import write_deltalake

    folder = tmp_path / "t"
    write_deltalake(str(folder), pa.table({**ids(), "x": np.zeros(10)}))
    write_deltalake(str(folder), pa.table({**ids(), "x": np.ones(10)}), mode="overwrite")
    assert len(list(folder.glob("*.parquet"))) == 2
    home = workspace(tmp_path)
    assert home.ingest(folder, dataset="x.TAG").events == 10
    assert home["x.TAG"].count("x == 1").accepted == 10


# -- structures by hand


STRUCTURE = pa.struct([("a", pa.int64()), ("in", pa.struct([("b", pa.float32())]))])


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("s.a", pa.array([{"a": 1}, None, {"a": 3}], STRUCTURE), [1, None, 3]),
        ("s.in.b", pa.array([{"in": {"b": 1}}, None, {"in": None}], STRUCTURE), [1.0, None, None]),
        ("s.in.b", pa.array([[{"in": {"b": 1}}] * 2, None, []], pa.list_(STRUCTURE)), [[1.0, 1.0], None, []]),
        (
            "s.a",
            pa.array([[{"a": 1}, {"a": 2}], None, [None, {"a": 3}]], pa.list_(STRUCTURE, 2)),
            [[1, 2], None, [None, 3]],
        ),
        ("s.a", pa.array([[{"a": 1}], [{"a": 2}] * 2, [], None], pa.large_list(STRUCTURE))[1:], [[2, 2], [], None]),
    ],
)
def test_structures_are_taken_apart_where_they_are_null_too(path: str, values: pa.Array, expected: list[Any]) -> None:
    (column,) = [c for c in columns_of(pa.schema([("s", values.type)])) if c.name == path]
    assert values_at(values, column.path[1:]).to_pylist() == expected


def test_leaves_are_counted_as_parquet_counts_them(tmp_path: Path) -> None:
    table = pa.table(
        {
            "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
            "d": pa.array(["x"]).dictionary_encode(),
            "l": [[[1]]],
            "s": [{"a": 1, "b": [{"c": 2, "d": 3}]}],
            "z": [9],
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    with pq.ParquetFile(path) as file:
        leaves = [file.schema.column(number).path.split(".") for number in range(len(file.schema))]
        for column in columns_of(file.schema_arrow):
            leaf = leaves[column.leaf]
            assert (leaf[0], leaf[-1] == column.path[-1]) == (column.path[0], column.name not in ("m", "l"))
