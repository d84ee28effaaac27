"""Outputs of jobs as datasets: registered once with their history, whoever dies; no name is given twice."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from builders import build, rows
from nanofile import nano, tagsel

from tagsel.api import Workspace
from tagsel.api.lists import Events
from tagsel.catalog import Catalog
from tagsel.errors import CatalogError
from tagsel.store import Table

NAME = "data18.X.TAG"
KEEP = 'branches = ["MET_pt"]\ndef process(events):\n    return events\n'
COUNT = 'branches = ["MET_pt"]\ndef process(events):\n    return {"n": len(events)}\n'


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    home = Workspace.init(tmp_path / "W")
    home.ingest(*[nano(tmp_path / f"{k}.root", 1000 * (k + 1)) for k in range(2)], dataset=NAME)
    return home


@pytest.fixture
def events(home: Workspace) -> Events:
    return home.select(NAME, "MET_pt > 50")  # 12 of each file's 25: 54.2, 58.3 … 100 GeV, in steps of 100 / 24


def script(folder: Path, text: str = KEEP) -> Path:
    path = folder / "job.py"
    path.write_text(text)
    return path


def test_a_list_is_delivered_again_after_its_output_became_a_dataset(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """The output's rows point to the same AOD files, of which its own file knows no more than the GUID."""
    job = home.submit(events, script(tmp_path), output="a.EVENTS")
    assert job.wait().state == "done" and job.ledger.delivered == 24
    mapped = home.map(events)
    assert [Path(f.pfn).name for f in mapped.files] == [f.lfn for f in mapped.files] != []
    assert home.skim(events, tmp_path / "skim.root").ledger.delivered == 24
    again = home.submit(events, script(tmp_path), output="z.EVENTS")
    assert again.wait().state == "done" and again.ledger.delivered == 24
    of_output = home.select("z.EVENTS", "MET_pt > 75")
    assert len(of_output) == 12  # 79.2 … 100 GeV: 6 of each file
    assert home.skim(of_output, tmp_path / "more.root").ledger.delivered == 12


def test_fault_13_an_output_killed_before_the_catalog_gets_its_parents_and_cut(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """The list is pinned when it is saved, so the output is the first that a submit says to the journal."""
    events.save(tmp_path / "list.events")
    submit = ("submit", tmp_path / "list.events", "--run", script(tmp_path), "--output", "a.EVENTS")
    killed = tagsel(*submit, home=home.folder, TAGSEL_KILL_AT="catalog.journal:1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Catalog(home.folder).names() == [NAME]
    assert Table.open(home.folder / "data" / "a.EVENTS").snapshot().rows == 24
    again = Workspace(home.folder)
    assert again.datasets().names() == ["a.EVENTS", NAME]  # mended from the dataset alone
    shown = tagsel("jobs", "show", "1", "--json", home=home.folder)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["output"] == "a.EVENTS"
    record = Workspace(home.folder).catalog.dataset("a.EVENTS")
    assert (record.type, record.state, record.events) == ("EVENTS", "output", 24)
    assert record.parents == (f"{NAME}@1",) and record.cut == events.provenance["cut"]
    assert (record.meta["job"], record.meta["delivered"]) == ("0001", 24)
    assert [j.output for j in Workspace(home.folder).catalog.jobs()] == ["a.EVENTS"]


@pytest.mark.parametrize("text", [KEEP, COUNT])
def test_a_name_that_another_job_has_is_refused_before_anything_runs(
    home: Workspace, events: Events, tmp_path: Path, text: str
) -> None:
    first = home.submit(events, script(tmp_path, text), output="a.OUT")
    with pytest.raises(CatalogError, match=r"job 0001 makes the dataset a\.OUT|there is a dataset a\.OUT"):
        home.submit(events, script(tmp_path, text), output="a.OUT")
    assert first.wait().state == "done"
    with pytest.raises(CatalogError, match=r"there is a dataset a\.OUT"):
        home.submit(events, script(tmp_path, text), output="a.OUT")
    assert len(home.jobs()) == 1


def test_a_name_that_a_failed_job_wanted_is_free_again(home: Workspace, events: Events, tmp_path: Path) -> None:
    failed = home.submit(events, script(tmp_path, "def process(events):\n    raise ValueError\n"), output="a.EVENTS")
    assert failed.wait().state == "failed"
    job = home.submit(events, script(tmp_path), output="a.EVENTS")
    assert job.wait().state == "done" and job.output == "a.EVENTS"


@pytest.mark.parametrize("text", [KEEP, COUNT])
def test_a_name_that_was_given_away_while_the_job_ran_loses_nothing(
    home: Workspace, events: Events, tmp_path: Path, text: str
) -> None:
    """Both datasets stay what they are, and the result stays in the job's folder."""
    job: Any = home.submit(events, script(tmp_path, text), output="a.OUT")
    table = build(home, "a.OUT", rows(10))
    with pytest.raises(CatalogError, match="another dataset has that name") as caught:
        job.wait()
    assert str(job.result().path) in caught.value.hint
    assert table.snapshot().rows == 10 == home.catalog.dataset("a.OUT").events
    assert job.ledger.delivered == 24
    if text is COUNT:
        assert job.result().value == {"n": 24}
        return
    assert home.ingest(job.result().path, dataset="b.EVENTS").events == 24
