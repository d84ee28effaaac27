"""Forecasts: bytes as they are read afterwards, times as earlier jobs took, and what they say of a full scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import uproot

from tagsel.jobs import Job, LocalExecutor, forecast, load, plan_job, submit
from tagsel.jobs.forecast import USUAL, Cost, Forecast, Pace, accuracy, pace, rates
from tagsel.jobs.plan import write_folder
from tagsel.rootio import guid_of

SCRIPT = 'branches = ["Muon_*"]\ndef process(events):\n    return {"n": len(events)}\n'


def test_rates_are_medians_of_this_script_before_others_before_usual_ones() -> None:
    """Of ab: 2 and 4 s a piece, median 3; 1 s for 1 and for 2 MB, median 0.75e-6 s; 1 s of 10, of 5 events: 0.15 s."""
    ab = [Cost(1, 10, 1_000_000, 2.0, 1.0, 1.0), Cost(2, 5, 2_000_000, 8.0, 1.0, 1.0)]
    told = [("ab", c.to_json()) for c in ab] + [("cd", Cost(1, 1, 1, 100.0, 100.0, 100.0).to_json())]
    mine = rates(told, "ab")
    assert (mine.start_s, mine.basis) == (3.0, "2 earlier jobs of this script")
    assert mine.read_s_per_byte == pytest.approx(0.75e-6)
    assert mine.process_s_per_event == pytest.approx(0.15)
    assert rates(told, "ef").basis == "3 earlier jobs of other scripts"
    assert rates([], "ab").start_s == USUAL["start_s"]
    assert rates([("ab", Cost(1, 0, 0, 1.0).to_json())], "ab").basis.startswith(
        "no job"
    )  # of nothing nothing is learnt
    assert mine.cpu_s(2, 1_000_000, 10) == pytest.approx(2 * 3.0 + 0.75 + 1.5)


@pytest.mark.parametrize(
    ("told", "times"),
    [
        (Forecast(0, 5, 0, 100, 1, 0, 10, 0.0, 1.0, 0, ""), 0.0),
        (Forecast(1, 5, 9, 0, 1, 10, 0, 1.0, 0.0, 0, ""), 0.0),
        (Forecast(1, 5, 9, 100, 1, 10, 100, 2.0, 16.0, 1, ""), 8.0),
    ],
)
def test_feature_62_how_many_times_the_cpu_of_a_scan_is_that_of_the_job(told: Forecast, times: float) -> None:
    assert told.to_json()["times"] == times


def test_accuracy_compares_what_is_known() -> None:
    """120 of 100 bytes is 20 % too much, 3 of 4 s a quarter too little; of nothing read, nothing is said."""
    assert accuracy({"bytes": 120, "cpu_s": 3.0}, Cost(1, 1, 100, 1.0, 1.0, 2.0)) == {"bytes": 0.2, "cpu_s": -0.25}
    assert accuracy({"bytes": 0, "cpu_s": 0.0}, Cost()) == {}


def test_time_is_that_of_rounds_after_the_queue() -> None:
    """60 s of pieces in 20 s are three at once, 5 s in 10 s at least one; the queues were 4, 10 and 6 s long."""
    costs = [
        Cost(9, wall_s=60.0, wait_s=4.0, span_s=20.0),
        Cost(1, wall_s=5.0, wait_s=10.0, span_s=10.0),
        Cost(2, wall_s=20.0, wait_s=6.0, span_s=10.0),
    ]
    assert pace(c.to_json() for c in costs) == Pace(3, 6.0)
    assert pace([Cost(4, wall_s=9.0).to_json()]) is None  # a part of it was run again: nobody knows
    assert pace([]) is None
    assert Pace(3, 6.0).time_s(7, 70.0) == 6.0 + 3 * 10.0  # three rounds of 10 s each
    assert Pace(3, 6.0).time_s(0, 0.0) == 0.0
    waits = [("ab", Cost(1, 1, 1, 1.0, 0.0, 1.0, wall_s=8.0).to_json())]
    assert rates(waits, "ab").wall_per_cpu == 4.0
    assert accuracy({"time_s": 15.0}, Cost(wait_s=2.0, span_s=8.0)) == {"time_s": 0.5}


def test_feature_62_how_long_a_job_took_is_kept_unless_a_part_of_it_was_run_again(
    sample: Any, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two pieces sleep for 0.2 s each, which is no CPU, one after the other; then one of them is killed once."""
    slow = SCRIPT.replace("def", "import time\ndef").replace("    return", "    time.sleep(0.2)\n    return")
    die = f"""import os, pathlib
marker = pathlib.Path({str(tmp_path / "died")!r})
if not marker.exists():
    marker.touch()
    os.kill(os.getpid(), 9)
"""
    events = sample.events(range(10))
    whole, broken = (
        submit(
            tmp_path / "jobs",
            events,
            sample.map(events),
            script(body),
            events_per_job=5,
            executor=LocalExecutor(1),
            pace=Pace(1),
        )
        for body in (slow, die + slow)
    )
    assert (whole.wait().state, broken.wait().state) == ("done", "done")
    cost = whole.cost
    assert 0.4 <= cost.wall_s <= cost.span_s + 0.01  # rounded to a millisecond each
    assert cost.cpu_s < cost.span_s + cost.wait_s == cost.time_s
    assert pace([cost.to_json()]) == Pace(1, cost.wait_s)
    assert whole.forecast is not None
    assert set(whole.forecast["error"]) == {"bytes", "cpu_s", "time_s"}
    assert broken.cost.events == 10
    assert (broken.cost.time_s, pace([broken.cost.to_json()])) == (0.0, None)


def test_a_job_that_lay_dead_between_two_processes_has_no_time(
    sample: Any, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its pieces ran once each, in a process after the one that the job says began it."""
    events = sample.events(range(10))
    (tmp_path / "jobs").mkdir()
    folder = write_folder(tmp_path / "jobs", plan_job(events, sample.map(events), script(SCRIPT)), events, "")
    (folder / "begun").write_text("1 on elsewhere\n")
    job = load(folder)
    job.start(LocalExecutor(1))
    assert job.wait().state == "done" and job.pieces[0].attempts == 1
    assert (job.cost.time_s, job.cost.events) == (0.0, 10)


@pytest.mark.parametrize("sampled", [1, 8])
@pytest.mark.parametrize("rows", [range(120), range(0, 120, 7), [3, 60, 119]], ids=["all", "some", "three"])
def test_feature_62_bytes_are_forecast_within_30_per_cent(
    run: Callable[..., Job], rows: Any, sampled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on one of three files, and on all; what was read is counted by the reader."""
    monkeypatch.setattr(forecast, "SAMPLE", sampled)
    job = run(SCRIPT, rows, by="file")
    told = job.forecast
    assert told is not None
    assert told["measured"] == min(sampled, told["files"])
    assert abs(told["error"]["bytes"]) <= 0.3, told
    assert (told["cost"]["events"], told["files_total"], told["events_total"]) == (len(rows), 3, 120)
    if sampled == 8:
        assert told["error"]["bytes"] == 0


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory, maker: ModuleType) -> Any:
    """A file of two clusters of 300 events: each branch has a basket in each."""
    path = tmp_path_factory.mktemp("clusters") / "AOD.root"
    random = np.random.default_rng(5)
    rows = [(0, n, 7, 1 + n // 100, 1000 + n, 0.0, []) for n in range(600)]
    with uproot.recreate(path) as file:
        file.mktree("Events", {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64", "MET_pt": "float64"})
        for part in (rows[:300], rows[300:]):
            file["Events"].extend(
                {
                    "run": np.full(300, 7, np.uint32),
                    "luminosityBlock": np.array([r[3] for r in part], np.uint32),
                    "event": np.array([r[4] for r in part], np.uint64),
                    "MET_pt": random.normal(size=300),
                }
            )
    known = maker.File(guid_of(path), "AOD.root", str(path), 600, path.stat().st_size)
    return maker.Sample([known], rows)


@pytest.mark.parametrize("counted", [64, 4], ids=["all", "four"])
@pytest.mark.parametrize("pieces", [1, 30])
def test_bytes_of_pieces_of_one_cluster_are_forecast_within_30_per_cent(
    run: Callable[..., Job], clusters: Any, pieces: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 events of one cluster in one piece and in 30: each reads the four baskets of the cluster, ids included, and
    opens the file; `counted` of the readings are looked at. What was read is counted by the reader."""
    monkeypatch.setattr(forecast, "READINGS", counted)
    body = 'branches = ["MET_pt"]\ndef process(events):\n    return {"n": len(events)}\n'
    job = run(body, range(300), of=clusters, events_per_job=300 // pieces)
    with uproot.open(clusters.files[0].pfn) as file:
        cluster = sum(branch.basket_compressed_bytes(0) for branch in file["Events"].branches)
    assert len(job.pieces) == pieces
    told = job.forecast
    assert told is not None
    assert told["cost"]["bytes"] > pieces * cluster
    assert abs(told["error"].get("bytes", 0.0)) <= 0.3, told
    if counted == 64:
        assert told["bytes"] == told["cost"]["bytes"]


def test_files_that_cannot_be_had_are_left_out_of_the_measure(sample: Any, script: Callable[[str], Path]) -> None:
    gone = replace(sample, files=[replace(f, pfn="/nowhere/at/all.root") for f in sample.files])
    events = gone.events(range(120))
    plan = plan_job(events, gone.map(events), script(SCRIPT), by="file")
    assert plan.forecast is not None
    assert plan.forecast.measured == 0
    assert plan.forecast.basis.startswith("no job")
