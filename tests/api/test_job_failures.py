"""What went wrong with a job, and its mending, in the terminal and in Python; splitting by bytes there."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from nanofile import TAGSEL, nano, tagsel

from tagsel.api import Workspace
from tagsel.api.event_lists import Events
from tagsel.base.lock_file import Holder
from tagsel.catalog.changes import RequestJob
from tagsel.cli.main import run
from tagsel.errors import JobError
from tagsel.events import DeliveryLedger
from tagsel.jobs import load, plan_job
from tagsel.jobs.plan import write_folder

NAME = "data18.X.TAG"
PICKY = """
branches = ["MET_pt"]

def process(events):
    assert len(events) <= 6, f"{len(events)} events are too many"
    return events
"""


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    home = Workspace.init(tmp_path / "W")
    home.ingest(*[nano(tmp_path / f"{k}.root", 1000 * (k + 1)) for k in range(2)], dataset=NAME)
    return home


@pytest.fixture
def events(home: Workspace) -> Events:
    return home[NAME].select("MET_pt > 50")  # 12 of each file's 25: 54.2, 58.3 … 100 GeV, in steps of 100 / 24


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.py"
    path.write_text(PICKY)
    return path


def show(home: Workspace, job: str = "1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tagsel("jobs", "show", job, "--json", home=home.folder).stdout)
    return found


@pytest.mark.processes
def test_feature_66_70_show_names_class_and_evidence(home: Workspace, events: Events, script: Path) -> None:
    home.lists[events].submit(script, by="file").wait()
    shown = tagsel("jobs", "show", "1", home=home.folder)
    assert shown.returncode == 3
    assert "piece 0 (12 events): user: AssertionError: 12 events are too many" in shown.stderr
    assert "exit code 10; you: mend the script" in shown.stderr
    assert shown.stderr.count("  | AssertionError: 12 events are too many") == 1  # the evidence of each cause once
    assert "luminosity blocks: 0 processed, 1 missing" in shown.stderr
    document = show(home)
    assert [e["piece"] for e in document["errors"]] == [0, 1]
    (failure,) = document["errors"][0]["failures"]
    assert (failure["class"], failure["owner"], failure["code"], failure["attempt"]) == ("user", "you", 10, 1)
    assert "in process" in failure["stderr"] and failure["where"].startswith("in events 315267:3:")
    assert document["lumi"] == {"processed": {}, "missing": {"315267": [[3, 3]]}}


def test_of_many_failed_pieces_some_are_shown_and_diagnose_is_named(
    home: Workspace, events: Events, script: Path, tmp_path: Path
) -> None:
    """24 events, two a piece: twelve pieces fail, of which ten are shown; JSON has them all."""
    script.write_text("branches = ['MET_pt']\ndef process(events):\n    raise ValueError('no')\n")
    events.save(tmp_path / "x.events")
    done = tagsel("submit", tmp_path / "x.events", "--run", script, "--events-per-job", "2", home=home.folder)
    assert done.returncode == 3
    assert [f"piece {k} (2 events)" in done.stderr for k in range(12)] == [True] * 10 + [False] * 2
    assert "and 2 more pieces: tagsel jobs diagnose" in done.stderr
    assert len(show(home)["errors"]) == 12


def test_feature_70_diagnose_in_the_terminal(home: Workspace, events: Events, script: Path, tmp_path: Path) -> None:
    home.lists[home[NAME].select("MET_pt > 95")].submit(
        script, by="file"
    ).wait()  # 2 events of each file: all goes well
    fine = tagsel("jobs", "diagnose", "1", home=home.folder)
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, "", "job 1: nothing failed\n")
    lost = tmp_path / "1.root"
    lost.write_bytes(lost.read_bytes()[:900])
    home.lists[events].submit(script, by="file").wait()
    table = tagsel("jobs", "diagnose", "2", home=home.folder)
    assert table.returncode == 0
    assert [line.split("\t")[0] for line in table.stdout.splitlines()] == ["data", "user"]
    rows = list(csv.DictReader(io.StringIO(tagsel("jobs", "diagnose", "2", "--csv", home=home.folder).stdout)))
    causes = json.loads(tagsel("jobs", "diagnose", "2", "--json", home=home.folder).stdout)["causes"]
    assert [r["signature"] for r in rows] == [c["signature"] for c in causes]
    assert causes[0]["signature"].startswith("<path>: cannot read ") and str(lost) in causes[0]["message"]
    assert causes[1]["signature"] == "AssertionError: <n> events are too many"
    for row, cause, piece in zip(rows, causes, (1, 0), strict=True):
        assert (row["pieces"], row["events"], row["example"]) == ("1", "12", str(piece))
        assert (cause["pieces"], cause["events"], cause["numbers"]) == (1, 12, [piece])
        assert row["owner"] == cause["owner"] and row["action"] == cause["action"]
    assert [g.cause.kind for g in home.jobs["2"].diagnose()] == ["data", "user"]
    assert [g.cause.kind for g in home.jobs["2"].diagnose()] == ["data", "user"]


def test_feature_67_resplit_in_the_terminal(home: Workspace, events: Events, script: Path) -> None:
    """Two pieces of 12 events fail; halves of them go. Exit code 3 while events are missing, then 0."""
    job = home.lists[events].submit(script, by="file", output="a.EVENTS")
    assert job.wait().state == "failed" and job.ledger == DeliveryLedger(accepted=24, failed=24)
    one = tagsel("jobs", "resplit", "1", "1", "--into", "2", home=home.folder)
    assert one.returncode == 3 and "piece 1 was split into pieces 2, 3" in one.stderr
    assert [(p["piece"], p["events"]) for p in show(home)["errors"]] == [(0, 12)]
    two = tagsel("jobs", "resplit", "1", "0", "--events-per-job", "5", "--json", home=home.folder)
    assert two.returncode == 0, two.stderr
    document = json.loads(two.stdout)
    assert (document["state"], document["pieces"], document["done"], document["output"]) == ("done", 5, 5, "a.EVENTS")
    assert document["replaced"] == {"0": [4, 5, 6], "1": [2, 3]}
    assert document["ledger"] == {"accepted": 24, "delivered": 24, "unreadable": 0, "failed": 0}
    assert document["lumi"] == {"processed": {"315267": [[3, 3]]}, "missing": {}}
    found = Workspace(home.folder)["a.EVENTS"].select("MET_pt > 0")
    assert sorted(found.event.tolist()) == sorted(events.event.tolist()) and len(set(found.event.tolist())) == 24
    assert tagsel("jobs", "peek", "1", "0", "--err", home=home.folder).stdout.endswith("12 events are too many\n")
    assert tagsel("jobs", "peek", "1", "7", home=home.folder).returncode == 2


def test_feature_67_resplit_in_python(home: Workspace, events: Events, script: Path) -> None:
    job = home.lists[events].submit(script, by="file")
    job.wait()
    again = home.jobs["1"].resplit(pieces=[0, 1], into=3)
    assert again.wait().state == "done"
    assert again.ledger == DeliveryLedger(accepted=24, delivered=24) and not again.lumi().missing
    assert again.output == "jobs.0001.EVENTS"
    with pytest.raises(JobError, match="piece 0 was split before, into pieces 2, 3, 4"):
        home.jobs["1"].resplit(pieces=0, into=2)


def test_fault_48_what_an_interrupted_job_leaves_is_said_truly(
    home: Workspace, events: Events, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its process died before any of its two pieces ran: nothing failed, but 24 events are not delivered."""
    (home.folder / "jobs").mkdir()
    write_folder(home.folder / "jobs", plan_job(events, home.lists[events].map(), script, by="file"), events, "")
    place = ["-w", str(home.folder)]
    lost = "2 pieces were not run to the end, and their events count as failed"
    said = f"{lost}: tagsel jobs resubmit 0001 runs what is missing"
    assert run(["jobs", "show", "1", *place]) == 3
    shown = capsys.readouterr()
    assert shown.out == "job 0001: interrupted, 0 of 2 pieces done\n"
    assert f"24 accepted + 0 delivered + 0 unreadable + 24 failed\n{said}\n" in shown.err
    assert run(["jobs", "diagnose", "1", *place]) == 0
    assert capsys.readouterr().err == f"job 1: {said}\n"
    assert run(["jobs", "diagnose", "1", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out) == {"job": "1", "causes": [], "not_run": said}
    script.write_text(PICKY.replace("<= 6", "<= 60"))  # the job has its own copy, which takes no more than 6
    assert run(["jobs", "resubmit", "1", *place]) == 3
    assert "not run" not in capsys.readouterr().err


MISTAKES = (
    (("resplit", "1", "0"), "one of --into and --events-per-job was expected"),
    (("resplit", "1", "0", "--into", "2", "--events-per-job", "3"), "one of --into and --events-per-job"),
    (("resplit", "1", "--into", "2"), "no piece was named"),
    (("resplit", "1", "9", "--into", "2"), "job 0001 has no piece 9"),
    (("resplit", "1", "0", "--into", "1"), "--into"),
    (("resplit", "1", "0", "--into", "99"), "piece 0 of 12 events cannot be split into 99 pieces"),
    (("resplit", "2", "0", "--into", "2"), "no job '2'"),
    (("diagnose", "7"), "no job '7'"),
    (("diagnoze", "1"), "did you mean diagnose"),
)


def test_mistakes_are_named_and_change_nothing(
    home: Workspace, events: Events, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.lists[events].submit(script, by="file").wait()
    for arguments, said in MISTAKES:
        assert run(["jobs", *arguments, "-w", str(home.folder)]) == 2
        printed = capsys.readouterr()
        assert said in printed.err and not printed.out
    assert show(home)["replaced"] == {}


def test_feature_58_by_bytes_in_the_terminal(
    home: Workspace, events: Events, script: Path, tmp_path: Path, capsys: Any
) -> None:
    """Each of the two files is one cluster, so 1 B gives a piece for each, and 1 GB one for both."""
    events.save(tmp_path / "a.events")

    def submit(*more: str) -> tuple[int, str]:
        base = ["submit", str(tmp_path / "a.events"), "--run", str(script), "--dry-run", "--json"]
        return run([*base, *more, "-w", str(home.folder)]), capsys.readouterr().out

    for text, pieces in (("1", [12, 12]), ("1GB", [24]), ("0.5 mb", [24])):
        planned = json.loads(submit("--by", "bytes", "--bytes-per-job", text)[1])
        assert [p["events"] for p in planned["pieces"]] == pieces
    for wrong in ("2XB", "GB", "0", "-1GB", "nan", "inf"):
        code, printed = submit("--by", "bytes", "--bytes-per-job", wrong)
        assert code == 2 and "is no size such as 500MB or 2GB" in printed
    code, printed = submit("--bytes-per-job", "1GB")
    assert code == 2 and "bytes per job bound pieces by bytes only" in printed
    job = home.lists[events].submit(script, by="bytes", bytes_per_job=1)
    assert job.wait().pieces == 2 and job.ledger == DeliveryLedger(accepted=24, failed=24)


def test_fault_48_what_a_killed_piece_and_its_killed_driver_leave_is_said_truly(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL of one of two pieces of 12 events, which sleep, then of `submit`, then of all that still runs.

    While pieces run they are said to; then the piece that failed is not said to be tried again, for nobody does that.
    """
    script = tmp_path / "sleeps.py"
    script.write_text(
        "import time\nbranches = ['MET_pt']\ndef process(events):\n    time.sleep(600)\n    return {'n': 1}\n"
    )
    events.save(tmp_path / "x.events")
    command = [*TAGSEL, "submit", str(tmp_path / "x.events"), "--run", str(script), "--by", "file"]
    driver = subprocess.Popen([*command, "-w", str(home.folder)], stderr=subprocess.DEVNULL)

    def workers() -> dict[tuple[int, int], Holder]:
        return load(home.folder / "jobs" / "0001").folder.workers() if (home.folder / "jobs" / "0001").exists() else {}

    def wait_for(wanted: set[tuple[int, int]]) -> dict[tuple[int, int], Holder]:
        end = time.monotonic() + 60
        while set(there := workers()) != wanted:
            assert time.monotonic() < end, there
            time.sleep(0.05)
        return there

    try:
        os.kill(wait_for({(0, 1), (1, 1)})[1, 1].pid, signal.SIGKILL)
        wait_for({(0, 1), (1, 2)})
    finally:
        driver.kill()
        driver.wait()
    place = ["-w", str(home.folder)]
    assert run(["jobs", "show", "1", *place]) == 3
    shown = capsys.readouterr()
    assert shown.out == "job 0001: interrupted, 0 of 2 pieces done\n"
    assert "\n2 pieces still run, though nobody waits; their events count as failed: tagsel jobs resubmit" in shown.err
    for worker in workers().values():
        os.kill(worker.pid, signal.SIGKILL)
    wait_for(set())
    assert run(["jobs", "show", "1", *place]) == 3
    shown = capsys.readouterr()
    assert "24 accepted + 0 delivered + 0 unreadable + 24 failed\n1 piece was not run to the end, and" in shown.err
    assert run(["jobs", "diagnose", "1", "--json", *place]) == 0
    (cause,) = json.loads(capsys.readouterr().out)["causes"]
    assert cause["numbers"] == [1]
    assert cause["action"] == "nobody drives the job any more; tagsel jobs resubmit tries again"
    assert run(["datasets", "check", NAME, *place]) == 0


def test_fault_42_a_job_killed_before_its_merge_has_no_result_and_says_so(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 · 12 events are counted, but not added up: exit code 3, until `resubmit` merges them."""
    script = tmp_path / "counts.py"
    script.write_text("branches = ['MET_pt']\ndef process(events):\n    return {'n': len(events)}\n")
    events.save(tmp_path / "x.events")
    words = ["submit", tmp_path / "x.events", "--run", script, "--by", "file"]
    assert tagsel(*words, home=home.folder, TAGSEL_KILL_AT="jobs.merge").returncode == -signal.SIGKILL
    place = ["-w", str(home.folder)]
    assert run(["jobs", "show", "1", *place]) == 3
    shown = capsys.readouterr()
    assert shown.out == "job 0001: interrupted, 2 of 2 pieces done\n"
    assert "all pieces are done, but their outputs are not merged: tagsel jobs resubmit 0001 merges them" in shown.err
    assert run(["jobs", "resubmit", "1", *place]) == 0
    assert "n = 24" in capsys.readouterr().out


def test_the_pieces_of_listed_jobs_add_up(
    home: Workspace, events: Events, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pieces of 12 events, which are too many for the script, fail; of a job of four pieces none was run."""
    home.lists[events].submit(script, by="file").wait()
    plan = plan_job(events, home.lists[events].map(), script, events_per_job=6)
    write_folder(home.folder / "jobs", plan, events, "")
    assert run(["jobs", "list", "--csv", "-w", str(home.folder)]) == 0
    jobs = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    counts = [[int(job[column]) for column in ("pieces", "done", "failed", "left")] for job in jobs]
    assert counts == [[2, 0, 2, 0], [4, 0, 0, 4]]


@pytest.mark.parametrize("content", ["{", '{"version": 2}', None], ids=["no JSON", "no checksum", "another job's"])
def test_jobs_list_names_a_job_whose_result_is_damaged(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    """Two jobs are done; the result of the first is damaged: the second is listed with its 24 events, exit code 3."""
    script = tmp_path / "count.py"
    script.write_text("branches = ['MET_pt']\ndef process(events):\n    return {'n': len(events)}\n")
    for _ in range(2):
        assert home.lists[events].submit(script).wait().state == "done"
    result = home.folder / "jobs" / "0001" / "result.json"
    other = home.folder / "jobs" / "0002" / "result.json"
    result.write_text(other.read_text() if content is None else content)
    capsys.readouterr()
    place = ["-w", str(home.folder)]
    assert run(["jobs", "list", "--json", *place]) == 3
    said = json.loads(capsys.readouterr().out)
    assert [(job["id"], job["state"], job["events"]) for job in said["jobs"]] == [("0002", "done", 24)]
    assert list(said["damaged"]) == ["0001"]
    assert str(result) in said["damaged"]["0001"]
    assert run(["jobs", "list", "--csv", *place]) == 3
    assert [row["state"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["damaged", "done"]
    assert run(["jobs", "show", "1", *place]) == 2
    result.unlink()
    assert run(["jobs", "resubmit", "1", *place]) == 0
    assert run(["jobs", "list", *place]) == 0


def test_fault_39_jobs_list_at_the_prompt_names_a_damaged_job(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two jobs, one digit of the first's job.json changed: the second is listed with its 24 events, exit code 3.

    Then a member of the group asks for a resubmit of the second, which failed for want of a file; the next `wait` of
    its owner carries that out, and 2 · 12 events are counted.
    """
    go = tmp_path / "go"
    text = (
        f"branches = ['MET_pt']\ndef process(events):\n    open({str(go)!r}).close()\n    return {{'n': len(events)}}\n"
    )
    waits = tmp_path / "waits.py"
    waits.write_text(text)
    for _ in range(2):
        home.lists[events].submit(waits, events_per_job=100).wait()
    document = home.folder / "jobs" / "0001" / "job.json"
    document.write_bytes(document.read_bytes().replace(b'"events": 24', b'"events": 25'))
    capsys.readouterr()
    place = ["-w", str(home.folder)]
    assert run(["jobs", "list", "--json", *place]) == 3
    said = json.loads(capsys.readouterr().out)
    assert [(job["id"], job["state"], job["events"]) for job in said["jobs"]] == [("0002", "failed", 24)]
    assert list(said["damaged"]) == ["0001"]
    assert f"{document} is damaged" in said["damaged"]["0001"]
    assert run(["jobs", "list", "--csv", *place]) == 3
    out, err = capsys.readouterr()
    assert [row["state"] for row in csv.DictReader(io.StringIO(out))] == ["damaged", "failed"]
    assert f"{document} is damaged" in err

    go.touch()
    home.catalog.record(RequestJob("0002", "resubmit", {}))
    assert run(["jobs", "wait", "2", *place]) == 0
    job = home.jobs["2"]
    assert job.result().value["n"] == 24
    assert [(request.verb, request.state) for request in job.requests] == [("resubmit", "done")]
