"""Outputs of jobs as datasets: registered once with their history, whichever process dies; no name is given twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import build, rows
from nanofile import nano, tagsel

from tagsel.api import Workspace
from tagsel.api.event_lists import Events
from tagsel.catalog import Catalog, PutDataset
from tagsel.cli.main import run
from tagsel.errors import CatalogError, IngestError, JobError
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
    return home[NAME].select("MET_pt > 50")  # 12 of each file's 25: 54.2, 58.3 … 100 GeV, in steps of 100 / 24


def script(folder: Path, text: str = KEEP) -> Path:
    path = folder / "job.py"
    path.write_text(text)
    return path


def test_a_list_is_delivered_again_after_its_output_became_a_dataset(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """The output's rows point to the same AOD files, of which its own file knows no more than the GUID."""
    job = home.lists[events].submit(script(tmp_path), output="a.EVENTS")
    assert job.wait().state == "done" and job.ledger.delivered == 24
    mapped = home.lists[events].map()
    assert [Path(f.pfn).name for f in mapped.files] == [f.lfn for f in mapped.files] != []
    assert home.lists[events].skim(tmp_path / "skim.root").ledger.delivered == 24
    again = home.lists[events].submit(script(tmp_path), output="z.EVENTS")
    assert again.wait().state == "done" and again.ledger.delivered == 24
    of_output = home["z.EVENTS"].select("MET_pt > 75")
    assert len(of_output) == 12  # 79.2 … 100 GeV: 6 of each file
    assert home.lists[of_output].skim(tmp_path / "more.root").ledger.delivered == 12


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
    assert again.datasets.find().names() == ["a.EVENTS", NAME]  # mended from the dataset alone
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
    first = home.lists[events].submit(script(tmp_path, text), output="a.OUT")
    with pytest.raises(CatalogError, match=r"job 0001 makes the dataset a\.OUT|there is a dataset a\.OUT"):
        home.lists[events].submit(script(tmp_path, text), output="a.OUT")
    assert first.wait().state == "done"
    with pytest.raises(CatalogError, match=r"there is a dataset a\.OUT"):
        home.lists[events].submit(script(tmp_path, text), output="a.OUT")
    assert len(home.jobs.list()) == 1


def test_a_name_that_a_failed_job_wanted_is_free_again(home: Workspace, events: Events, tmp_path: Path) -> None:
    failed = home.lists[events].submit(
        script(tmp_path, "def process(events):\n    raise ValueError\n"), output="a.EVENTS"
    )
    assert failed.wait().state == "failed"
    job = home.lists[events].submit(script(tmp_path), output="a.EVENTS")
    assert job.wait().state == "done" and job.output == "a.EVENTS"


@pytest.mark.parametrize("text", [KEEP, COUNT])
def test_a_name_that_was_given_away_while_the_job_ran_loses_nothing(
    home: Workspace, events: Events, tmp_path: Path, text: str
) -> None:
    """Both datasets stay what they are, and the result stays in the job's folder."""
    job: Any = home.lists[events].submit(script(tmp_path, text), output="a.OUT")
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
    other = home.lists[events].submit(script(tmp_path, text), output="c.OUT")
    assert other.wait().state == "done"
    with pytest.raises(IngestError, match="what tagsel made there is no input"):
        home.ingest(other.result().path, dataset="d.EVENTS")


# -- what was unreadable comes back


def loses(home: Workspace, folder: Path, text: str, **how: Any) -> tuple[Any, Path, bytes]:
    """A job of 24 events in two files, of which the second is another file meanwhile; it, and what it was."""
    lost = folder / "1.root"
    whole = lost.read_bytes()
    events = home[NAME].select("MET_pt > 50")
    nano(lost, 5000)
    job = home.lists[events].submit(script(folder, text), by="file", **how)
    assert job.wait().state == "done"
    assert (job.ledger.delivered, job.ledger.unreadable) == (12, 12)
    return job, lost, whole


def test_fault_31_resubmit_delivers_what_was_unreadable(home: Workspace, tmp_path: Path) -> None:
    _, lost, whole = loses(home, tmp_path, KEEP, output="a.EVENTS")
    assert len(home["a.EVENTS"].select("MET_pt > 0")) == 12
    first = home.catalog.dataset("a.EVENTS").snapshot
    home.catalog.record(PutDataset("a.EVENTS", **noted(home, "a.EVENTS")))
    lost.write_bytes(whole)
    again = home.jobs["1"].resubmit()
    assert again.wait().state == "done"
    assert (again.ledger.delivered, again.ledger.unreadable, again.problems) == (24, 0, [])
    everything = home["a.EVENTS"].select("MET_pt > 0")
    assert sorted(everything.event.tolist()) == sorted(home[NAME].select("MET_pt > 50").event.tolist())
    assert home.lists[everything].skim(tmp_path / "skim.root").ledger.delivered == 24
    assert len(home[f"a.EVENTS@{first}"].select("MET_pt > 0")) == 12  # as before
    record = home.catalog.dataset("a.EVENTS")
    assert (record.events, record.files, record.meta["delivered"], record.meta["unreadable"]) == (24, 1, 24, 0)
    assert record.meta["note"] == "mine"
    known = record.snapshot
    home.jobs["1"].resubmit().wait()  # a job that lost nothing is left as it is
    assert home.catalog.dataset("a.EVENTS").snapshot == known


def noted(home: Workspace, name: str) -> dict[str, Any]:
    """The facts of a dataset with a word of its owner's."""
    facts: dict[str, Any] = home.catalog.dataset(name).facts()
    return {**facts, "meta": {**facts["meta"], "note": "mine"}}


def test_fault_31_resubmit_renews_the_file_of_numbers(home: Workspace, tmp_path: Path) -> None:
    job, lost, whole = loses(home, tmp_path, COUNT, output="a.N")
    home.catalog.record(PutDataset("a.N", **noted(home, "a.N")))
    assert job.result().value == {"n": 12}
    lost.write_bytes(whole)
    again = home.jobs["1"].resubmit()
    again.wait()
    assert again.result().value == {"n": 24}
    record = home.catalog.dataset("a.N")
    assert (record.type, record.files, record.meta["delivered"], record.meta["note"]) == ("NUMBERS", 1, 24, "mine")
    (file,) = home.catalog.files("a.N")
    assert (Path(file.pfn), file.bytes) == (again.result().path, again.result().path.stat().st_size)


def test_an_output_that_was_nothing_becomes_events(home: Workspace, tmp_path: Path) -> None:
    """The script cannot take an empty batch, so where nothing is readable there is a result of no kind."""
    first = home[NAME].select("MET_pt > 50 and event < 2000")
    lost = tmp_path / "0.root"
    whole = lost.read_bytes()
    nano(lost, 5000)
    job = home.lists[first].submit(script(tmp_path, KEEP.replace("    return", "    int(events.event[0])\n    return")))
    job.wait()
    assert (job.result().kind, job.output) == ("none", "jobs.0001.NUMBERS")
    lost.write_bytes(whole)
    again = home.jobs["1"].resubmit()
    again.wait()
    assert (again.result().events, again.output) == (12, "jobs.0001.EVENTS")
    assert home.catalog.names() == [NAME, "jobs.0001.EVENTS"]


@pytest.mark.parametrize("point", ["jobs.merge:2", "store.commit:2", "catalog.journal:1"])
def test_fault_13_a_renewal_that_is_killed_is_finished_by_the_next(home: Workspace, tmp_path: Path, point: str) -> None:
    _, lost, whole = loses(home, tmp_path, KEEP, output="a.EVENTS")
    lost.write_bytes(whole)
    killed = tagsel("jobs", "resubmit", "1", home=home.folder, TAGSEL_KILL_AT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    verb = "resubmit" if point.startswith("jobs.merge") else "show"
    shown = tagsel("jobs", verb, "1", home=home.folder)
    assert shown.returncode == 0, shown.stderr
    again = Workspace(home.folder)
    assert len(again["a.EVENTS"].select("MET_pt > 0")) == 24
    assert again.catalog.dataset("a.EVENTS").meta["delivered"] == 24


def test_losses_and_failures_of_a_job_in_the_terminal(home: Workspace, tmp_path: Path) -> None:
    """A file is named once, whatever pieces it is in; `show` and `resubmit` exit with 3 until nothing is lost."""
    events = home[NAME].select("MET_pt > 50")
    lost = tmp_path / "1.root"
    whole = lost.read_bytes()
    nano(lost, 5000)
    home.lists[events].submit(script(tmp_path), events_per_job=4).wait()
    shown = tagsel("jobs", "show", "1", home=home.folder)
    assert shown.returncode == 3
    (line,) = [text for text in shown.stderr.splitlines() if "unreadable: " in text]
    assert line.count(str(lost)) == 1 and "(12 events)" in line
    assert tagsel("jobs", "resubmit", "1", home=home.folder).returncode == 3
    lost.write_bytes(whole)
    assert tagsel("jobs", "resubmit", "1", home=home.folder).returncode == 0
    assert tagsel("jobs", "show", "1", home=home.folder).returncode == 0


def test_a_job_whose_pieces_do_not_merge_says_so(home: Workspace, events: Events, tmp_path: Path) -> None:
    body = "def process(events):\n    return {'n': 1} if events.event[0] < 2000 else {'m': 2}\n"
    job = home.lists[events].submit(script(tmp_path, body), by="file", output="a.N")
    why = "records of different keys: m in piece 1; n in piece 0"
    with pytest.raises(JobError, match=why):
        job.wait()
    assert [(j.state, j.output) for j in home.catalog.jobs()] == [("failed", "")]
    shown = tagsel("jobs", "show", "1", home=home.folder)
    assert shown.returncode == 2
    assert "job 0001: failed" in shown.stdout and why in shown.stderr
    path = tmp_path / "x.events"
    events.save(path)
    words = ("submit", str(path), "--run", str(script(tmp_path, body)), "--by", "file")
    submitted = tagsel(*words, home=home.folder)
    assert submitted.returncode == 2
    assert "job 0002 is submitted, but then: " in submitted.stderr and why in submitted.stderr
    assert home.lists[events].submit(script(tmp_path, COUNT), output="a.N").wait().state == "done"


def test_what_was_dropped_stays_dropped_until_there_is_another_result(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """Looking at the job does not bring its output back; a renewed result does, as it is another."""
    lost = tmp_path / "1.root"
    whole = lost.read_bytes()
    lost.unlink()
    for name, text, n in (("a.EVENTS", KEEP, 12), ("a.NUMBERS", COUNT, 12)):
        job = home.lists[events].submit(script(tmp_path, text), output=name, by="file")
        assert job.wait().state == "done" and job.ledger.delivered == n
        home.datasets.drop(name)
        for look in ("show", "diagnose", "wait"):
            getattr(home.jobs[job.id], look)()
            home.jobs[job.id].wait()
        assert name not in home
        assert [d.name for d in home.trash] == [name]
        home.trash.empty()
        lost.write_bytes(whole)
        home.jobs[job.id].resubmit().wait()
        assert home.catalog.dataset(name).meta["delivered"] == 24
        lost.unlink()


def test_a_renewed_result_is_another_file_of_which_there_is_no_copy_yet(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """12 events, then 24: the copy of the first is not taken for one of the second."""
    lost = tmp_path / "1.root"
    whole = lost.read_bytes()
    lost.unlink()
    job = home.lists[events].submit(script(tmp_path, COUNT), output="n.NUMBERS", by="file")
    job.wait()
    home.sites.add("FAR", prefix=str(tmp_path / "far"))
    assert [r.state for r in home.transfers.request("n.NUMBERS", "FAR")] == ["done"]
    (first,) = home.datasets.files("n.NUMBERS", site="FAR").rows
    lost.write_bytes(whole)
    home.jobs[job.id].resubmit().wait()
    assert job.result().value == {"n": 24}
    (row,) = home.datasets.files("n.NUMBERS").rows
    assert row[1] != first[1]  # GUIDs
    assert json.loads(Path(row[0]).read_text())["value"] == json.loads(Path(job.result().path).read_text())["value"]
    assert home.datasets.files("n.NUMBERS", site="FAR").rows[0][0] == ""
    assert [r.state for r in home.transfers.request("n.NUMBERS", "FAR")] == ["done"]
    (second,) = home.datasets.files("n.NUMBERS", site="FAR").rows
    assert Path(second[0]).read_bytes() == Path(job.result().path).read_bytes()


SUBMITTER = """
import sys, tagsel
home = tagsel.open(sys.argv[1])
home.lists[sys.argv[2]].submit(sys.argv[3], by="file").wait()
"""


def test_who_waits_for_a_job_that_another_process_drives_waits_for_its_end(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """The pieces wait for a file, which is made once somebody else has seen the job run."""
    go = tmp_path / "go"
    body = COUNT.replace(
        "def", f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.05)\ndef"
    )
    listed = tmp_path / "x.events"
    events.save(listed)
    arguments = [sys.executable, "-c", SUBMITTER, str(home.folder), str(listed), str(script(tmp_path, body))]
    with subprocess.Popen(arguments) as other:
        while not home.jobs.list() or home.jobs["1"].status().state != "running":
            assert other.poll() is None
        seen: list[str] = []

        def look(now: Any) -> None:
            seen.append(now.state)
            go.touch()

        assert home.jobs["1"].wait(look).state == "done"
        assert seen[0] == "running"
        assert other.wait() == 0
    assert home.jobs["1"].ledger.delivered == 24


@pytest.mark.parametrize(("text", "name"), [(KEEP, "a.EVENTS"), (COUNT, "a.NUMBERS")])
def test_an_output_that_was_frozen_is_not_renewed(
    home: Workspace, events: Events, tmp_path: Path, text: str, name: str
) -> None:
    """12 events of one file; the other comes back, and the job is run again: what was frozen stays."""
    lost = tmp_path / "1.root"
    whole = lost.read_bytes()
    lost.unlink()
    job = home.lists[events].submit(script(tmp_path, text), output=name, by="file")
    assert job.wait().state == "done"
    home.datasets.freeze(name)
    lost.write_bytes(whole)
    home.jobs[job.id].resubmit()._job.wait()
    with pytest.raises(CatalogError, match="is frozen"):
        home.jobs[job.id].show()
    assert home.catalog.dataset(name).meta["delivered"] == 12
    if name == "a.EVENTS":
        assert home[name].count("true").accepted == 12
        assert home.datasets.check(name).sound


# -- units


def test_columns_keep_the_units_of_their_branches_and_a_script_may_give_others(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    """MET_pt is in GeV by the dataset; `twice` is 2 × MET_pt, which only the script knows."""
    text = (
        'import awkward as ak\nbranches = ["MET_pt"]\nunits = {"twice": "GeV", "other": "mm"}\n'
        'def process(events):\n    return ak.with_field(events, 2 * events.MET_pt, "twice")\n'
    )
    job = home.lists[events].submit(script(tmp_path, text), output="a.EVENTS")
    assert job.wait().state == "done"
    assert job.result().units == {"MET_pt": "GeV", "twice": "GeV"} == job.to_json()["units"]
    attributes = {r["name"]: r["unit"] for r in home["a.EVENTS"].attributes("*")}
    assert (attributes["MET_pt"], attributes["twice"]) == ("GeV", "GeV")
    # MET_pt is 100 i / 24 GeV: twice that is above 150 GeV for i = 19 … 24, in each of two files.
    assert home["a.EVENTS"].count("twice > 150000 MeV").accepted == 2 * 6


def test_numbers_are_shown_in_the_units_that_the_script_gives(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        'branches = ["MET_pt"]\nunits = {"highest": "GeV", "of.all": "GeV"}\n'
        'def process(events):\n    return {"n": len(events), "highest": 0.5, "of": {"all": 1}}\n'
    )
    job = home.lists[events].submit(script(tmp_path, text), by="file")
    assert job.wait().state == "done"
    assert job.result().value == {"n": 24, "highest": 1.0, "of": {"all": 2}}
    assert run(["jobs", "show", "1", "-w", str(home.folder)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1:] == ["highest = 1.0 GeV", "n = 24", "of = {'all': 2}"]
    assert "of.all in GeV" in shown.err


def test_jobs_list_names_a_job_whose_result_is_gone(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two jobs that kept 24 events each the first one's file is removed; the remedy in its error brings it back."""
    for _ in range(2):
        home.lists[events].submit(script(tmp_path)).wait()
    job = home.jobs["0001"]
    path = job.result().path
    path.unlink()
    capsys.readouterr()
    words = ["-w", str(home.folder), "jobs"]
    assert run([*words, "list", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["damaged"] == {"0001": f"{path}, the result of the job, is gone"}
    assert [(status["id"], status["state"]) for status in document["jobs"]] == [("0002", "done")]
    assert run([*words, "list"]) == 3
    assert f"{path}, the result of the job, is gone" in capsys.readouterr().err
    assert "remove result.json: tagsel jobs resubmit" in str(home.jobs.damaged["0001"])
    (path.parent / "result.json").unlink()
    assert run([*words, "resubmit", "0001"]) == 0
    assert len(home.jobs["0001"].result().value) == 24
    assert run([*words, "list"]) == 0


def test_a_job_is_shown_though_what_it_took_cannot_be_read(
    home: Workspace,
    events: Events,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cost.json of another job in its place: a warning names it, and all else is said."""
    for _ in range(2):
        home.lists[events].submit(script(tmp_path, COUNT)).wait()
    first, second = (home.folder / "jobs" / number / "cost.json" for number in ("0001", "0002"))
    first.write_bytes(second.read_bytes())
    capsys.readouterr()
    assert run(["-w", str(home.folder), "jobs", "show", "0001"]) == 0
    assert "job 0001: done" in capsys.readouterr().out
    assert f"{first} does not belong to {first.parent / 'job.json'}" in caplog.text
