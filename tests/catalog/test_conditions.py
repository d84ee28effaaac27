"""Conditions of runs, from CSV, beside datasets and their runs in one SQL statement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagsel.catalog import Catalog, PutConditions, PutDataset, PutRuns, read_conditions
from tagsel.errors import CatalogError


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Runs 1, 2 and 3 with 10, 20 and 40 events."""
    made = Catalog(tmp_path)
    made.record(PutDataset("a.TAG", events=70), PutRuns("a.TAG", [(1, 1, 10), (2, 1, 20), (3, 1, 40)]))
    return made


def test_feature_13_conditions_of_runs_join_in_one_statement(catalog: Catalog, tmp_path: Path) -> None:
    """Magnet on in runs 1 and 3: 50 events; of these with mu above 1.4: run 3, 40 events."""
    path = tmp_path / "magnet.csv"
    path.write_text("run,Magnet,mu,good\n1,on,1.2,true\n2,off,1.5,true\n3,on,1.6,false\n4,on,,\n")
    catalog.record(PutConditions(read_conditions(path)))
    query = "SELECT sum(events)::BIGINT AS n FROM runs JOIN conditions USING (run) WHERE magnet = 'on'"
    assert catalog.sql(query).to_pylist() == [{"n": 50}]
    assert catalog.sql(query + " AND mu > 1.4").to_pylist() == [{"n": 40}]
    assert catalog.sql("SELECT run, mu, good FROM conditions ORDER BY run").to_pylist() == [
        {"run": 1, "mu": 1.2, "good": True},
        {"run": 2, "mu": 1.5, "good": True},
        {"run": 3, "mu": 1.6, "good": False},
        {"run": 4, "mu": None, "good": None},
    ]
    catalog.record(PutConditions([(2, {"magnet": "on"})]))
    assert catalog.sql(query).to_pylist() == [{"n": 70}]
    catalog.rebuild()
    assert catalog.sql(query).to_pylist() == [{"n": 70}]


def test_without_any_conditions_the_table_is_there_and_empty(catalog: Catalog) -> None:
    assert catalog.sql("SELECT * FROM conditions").num_rows == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1 names the columns"),
        ("magnet\non\n", "line 1 names the columns magnet"),
        ("run,a,A\n1,2,3\n", "line 1 names the columns"),
        ("run,a\n1\n", "line 2 has 1 fields, 2 were expected"),
        ("run,a\nx,2\n", "line 2: run is 'x'"),
        ("run,a\n1.5,2\n", "line 2: run is 1.5"),
        ("run,a\n,2\n", "line 2: run is None"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(CatalogError, match=said):
        read_conditions(path)


def test_a_key_that_is_no_word_is_refused(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="cannot be a key"):
        catalog.record(PutConditions([(1, {"beam energy": 450})]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run,magnet\n1,on\n2,on\n1,off\n", "line 4: run 1 has magnet = off, and line 2 gave it on"),
        ("run,mu\n1,2\n1,2.5\n", "line 3: run 1 has mu = 2.5, and line 2 gave it 2"),
        ("run,luminosityBlock,mu\n1,1,2\n1,2,3\n", "line 1: the column luminosityBlock is a luminosity block"),
        ("run,LB,mu\n1,1,2\n", "line 1: the column LB is a luminosity block"),
    ],
)
def test_fault_57_conditions_by_luminosity_block_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(CatalogError, match=said) as caught:
        read_conditions(path)
    assert "one line for each run" in caught.value.hint


def test_fault_57_a_value_that_is_said_twice_is_one(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("run,magnet,mu\n1,on,\n1,on,2.5\n")
    catalog.record(PutConditions(read_conditions(path)))
    assert catalog.sql("SELECT * FROM conditions").to_pylist() == [{"run": 1, "magnet": "on", "mu": 2.5}]
