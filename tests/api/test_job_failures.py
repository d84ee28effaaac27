"""What went wrong with a job, and its mending, in the terminal and in Python; splitting by bytes there."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from nanofile import nano, tagsel

from tagsel.api import Workspace
from tagsel.api.lists import Events
from tagsel.cli.main import run
from tagsel.errors import JobError
from tagsel.events import DeliveryLedger

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
    return home.select(NAME, "MET_pt > 50")  # 12 of each file's 25: 54.2, 58.3 … 100 GeV, in steps of 100 / 24


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.py"
    path.write_text(PICKY)
    return path


def show(home: Workspace, job: str = "1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tagsel("jobs", "show", job, "--json", home=home.folder).stdout)
    return found


def test_feature_66_70_show_names_class_and_evidence(home: Workspace, events: Events, script: Path) -> None:
    home.submit(events, script, by="file").wait()
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
    home.submit(home.select(NAME, "MET_pt > 95"), script, by="file").wait()  # 2 events of each file: all goes well
    fine = tagsel("jobs", "diagnose", "1", home=home.folder)
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, "", "job 1: nothing failed\n")
    lost = tmp_path / "1.root"
    lost.write_bytes(lost.read_bytes()[:900])
    home.submit(events, script, by="file").wait()
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
    assert [g.cause.kind for g in home.jobs("diagnose", "2")] == ["data", "user"]
    assert [g.cause.kind for g in home.jobs("show", "2").diagnose()] == ["data", "user"]


def test_feature_67_resplit_in_the_terminal(home: Workspace, events: Events, script: Path) -> None:
    """Two pieces of 12 events fail; halves of them go. Exit code 3 while events are missing, then 0."""
    job = home.submit(events, script, by="file", output="a.EVENTS")
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
    found = Workspace(home.folder).select("a.EVENTS", "MET_pt > 0")
    assert sorted(found.event.tolist()) == sorted(events.event.tolist()) and len(set(found.event.tolist())) == 24
    assert tagsel("jobs", "peek", "1", "0", "--err", home=home.folder).stdout.endswith("12 events are too many\n")
    assert tagsel("jobs", "peek", "1", "7", home=home.folder).returncode == 2


def test_feature_67_resplit_in_python(home: Workspace, events: Events, script: Path) -> None:
    job = home.submit(events, script, by="file")
    job.wait()
    again = home.jobs("resplit", "1", pieces=[0, 1], into=3)
    assert again.wait().state == "done"
    assert again.ledger == DeliveryLedger(accepted=24, delivered=24) and not again.lumi().missing
    assert again.output == "jobs.0001.EVENTS"
    with pytest.raises(JobError, match="piece 0 was split before, into pieces 2, 3, 4"):
        home.jobs("resplit", "1", pieces=0, into=2)


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
    home.submit(events, script, by="file").wait()
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
    job = home.submit(events, script, by="bytes", bytes_per_job=1)
    assert job.wait().pieces == 2 and job.ledger == DeliveryLedger(accepted=24, failed=24)
