"""One suite of behaviours for all engines: the same pieces, the same answer, every event once and only once.

The engines are real: HTCondor and Slurm of scripts/testbed, a Dask cluster, processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from testbed.servers import open_way
from testbed.using import set_all, wait_for

from tagsel.errors import JobError
from tagsel.jobs import Chosen, Job, Task, load, submit

COUNT = """
branches = ["Muon_*"]
def process(events):
    return {"events": len(events), "numbers": int(sum(events.event))}
"""

EVENTS = """
branches = ["Muon_*"]
def process(events):
    return events[events.event % 2 == 0]
"""


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[str]:
    """The address of a cluster of two workers."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as here:
        yield here.scheduler_address


@pytest.fixture(
    params=[
        "local",
        "dask",
        pytest.param("condor", marks=pytest.mark.grid),
        pytest.param("slurm", marks=pytest.mark.grid),
    ]
)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Each engine in turn, ready to be used."""
    name = request.param
    if name == "dask":
        return Chosen("dask", {"address": request.getfixturevalue("dask_cluster")})
    if name == "condor":
        request.getfixturevalue("condor_pool")
        return Chosen("condor", {"request_memory": "100MB", "request_disk": "100MB"})
    if name == "slurm":
        set_all(monkeypatch, request.getfixturevalue("slurm_cluster"))
        return Chosen("slurm", {"mem": "100M"})
    return Chosen()


@pytest.fixture
def start(sample: Any, tmp_path: Path, script: Callable[[str], Path], engine: Chosen) -> Callable[..., Job]:
    """Submit a script's text on rows of the sample to the engine."""
    open_way(tmp_path)

    def do(body: str, rows: Any = range(120), of: Any = None, **more: Any) -> Job:
        source = of or sample
        events = source.events(rows)
        return submit(tmp_path / "jobs", events, source.map(events), script(body), on=engine, **more)

    return do


def test_feature_64_the_answer_is_that_of_one_loop_over_all_events(start: Callable[..., Job], sample: Any) -> None:
    job = start(COUNT, events_per_job=25)
    status = job.wait()
    events = sample.events(range(120))
    assert (status.state, status.pieces, status.done) == ("done", 5, 5)
    assert job.result().value == {"events": 120, "numbers": int(events.event.sum())}
    assert job.ledger.to_json() == {"accepted": 120, "delivered": 120, "unreadable": 0, "failed": 0}


def test_events_come_back_each_once(start: Callable[..., Job], sample: Any) -> None:
    import pyarrow.parquet as pq

    job = start(EVENTS, by="file")
    assert job.wait().state == "done"
    events = sample.events(range(120))
    found = pq.read_table(job.output)
    expected = sorted((int(r), int(e)) for r, e in zip(events.run, events.event, strict=True) if e % 2 == 0)
    assert sorted(zip(found["run"].to_pylist(), found["event"].to_pylist(), strict=True)) == expected


def test_a_script_that_fails_is_named_and_not_tried_again(start: Callable[..., Job]) -> None:
    job = start('def process(events):\n    raise ValueError("no such luck")\n', events_per_job=60)
    status = job.wait()
    assert (status.state, status.failed) == ("failed", 2)
    assert [p.attempts for p in job.pieces] == [1, 1] and all("no such luck" in p.error for p in job.pieces)
    assert job.ledger.failed == 120


def test_a_worker_that_is_killed_is_tried_again(start: Callable[..., Job], tmp_path: Path) -> None:
    """The first attempt of each piece kills itself; the second finds its mark and goes on."""
    tmp_path.chmod(0o777)
    body = f"""
import os, signal
from pathlib import Path
def process(events):
    mark = Path({str(tmp_path)!r}) / f"mark-{{int(events.event[0])}}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {{"events": len(events)}}
"""
    job = start(body, events_per_job=60)
    assert job.wait().state == "done"
    assert job.result().value == {"events": 120}
    assert [p.attempts for p in job.pieces] == [2, 2]
    assert job.diagnose() == ()  # what was mended by itself is no failure of the job


def test_what_a_piece_prints_lies_in_its_log(start: Callable[..., Job]) -> None:
    job = start('def process(events):\n    print("seen", len(events))\n    return {"n": len(events)}\n', rows=range(7))
    assert job.wait().state == "done"
    assert "seen 7" in job.folder.log(0, 1, "out").read_text()


def test_feature_68_a_job_is_watched_and_its_output_seen_while_it_runs(
    start: Callable[..., Job], tmp_path: Path
) -> None:
    """Both pieces print and wait; while they do, the job is running and the words are in the log."""
    tmp_path.chmod(0o777)
    body = f"""
import time
from pathlib import Path
def process(events):
    print("seen", len(events), flush=True)
    while not (Path({str(tmp_path)!r}) / "go").exists():
        time.sleep(0.05)
    return {{"events": len(events)}}
"""
    job = start(body, events_per_job=60)
    try:
        logs = [job.folder.log(piece, 1, "out") for piece in (0, 1)]
        wait_for(lambda: all(log.exists() and "seen 60" in log.read_text() for log in logs))
        status = job.status()
        assert (status.state, status.done) == ("running", 0)
        wait_for(lambda: job.status().running == 2)
    finally:
        (tmp_path / "go").touch()
    assert job.wait().state == "done"
    assert job.result().value == {"events": 120}


def test_a_job_of_no_event_is_normal(start: Callable[..., Job]) -> None:
    job = start(COUNT, rows=[])
    assert job.wait().state == "done" and job.result().value["events"] == 0


def test_a_job_that_is_killed_ends_and_is_taken_up_again(start: Callable[..., Job], tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    body = f"""
import time
from pathlib import Path
def process(events):
    (Path({str(tmp_path)!r}) / "begun").touch()
    while not (Path({str(tmp_path)!r}) / "go").exists():
        time.sleep(0.05)
    return {{"events": len(events)}}
"""
    job = start(body, events_per_job=60)
    wait_for(lambda: (tmp_path / "begun").exists())
    job.kill()
    assert job.wait().state == "killed"
    (tmp_path / "go").touch()
    again = load(job.folder.path)
    again.resubmit()
    assert again.wait().state == "done" and again.result().value == {"events": 120}


def test_a_job_goes_on_without_the_process_that_submitted_it(
    start: Callable[..., Job], engine: Chosen, tmp_path: Path
) -> None:
    """Pieces are handed over; another look says where they are; a process that waits merges. No piece runs twice."""
    tmp_path.chmod(0o777)
    body = f"""
import time
from pathlib import Path
def process(events):
    while not (Path({str(tmp_path)!r}) / "go").exists():
        time.sleep(0.05)
    return {{"events": len(events)}}
"""
    if engine.name in ("local", "dask"):
        with pytest.raises(JobError, match="end with this process"):
            start(body, events_per_job=60, drive=False)
        assert not list((tmp_path / "jobs").glob("[0-9]*"))
        return
    job = start(body, events_per_job=60, drive=False)
    other = load(job.folder.path)
    assert other.status().state == "submitted"
    wait_for(lambda: other.status().running == 2)
    (tmp_path / "go").touch()
    other.start(again=False)
    assert other.wait().state == "done" and other.result().value == {"events": 120}
    assert [p.attempts for p in other.pieces] == [1, 1]


DISPATCHER = """
import json, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import aodmaker
from tagsel.jobs import Chosen, submit
folder, engine = Path(sys.argv[2]), Chosen(sys.argv[3], json.loads(sys.argv[4]))
sample = aodmaker.make(folder, (30, 30))
events = sample.events(range(60))
job = submit(folder / "jobs", events, sample.map(events), folder / "job.py", by="file", on=engine)
job.wait()
"""


@pytest.mark.parametrize("moment", ["while pieces run", "when all have ended"])
def test_fault_13_a_dispatcher_killed_loses_no_piece_and_runs_none_twice(
    engine: Chosen, tmp_path: Path, moment: str
) -> None:
    """kill -9 of the process that submitted; another one waits. Each piece says in a file of its own that it ran."""
    if engine.name in ("local", "dask"):
        pytest.skip("pieces end with the process that submitted them: tests/jobs/test_processes.py")
    open_way(tmp_path)
    tmp_path.chmod(0o777)
    (tmp_path / "job.py").write_text(f"""
import secrets, time
from pathlib import Path
def process(events):
    here = Path({str(tmp_path)!r})
    (here / f"ran-{{events.event[0]}}-{{secrets.token_hex(4)}}").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    return {{"events": len(events)}}
""")
    makers = str(Path(__file__).parents[1] / "aod")
    told = makers, str(tmp_path), engine.name, json.dumps(dict(engine.options or {}))
    process = subprocess.Popen([sys.executable, "-c", DISPATCHER, *told])
    wait_for(lambda: len(list(tmp_path.glob("ran-*"))) == 2)
    process.kill()
    process.wait()
    folder = tmp_path / "jobs" / "0001"
    job = load(folder)
    assert job.status().state == "submitted" and job.status().running == 2
    (tmp_path / "go").touch()
    if moment == "when all have ended":
        wait_for(lambda: job.status().running == 0)
    job.start(again=False)
    assert job.wait().state == "done" and job.result().value == {"events": 60}
    assert [p.attempts for p in job.pieces] == [1, 1]
    assert len(list(tmp_path.glob("ran-*"))) == 2


@pytest.mark.grid
def test_a_job_that_htcondor_holds_fails_with_its_reason(
    condor_pool: Path, sample: Any, tmp_path: Path, script: Callable[[str], Path]
) -> None:
    """No such program where it runs: HTCondor holds the job, for ever. It is removed, tried again, and given up.

    Feature 66: a failure of the site, with the reason of the hold as evidence.
    """
    open_way(tmp_path)
    events = sample.events(range(10))
    wrong = Chosen("condor", {"executable": "/nowhere/at/all", "request_memory": "100MB", "request_disk": "100MB"})
    job = submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), on=wrong)
    status = job.wait()
    assert (status.state, status.failed, job.ledger.failed) == ("failed", 1, 10)
    assert "held by HTCondor" in job.pieces[0].error and "/nowhere/at/all" in job.pieces[0].error
    failures = job.pieces[0].failures
    assert [f.cause.kind for f in failures] == ["site"] * 3 and job.pieces[0].attempts == 3
    assert all("/nowhere/at/all" in f.evidence.hold for f in failures)
    (group,) = job.diagnose()
    assert (group.cause.name, group.pieces, group.events) == ("software", (0,), 10)


@pytest.mark.grid
def test_what_an_engine_refuses_is_said_in_its_words(
    sample: Any,
    tmp_path: Path,
    script: Callable[[str], Path],
    slurm_cluster: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, slurm_cluster)
    events = sample.events(range(10))
    nowhere = Chosen("slurm", {"partition": "none"})
    with pytest.raises(JobError, match="sbatch fails: .*partition"):
        submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), on=nowhere)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(JobError, match="scontrol cannot be run"):
        submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), on=Chosen("slurm"))
    assert not list((tmp_path / "jobs").glob("[0-9]*"))  # nothing is left behind


def test_an_engine_that_is_not_there_leaves_nothing_behind(
    sample: Any, tmp_path: Path, script: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = sample.events(range(10))
    for chosen, said in (
        (Chosen("condr"), "no engine 'condr'"),
        (Chosen("local", {"x": "1"}), "take no option x"),
        (Chosen("condor", {"request_memory": "xx"}), "request_memory: 'xx' was given, an amount was expected"),
        (Chosen("condor", {"request_disk": "2 monkeys"}), "request_disk: '2 monkeys' was given"),
        (Chosen("dask", {}), "address was expected"),
    ):
        with pytest.raises(JobError, match=said):
            submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), on=chosen)
    assert not (tmp_path / "jobs").exists()


@pytest.mark.grid
def test_how_tasks_of_slurm_end(
    slurm_cluster: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exit code, a signal, a command that is not there; each with what it printed, words as they are."""
    set_all(monkeypatch, slurm_cluster)
    executor = Chosen("slurm", {"mem": "50M"}).executor()
    executor.resume(tmp_path / "notes")
    scripts = ["print('$HOME; `ls`')", "exit(3)", "import os; os.kill(os.getpid(), 9)"]
    commands = [(sys.executable, "-c", s) for s in scripts] + [("/nowhere/at/all",)]
    executor.submit([Task(n, 1, c, tmp_path / f"{n}.out", tmp_path / f"{n}.err") for n, c in enumerate(commands)])
    ended = sorted((executor.ended() for _ in commands), key=lambda e: e.task.piece)
    assert [e.code for e in ended] == [0, 3, -9, 1]
    assert (tmp_path / "0.out").read_text() == "$HOME; `ls`\n" and ended[0].error == ""
    assert "exit code 3" in ended[1].error and "SIGKILL" in ended[2].error
    assert "No such file" in (tmp_path / "3.err").read_text()
