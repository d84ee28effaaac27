"""Looking at, killing and refusing jobs that nobody drives, or somebody else does, on real engines.

A look tells the truth of pieces that ended unseen; a kill ends what runs and touches nothing that a driver has; what an
engine took before it refused the rest is taken back.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from testbed.using import wait_for

from tagsel.errors import JobError
from tagsel.jobs import Chosen, Job, condor, load, submit

pytestmark = pytest.mark.grid

CONDOR = Chosen("condor", {"request_memory": "100MB", "request_disk": "100MB"})


@pytest.fixture
def start(sample: Any, folder: Path, script: Callable[[str], Path]) -> Callable[..., Job]:
    """Hand the sample's 50, 30 and 40 events over to HTCondor, a piece each file, and leave."""

    def do(body: str) -> Job:
        events = sample.events(range(120))
        written = script(body.format(here=str(folder)))
        return submit(folder / "jobs", events, sample.map(events), written, by="file", on=CONDOR, drive=False)

    return do


def told(job: Job) -> list[str]:
    """What HTCondor's event log says of the pieces, in order."""
    return [state for _, state in sorted((t.piece, state) for t, state in condor.states(job.folder.engine))]


ENDS = """
import os, signal
branches = ["MET_pt"]
def process(events):
    if len(events) == 30:
        raise ValueError("no such luck")
    if len(events) == 40 and not os.path.exists({here!r} + "/mended"):
        os.kill(os.getpid(), signal.SIGKILL)
    return {{"n": len(events)}}
"""


def test_feature_68_pieces_that_end_while_nobody_waits_are_seen_to_have_ended(
    condor_pool: Path, start: Callable[..., Job], folder: Path
) -> None:
    """One is done, the script of one failed, and one died: it waits for a process that tries it again."""
    job = start(ENDS)
    wait_for(lambda: told(job) == ["ended"] * 3)
    status = load(job.folder.path).status()
    assert (status.done, status.failed, status.waiting, status.events_done) == (1, 2, 0, 50)
    assert status.state == "submitted"
    assert ["no such luck" in p.error for p in job.pieces] == [False, True, False]
    assert (job.pieces[2].state, job.pieces[2].error) == ("failed", "killed by SIGKILL")
    (folder / "mended").touch()
    job.start(again=False)
    assert job.wait().state == "failed"
    assert [(p.state, p.attempts) for p in job.pieces] == [("done", 1), ("failed", 1), ("done", 2)]


WAITS = """
import time
from pathlib import Path
branches = ["MET_pt"]
def process(events):
    here = Path({here!r})
    (here / f"ran-{{len(events)}}").touch()
    while len(events) != 30 and not (here / "go").exists():
        time.sleep(0.05)
    return {{"n": len(events)}}
"""
"""The piece of 30 events ends at once, the others when they are told to."""


def test_a_job_is_ended_without_a_touch_on_what_its_driver_has(
    condor_pool: Path, start: Callable[..., Job], folder: Path
) -> None:
    """The result of the piece that ended stays where HTCondor put it, for the driver; then a look takes it in."""
    job = start(WAITS)
    wait_for(lambda: sorted(told(job)) == ["ended", "running", "running"])
    before = {path for path in job.folder.engine.rglob("*") if path.is_file()}
    assert any(path.name == "00001.1.json" for path in before)
    condor.cancel(job.folder.engine)
    wait_for(lambda: told(job) == ["ended"] * 3)
    assert before <= {path for path in job.folder.engine.rglob("*") if path.is_file()}
    job.kill()
    status = job.status()
    assert (status.state, status.done, status.failed, status.events_done) == ("killed", 1, 2, 30)


DRIVER = """
import sys
from pathlib import Path
from tagsel.jobs import load
job = load(Path(sys.argv[1]))
job.start(again=False)
print(job.wait().state)
"""


def test_a_job_that_another_process_drives_is_killed(
    condor_pool: Path, start: Callable[..., Job], folder: Path
) -> None:
    job = start(WAITS)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(job.folder.path)], stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(list(folder.glob("ran-*"))) == 3 and job.folder.is_locked())
        load(job.folder.path).kill()
        assert driver.communicate(timeout=60)[0] == "killed\n" and driver.returncode == 0
    finally:
        driver.kill()
    assert job.status().state == "killed" and "running" not in told(job)


@pytest.fixture
def refused(
    slurm_cluster: Mapping[str, str],
    sample: Any,
    folder: Path,
    script: Callable[[str], Path],
    maker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Job]:
    """Submit pieces of two sites, which are partitions: Slurm knows the first of them alone, and refuses the other."""
    for key, value in slurm_cluster.items():
        monkeypatch.setenv(key, value)
    sites = dict(zip((f.guid for f in sample.files), ("short", "zzz", "zzz"), strict=True))
    away = replace(sample, replicas={f.guid: [maker.Replica(sites[f.guid], f.pfn)] for f in sample.files})
    on = Chosen("slurm", {"mem": "100M", "partition": "$(site)"})

    def do() -> Job:
        events, written = away.events(range(120)), script(WAITS.format(here=str(folder)))
        return submit(folder / "jobs", events, away.map(events), written, by="site", on=on)

    return do


def queued() -> list[str]:
    """Jobs of Slurm's in the partition of the first site."""
    command = ["squeue", "-h", "-t", "PD,R", "-p", "short"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_fault_31_what_slurm_took_before_it_refused_the_rest_is_taken_back(
    refused: Callable[[], Job], folder: Path
) -> None:
    with pytest.raises(JobError, match="sbatch fails: .*partition"):
        refused()
    assert not list((folder / "jobs").glob("[0-9]*"))
    wait_for(lambda: not queued())


def test_fault_31_what_cannot_be_taken_back_keeps_its_folder(
    refused: Callable[[], Job], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `scancel` that fails stands before Slurm's own until the first array is there to stay."""
    (folder / "bin").mkdir()
    (folder / "bin" / "scancel").write_text("#!/bin/sh\necho not now >&2\nexit 1\n")
    (folder / "bin" / "scancel").chmod(0o755)
    with monkeypatch.context() as broken, pytest.raises(JobError) as caught:
        broken.setenv("PATH", str(folder / "bin"), prepend=":")
        refused()
    assert "partition" in caught.value.message and "scancel fails: not now" in caught.value.message
    assert caught.value.hint == "tagsel jobs kill 0001, which is kept"
    job = load(folder / "jobs" / "0001")
    assert job.status().state == "killed" and queued()
    job.kill()
    wait_for(lambda: not queued())
