"""Once and only once: which outputs count, what merges, and what `resubmit` runs again. Workers run in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tagsel.errors import JobError
from tagsel.events import DeliveryLedger
from tagsel.jobs import Job, load, submit

COUNT = """
branches = ["MET_pt", "Muon_pt"]
batch = 7

def process(events):
    return {"n": len(events), "met": sum(events.MET_pt.to_list()), "muons": sum(map(len, events.Muon_pt.to_list()))}
"""

EVENTS = """
branches = ["MET_pt", "Muon_pt"]
batch = 9

def process(events):
    return events[events.MET_pt > -1]
"""


def outputs(job: Job) -> Path:
    return job.folder.path / "outputs"


def redo(job: Job, inline: Any) -> list[tuple[int, int]]:
    """Forget the result, resubmit; what was run."""
    job.folder.result.unlink()
    inline.seen.clear()
    again = load(job.folder.path)
    again.resubmit(inline)
    again.wait()
    return [(t.piece, t.attempt) for t in inline.seen]


def test_fault_31_an_output_that_is_missing_is_made_again(run: Callable[..., Job], inline: Any) -> None:
    job = run(COUNT, range(30), events_per_job=10)
    before = job.result().value
    (outputs(job) / "00001.1.json").unlink()
    job.folder.result.unlink()
    fresh = load(job.folder.path)
    assert [p.state for p in fresh.pieces] == ["done", "waiting", "done"]
    job.folder.result.touch()
    assert redo(job, inline) == [(1, 2)]  # a number of its own, though the first is gone: its logs are there
    assert load(job.folder.path).result().value == before


def test_fault_31_a_piece_reported_twice_counts_once(run: Callable[..., Job], inline: Any) -> None:
    job = run(EVENTS, range(30), events_per_job=10)
    before = pq.read_table(job.output)
    shutil.copy(outputs(job) / "00001.1.parquet", outputs(job) / "00001.2.parquet")
    assert redo(job, inline) == []
    merged = load(job.folder.path)
    assert pq.read_table(merged.output).equals(before)
    assert json.loads(merged.folder.result.read_text())["outputs"] == [
        "00000.1.parquet",
        "00001.2.parquet",
        "00002.1.parquet",
    ]


def test_fault_31_an_output_of_another_piece_script_or_job_does_not_count(run: Callable[..., Job], inline: Any) -> None:
    job = run(COUNT, range(30), events_per_job=10)
    before = job.result().value
    other = run(COUNT.replace("len(events)", "2 * len(events)"), range(30), events_per_job=10)
    folder = outputs(job)
    shutil.copy(folder / "00000.1.json", folder / "00001.2.json")  # of another piece
    shutil.copy(outputs(other) / "00000.1.json", folder / "00000.1.json")  # of another script
    assert redo(job, inline) == [(0, 2)]
    assert load(job.folder.path).result().value == before


def test_fault_31_a_damaged_output_is_made_again(run: Callable[..., Job], inline: Any) -> None:
    job = run(COUNT, range(30), events_per_job=10)
    before = job.result().value
    path = outputs(job) / "00002.1.json"
    path.write_text(path.read_text().replace('"n": 10', '"n": 11'))
    assert load(job.folder.path).pieces[2].error.endswith("its checksum differs")
    assert redo(job, inline) == [(2, 2)]
    assert load(job.folder.path).result().value == before


def test_fault_31_a_worker_that_says_it_is_done_and_wrote_nothing(
    sample: Any, tmp_path: Path, script: Callable[..., Path], inline: Any
) -> None:
    from tagsel.jobs import Ended

    class Lossy(type(inline)):  # type: ignore[misc]
        def ended(self) -> Ended:
            if len(self.seen) == 1:
                return Ended(self._waiting.popleft(), 0)
            return super().ended()  # type: ignore[no-any-return]

    events = sample.events(range(5))
    executor = Lossy()
    job = submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), executor=executor)
    job.wait()
    assert [t.attempt for t in executor.seen] == [1, 2]
    assert job.result().value["n"] == 5


def test_pieces_of_different_kinds_do_not_merge(
    run: Callable[..., Job], sample: Any, inline: Any, tmp_path: Path
) -> None:
    first = sample.events(range(20)).event.tolist()[0]
    body = f"def process(e):\n    return {{'n': 1}} if {first} in e.event.to_list() else e[:1]\n"
    why = "pieces gave results of different kinds: events in piece 1; numbers in piece 0"
    with pytest.raises(JobError, match=why):
        run(body, range(20), events_per_job=10)
    job = load(tmp_path / "jobs" / "0001")
    assert (job.status().state, job.status().error) == ("failed", why)
    with pytest.raises(JobError, match="job 0001: pieces gave results of different kinds"):
        job.result()
    again = load(job.folder.path)
    again.resubmit(inline)  # nothing is missing, and they merge as little as before
    with pytest.raises(JobError, match=why):
        again.wait()


def test_records_of_different_keys_do_not_merge(
    run: Callable[..., Job], sample: Any, inline: Any, tmp_path: Path
) -> None:
    first = sample.events(range(30)).event.tolist()[10]
    body = (
        f"def process(e):\n    if {first} in e.event.to_list():\n        return {{'m': 2}}\n"
        "    return {'n': 1, 'sub': {'w': 0.5}}\n"
    )
    why = "pieces gave records of different keys: m in piece 1; n, sub.w in pieces 0, 2"
    with pytest.raises(JobError, match=why) as caught:
        run(body, range(30), events_per_job=10)
    assert caught.value.fields["gave"] == {"n, sub.w": [0, 2], "m": [1]}
    job = load(tmp_path / "jobs" / "0001")
    assert (job.status().state, job.status().error) == ("failed", why)
    assert [p.state for p in job.pieces] == ["done"] * 3
    failed = run(body.replace("def process", "batch = 5\n\ndef process"), range(30), events_per_job=30)
    assert "records of different keys do not add up: n, sub.w and m in events" in failed.pieces[0].error


def test_histograms_that_do_not_add_are_named_by_piece(run: Callable[..., Job], sample: Any, tmp_path: Path) -> None:
    first = sample.events(range(30)).event.tolist()[20]
    body = (
        "import hist\n\ndef process(e):\n"
        f"    return hist.Hist.new.Reg(3 if {first} in e.event.to_list() else 2, 0, 1).Double()\n"
    )
    with pytest.raises(JobError, match="piece 2 does not add to those before: histograms of two batches"):
        run(body, range(30), events_per_job=10)
    assert load(tmp_path / "jobs" / "0001").status().state == "failed"


@pytest.mark.parametrize("empty", ["{}", "{'first': int(e.event[0])}"])
def test_pieces_that_delivered_nothing_merge_with_any(run: Callable[..., Job], own: Any, empty: str) -> None:
    """Of an empty batch the one script makes {}, the other nothing at all; 90 of 120 events can be read."""
    path = Path(own.files[1].pfn)
    path.write_bytes(path.read_bytes()[:3000])
    job = run(f"def process(e):\n    return {{'n': len(e)}} if len(e) else {empty}\n", range(120), own, by="file")
    assert job.result().value == {"n": 90}
    kept = run(f"def process(e):\n    return e if len(e) else {empty}\n", range(120), own, by="file")
    assert (kept.result().kind, kept.result().events) == ("events", 90)


# -- what was unreadable is tried again


def broken(path: Path) -> bytes:
    """Cut a file short; what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    return whole


def test_fault_31_resubmit_runs_what_was_unreadable_and_nothing_else(
    run: Callable[..., Job], own: Any, inline: Any
) -> None:
    """Files of 50, 30 and 40 events, one piece each; the second and the third are damaged, and one is put back."""
    one, two = (Path(own.files[k].pfn) for k in (2, 1))
    before, _ = broken(one), broken(two)
    job = run(EVENTS, range(120), own, by="file")
    assert job.ledger == DeliveryLedger(accepted=120, delivered=50, unreadable=70)
    one.write_bytes(before)
    inline.seen.clear()
    again = load(job.folder.path)
    again.resubmit(inline)
    assert again.wait().state == "done"
    assert [(t.piece, t.attempt) for t in inline.seen] == [(1, 2), (2, 2)]
    result = load(job.folder.path).result()
    assert result.ledger == again.ledger == DeliveryLedger(accepted=120, delivered=90, unreadable=30)
    truth = [r for r in own.truth(own.events(range(120))) if r[0] != 1]
    assert pq.read_table(result.path)["event"].to_pylist() == [r[4] for r in truth]
    assert [(p["pfn"], p["events"], p["pieces"]) for p in again.problems] == [(str(two), 30, [1])]


def test_fault_31_the_attempt_that_delivers_most_counts(run: Callable[..., Job], own: Any, inline: Any) -> None:
    one, two = (Path(own.files[k].pfn) for k in (1, 2))
    broken(one)
    job = run(COUNT, range(120), own)
    best = job.result().value
    assert job.ledger == DeliveryLedger(accepted=120, delivered=90, unreadable=30)
    broken(two)
    job.resubmit(inline)
    job.wait()
    assert [(t.piece, t.attempt) for t in inline.seen] == [(0, 1), (0, 2)]
    assert job.ledger == DeliveryLedger(accepted=120, delivered=90, unreadable=30)
    assert json.loads(job.folder.result.read_text())["outputs"] == ["00000.1.json"]
    assert job.result().value == best


def test_a_job_that_lost_nothing_is_left_as_it_is(run: Callable[..., Job], inline: Any) -> None:
    job = run(COUNT, range(30), events_per_job=10)
    before = job.folder.result.stat()
    inline.seen.clear()
    job.resubmit(inline)
    assert job.wait().state == "done"
    assert inline.seen == []
    assert job.folder.result.stat() == before


def test_killed_while_it_runs_again_what_was_there_is_merged_again(
    run: Callable[..., Job], own: Any, inline: Any
) -> None:
    broken(Path(own.files[1].pfn))
    job = run(COUNT, range(120), own, by="file")
    before = job.result().value

    class Killed(type(inline)):  # type: ignore[misc]
        def ended(self) -> Any:
            job.folder.killed.touch()
            self.kill()
            return super().ended()

    job.resubmit(Killed())
    assert job.wait().state == "done"
    assert job.result().value == before
    assert job.ledger == DeliveryLedger(accepted=120, delivered=90, unreadable=30)
