"""NaN in columns that SQL asks for: parts of today and of older versions give the same answers."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.catalog import sandbox
from tagsel.errors import CatalogError
from tagsel.store import layout

NAN = np.arange(160) % 10 == 0
"""16 of 160 rows."""

QUESTIONS = {
    "isnan(MET_pt)": 16,
    "NOT isnan(MET_pt)": 144,
    "isnan(weight)": 16,
    "MET_pt > 100 AND NOT isnan(MET_pt)": 59 - 5,  # 101 to 159, without 110, 120, …, 150
    # and as the cut language has them: a comparison with NaN is false, `!=` is true
    "MET_pt > 10000": 0,
    "MET_pt > 100": 59 - 5,
    "10000 < weight": 0,
    "MET_pt >= weight": 144,
    "MET_pt = weight": 144,
    "MET_pt != weight": 16,
    "MET_pt <= weight": 144,
    "MET_pt BETWEEN 151 AND weight": 9,
    "5 BETWEEN 0 AND weight": 144 - 4,  # not NaN, nor 1, 2, 3, 4
    "5 NOT BETWEEN 0 AND weight": 16 + 4,
    "5 BETWEEN weight AND 7": 5,  # 1, 2, 3, 4, 5
    # a missing operand leaves the answer missing, so that NOT takes no row of it
    "NOT (weight > CASE WHEN event < 0 THEN 5.0 END)": 0,
    "NOT (MET_pt > 100)": 160 - (59 - 5),
    "MET_pt != 5": 159,
    "(CASE WHEN MET_pt > 10000 THEN 1 ELSE 0 END) > 0": 0,
    "run = run AND event >= 0": 160,
}


AGGREGATES = {
    "count(*) > 159": True,
    "sum(event) > 172719": True,  # 1000 + 1001 + … + 1159 = 160 · 1000 + 160 · 159 / 2 = 172720
    "sum(event) > 172720": False,
    "sum(MET_pt) > 5": False,  # NaN
    "sum(MET_pt) != sum(MET_pt)": True,
    "max(weight) > min(weight)": False,  # DuckDB takes NaN for the maximum
    "max(weight) FILTER (WHERE NOT isnan(weight)) > min(weight)": True,  # 159 > 1
    "5 BETWEEN 0 AND max(weight)": False,
    "5 BETWEEN 0 AND min(weight)": False,  # 1
    "1 BETWEEN 0 AND min(weight)": True,
    "avg(event) = 1079.5": True,  # 172720 / 160
    "sum(event)::DECIMAL(20, 2) >= 172720.01": False,
    "max(event) + 9007199254739834 > 9007199254740992": True,  # 1159 + … = 2^53 + 1, which no double is
    "max(event) + 9007199254739834 = 9007199254740992": False,
    "count(DISTINCT menu) != 1": False,
    "bool_or(event > 1158) = true": True,
    "min('nan') < max('z')": True,
    "max(DATE '2012-07-04') > min(DATE '2012-07-03')": True,
    "max(INTERVAL 1 DAY) >= min(INTERVAL 24 HOUR)": True,
    "list(1) > list(2)": False,
    "max({'a': 1}) > min({'a': 0})": True,
    "max(NULL) > 5": None,
    '(SELECT max(event) FROM "b.TAG") > 5': True,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """160 rows: 100 of run 7, 60 of run 8; events 1000 to 1159; numbers 0 to 159, each tenth NaN."""
    numbers = np.where(NAN, np.nan, np.arange(160))
    runs = np.repeat([7, 8], [100, 60]).astype(np.int32)
    home = workspace(tmp_path_factory.mktemp("nan"))
    build(home, "b.TAG", rows(160, run=runs, MET_pt=numbers.astype(np.float32), weight=numbers))
    return home


def test_comparisons_of_aggregates(home: Workspace) -> None:
    """Of each type: comparisons of NaN are false, and others are what they were."""
    answer = home.sql(f'SELECT {", ".join(AGGREGATES)} FROM "b.TAG"')
    (record,) = zip(*(column.to_pylist() for column in answer.columns), strict=True)
    assert dict(zip(AGGREGATES, record, strict=True)) == AGGREGATES
    assert answer.column_names[:2] == ["(count_star() > 159)", '(sum("event") > 172719)']


def test_comparisons_in_having_and_of_windows(home: Workspace) -> None:
    having = 'SELECT run, count(*) AS n FROM "b.TAG" GROUP BY run HAVING '
    assert home.sql(having + "count(*) > 60").to_pylist() == [{"run": 7, "n": 100}]
    # 1000 + … + 1099 = 104950 and 1100 + … + 1159 = 67770
    assert home.sql(having + "sum(event) < 104950").to_pylist() == [{"run": 8, "n": 60}]
    assert home.sql(having + "sum(weight) > 5 OR max(run) > 8").to_pylist() == []  # NaN in each run
    above = "sum(event) OVER (ORDER BY event) > 3003 AS above"  # 1000 + 1001 + 1002 = 3003
    nan = "sum(weight) OVER (ORDER BY event) > 0 AS nan"  # the first is NaN, and so is each sum
    sums = f'SELECT {above}, {nan} FROM "b.TAG"'
    windows = home.sql(f"SELECT count(*) FILTER (above) AS a, count(*) FILTER (nan) AS b FROM ({sums})")
    assert windows.to_pylist() == [{"a": 157, "b": 0}]
    # columns and sums of a group in one comparison, and a column of the group in SELECT
    both = 'SELECT run, run > 7 AS late FROM "b.TAG" GROUP BY run HAVING run < count(*) AND run * 10 < count(*)'
    assert home.sql(both).to_pylist() == [{"run": 7, "late": False}]  # 70 < 100, 80 > 60
    ranks = 'SELECT event FROM "b.TAG" QUALIFY row_number() OVER (ORDER BY event) > 158 ORDER BY event'
    assert home.sql(ranks)["event"].to_pylist() == [1158, 1159]


def test_comparisons_of_many_columns_keep_their_names(home: Workspace) -> None:
    answer = home.sql("SELECT COLUMNS('MET_pt|weight') > 158 FROM \"b.TAG\" ORDER BY event DESC LIMIT 1")
    assert answer.to_pylist() == [{"MET_pt": True, "weight": True}]


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_fault_56_nan_in_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    """`old`: parts whose floats carry statistics, as those of version 0.1."""
    if old:
        settings = layout._options
        monkeypatch.setattr(layout, "_options", lambda schema: {**settings(schema), "write_statistics": True})
    numbers = np.where(NAN, np.nan, np.arange(160))
    home = workspace(tmp_path)
    build(home, "a.TAG", rows(160, MET_pt=numbers.astype(np.float32), weight=numbers))
    (part,) = home["a.TAG"].inputs[0].snapshot.parts
    group = pq.read_metadata(part.path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    with_statistics = {c.path_in_schema for c in columns if c.is_stats_set}
    floats = {"MET_pt", "weight", "Muon_pt.list.element"}
    assert with_statistics & floats == (floats if old else set())
    assert {"run", "lumi", "event"} <= with_statistics
    for condition, count in QUESTIONS.items():
        answer = home.sql(f'SELECT count(*) AS n FROM "a.TAG" WHERE {condition}').to_pylist()
        assert answer == [{"n": count}], condition
    assert sandbox._misleads(str(part.path.absolute())) is old


def test_fault_56_columns_keep_their_names_and_joins_their_rows(tmp_path: Path) -> None:
    """Rewritten comparisons change no name; a join on NaN has no partner; groups and text are as they were."""
    numbers = np.where(NAN, np.nan, np.arange(160))
    home = workspace(tmp_path)
    build(home, "a.TAG", rows(160, MET_pt=numbers.astype(np.float32), weight=numbers))
    plain = home.sql('SELECT event < 3, MET_pt > 100 FROM "a.TAG" LIMIT 1')
    with duckdb.connect() as apart:
        apart.execute("CREATE TABLE t (event BIGINT, MET_pt FLOAT)")
        named = [column[0] for column in apart.execute("SELECT event < 3, MET_pt > 100 FROM t").description]
    assert plain.column_names == named
    (joined,) = home.sql('SELECT count(*) AS n FROM "a.TAG" t JOIN "a.TAG" u ON t.MET_pt = u.weight').to_pylist()
    assert joined == {"n": 144}
    grouped = home.sql('SELECT MET_pt > 100 AS high, count(*) AS n FROM "a.TAG" GROUP BY 1 ORDER BY 1').to_pylist()
    assert grouped == [{"high": False, "n": 106}, {"high": True, "n": 54}]
    text = home.sql("SELECT count(*) AS n FROM (SELECT 'nan' AS word, 'z' AS last FROM \"a.TAG\") WHERE word < last")
    assert text.to_pylist() == [{"n": 160}]
    nested = "MET_pt"
    for _ in range(12):
        nested = f"(({nested} > weight)::INT + weight)"
    with pytest.raises(CatalogError, match="nested too deeply"):
        home.sql(f'SELECT {nested} FROM "a.TAG"')
