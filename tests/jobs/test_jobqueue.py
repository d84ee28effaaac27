"""Dask clusters whose workers a batch system starts: dask-jobqueue on the real Slurm and HTCondor of the test bed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.servers import ROOT, installed, open_way

from tagsel.events import DeliveryLedger
from tagsel.jobs import Chosen, submit

pytestmark = pytest.mark.grid

BODY = """
import os
branches = ["Muon_*"]
def process(events):
    return {"events": len(events), "numbers": int(sum(events.event)), "of": {os.environ.get("STARTED_BY", "us"): 1}}
"""


@pytest.fixture(params=["slurm", "condor"])
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Any]]:
    """A batch system's name, and a Dask cluster of two workers that it starts, all on 127.0.0.1."""
    jobqueue, name = pytest.importorskip("dask_jobqueue"), request.param
    open_way(tmp_path)
    for folder in (tmp_path / "logs", tmp_path / "local"):
        folder.mkdir()
        folder.chmod(0o777)  # HTCondor has another user run the workers
    started = {
        "cores": 1,
        "memory": "200MB",
        "interface": "lo",
        "python": sys.executable,
        "death_timeout": 60,
        "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
        "log_directory": str(tmp_path / "logs"),
        "local_directory": str(tmp_path / "local"),
        "job_script_prologue": [f"export PYTHONPATH={ROOT} STARTED_BY={name}"],
    }
    if name == "slurm":
        for key, value in request.getfixturevalue("slurm_cluster").items():
            monkeypatch.setenv(key, value)
        made = jobqueue.SLURMCluster(walltime="00:10:00", **started)
    else:
        request.getfixturevalue("condor_pool")
        monkeypatch.setenv("PATH", f"{installed('condor') / 'usr/bin'}", prepend=":")
        made = jobqueue.HTCondorCluster(disk="100MB", **started)
    with made:
        made.scale(2)
        made.wait_for_workers(2, timeout=60)
        yield name, made


def test_feature_64_workers_that_a_batch_system_starts_for_dask_give_the_same_answer(
    cluster: tuple[str, Any], sample: Any, tmp_path: Path, script: Callable[[str], Path]
) -> None:
    """120 events in two pieces, on the cluster and in processes here. Each says who started it."""
    name, made = cluster
    events, written = sample.events(range(120)), script(BODY)
    mapped = sample.map(events)
    answers = {}
    for folder, engine in (("there", Chosen("dask", {"address": made.scheduler_address})), ("here", Chosen())):
        job = submit(tmp_path / folder, events, mapped, written, on=engine, events_per_job=60)
        assert job.wait().state == "done"
        assert job.ledger == DeliveryLedger(accepted=120, delivered=120)
        answers[folder] = job.result().value
    assert answers["there"].pop("of") == {name: 2} and answers["here"].pop("of") == {"us": 2}
    assert answers["there"] == answers["here"] == {"events": 120, "numbers": int(events.event.sum())}
