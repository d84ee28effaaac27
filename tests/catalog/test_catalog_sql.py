"""Conditions on datasets and a user's SQL: what they find, and what they can never do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.catalog import Catalog, FileRecord, PutDataset, PutFiles, PutReplicas, PutRuns, PutSite, SetMeta
from tagsel.catalog.sandbox import DatasetParts
from tagsel.errors import CatalogError


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A catalog of four datasets that the test may change."""
    return _made(tmp_path)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The same catalog for tests that only ask."""
    return _made(tmp_path_factory.mktemp("asked"))


def _made(folder: Path) -> Catalog:
    made = Catalog(folder)
    made.record(
        PutDataset("data09.Egamma.TAG", type="TAG", year=2009, version="1.2.3", meta={"trigger": 2, "weight": 1}),
        PutDataset("data09.Muons.TAG", type="TAG", year=2009, version="1.2.4", meta={"trigger": 3, "weight": 0.5}),
        PutDataset("data10.Muons.TAG", type="TAG", year=2010, version="2.0.0", meta={"trigger": 2, "mixed": "x"}),
        PutDataset("data09.Muons.AOD", type="AOD", year=2009, version="1.2.3", meta={"Good": True, "mixed": 2}),
    )
    return made


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("type = 'TAG' and year = 2009 and trigger = 2 and version like '1.%'", ["data09.Egamma.TAG"]),
        ("type = 'TAG' and year = 2009 and trigger = 2 and version = '1.2.3'", ["data09.Egamma.TAG"]),
        ("trigger is null", ["data09.Muons.AOD"]),
        ("trigger != 2", ["data09.Muons.TAG"]),
        ("weight between 0.4 and 0.6", ["data09.Muons.TAG"]),
        ("WEIGHT = 1", ["data09.Egamma.TAG"]),
        ("good", ["data09.Muons.AOD"]),
        ("mixed = 'x' or mixed = '2'", ["data09.Muons.AOD", "data10.Muons.TAG"]),
        (
            "year in (2010, 2011) or (name like '%Egamma%' and not simulation)",
            ["data09.Egamma.TAG", "data10.Muons.TAG"],
        ),
        ("year = 1999 -- none", []),
    ],
)
def test_feature_12_feature_18_a_condition_on_columns_and_free_keys(
    asked: Catalog, where: str, wanted: list[str]
) -> None:
    found = asked.datasets(where)
    assert [d.name for d in found] == wanted
    assert found == [asked.dataset(name) for name in wanted]  # the same record with DuckDB and without


@pytest.mark.parametrize(
    "where",
    [
        "triger = 2",
        "year = ",
        "1 = 1) or (1 = 1",
        "true group by all",
        "true limit 1",
        "true; drop table datasets",
        "year in (select 2009)",
        "exists (from files)",
        "count(*) > 1",
        "year = ?",
        "mixed > 2",
        "true union select 1",
        "row_number() over () = 1",
        "name = (from files)",
        "(" * 400 + "true" + ")" * 400 + "x",
    ],
)
def test_fault_35_what_is_no_condition_is_refused(asked: Catalog, where: str) -> None:
    with pytest.raises(CatalogError):
        asked.datasets(where)
    assert len(asked.datasets("true")) == 4


def test_an_unknown_name_in_a_condition_names_the_nearest(asked: Catalog) -> None:
    with pytest.raises(CatalogError, match="did you mean trigger"):
        asked.datasets("triger = 2")
    with pytest.raises(CatalogError, match="did you mean version"):
        asked.datasets("vresion = '1'")
    with pytest.raises(CatalogError, match=r"did you mean data09.Muons.TAG"):
        asked.dataset("data09.Muon.TAG")


def test_feature_18_keys_are_set_and_removed_and_never_shadow_a_column(catalog: Catalog) -> None:
    catalog.record(SetMeta("data09.Muons.AOD", {"trigger": 2, "Good": None}))
    assert [d.name for d in catalog.datasets("trigger = 2 and type = 'AOD'")] == ["data09.Muons.AOD"]
    assert catalog.dataset("data09.Muons.AOD").meta == {"mixed": 2, "trigger": 2}
    for meta in (
        {"year": 1},
        {"Year": 1},
        {"a b": 1},
        {"x": float("nan")},
        {"x": 1 << 63},
        {"Trigger": 1},
        {"x": "\0"},
    ):
        with pytest.raises(CatalogError):
            catalog.record(SetMeta("data09.Muons.AOD", meta))


def test_feature_20_sql_reads_catalog_and_tags_together(asked: Catalog, tmp_path: Path) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "it's new.parquet"
    pq.write_table(pa.table({"run": [1, 1], "nMuon": [0, 2]}), old)
    pq.write_table(pa.table({"run": [2], "nMuon": [3], "extra": [1.5]}), new)
    tables = {"data09.Muons.TAG": DatasetParts((old, new)), "more": pa.table({"run": [2], "stream": ["A"]})}
    answer = asked.sql(
        'SELECT t.run, count(*) AS n, any_value(m.stream) AS stream FROM "data09.Muons.TAG" t '
        "LEFT JOIN more m USING (run) WHERE nMuon >= 2 GROUP BY t.run ORDER BY t.run",
        tables,
    )
    assert answer.to_pylist() == [{"run": 1, "n": 1, "stream": None}, {"run": 2, "n": 1, "stream": "A"}]
    assert asked.sql('SELECT extra FROM "DATA09.muons.tag"', tables).column(0).to_pylist() == [
        None,
        None,
        1.5,
    ]
    query = "WITH d AS (FROM datasets) SELECT name, trigger FROM d WHERE weight < 1 UNION ALL SELECT 'x', 7"
    assert asked.sql(query).to_pylist() == [
        {"name": "data09.Muons.TAG", "trigger": 3},
        {"name": "x", "trigger": 7},
    ]
    assert asked.sql("SELECT count(*) AS n FROM range(3) r, unnest([1, 2]) u").to_pylist() == [{"n": 6}]


def test_feature_19_totals_per_run_and_where_the_files_are(catalog: Catalog) -> None:
    guids = [f"0000000{i}-0000-4000-8000-00000000000A" for i in range(3)]
    catalog.record(
        PutRuns("data09.Muons.TAG", [(140541, 10, 100), (140571, 5, 50)]),
        PutRuns("data09.Egamma.TAG", [(140541, 10, 30)]),
        PutFiles("data09.Muons.TAG", [FileRecord(g, bytes=10) for g in guids]),
        PutSite("CERN"),
        PutSite("BNL"),
        PutReplicas("CERN", [(g, g) for g in guids]),
        PutReplicas("BNL", [(guids[0], "a"), (guids[0], "b")]),
    )
    rows = catalog.sql("SELECT run, sum(events)::BIGINT AS n FROM runs GROUP BY run ORDER BY run").to_pylist()
    assert rows == [{"run": 140541, "n": 130}, {"run": 140571, "n": 50}]
    assert [(r.run, r.lumi_blocks, r.events) for r in catalog.runs("data09.Muons.TAG")] == [
        (140541, 10, 100),
        (140571, 5, 50),
    ]
    where = catalog.sql("SELECT site, files, of_files FROM locations ORDER BY site").to_pylist()
    assert where == [{"site": "BNL", "files": 1, "of_files": 3}, {"site": "CERN", "files": 3, "of_files": 3}]


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{dir}/out.csv'",
        "COPY datasets TO '{dir}/out.csv'",
        "ATTACH '{dir}/x.duckdb'",
        "EXPORT DATABASE '{dir}/out.csv'",
        "PRAGMA database_list",
        "SET memory_limit = '90GB'",
        "RESET memory_limit",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '{dir}/given.parquet'",
        "SELECT * FROM read_parquet('{dir}/given.parquet')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "WITH a AS (SELECT * FROM read_blob('/etc/passwd')) FROM a",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM arrow_scan(1, 2, 3)",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{dir}/out.csv'",
        "",
        "-- nothing",
        "CREATE TABLE t AS SELECT 1",
        "INSERT INTO datasets (name) VALUES ('x')",
        "DELETE FROM datasets",
        "DROP TABLE datasets",
        "UPDATE datasets SET year = 1",
        "WITH a AS (INSERT INTO datasets (name) VALUES ('x') RETURNING *) FROM a",
        "CALL duckdb_settings()",
        "CHECKPOINT",
        "EXPLAIN ANALYZE SELECT 1",
        "SHOW TABLES",
        "SELECT getenv('HOME')",
        "SELECT FROM",
        "SELECT * FROM data09.Muons.TAG",
        "SELECT * FROM nothing",
        "FROM information_schema.tables",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "PREPARE p AS SELECT 1",
        "VACUUM",
    ],
)
def test_fault_35_anything_but_one_reading_select_is_refused(asked: Catalog, tmp_path: Path, query: str) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "given.parquet")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(CatalogError):
        asked.sql(query.replace("{dir}", str(tmp_path)), {"given": DatasetParts((tmp_path / "given.parquet",))})
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert len(asked.datasets("true")) == 4


@pytest.mark.parametrize("depth", [100, 400, 900, 5000])
def test_fault_35_deep_nesting_is_answered_or_refused_and_nothing_worse(asked: Catalog, depth: int) -> None:
    for one, wanted in (("1+(", depth), ("abs(", 0), ("(", 0)):
        nested = one * depth + "0" + ")" * depth
        try:
            assert asked.sql(f"SELECT {nested} AS n").to_pylist() == [{"n": wanted}]
        except CatalogError:
            assert depth > 100


def test_fault_35_the_connection_alone_holds_without_the_parser(tmp_path: Path) -> None:
    """The second wall: past the first, DuckDB itself refuses files, settings and attached databases."""
    import duckdb

    from tagsel.base.sealed_sql import Scan, sealed

    given = tmp_path / "given.parquet"
    pq.write_table(pa.table({"a": [1]}), given)
    local = pa.table({"b": [1]})
    assert local.num_rows == 1
    with sealed([("given", Scan([str(given)]))], 10**9) as connection:
        assert connection.execute("SELECT a FROM given").fetchall() == [(1,)]
        for query in (
            "SELECT * FROM read_text('/etc/passwd')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"COPY (SELECT 1) TO '{given}' (FORMAT parquet)",
            f"ATTACH '{tmp_path}/x.duckdb'",
            "SET enable_external_access = true",
            "SET memory_limit = '90GB'",
            "SET allowed_directories = ['/']",
            "LOAD httpfs",
            "FROM local",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(query).fetchall()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given.parquet"]


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.record(PutDataset("d.TAG", type="TAG"))
    with pytest.raises(CatalogError, match='"event" not found in FROM clause! Candidate bindings: "events"'):
        catalog.sql("SELECT event FROM datasets")


def test_fault_35_time_memory_and_answer_are_bounded(asked: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"stopped after 0.2 s"):
        asked.sql(
            "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 1",
            seconds=0.2,
        )
    with pytest.raises(CatalogError, match=r"the SQL failed: Out of Memory"):
        asked.sql("SELECT range, range::VARCHAR FROM range(100000000) ORDER BY 2", memory="100MB")
    with pytest.raises(CatalogError, match=r"the answer is larger than 10,000,000 bytes"):
        asked.sql("SELECT range FROM range(1000000000000)", memory="10MB")
    with pytest.raises(CatalogError, match="is no size"):
        asked.sql("SELECT 1", memory="lots")


def test_a_dotted_table_that_is_not_quoted_gets_the_fix(asked: Catalog) -> None:
    with pytest.raises(CatalogError, match=r'"data09\.Muons\.TAG"'):
        asked.sql("SELECT * FROM data09.Muons.TAG")
    with pytest.raises(CatalogError, match="did you mean datasets"):
        asked.sql("SELECT * FROM dataset")
