"""Jobs from submission to result: what is processed, merged and accounted for. Workers run in this process here."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak
import hist
import numpy as np
import pyarrow.parquet as pq
import pytest
from inline_executor import InlineExecutor

from tagsel.errors import JobError, StoreError
from tagsel.events import DeliveryLedger, Ledger
from tagsel.jobs import Job, Task, dry_run, list_jobs, load, plan_job, submit

COUNT = """
branches = ["MET_pt", "Muon_pt"]
batch = 7

def process(events):
    return {"n": len(events), "met": sum(events.MET_pt.to_list()), "muons": sum(map(len, events.Muon_pt.to_list()))}
"""

HIST = """
import hist
branches = ["MET_pt"]
units = {"met": "GeV"}

def process(events):
    return hist.Hist.new.Reg(10, 0, 100, name="met").Weight().fill(events.MET_pt, weight=0.5)
"""

EVENTS = """
branches = ["MET_pt", "Muon_pt"]
batch = 9

def process(events):
    return events[events.MET_pt > 30]
"""


class FullDisk(InlineExecutor):
    """An engine of its own processes that took a task before the disk was full."""

    detached = True

    def submit(self, tasks: Sequence[Task]) -> None:
        super().submit(tasks[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("drive", [True, False])
def test_fault_11_a_job_that_cannot_be_handed_over_leaves_nothing(
    sample: Any, tmp_path: Path, script: Callable[[str], Path], drive: bool
) -> None:
    """What the engine took is taken back, and the folder goes: no error hides a job that is there."""
    events, executor = sample.events(range(120)), FullDisk()
    with pytest.raises(StoreError, match=r"cannot hand over the pieces in .*: No space left on device"):
        submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), executor=executor, drive=drive, by="file")
    assert len(executor.seen) == 1
    assert executor.ended().code is None
    assert list_jobs(tmp_path / "jobs") == []


@pytest.mark.parametrize("how", [{"events_per_job": 17}, {"by": "file"}, {"by": "lumi", "events_per_job": 20}, {}])
def test_numbers_do_not_depend_on_the_split(run: Callable[..., Job], sample: Any, how: dict[str, Any]) -> None:
    rows = range(1, 120, 2)
    job = run(COUNT, rows, **how)
    truth = [sample.rows[k] for k in rows]
    exact = sum(int(r[5] * 2**60) for r in truth) / 2**60  # floats of 24 bits, above 2^-36: exact as integers
    result = job.result()
    assert result.kind == "numbers"
    assert result.value == {"n": 60, "met": exact, "muons": sum(len(r[6]) for r in truth)}
    assert job.ledger == result.ledger == DeliveryLedger(accepted=60, delivered=60)
    assert job.status().state == "done"


def test_histograms_merge(run: Callable[..., Job], sample: Any) -> None:
    job = run(HIST, range(120), events_per_job=31)
    expected = hist.Hist.new.Reg(10, 0, 100, name="met").Weight()
    expected.fill([r[5] for r in sample.rows], weight=0.5)
    assert job.result().kind == "hist"
    assert job.result().value == expected
    assert job.result().units == {"met": "GeV"}  # of its axis
    assert json.loads(job.output.read_text())["kind"] == "hist"


def test_events_come_in_order_with_ids_and_address(run: Callable[..., Job], sample: Any) -> None:
    job = run(EVENTS, range(0, 120, 3), events_per_job=11)
    result = job.result()
    truth = [r for r in sample.truth(sample.events(range(0, 120, 3))) if r[5] > 30]
    assert (result.kind, result.events) == ("events", len(truth))
    table = pq.read_table(result.path)
    assert table.column_names == ["run", "lumi", "event", "aod_guid", "aod_entry", "MET_pt", "Muon_pt"]
    assert table["event"].to_pylist() == [r[4] for r in truth]
    assert table["aod_guid"].to_pylist() == [sample.files[r[0]].guid for r in truth]
    assert table["aod_entry"].to_pylist() == [r[1] for r in truth]
    assert table["Muon_pt"].to_pylist() == [r[6] for r in truth]
    assert result.value.MET_pt.to_list() == [r[5] for r in truth]
    assert [str(table.schema.field(n).type) for n in ("run", "lumi", "event", "aod_entry")] == [
        "int32",
        "int32",
        "int64",
        "int64",
    ]


def test_events_built_anew_get_their_address_back(run: Callable[..., Job]) -> None:
    job = run(
        "import awkward as ak\nbranches = ['MET_pt']\n\ndef process(e):\n"
        "    return ak.zip({'run': e.run, 'event': e.event, 'double': 2 * e.MET_pt}, depth_limit=1)[::-1]\n",
        [5, 6],
    )
    table = pq.read_table(job.output)
    assert table.column_names == ["run", "lumi", "event", "aod_guid", "aod_entry", "double"]
    assert table["aod_entry"].to_pylist() == [6, 5]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import awkward as ak\ndef process(e):\n    return ak.concatenate([e, e[:1]])\n", "an event twice"),
        (
            "import awkward as ak\ndef process(e):\n    return ak.zip({'run': e.run, 'event': e.event + 1000})\n",
            r"an event that was not given: run, event = \(10",
        ),
        ("def process(e):\n    return e[['MET_pt']]\n", "events without the field run"),
        ("def process(e):\n    return 'text'\n", "process returned str"),
        ("def process(e):\n    raise ValueError('no such cut')\n", "ValueError: no such cut in events 10"),
        ("def process(e):\n    raise SystemExit(0)\n", "SystemExit: 0"),
        ("import nowhere_at_all\ndef process(e):\n    pass\n", "No module named 'nowhere_at_all' while the script was"),
        ("def process(e):\n    open('/nowhere/at/all')\n", "FileNotFoundError"),
    ],
)
def test_feature_66_a_users_error_is_named_and_not_tried_again(
    run: Callable[..., Job], inline: Any, body: str, message: str
) -> None:
    job = run(body, [3, 4, 60], events_per_job=10)
    assert len(inline.seen) == 1
    status = job.status()
    assert (status.state, status.failed, status.done) == ("failed", 1, 0)
    assert job.ledger == DeliveryLedger(accepted=3, failed=3)
    with pytest.raises(JobError, match=message):
        job.result()


def test_feature_70_a_failed_piece_is_named_with_its_events_and_run_again_alone(
    run: Callable[..., Job], sample: Any, inline: Any
) -> None:
    bad = sample.events(range(40)).event.tolist()[25]
    body = f"def process(e):\n    assert {bad} not in e.event.to_list(), 'cursed'\n    return {{'n': len(e)}}\n"
    job = run(body, range(40), events_per_job=10)
    assert [p.state for p in job.pieces] == ["done", "done", "failed", "done"]
    assert job.ledger == DeliveryLedger(accepted=40, delivered=30, failed=10)
    assert "cursed" in job.pieces[2].error
    with pytest.raises(JobError, match="1 of 4 pieces failed: piece 2: AssertionError: cursed in events") as caught:
        job.result()
    assert caught.value.fields["pieces"] == [2]
    job.resubmit(inline)
    job.wait()
    assert [t.piece for t in inline.seen] == [0, 1, 2, 3, 2]  # only what is missing


def test_feature_66_a_transient_failure_is_tried_again(run: Callable[..., Job], inline: Any, tmp_path: Path) -> None:
    marker = tmp_path / "tried"
    body = (
        f"from pathlib import Path\nmarker = Path({str(marker)!r})\n\ndef process(e):\n"
        "    tries = len(marker.read_text()) if marker.exists() else 0\n    marker.write_text('x' * (tries + 1))\n"
        "    if tries < 2:\n        raise ConnectionResetError('gone')\n    return {'n': len(e)}\n"
    )
    job = run(body, [1, 2, 3])
    assert [t.attempt for t in inline.seen] == [1, 2, 3]
    assert job.result().value == {"n": 3}
    assert job.pieces[0].attempts == 3


def test_after_two_more_tries_it_is_named(run: Callable[..., Job], inline: Any) -> None:
    job = run("def process(e):\n    raise OSError(5, 'Input/output error')\n", [1])
    assert [t.attempt for t in inline.seen] == [1, 2, 3]
    with pytest.raises(JobError, match="Input/output error"):
        job.result()


def test_feature_71_72_fault_25_a_job_of_no_events(run: Callable[..., Job], tmp_path: Path) -> None:
    numbers = run(COUNT, [])
    assert numbers.result().value == {"n": 0, "met": 0, "muons": 0}
    assert numbers.ledger == DeliveryLedger()
    events = run(EVENTS, [])
    table = pq.read_table(events.output)
    assert (table.num_rows, table.column_names[:5]) == (0, ["run", "lumi", "event", "aod_guid", "aod_entry"])
    assert "Muon_pt" in table.column_names
    helpless = run("def process(e):\n    return {'first': int(e.event[0])}\n", [])
    assert (helpless.result().kind, helpless.result().value) == ("none", {})


def test_feature_71_pieces_that_select_nothing_merge(run: Callable[..., Job], sample: Any) -> None:
    most = max(sample.rows, key=lambda r: r[5])
    job = run(EVENTS.replace("> 30", f"> {most[5] - 0.001}"), range(120), events_per_job=10)
    assert pq.read_table(job.output)["event"].to_pylist() == [most[4]]


def test_fault_26_unreadable_files_in_a_job(run: Callable[..., Job], own: Any) -> None:
    path = Path(own.files[1].pfn)
    path.write_bytes(path.read_bytes()[:3000])
    job = run(COUNT, range(120), own, events_per_job=25)
    assert job.ledger == DeliveryLedger(accepted=120, delivered=90, unreadable=30)
    assert job.status().state == "done"
    assert job.result().value["n"] == 90
    # Rows 50 to 79 lie in the pieces 2 (50 to 74) and 3 (75 to 99).
    assert [(p["pfn"], p["events"], p["pieces"]) for p in job.problems] == [(str(path), 30, [2, 3])]


def test_fault_27_another_file_under_the_name_in_a_job(run: Callable[..., Job], own: Any) -> None:
    shutil.copy(own.files[0].pfn, own.files[2].pfn)
    job = run(COUNT, range(120), own, by="file")
    assert job.ledger == DeliveryLedger(accepted=120, delivered=80, unreadable=40)
    assert "not the file that is meant" in str(job.problems[0]["reason"])


def test_events_without_an_address_are_unreadable(sample: Any, tmp_path: Path, script: Any, inline: Any) -> None:
    from tagsel.events import EventList

    r = sample.rows[0]
    events = EventList.from_arrays([r[2], 9], [r[3], 9], [r[4], 9], [1, 0], ["", sample.files[0].guid], [r[1], -1])
    job = submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), executor=inline)
    job.wait()
    assert job.ledger == DeliveryLedger(accepted=2, delivered=1, unreadable=1)


# -- the folder


def test_a_job_is_its_folder(run: Callable[..., Job], sample: Any) -> None:
    job = run(COUNT, range(30), events_per_job=10, name="first")
    again = load(job.folder.path)
    assert (again.id, again.status().name) == ("0001", "first")
    assert again.status() == job.status()
    assert again.result().value == job.result().value
    second = run(COUNT, range(3))
    assert [j.id for j in list_jobs(job.folder.path.parent)] == ["0001", "0002"]
    assert repr(second) == "<Job 0002: 3 events in 1 pieces>"
    again.resubmit()  # done: nothing to do
    assert again.wait().state == "done"
    with pytest.raises(JobError, match="not the folder of a job"):
        load(job.folder.path / "pieces")
    assert list_jobs(job.folder.path / "none") == []


def test_the_list_and_its_provenance_are_kept(sample: Any, tmp_path: Path, script: Any, inline: Any) -> None:
    from tagsel.events import read_events

    events = sample.events([1, 2], ledger=Ledger(accepted=2, rejected=118), provenance={"cut": "MET_pt > 30"})
    job = submit(tmp_path / "jobs", events, sample.map(events), script(EVENTS), executor=inline)
    job.wait()
    assert read_events(job.folder.path / "list.events") == events
    note = json.loads(pq.read_schema(job.output).metadata[b"tagsel"])
    assert note["provenance"] == {"cut": "MET_pt > 30"}
    assert (note["list"], note["ledger"]["rejected"]) == (events.digest, 118)
    assert (note["simulation"], note["samples"], note["job"]) == (False, [], "0001")


def test_nothing_is_left_of_a_job_that_cannot_be_submitted(sample: Any, tmp_path: Path, script: Any) -> None:
    events = sample.events([1, 2])
    with pytest.raises(JobError, match="defines no process"):
        submit(tmp_path / "jobs", events, sample.map(events), script("x = 1\n"))
    assert not (tmp_path / "jobs").exists()


def test_two_do_not_run_one_job(run: Callable[..., Job], inline: Any) -> None:
    job = run(COUNT, range(3))
    job.folder.result.unlink()
    with job.folder.locked():
        other = load(job.folder.path)
        assert other.status().state == "running"
        with pytest.raises(JobError, match="still running"):
            other.resubmit(inline)
        with pytest.raises(JobError, match="still running"):
            _ = other.ledger
        other.start(inline)
        with pytest.raises(JobError, match=r"is being run by process \d+ of .* on"):
            other.wait()


def test_feature_92_a_dry_run_is_the_plan_that_would_run(own: Any, tmp_path: Path, script: Any) -> None:
    Path(own.files[2].pfn).unlink()
    events = own.events(range(0, 120, 2))
    found = own.map(events)
    plan = plan_job(events, found, script(COUNT), events_per_job=25)
    said = dry_run(events, found, plan)
    assert [(p["number"], p["events"]) for p in said["pieces"]] == [(0, 25), (1, 25), (2, 10)]
    assert said["branches"] == ["MET_pt", "Muon_pt"]
    assert said["read"]["ledger"] == {"accepted": 60, "delivered": 40, "unreadable": 20, "failed": 0}
    assert said["read"]["bytes_read"] > 0
    json.dumps(said)
    assert not (tmp_path / "jobs").exists()


def test_simulated_events_that_share_their_ids(maker: ModuleType, tmp_path: Path, script: Any, inline: Any) -> None:
    """Two files of simulation hold the same run, lumi and event: the address tells them apart."""
    sample = maker.make(tmp_path, (10,))
    twin = maker.make(tmp_path / "twin", (10,)) if (tmp_path / "twin").mkdir() is None else None
    both = maker.Sample(sample.files + twin.files, sample.rows + [(1, *r[1:]) for r in twin.rows])
    events = both.events(range(20), simulation=True, sample="dy")
    job = submit(tmp_path / "jobs", events, both.map(events), script(EVENTS.replace("> 30", "> 0")), executor=inline)
    job.wait()
    table = pq.read_table(job.output)
    assert table.num_rows == 20
    assert len(set(zip(table["aod_guid"].to_pylist(), table["aod_entry"].to_pylist(), strict=True))) == 20
    bare = "import awkward as ak\ndef process(e):\n    return ak.zip({'run': e.run, 'event': e.event}, depth_limit=1)\n"
    job = submit(tmp_path / "jobs", events, both.map(events), script(bare), executor=inline)
    job.wait()
    with pytest.raises(JobError, match="two events of a batch have the same run, event"):
        job.result()


@pytest.mark.real
def test_published_events_through_a_job(real: Any, maker: ModuleType, tmp_path: Path, script: Any, inline: Any) -> None:
    """Answer 2 of the published files: leading two muons of opposite charge, 22 events, of 40."""
    import uproot

    from tagsel.events import EventList
    from tagsel.rootio import guid_of

    path = real("nano_dimuon.root")
    with uproot.open(path) as file:
        ids = file["Events"].arrays(["run", "luminosityBlock", "event"])
    run, lumi, event = (np.asarray(ids[c]).astype(np.int64) for c in ("run", "luminosityBlock", "event"))
    events = EventList.from_arrays(run, lumi, event, np.zeros(40, int), [guid_of(path)], range(40))
    known = [maker.File(guid_of(path), "nano", str(path), 40, path.stat().st_size)]
    body = (
        "import awkward as ak\nbranches = ['Muon_charge']\n\ndef process(e):\n"
        "    two = e[ak.num(e.Muon_charge) >= 2]\n"
        "    return {'all': len(e), 'opposite': ak.sum(two.Muon_charge[:, 0] != two.Muon_charge[:, 1])}\n"
    )
    found = maker.Sample(known, []).map(events)
    job = submit(tmp_path / "jobs", events, found, script(body), executor=inline, events_per_job=25)
    job.wait()
    assert job.result().value == {"all": 40, "opposite": 22}
    assert ak.num(ids, axis=0) == 40
