"""Submitting with sites that are down or excluded: where pieces go, what is refused and why, and `explain`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tagsel.api import Workspace
from tagsel.api.brokering import brokered
from tagsel.catalog import PutReplicas
from tagsel.cli.main import run
from tagsel.errors import JobError
from tagsel.jobs import runner
from tagsel.jobs.folder import JobFolder

MUON = "data09_900GeV.physics_Muon.TAG"


@pytest.fixture
def home(tmp_path: Path, sample_home: Path) -> Workspace:
    """The sample's workspace; the Muon stream's two AODs lie at HOME, and by another name also at FAR."""
    shutil.copytree(sample_home, tmp_path / "W")
    ws = Workspace(tmp_path / "W")
    ws.sites.add("FAR")
    files = ws.lists[ws[MUON].select("true")].map().files
    far = tmp_path / "far"
    far.mkdir()
    for file in files:
        shutil.copy(file.pfn, far / f"{file.guid}.root")
    ws.catalog.record(PutReplicas("FAR", [(f.guid, str(far / f"{f.guid}.root")) for f in files]))
    (tmp_path / "job.py").write_text("def process(events):\n    return {'n': len(events)}\n")
    return ws


def test_feature_85_a_site_that_is_down_is_neither_gone_to_nor_read_from(home: Workspace, tmp_path: Path) -> None:
    events = home[MUON].select("NLooseMuon >= 2")
    home.sites.down("HOME", reason="power")
    job = home.lists[events].submit(tmp_path / "job.py", by="file")
    job.wait()
    assert job.result().value == {"n": len(events)}
    assert {c["site"] for c in job.choices} == {c["source"] for c in job.choices} == {"FAR"}
    for choice in job.choices:
        assert list(choice["refused"]) == ["HOME"]
        assert choice["refused"]["HOME"].startswith("down")
        assert choice["refused"]["HOME"].endswith("power")
    (row,) = home.jobs[job.id].explain().rows
    assert row[:4] == ("FAR", "FAR", 2, len(events))
    mapped = brokered(home.home, home.lists[events].map(), here=True)[1]
    assert all(Path(f.pfn).parent == tmp_path / "far" for f in mapped.files)


def test_where_no_copy_can_be_used_nothing_runs_and_the_remedy_is_named(home: Workspace, tmp_path: Path) -> None:
    events = home[MUON].select("NLooseMuon >= 2")
    home.sites.down("HOME", ends="2999-01-01T00:00+00:00")
    home.sites.down("FAR")
    with pytest.raises(JobError, match="2 of 2 files can be processed nowhere") as refused:
        home.lists[events].submit(tmp_path / "job.py")
    assert "FAR is down" in refused.value.message
    assert "HOME is down until 2999-01-01" in refused.value.message
    assert refused.value.hint == "tagsel sites up FAR"
    assert home.jobs.list() == ()


def test_an_excluded_site_gets_no_jobs_but_gives_its_files(home: Workspace) -> None:
    """Of an engine with sites; a job here goes to no site, so that nothing is excluded."""
    events = home[MUON].select("NLooseMuon >= 2")
    home.sites.exclude("HOME", "black hole")
    home.sites.exclude("FAR", "full")
    home.sites.add("KIT")
    moved, _ = brokered(home.home, home.lists[events].map(), here=False)
    assert {(c.site, c.moved == c.bytes > 0) for c in moved.choices} == {("KIT", True)}
    here, _ = brokered(home.home, home.lists[events].map(), here=True)
    assert {(c.moved, c.problem) for c in here.choices} == {(0, "")}


def test_feature_66_a_piece_whose_site_failed_goes_to_another_that_holds_it(home: Workspace, tmp_path: Path) -> None:
    job = home.lists[home[MUON].select("NLooseMuon >= 2")].submit(tmp_path / "job.py", by="file")
    job.wait()
    folder = JobFolder(home.folder / "jobs" / job.id)
    plan = folder.pieces[0]
    first, other = plan["site"], ({"HOME", "FAR"} - {plan["site"]}).pop()
    assert [runner._other_site(folder, plan, attempt) for attempt in (1, 2, 3)] == [first, other, first]


def test_explain_says_all_that_the_broker_knows(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = home[MUON].select("NLooseMuon >= 2")
    home.sites.down("FAR", reason="cooling")
    home.lists[events].submit(tmp_path / "job.py", by="file").wait()
    assert run(["-w", str(home.folder), "jobs", "explain", "1"]) == 0
    site, source, files, count, *_ = capsys.readouterr().out.split("\t")
    assert (site, source, int(files), int(count)) == ("HOME", "HOME", 2, len(events))
    assert run(["-w", str(home.folder), "jobs", "explain", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["files"]
    assert sum(c["events"] for c in told) == len(events)
    assert run(["-w", str(home.folder), "jobs", "explain", "7"]) == 2
