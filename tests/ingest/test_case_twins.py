"""Names that differ in letter case only are attributes of their own, in the language, in SQL and in Python.

cmssw renamed FatJet_particleNet_WvsQCD to …_WVsQCD between two NanoAOD versions: here the old files have the values
0.0, 0.1, …, 0.9, the new ones 0.05, 0.15, …, 0.95, so that a mix-up of the two shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.api import Workspace
from tagsel.errors import CatalogError

NAME = "mc.A.TAG"
OLD, NEW = "FatJet_particleNet_WvsQCD", "FatJet_particleNet_WVsQCD"


def written(path: Path, first: int, **columns: object) -> Path:
    """Ten events numbered from `first`."""
    ids = {
        "run": pa.array([1] * 10, pa.int32()),
        "luminosityBlock": pa.array([1] * 10, pa.int32()),
        "event": pa.array(range(first, first + 10), pa.int64()),
    }
    pq.write_table(pa.table({**ids, **columns}), path)
    return path


def scores(first: float) -> pa.Array:
    """One jet an event, its score rising by 0.1 from `first`."""
    return pa.array([[first + k / 10] for k in range(10)], pa.list_(pa.float32()))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("twins")
    home = Workspace.init(folder / "W")
    old = written(folder / "v9.parquet", 1, **{OLD: scores(0)})
    new = written(folder / "v12.parquet", 101, **{NEW: scores(0.05)})
    home.ingest(old, new, dataset=NAME, evolve=True, profile="full")
    return home


def test_each_twin_has_its_own_values_in_cuts(home: Workspace) -> None:
    old, new = "FatJet.particleNet_WvsQCD", "FatJet.particleNet_WVsQCD"
    assert home[NAME].count("true").accepted == 20
    assert home[NAME].select(f"{old}[0] > 0.72").event.tolist() == [9, 10]  # 0.8 and 0.9
    assert home[NAME].select(f"{new}[0] > 0.72").event.tolist() == [108, 109, 110]  # 0.75, 0.85, 0.95
    assert home[NAME].count(f"present({old}[0])").accepted == 10
    assert home[NAME].count(f"any(j in FatJet: j.particleNet_WVsQCD > 0.72) || {OLD}[0] > 0.72").accepted == 5


def test_each_twin_has_its_own_values_in_sql_and_python(home: Workspace) -> None:
    where = f'FROM "{NAME}" WHERE event IN (3, 103) ORDER BY event'
    answer = home.sql(f'SELECT event, {OLD} AS a, "{NEW}" AS b {where}').to_pylist()
    assert answer == [
        {"event": 3, "a": [np.float32(0.2)], "b": None},
        {"event": 103, "a": None, "b": [np.float32(0.25)]},
    ]
    names = home.sql(f"SELECT {NEW}, {OLD} {where}").column_names
    assert names == [NEW, OLD]
    assert {OLD, NEW} <= set(home.sql(f"SELECT * {where}").column_names)
    shown = str(home[NAME].attributes("FatJet*"))
    assert "FatJet.particleNet_WvsQCD" in shown and "FatJet.particleNet_WVsQCD" in shown and "__" not in shown
    (record,) = home[NAME].where("event == 103").head(1, ["FatJet.particleNet_WVsQCD"]).to_list()
    assert record == {"FatJet.particleNet_WVsQCD": [np.float32(0.25)]}


def test_a_dataset_keeps_the_column_of_each_twin(home: Workspace, tmp_path: Path) -> None:
    """A later file has the second name alone: its values join the second column, not the first."""
    more = written(tmp_path / "more.parquet", 201, **{NEW: scores(0.05)})
    home.ingest(more, dataset=NAME, profile="full", evolve=True)
    assert home[NAME].count("FatJet.particleNet_WVsQCD[0] > 0.72").accepted == 6
    columns = {a.name: a.column for a in home[NAME].inputs[0].snapshot.schema}
    assert columns["FatJet.particleNet_WvsQCD"] == OLD
    assert columns["FatJet.particleNet_WVsQCD"] == f"{NEW}__2"


def test_twins_in_one_file_and_twin_collections(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    numbers = pa.array(range(10), pa.int32())
    lists = {
        "Jet_pt": pa.array([[1.0]] * 10),
        "JET_pt": pa.array([[2.0, 3.0]] * 10),
        "nJET": pa.array([2] * 10, pa.int32()),
    }
    path = written(tmp_path / "a.parquet", 1, x=numbers, X=pa.array([5] * 10, pa.int32()), **lists)
    home.ingest(path, dataset=NAME, profile="full")
    assert home[NAME].count("x < 3").accepted == 3
    assert home[NAME].count("X == 5").accepted == 10
    assert home[NAME].count("nJet == 1 && nJET == 2 && sum(JET.pt) == 5 && sum(Jet.pt) == 1").accepted == 10
    assert home.sql(f'SELECT x, X FROM "{NAME}" WHERE X = 5 AND x = 7').to_pylist() == [{"x": 7, "X": 5}]
    # names in headers and errors are those of attributes, and names that the query gives are its own
    items = 'max("X"), "X" > 4, sum(x), "X" > x AS b'
    headers = home.sql(f'SELECT {items} FROM "{NAME}" GROUP BY "X", x ORDER BY x LIMIT 1')
    assert headers.column_names == ["max(X)", "(X > 4)", "sum(x)", "b"]
    assert [column[0].as_py() for column in headers.columns] == [5, True, 0, True]
    groups = f'''SELECT count(*) AS n FROM "{NAME}" WHERE 'é X' > 'X' GROUP BY "X", x /* X */'''
    assert home.sql(groups)["n"].to_pylist() == [1] * 10  # x is another in each row
    without = home.sql(f'SELECT * EXCLUDE ("X") FROM "{NAME}"').column_names
    assert "x" in without and "X" not in without
    (joined,) = home.sql(f'SELECT count(*) AS n FROM "{NAME}" a JOIN "{NAME}" b USING ("X")').to_pylist()
    assert joined == {"n": 100}  # X is 5 in each of ten rows
    own = home.sql(f'SELECT "X".event, 9 - x AS "X" FROM "{NAME}" AS "X" ORDER BY "X" LIMIT 1').to_pylist()
    assert own == [{"event": 10, "X": 0}]
    with pytest.raises(CatalogError, match='"X" must appear in the GROUP BY'):
        home.sql(f'SELECT "X", count(*) FROM "{NAME}"')


def test_sql_over_datasets_that_store_a_twin_apart_is_refused(tmp_path: Path) -> None:
    """X is the second column in one dataset, and x in the other: no one name stands for both."""
    home = Workspace.init(tmp_path / "W")
    five, numbers = pa.array([5] * 10, pa.int32()), pa.array(range(10), pa.int32())
    home.ingest(written(tmp_path / "a.parquet", 1, x=numbers, X=five), dataset="mc.A.TAG", profile="full")
    home.ingest(written(tmp_path / "b.parquet", 1, X=five, x=numbers), dataset="mc.B.TAG", profile="full")
    query = 'SELECT a.X FROM "mc.A.TAG" a JOIN "mc.B.TAG" b USING (event)'
    with pytest.raises(CatalogError, match="X is the column X__2 in one of these datasets and X in another"):
        home.sql(query)
