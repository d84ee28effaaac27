"""A workspace that an earlier tagsel made opens, with the same answers; `make.py` says how fixtures are made."""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import people
import pytest

import tagsel
from tagsel.api import Workspace
from tagsel.cli.main import run

FIXTURES = sorted(Path(__file__).parent.glob("format-*"))


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name)
def fixture(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder into which a fixture was unpacked, and its answers."""
    with tarfile.open(request.param / "workspace.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path, json.loads((request.param / "answers.json").read_text())


@pytest.fixture
def opened(fixture: tuple[Path, dict[str, Any]]) -> tuple[Workspace, dict[str, Any]]:
    folder, answers = fixture
    return Workspace(folder / "W"), answers


def test_there_is_a_fixture_of_each_format() -> None:
    assert [path.name for path in FIXTURES] == ["format-1", "format-2"]


def test_snapshots_have_their_events(opened: tuple[Workspace, dict[str, Any]]) -> None:
    home, answers = opened
    for number, events in answers["events"].items():
        assert home[f"{answers['dataset']}@{number}"].count("true").accepted == events


def test_cuts_have_their_answers(opened: tuple[Workspace, dict[str, Any]]) -> None:
    home, answers = opened
    for cut, events in answers["counts"].items():
        assert home[answers["dataset"]].count(cut).accepted == events, cut


@pytest.mark.skipif(bool(people.why_not()), reason=people.why_not())
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_cuts_have_their_answers_for_a_reader(path: Path) -> None:
    """Somebody who may not write there: caches of an older format are made again in memory, and stay as they are."""
    answers = json.loads((path / "answers.json").read_text())
    with tempfile.TemporaryDirectory(prefix="tagsel-formats-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # tmp_path is closed to others
        with tarfile.open(path / "workspace.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        home = people.home_of(people.ALICE, folder)
        for cut, events in answers["counts"].items():
            words = ["count", answers["dataset"], cut, "-w", folder / "W", "--json"]
            done = people.tagsel(people.ALICE, words, home)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["accepted"] == events, cut
        assert {file: file.read_bytes() for file in before} == before


def test_lists_that_were_saved_are_those_that_are_selected(
    fixture: tuple[Path, dict[str, Any]], opened: tuple[Workspace, dict[str, Any]]
) -> None:
    folder, answers = fixture
    home, _ = opened
    cut = "MET_pt > 10 && nMuon >= 2"
    for events in (tagsel.read_events(folder / "dimuon.events"), home[answers["dataset"]].select(cut)):
        assert events.digest == answers["list"]["digest"]
        assert [f"{run}:{event}" for run, event in zip(events.run, events.event, strict=True)] == answers["list"]["ids"]
    assert len(tagsel.read_events(folder / "trigger.json")) == answers["first file by trigger"]


def test_a_pinned_snapshot_outlives_gc(opened: tuple[Workspace, dict[str, Any]]) -> None:
    home, answers = opened
    home.datasets.compact(answers["dataset"])
    home.datasets.gc(answers["dataset"], grace=0.0)
    assert home[f"{answers['dataset']}@1"].count("HLT_IsoMu24").accepted == answers["first file by trigger"]
    assert home[answers["dataset"]].count("true").accepted == answers["events"]["2"]


def test_the_jobs_are_done_and_have_their_results(opened: tuple[Workspace, dict[str, Any]]) -> None:
    home, answers = opened
    assert dict(home.jobs["1"].result().value) == answers["job"]
    assert [home.jobs[job].status().state for job in ("1", "2")] == ["done", "done"]
    for cut, events in answers["output"].items():
        assert home["user.double"].count(cut).accepted == events


def test_the_catalog_can_be_made_again_from_its_journal(fixture: tuple[Path, dict[str, Any]]) -> None:
    folder, answers = fixture
    assert run(["workspace", "rebuild", "-w", str(folder / "W")]) == 0
    assert Workspace(folder / "W")[answers["dataset"]].count("true").accepted == answers["events"]["2"]


def test_recover_has_nothing_to_do(fixture: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = fixture
    assert run(["workspace", "recover", "--dry-run", "-w", str(folder / "W")]) == 0
    assert "nothing to recover" in capsys.readouterr().out


def test_it_takes_more_events(fixture: tuple[Path, dict[str, Any]], opened: tuple[Workspace, dict[str, Any]]) -> None:
    folder, answers = fixture
    home, _ = opened
    again = home.ingest(folder / "nano-0.root", dataset=answers["dataset"])
    assert home[answers["dataset"]].count("true").accepted == answers["events"]["2"], again
