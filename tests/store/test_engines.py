"""Other engines read a dataset as it is: Delta's own library, Polars, DuckDB, pyarrow."""

from __future__ import annotations

from types import ModuleType

import duckdb
import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from tagsel.errors import StoreError
from tagsel.schema import Attribute, Schema
from tagsel.store import Snapshot, Table, write_part


@pytest.fixture
def evolved(maker: ModuleType, table: Table) -> Snapshot:
    """300 rows with `weight`, then 10 with `extra` in its stead."""
    kept = tuple(a for a in maker.SCHEMA if a.name != "weight")
    schema = Schema(
        (*kept, Attribute("extra", "float32"), Attribute("Muon.iso", "float32", is_list=True, counter="nMuon"))
    )
    values = {**maker.columns(10, first_event=500), "extra": np.arange(10, dtype=np.float32)}
    values["Muon_iso"] = values["Muon_pt"]
    new = write_part(table.folder, schema, [maker.batch(values, schema)])
    return table.append([new], schema, {}, evolve=True)


def by_event(rows: list[dict]) -> str:
    return repr(sorted(rows, key=lambda r: r["event"]))


def expected(snapshot: Snapshot) -> str:
    """Every row as a dictionary by our own reader; None where a part lacks the column."""
    rows: list[dict] = []
    for part in snapshot.parts:
        read = part.read(0, part.columns)
        cut = np.cumsum(read["nMuon"])[:-1]
        columns = {}
        for a in snapshot.schema:
            if a.column not in read:
                columns[a.column] = [None] * part.rows
                continue
            values = read[a.column]
            if a.type in ("bits32", "bits64"):
                values = values.view(values.dtype.name.removeprefix("u"))
            columns[a.column] = [v.tolist() for v in np.split(values, cut)] if a.is_list else values.tolist()
        rows += [dict(zip(columns, r, strict=True)) for r in zip(*columns.values(), strict=True)]
    return by_event(rows)


def test_feature_07_delta_reads_the_same_rows_null_where_a_column_is_missing(evolved: Snapshot) -> None:
    table = DeltaTable(str(evolved.folder)).to_pyarrow_table()
    assert by_event(table.to_pylist()) == expected(evolved)
    assert table["weight"].null_count == 10
    assert table["extra"].null_count == table["Muon_iso"].null_count == 300


def test_polars_reads_the_same_rows(evolved: Snapshot) -> None:
    paths = [str(p.path) for p in evolved.parts]
    frame = pl.concat([pl.read_parquet(p) for p in paths], how="diagonal").select(list(evolved.schema.by_column))
    assert by_event(frame.to_dicts()) == expected(evolved)


def test_duckdb_reads_the_same_rows(evolved: Snapshot) -> None:
    paths = [str(p.path) for p in evolved.parts]
    names = ", ".join(f'"{c}"' for c in evolved.schema.by_column)
    with duckdb.connect() as connection:
        query = f"select {names} from read_parquet({paths}, union_by_name=true)"
        rows = connection.sql(query).to_arrow_table().to_pylist()
    assert by_event(rows) == expected(evolved)


def test_delta_prunes_by_the_ids(maker: ModuleType, table: Table) -> None:
    """The log's statistics: rows, and the bounds of run, lumi and event, from arithmetic on 300 rows, 50 a block."""
    actions = DeltaTable(str(table.folder)).get_add_actions(flatten=True)
    row = {
        k: v[0].as_py()
        for k, v in zip(actions.schema.names, map(actions.column, range(actions.num_columns)), strict=True)
    }
    assert (row["num_records"], row["min.event"], row["max.event"], row["max.lumi"]) == (300, 0, 299, 6)


def test_delta_sees_restore_and_compaction(maker: ModuleType, table: Table) -> None:
    for first in (1000, 2000):
        table.append([maker.part(table.folder, 10, first_event=first)], maker.SCHEMA, {})
    for change, rows, files in ((table.compact, 320, 1), (lambda: table.restore(2), 310, 2)):
        change()
        delta = DeltaTable(str(table.folder))
        assert (delta.to_pyarrow_table().num_rows, len(delta.file_uris())) == (rows, files)


def test_the_log_is_never_cleaned_by_itself(table: Table) -> None:
    assert DeltaTable(str(table.folder)).metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


def test_a_log_that_delta_reads_otherwise_is_said_with_both_versions(maker: ModuleType, table: Table) -> None:
    """Versions 0 and 1; a file `2.json`, not named as Delta names its entries, is none to Delta."""
    assert DeltaTable(str(table.folder)).version() == 1
    odd = table.folder / "_delta_log" / "2.json"
    odd.write_text("{}")
    part = maker.part(table.folder, 10, first_event=1000)
    with pytest.raises(StoreError, match="Delta reads version 1, and the files in _delta_log go to version 2"):
        table.append([part], maker.SCHEMA, {})
    odd.unlink()
    table.append([part], maker.SCHEMA, {})
    assert table.snapshot().rows == 310
