"""Functional tests of sites: history, exclusion after failures in a row, recovery, and no mass exclusion."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tagsel.api import Workspace, sitetests
from tagsel.api.sitetests import FAILURES
from tagsel.base.lock_file import acquire
from tagsel.catalog import Catalog, FileRecord, PutDataset, PutFiles, PutReplicas, PutSiteTest
from tagsel.errors import CatalogError

MUON = "data09_900GeV.physics_Muon.TAG"
SITES = ("A", "B", "C", "D")


@pytest.fixture
def home(tmp_path: Path, sample_home: Path) -> Workspace:
    """The sample's workspace, with a copy of an AOD at each of four sites."""
    shutil.copytree(sample_home, tmp_path / "W")
    ws = Workspace(tmp_path / "W")
    file = ws.lists[ws[MUON].select("true")].map().files[0]
    for site in SITES:
        (tmp_path / site).mkdir()
        shutil.copy(file.pfn, tmp_path / site / "a.root")
        ws.sites.add(site, str(tmp_path / site))
        ws.catalog.record(PutReplicas(site, [(file.guid, "a.root")]))
    return ws


def _states(home: Workspace) -> dict[str, str]:
    return {row[0]: row[4] for row in home.sites.list().rows if row[0] in SITES}


def test_feature_83_tests_have_a_history(home: Workspace) -> None:
    assert [(t.site, t.good, t.error) for t in home.sites.test(*SITES)] == [(s, True, "") for s in SITES]
    home.sites.test("A")
    assert [t["good"] for t in home.sites.show("A")["tests"]] == [True, True]
    assert len(home.sites.show("B")["tests"]) == 1
    tested = home.catalog.sql("SELECT site, count(*) AS n FROM site_tests GROUP BY site ORDER BY site").to_pylist()
    assert [(r["site"], r["n"]) for r in tested] == [("A", 2), ("B", 1), ("C", 1), ("D", 1)]


def test_feature_84_a_site_that_fails_in_a_row_is_excluded_and_recovers(home: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "B" / "a.root"
    path.rename(tmp_path / "away")
    for n in range(FAILURES):
        assert _states(home)["B"] == "up", n
        (test,) = home.sites.test("B")
        assert not test.good
        assert "a.root" in test.error
    assert _states(home)["B"].startswith("excluded: functional tests failed")
    (tmp_path / "away").rename(path)
    home.sites.test("B")
    assert _states(home)["B"] == "up"


def test_failures_that_are_not_in_a_row_exclude_nobody(home: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "B" / "a.root"
    for _ in range(FAILURES):
        path.rename(tmp_path / "away")
        home.sites.test("B")
        (tmp_path / "away").rename(path)
        home.sites.test("B")
    assert _states(home)["B"] == "up"


def test_feature_84_where_most_fail_nobody_is_excluded(home: Workspace, tmp_path: Path) -> None:
    for site in ("A", "B", "C"):
        shutil.rmtree(tmp_path / site)
    for _ in range(FAILURES + 2):
        home.sites.test(*SITES)
    assert _states(home) == dict.fromkeys(SITES, "up")


def test_feature_84_sites_that_fail_one_by_one_are_not_all_excluded(
    home: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Five sites hold files, HOME among them: one in three is one. Each is tested alone, three times, and fails."""
    for site in SITES:
        shutil.rmtree(tmp_path / site)
        for _ in range(FAILURES):
            home.sites.test(site)
    assert [site for site, state in _states(home).items() if state != "up"] == ["A"]
    assert "tests have excluded 1 of 5 sites already, and exclude 1 at most" in caplog.text  # of B: two were tested
    assert "so do 3 of the 3 sites tested in the last 24 h: the fault is taken to be here" in caplog.text  # of C
    assert "so do 4 of the 4 sites" in caplog.text


def test_sites_are_counted_and_excluded_under_one_lock(
    home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two processes that test two sites at once could exclude both, where one in five may be.

    While another process holds the lock nothing is recorded, and it is named.
    """
    (tmp_path / "B" / "a.root").unlink()
    lock = home.folder / sitetests.LOCK
    seen = []
    real_spared, real_record = sitetests._spared, sitetests.record

    def locked(step: str) -> None:
        other = acquire(lock, patience=0.0)
        seen.append((step, other is None))
        if other is not None:
            other.release()

    def spared(catalog: Catalog, site: str) -> str:
        locked("count")
        return real_spared(catalog, site)

    def record(catalog: Catalog, made: Any) -> Any:
        changes = real_record(catalog, made)
        locked("write")
        return changes

    monkeypatch.setattr(sitetests, "_spared", spared)
    monkeypatch.setattr(sitetests, "record", record)
    for _ in range(FAILURES - 1):
        home.sites.test("B")
    monkeypatch.setattr(sitetests, "PATIENCE_S", 0.0)
    elsewhere = acquire(lock, action="the test")
    assert elsewhere is not None
    seen.clear()
    with elsewhere, pytest.raises(CatalogError, match=r"catalog\.sites is held by .*the test"):
        home.sites.test("B")
    assert (len(home.sites.show("B")["tests"]), seen, _states(home)["B"]) == (FAILURES - 1, [], "up")
    home.sites.test("B")
    assert seen == [("count", True), ("write", True)]
    assert _states(home)["B"].startswith("excluded: ")


def test_the_last_site_that_is_usable_is_not_excluded_by_tests(home: Workspace, tmp_path: Path) -> None:
    for site in ("HOME", "A", "C", "D"):
        home.sites.exclude(site, "power")
    shutil.rmtree(tmp_path / "B")
    for _ in range(FAILURES):
        home.sites.test("B")
    assert _states(home)["B"] == "up"


def test_failures_of_long_ago_exclude_nobody(home: Workspace, tmp_path: Path) -> None:
    """Two of the three failures are of the day before yesterday."""
    shutil.rmtree(tmp_path / "B")
    for hours in (50, 49):
        when = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        home.catalog.record(PutSiteTest("B", when, False, 0.1, "gone"))
    for n in range(FAILURES):
        assert _states(home)["B"] == "up", n
        home.sites.test("B")
    assert _states(home)["B"].startswith("excluded: ")


def test_what_a_person_excluded_only_a_person_lifts(home: Workspace) -> None:
    home.sites.exclude("A", "black hole")
    home.sites.test("A")
    assert _states(home)["A"] == "excluded: black hole"


def test_another_file_under_the_name_fails(home: Workspace, tmp_path: Path) -> None:
    other = home.lists[home[MUON].select("true")].map().files[1]
    shutil.copy(other.pfn, tmp_path / "C" / "a.root")
    (test,) = home.sites.test("C")
    assert "GUID" in test.error


def test_failures_of_before_a_person_said_up_do_not_count(home: Workspace, tmp_path: Path) -> None:
    (tmp_path / "B" / "a.root").unlink()
    for _ in range(FAILURES):
        home.sites.test("B")
    assert home.sites.up("B") == 1
    for n in range(FAILURES):
        assert _states(home)["B"] == "up", n
        home.sites.test("B")
    assert _states(home)["B"].startswith("excluded: ")


@pytest.mark.parametrize(("name", "damage"), [("result.json", "is no JSON"), ("result.parquet", "footer")])
def test_results_are_tested_by_their_kind(home: Workspace, tmp_path: Path, name: str, damage: str) -> None:
    """A site that holds a result only: good as it is, then of another size, then of this size but damaged."""
    guid, path = "00D1B2C3-0000-4000-8000-000000000001", tmp_path / "only" / name
    path.parent.mkdir()
    sample = Path(__file__).parents[2] / "data/sample/files/data09_900GeV.physics_MinBias.TAG._0001.parquet"
    content = sample.read_bytes() if name.endswith("parquet") else b'{"value": 7}'
    path.write_bytes(content)
    file = FileRecord(guid, name, "", "TAG", -1, len(content))
    home.sites.add("ONLY", str(path.parent))
    home.catalog.record(PutDataset("r.NUM"), PutFiles("r.NUM", [file]), PutReplicas("ONLY", [(guid, name)]))
    assert [t.error for t in home.sites.test("ONLY")] == [""]
    path.write_bytes(content + b" ")
    assert f"its size is {len(content) + 1}, the catalog says {len(content)}" in home.sites.test("ONLY")[0].error
    path.write_bytes(b"x" * len(content))
    assert damage in home.sites.test("ONLY")[0].error
