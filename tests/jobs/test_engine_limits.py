"""Limits of engines: full queues, short queues, many pieces by one call, sites; each event once and only once.

The engines are real. A queue is full because its limit is low: HTCondor's MAX_JOBS_PER_OWNER, Slurm's MaxJobCount.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from testbed import condor, slurm
from testbed.servers import Missing, open_way
from testbed.using import set_all, wait_for

from tagsel.errors import JobError
from tagsel.events import DeliveryLedger
from tagsel.jobs import Chosen, Job, Task, submit

pytestmark = pytest.mark.grid

ASKED = {
    "condor": {"request_memory": "100MB", "request_disk": "100MB"},
    "slurm": {"mem": "100M"},
}

WAITS = """
import secrets, time
from pathlib import Path
branches = ["MET_pt"]
def process(events):
    here = Path({here!r})
    (here / f"ran-{{events.event[0]}}-{{secrets.token_hex(4)}}").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    return events
"""
"""It says that it ran, and goes on when it is told to."""


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are offered again soon, and sbatch is not waited for."""
    monkeypatch.setattr("tagsel.jobs.retries.OFFER_S", 0.5)
    monkeypatch.setattr("tagsel.jobs.retries.OFFER_GROWTH", 1.0)
    monkeypatch.setattr("tagsel.jobs.slurm.SUBMIT_S", 1.0)


@pytest.fixture
def start(sample: Any, folder: Path, script: Callable[[str], Path]) -> Iterator[Callable[..., Job]]:
    """Submit 50 events in five pieces that wait."""
    made = []

    def do(on: Chosen, **more: Any) -> Job:
        events, written = sample.events(range(50)), script(WAITS.format(here=str(folder)))
        made.append(submit(folder / "jobs", events, sample.map(events), written, on=on, events_per_job=10, **more))
        return made[-1]

    yield do
    for job in made:
        with suppress(JobError):  # of a test that failed: nobody else ends it
            job.kill()


def check_once(job: Job, folder: Path, sample: Any) -> None:
    """Each of the five pieces ran once, and every event is in the result once."""
    check_events(job, sample)
    assert len(list(folder.glob("ran-*"))) == 5 and [p.attempts for p in job.pieces] == [1] * 5


def check_events(job: Job, sample: Any) -> None:
    """Every one of the 50 events is in the result once, and no refusal is left."""
    import pyarrow.parquet as pq

    assert job.wait().state == "done" and job.status().error == ""
    assert job.ledger == DeliveryLedger(accepted=50, delivered=50)
    assert pq.read_table(job.output)["event"].to_pylist() == sample.events(range(50)).event.tolist()


def queued(program: str) -> list[str]:
    """The lines that a batch system lists of jobs that have not ended."""
    return subprocess.run(program.split(), capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


# -- full queues


def test_feature_65_a_quota_of_htcondor_is_obeyed_and_said(
    condor_pool: Path, often: None, start: Callable[..., Job], folder: Path, sample: Any
) -> None:
    """Two jobs a user: two pieces run, three wait until there is room."""
    import htcondor2

    on = Chosen("condor", ASKED["condor"])
    with condor.limited(condor_pool, "MAX_JOBS_PER_OWNER=2"):
        with pytest.raises(JobError, match="takes no more jobs now: its MAX_JOBS_PER_OWNER is reached"):
            start(on, drive=False)  # nobody would offer the rest again
        assert not list((folder / "jobs").iterdir())
        wait_for(lambda: not htcondor2.Schedd().query("JobStatus =!= 3"))  # what it had taken is taken back
        for mark in folder.glob("ran-*"):
            mark.unlink()
        job = start(on)
        wait_for(lambda: len(list(folder.glob("ran-*"))) == 2 and job.status().running == 2)
        wait_for(lambda: "its MAX_JOBS_PER_OWNER is reached; pieces wait" in job.status().error)
        assert job.status().waiting == 3
        (folder / "go").touch()
        check_once(job, folder, sample)


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[slurm.Cluster]:
    """A cluster of Slurm's whose queue takes three jobs, two of an array."""
    home = tmp_path_factory.mktemp("slurm")
    open_way(home)
    try:
        with slurm.cluster(home, "MaxJobCount=3\n") as found:
            set_all(monkeypatch, found.environment)
            yield found
    except Missing as missing:
        pytest.skip(str(missing))


def test_feature_65_fault_13_31_a_full_queue_of_slurm_and_kill_9_of_its_controller(
    small: slurm.Cluster, often: None, start: Callable[..., Job], folder: Path, sample: Any
) -> None:
    """Two pieces run, three wait. The controller is killed and comes back with a longer queue."""
    job = start(Chosen("slurm", ASKED["slurm"]))
    wait_for(lambda: len(list(folder.glob("ran-*"))) == 2 and "takes no more jobs now" in job.status().error)
    assert (job.status().running, job.status().waiting) == (2, 3)
    with pytest.raises(JobError, match="Slurm's queue takes no more jobs now: .*unable to accept job"):
        start(Chosen("slurm", ASKED["slurm"]), drive=False)  # nobody would offer its pieces again
    assert [path.name for path in (folder / "jobs").iterdir()] == [job.folder.path.name]
    assert len(queued("squeue -h -r -t PD,R")) == 2
    restart(small, 40)
    (folder / "go").touch()
    wait_for(lambda: mended() and job.folder.result.exists())
    check_events(job, sample)  # what a controller forgot that was killed in the middle runs twice, and counts once


def mended() -> bool:
    """Give jobs to the node again as its keeper would: Slurm takes it away where a task runs that it forgot."""
    for line in queued("sinfo -h -N -o %N|%T"):
        node, _, state = line.partition("|")
        if "drain" in state:
            subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])  # refused where it did so itself
    return True


def restart(cluster: slurm.Cluster, most: int) -> None:
    """kill -9 of the controller, which comes back with room for so many jobs."""
    process = cluster.processes["slurmctld"]
    process.kill()
    process.wait()
    configuration = cluster.folder / "slurm.conf"
    lines = configuration.read_text().rpartition("MaxJobCount=")[0]
    configuration.write_text(f"{lines}MaxJobCount={most}\n")
    cluster.start("slurmctld")


# -- short queues


def test_feature_65_a_short_queue_takes_short_jobs_and_refuses_others(
    slurm_cluster: Mapping[str, str],
    start: Callable[..., Job],
    folder: Path,
    sample: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The partition `short` gives a minute."""
    set_all(monkeypatch, slurm_cluster)
    short = {**ASKED["slurm"], "partition": "short"}
    with pytest.raises(JobError, match="Requested time limit is invalid") as refusal:
        start(Chosen("slurm", {**short, "time": "2"}))
    assert "sinfo" in refusal.value.hint
    assert not list((folder / "jobs").iterdir()) and not queued("squeue -h -t PD,R -p short")
    job = start(Chosen("slurm", {**short, "time": "1"}))
    wait_for(lambda: len(queued("squeue -h -r -t PD,R -p short")) == 5)
    (folder / "go").touch()
    check_once(job, folder, sample)


# -- many pieces


@pytest.mark.parametrize(("name", "holds"), [("condor", {"hold": "True"}), ("slurm", {"begin": "now+1hour"})])
def test_feature_65_1200_pieces_are_one_call(
    request: pytest.FixtureRequest,
    maker: ModuleType,
    folder: Path,
    script: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    holds: dict[str, str],
) -> None:
    """One cluster, one array; none of its pieces begins, since it is told to wait."""
    if name == "condor":
        request.getfixturevalue("condor_pool")
    else:
        set_all(monkeypatch, request.getfixturevalue("slurm_cluster"))
    many = maker.make(folder / "many", (1200,))
    events = many.events(range(1200))
    on = Chosen(name, {**ASKED[name], **holds})
    written = script(WAITS.format(here=str(folder)))
    job = submit(folder / "jobs", events, many.map(events), written, on=on, events_per_job=1, drive=False)
    try:
        status = job.status()
        assert (status.state, status.pieces, status.waiting + status.held) == ("submitted", 1200, 1200)
        assert len(list(job.folder.engine.glob("*.tasks"))) == 1
        if name == "condor":
            import htcondor2

            (token,) = (path.stem for path in job.folder.engine.glob("*.tasks"))
            found = htcondor2.Schedd().query(f'TagselToken == "{token}"', ["ClusterId", "ProcId"])
            assert len({ad["ClusterId"] for ad in found}) == 1 and {ad["ProcId"] for ad in found} == set(range(1200))
        else:
            (number,) = (json.loads(path.read_text())["id"] for path in job.folder.engine.glob("*.id"))
            assert len(queued(f"squeue -h -j {number}")) == 1  # one line, of 1,200 tasks
    finally:
        job.kill()
    assert job.wait().state == "killed"


# -- sites


def test_feature_61_slurm_is_told_the_site_of_a_piece(
    slurm_cluster: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of two sites are two arrays, where an option names the site; each has its own comment."""
    set_all(monkeypatch, slurm_cluster)
    tasks = [
        Task(n, 1, ("/bin/true",), tmp_path / f"{n}.out", tmp_path / f"{n}.err", site=site)
        for n, site in enumerate(["CERN", "DESY", "CERN"])
    ]
    executor = Chosen("slurm", {"mem": "50M", "comment": "at $(site)"}).executor()
    executor.resume(tmp_path / "notes")
    executor.submit(tasks)
    arrays = {path.stem: json.loads(path.read_text())["id"] for path in (tmp_path / "notes").glob("*.id")}
    comments = queued(f"squeue -h -r -t all -j {','.join(arrays.values())} -o %k")
    assert sorted(comments) == ["at CERN", "at CERN", "at DESY"]
    assert len(arrays) == 2
    ended = [executor.ended() for _ in tasks]
    assert sorted((e.task.piece, e.task.site, e.code) for e in ended if e) == [
        (0, "CERN", 0),
        (1, "DESY", 0),
        (2, "CERN", 0),
    ]
