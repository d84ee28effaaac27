"""Functional tests of sites: history, exclusion after failures in a row, recovery, and no mass exclusion."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tagsel.api import Workspace
from tagsel.api.sitetests import FAILURES
from tagsel.catalog import PutReplicas

MUON = "data09_900GeV.physics_Muon.TAG"
SITES = ("A", "B", "C", "D")


@pytest.fixture
def home(tmp_path: Path, sample_home: Path) -> Workspace:
    """The sample's workspace, with a copy of an AOD at each of four sites."""
    shutil.copytree(sample_home, tmp_path / "W")
    ws = Workspace(tmp_path / "W")
    file = ws.map(ws.select(MUON, "true")).files[0]
    for site in SITES:
        (tmp_path / site).mkdir()
        shutil.copy(file.pfn, tmp_path / site / "a.root")
        ws.add_site(site, str(tmp_path / site))
        ws.catalog.record(PutReplicas(site, [(file.guid, "a.root")]))
    return ws


def _states(home: Workspace) -> dict[str, str]:
    return {row[0]: row[4] for row in home.sites().rows if row[0] in SITES}


def test_feature_83_tests_have_a_history(home: Workspace) -> None:
    assert [(t.site, t.good, t.error) for t in home.test_sites(*SITES)] == [(s, True, "") for s in SITES]
    home.test_sites("A")
    assert [t["good"] for t in home.site("A")["tests"]] == [True, True]
    assert len(home.site("B")["tests"]) == 1
    tested = home.catalog.sql("SELECT site, count(*) AS n FROM site_tests GROUP BY site ORDER BY site").to_pylist()
    assert [(r["site"], r["n"]) for r in tested] == [("A", 2), ("B", 1), ("C", 1), ("D", 1)]


def test_feature_84_a_site_that_fails_in_a_row_is_excluded_and_recovers(home: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "B" / "a.root"
    path.rename(tmp_path / "away")
    for n in range(FAILURES):
        assert _states(home)["B"] == "up", n
        (test,) = home.test_sites("B")
        assert not test.good
        assert "a.root" in test.error
    assert _states(home)["B"].startswith("excluded: functional tests failed")
    (tmp_path / "away").rename(path)
    home.test_sites("B")
    assert _states(home)["B"] == "up"


def test_failures_that_are_not_in_a_row_exclude_nobody(home: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "B" / "a.root"
    for _ in range(FAILURES):
        path.rename(tmp_path / "away")
        home.test_sites("B")
        (tmp_path / "away").rename(path)
        home.test_sites("B")
    assert _states(home)["B"] == "up"


def test_feature_84_where_most_fail_nobody_is_excluded(home: Workspace, tmp_path: Path) -> None:
    for site in ("A", "B", "C"):
        shutil.rmtree(tmp_path / site)
    for _ in range(FAILURES + 2):
        home.test_sites(*SITES)
    assert _states(home) == dict.fromkeys(SITES, "up")


def test_what_a_person_excluded_only_a_person_lifts(home: Workspace) -> None:
    home.exclude("A", "black hole")
    home.test_sites("A")
    assert _states(home)["A"] == "excluded: black hole"


def test_another_file_under_the_name_fails(home: Workspace, tmp_path: Path) -> None:
    other = home.map(home.select(MUON, "true")).files[1]
    shutil.copy(other.pfn, tmp_path / "C" / "a.root")
    (test,) = home.test_sites("C")
    assert "GUID" in test.error
