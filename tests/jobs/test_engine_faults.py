"""kill -9 of servers, schedulers and nodes while pieces run: every selected event once and only once, each time.

All engines are real, and killed by their process ids; those that others use as well are started anew by their master.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from os import kill
from pathlib import Path
from typing import Any

import pytest
from testbed import condor, httpd, slurm, xrootd
from testbed.servers import Missing, free_port, kill_tree, open_way
from testbed.using import wait_for

from tagsel.errors import JobError
from tagsel.events import DeliveryLedger
from tagsel.jobs import Chosen, Job, LocalExecutor, submit
from tagsel.jobs.retries import Retries
from tagsel.jobs.slurm import states

pytestmark = pytest.mark.grid

WAITS = """
import os, secrets, time
from pathlib import Path
branches = ["MET_pt"]
batch = 10
def process(events):
    here = Path({here!r})
    (here / f"ran-{{events.event[0]}}-{{secrets.token_hex(4)}}-{{os.getppid()}}").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    return events
"""
"""It says of each batch that it ran, and goes on when it is told to."""


def ran(folder: Path) -> int:
    """How many batches were begun so far."""
    return len(ran_of(folder))


def ran_of(folder: Path) -> list[Path]:
    """What says that batches were begun; the last word of a name is the parent of the process that ran it."""
    return list(folder.glob("ran-*"))


def check_once(job: Job, sample: Any, rows: range) -> None:
    """Every event of the list is in the result once, and the ledger closes."""
    import pyarrow.parquet as pq

    assert job.ledger == DeliveryLedger(accepted=len(rows), delivered=len(rows))
    found = pq.read_table(job.output)
    assert found["event"].to_pylist() == sample.events(rows).event.tolist()


@pytest.fixture
def start(sample: Any, folder: Path, script: Callable[[str], Path]) -> Iterator[Callable[[Chosen], Job]]:
    """Submit 60 events in two pieces that wait, and wait until both run."""
    made = []

    def do(on: Chosen) -> Job:
        events = sample.events(range(60))
        written = script(WAITS.format(here=str(folder)).replace("batch = 10", "batch = 100"))
        job = submit(folder / "jobs", events, sample.map(events), written, on=on, events_per_job=30)
        made.append(job)
        wait_for(lambda: ran(folder) == 2)
        return job

    yield do
    for job in made:
        with suppress(JobError):  # of a test that failed: nobody else ends it
            job.kill()


GONE_ONCE = """
import time
from pathlib import Path
branches = ["MET_pt"]
def process(events):
    here = Path({here!r})
    (here / f"ran-{{events.event[0]}}-{{time.time_ns()}}").touch()
    if len(list(here.glob(f"ran-{{events.event[0]}}-*"))) <= {times}:
        raise ConnectionError("gone")
    return events
"""
"""Its first attempts at a batch, or some of them, fail by the network."""


def failed(job: Path, attempt: int) -> bool:
    """Whether both pieces of a job have failed so often, and somebody has seen it."""
    return all((job / "outputs" / f"0000{piece}.{attempt}.json").exists() for piece in (0, 1))


@pytest.fixture
def away(request: pytest.FixtureRequest) -> Iterator[tuple[Chosen, Callable[[], Any], Callable[[], Any]]]:
    """An engine, what makes it silent, and what gives it back."""
    if request.param == "condor":
        pool, stack = request.getfixturevalue("condor_pool"), ExitStack()
        with stack:
            on = Chosen("condor", {"request_memory": "100MB", "request_disk": "100MB"})
            yield on, lambda: stack.enter_context(condor.without_schedd(pool)), stack.close
        return
    found = request.getfixturevalue("cluster")

    def stop() -> None:
        found.processes["slurmctld"].terminate()
        found.processes["slurmctld"].wait()

    yield Chosen("slurm", {"mem": "100M"}), stop, lambda: found.start("slurmctld")


@pytest.mark.parametrize("away", ["condor", "slurm"], indirect=True)
def test_fault_13_31_an_engine_that_is_away_when_pieces_are_tried_again_is_asked_until_it_is_back(
    away: tuple[Chosen, Callable[[], Any], Callable[[], Any]],
    sample: Any,
    folder: Path,
    script: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both pieces fail once; the second attempts of both are one submission, and it is made once."""
    on, stop, give_back = away
    add, take, patience, gone = Retries.add, Retries.take, Retries.patience, threading.Event()
    waiting: list[Any] = []

    def note(self: Retries, task: Any, made: int) -> bool:
        waiting.append(task)
        return add(self, task, made)

    monkeypatch.setattr(Retries, "add", note)
    monkeypatch.setattr(Retries, "take", lambda self: take(self) if gone.is_set() else [])  # no pause ends before
    monkeypatch.setattr(Retries, "patience", lambda self: None if patience(self) is None else max(patience(self), 0.1))
    monkeypatch.setattr("tagsel.jobs.retries.PAUSE_S", 1.0)
    monkeypatch.setattr("tagsel.jobs.retries.OFFER_S", 0.5)
    monkeypatch.setattr("tagsel.jobs.slurm.LOOK_S", (0.1, 0.1))
    events, written = sample.events(range(60)), script(GONE_ONCE.format(here=str(folder), times=1))
    job = submit(folder / "jobs", events, sample.map(events), written, on=on, events_per_job=30)
    try:
        wait_for(lambda: len(waiting) == 2)  # else the driver would ask an engine that is away for the end of one
        stop()
        gone.set()
        wait_for(lambda: bool(job.folder.refusal))
        assert "pieces wait, and are offered again" in job.folder.refusal and ran(folder) == 2
    finally:
        give_back()
    assert job.wait().state == "done" and job.status().error == ""
    check_once(job, sample, range(60))
    assert [p.attempts for p in job.pieces] == [2, 2] and ran(folder) == 4
    assert len(list(job.folder.engine.glob("*.tasks"))) == 2


# -- a driver


DRIVER = """
import sys
from pathlib import Path
from tagsel.jobs import load, retries
retries.PAUSE_S, retries.GROWTH = float(sys.argv[2]), 1e6
job = load(Path(sys.argv[1]))
job.start(again=False)
job.wait()
"""


@pytest.mark.parametrize("times", [2, 9])
def test_fault_13_66_what_waits_for_another_attempt_outlives_kill_9_of_its_driver(
    slurm_cluster: Mapping[str, str],
    sample: Any,
    folder: Path,
    script: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """Two drivers die in the pauses after the first and the second attempt; a third makes the last that is left."""
    for key, value in slurm_cluster.items():
        monkeypatch.setenv(key, value)
    events, written = sample.events(range(60)), script(GONE_ONCE.format(here=str(folder), times=times))
    on = Chosen("slurm", {"mem": "100M"})
    job = submit(folder / "jobs", events, sample.map(events), written, on=on, events_per_job=30, drive=False)
    for attempt, pause in ((1, "300"), (2, "0.1")):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(job.folder.path), pause])
        wait_for(lambda n=attempt: failed(job.folder.path, n) and not list(states(job.folder.engine)))
        driver.kill()
        driver.wait()
        assert (job.status().state, job.status().failed) == ("submitted", 2)
    job.start(again=False, pause_s=0.1)
    assert job.wait().state == ("done" if times == 2 else "failed")
    assert [p.attempts for p in job.pieces] == [3, 3] and ran(folder) == 6
    if times == 2:
        check_once(job, sample, range(60))
    else:
        assert job.ledger == DeliveryLedger(accepted=60, failed=60)
        job.start(again=False, pause_s=0.1)  # they have had all their attempts
        assert job.wait().state == "failed" and ran(folder) == 6


# -- XRootD


@pytest.fixture
def storage(folder: Path, sample: Any) -> Iterator[tuple[int, ExitStack, Any]]:
    """(port, what stops the server, the sample as its files lie there); the server's process is `process` of it."""
    port = free_port()
    (folder / "x").mkdir()
    with ExitStack() as stack:
        try:
            process = stack.enter_context(xrootd.server(folder / "x", port))
        except Missing as missing:
            pytest.skip(str(missing))
        data = folder / "x" / "root" / "data"
        for file in sample.files:
            shutil.copy(file.pfn, data)
        away = [replace(f, pfn=f"root://127.0.0.1:{port}//data/{Path(f.pfn).name}") for f in sample.files]
        stack.process = process  # type: ignore[attr-defined]
        yield port, stack, replace(sample, files=away)


@pytest.mark.parametrize("copies", [False, True])
def test_fault_26_31_kill_9_of_an_xrootd_server_while_pieces_read_from_it(
    storage: tuple[int, ExitStack, Any],
    folder: Path,
    script: Callable[[str], Path],
    sample: Any,
    copies: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files of 50, 30 and 40 events, a piece each, of which each has read ten; where there are copies all are read."""
    from aodmaker import Replica

    monkeypatch.setenv("XRD_REQUESTTIMEOUT", "2")
    monkeypatch.setenv("XRD_CONNECTIONWINDOW", "1")
    port, stack, away = storage
    with httpd.running(Path(sample.files[0].pfn).parent) as (address, _):
        if copies:
            away = replace(
                away, replicas={f.guid: [Replica("WEB", f"{address}/{Path(f.pfn).name}")] for f in away.files}
            )
        events = sample.events(range(120))
        written = script(WAITS.format(here=str(folder)))
        job = submit(folder / "jobs", events, away.map(events), written, by="file", executor=LocalExecutor(3))
        wait_for(lambda: ran(folder) == 3)
        stack.process.kill()  # type: ignore[attr-defined]
        stack.process.wait()  # type: ignore[attr-defined]
        (folder / "go").touch()
        assert job.wait().state == "done"
    if copies:
        check_once(job, sample, range(120))
        assert [p.attempts for p in job.pieces] == [1, 1, 1]  # the copy that broke gave way to the other at once
        return
    ledger = job.ledger
    assert ledger.delivered >= 30 and ledger.unreadable > 0
    assert (ledger.accepted, ledger.failed) == (120, 0) and ledger.delivered + ledger.unreadable == 120
    assert job.result().events == ledger.delivered
    assert {g.cause.name for g in job.diagnose()} == {"server"}
    with xrootd.server(folder / "x", port):
        job.resubmit(LocalExecutor(3))
        assert job.wait().state == "done"
    check_once(job, sample, range(120))


# -- HTCondor


@pytest.mark.parametrize("name", ["schedd", "startd"])
def test_fault_13_31_kill_9_of_a_daemon_of_htcondor_loses_no_piece(
    condor_pool: Path, start: Callable[[Chosen], Job], sample: Any, folder: Path, name: str
) -> None:
    """The schedd alone, whose jobs may go on; the node with all that runs on it. Their master starts them anew."""
    code = Path(__file__).resolve().parents[2]  # HTCondor hands no environment on
    asked = {"request_memory": "100MB", "request_disk": "100MB", "environment": f'"PYTHONPATH={code}"'}
    asked["job_lease_duration"] = "20"  # how long a node that is lost is waited for, 40 minutes by default
    job = start(Chosen("condor", asked))
    before = condor.daemon(condor_pool, name)
    if name == "startd":
        kill_tree(before)
    else:
        kill(before, signal.SIGKILL)
    wait_for(lambda: condor.daemon(condor_pool, name) != before)
    (folder / "go").touch()
    wait_for(lambda: job.folder.result.exists())
    assert job.wait().state == "done"
    check_once(job, sample, range(60))
    assert ran(folder) == (4 if name == "startd" else 2)  # both pieces; on a lost node twice


# -- Slurm


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[slurm.Cluster]:
    """A cluster of this test's own. A node is lost in 5 s, not 5 minutes, and what ran there given back to us."""
    home = tmp_path_factory.mktemp("slurm")
    open_way(home)
    try:
        with slurm.cluster(home, "JobRequeue=0\nSlurmdTimeout=5\n") as found:
            setting: Mapping[str, str] = found.environment
            for key, value in setting.items():
                monkeypatch.setenv(key, value)
            yield found
    except Missing as missing:
        pytest.skip(str(missing))


def test_fault_13_31_a_node_of_slurm_lost_with_all_that_runs_on_it_loses_no_piece(
    cluster: slurm.Cluster, start: Callable[[Chosen], Job], sample: Any, folder: Path
) -> None:
    """kill -9 of slurmd, its steps and the pieces: Slurm ends them once it misses the node; they are tried again."""
    job = start(Chosen("slurm", {"mem": "100M"}))
    process = cluster.processes["slurmd"]
    steps = [int(path.name.rpartition("-")[2]) for path in ran_of(folder)]  # slurmstepd, no child of slurmd's
    for one in (process.pid, *steps):
        kill_tree(one)
    process.wait()
    (folder / "go").touch()
    wait_for(lambda: not list(states(job.folder.engine)) or ran(folder) > 2)
    cluster.start("slurmd")
    wait_for(lambda: job.folder.result.exists())
    assert job.wait().state == "done"
    check_once(job, sample, range(60))
    assert ran(folder) == 4  # both pieces, twice


def test_a_controller_of_slurm_that_is_away_while_pieces_end_is_waited_for(
    cluster: slurm.Cluster, start: Callable[[Chosen], Job], sample: Any, folder: Path
) -> None:
    job = start(Chosen("slurm", {"mem": "100M"}))
    process = cluster.processes["slurmctld"]
    process.terminate()
    process.wait()
    (folder / "go").touch()
    wait_for(lambda: len(list((job.folder.path / "outputs").glob("*.parquet"))) == 2)
    with pytest.raises(JobError, match="squeue fails"):
        list(states(job.folder.engine))
    cluster.start("slurmctld")
    wait_for(lambda: job.folder.result.exists())
    assert job.wait().state == "done"
    check_once(job, sample, range(60))
    assert [p.attempts for p in job.pieces] == [1, 1]
    assert ran(folder) == 2
