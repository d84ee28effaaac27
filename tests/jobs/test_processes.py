"""Jobs with real worker processes: killed workers, killed submitters, time limits, names with every kind of sign."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tagsel.events import DeliveryLedger
from tagsel.jobs import Job, JobStatus, LocalExecutor, Task, clean, list_jobs, load, submit
from tagsel.jobs.executors import signal_name
from tagsel.jobs.folder import JobFolder

COUNT = """
branches = ["MET_pt"]

def process(events):
    return {"n": len(events)}
"""

WAIT = """
import threading

def process(events):
    open({pipe!r}, "w").close()
    threading.Event().wait()
"""

SUBMITTER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("aodmaker", sys.argv[1])
maker = importlib.util.module_from_spec(spec); sys.modules["aodmaker"] = maker; spec.loader.exec_module(maker)
from pathlib import Path
from tagsel.jobs import LocalExecutor, submit
folder = Path(sys.argv[2])
sample = maker.make(folder, (20, 10))
events = sample.events(range(30))
job = submit(folder / "jobs", events, sample.map(events), folder / "job.py", by="file", executor=LocalExecutor(1))
print(job.wait().state)
"""


@pytest.fixture
def start(sample: Any, tmp_path: Path, script: Callable[..., Path]) -> Callable[..., Job]:
    """Submit a script's text to real processes."""

    def do(body: str, rows: Any = range(20), executor: Any = None, **more: Any) -> Job:
        events = sample.events(rows)
        return submit(
            tmp_path / "jobs", events, sample.map(events), script(body), executor=executor or LocalExecutor(2), **more
        )

    return do


def submitter(folder: Path, body: str = COUNT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Submit a job from a process of its own, with numbered steps at which to die."""
    (folder / "job.py").write_text(body)
    maker = Path(__file__).parent.parent / "aod" / "aodmaker.py"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SUBMITTER, str(maker), str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_feature_64_a_job_on_local_processes(start: Callable[..., Job]) -> None:
    seen: list[JobStatus] = []
    job = start("import sys\n" + COUNT + "    \nprint('hello', file=sys.stderr)\n", events_per_job=10)
    status = job.wait(seen.append)
    assert (status.state, status.pieces, status.events_done) == ("done", 2, 20)
    assert seen and seen[-1] == status
    assert job.result().value == {"n": 20}
    assert (job.folder.path / "logs" / "00001.1.err").read_text() == "hello\n"


def test_fault_31_a_worker_killed_once_is_run_again(start: Callable[..., Job], tmp_path: Path) -> None:
    marker = tmp_path / "died"
    body = (
        f"import os, signal\nfrom pathlib import Path\nmarker = Path({str(marker)!r})\n\ndef process(events):\n"
        "    if not marker.exists():\n        marker.touch()\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return {'n': len(events)}\n"
    )
    job = start(body, range(10))
    assert job.wait().state == "done"
    assert job.pieces[0].attempts == 2
    record = json.loads((job.folder.path / "outputs" / "00000.1.json").read_text().splitlines()[1])
    assert record["header"]["error"]["message"] == "killed by SIGKILL"
    assert job.ledger == DeliveryLedger(accepted=10, delivered=10)


def test_fault_13_workers_killed_while_writing_leave_nothing_half_done(
    start: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSEL_KILL_AT", "jobs.piece")
    job = start(COUNT, range(10))
    assert job.wait().state == "failed"
    assert job.pieces[0].error == "killed by SIGKILL"
    assert job.pieces[0].attempts == 3
    assert job.ledger == DeliveryLedger(accepted=10, failed=10)
    actions = [f.cause.action for f in job.pieces[0].failures]
    assert actions[-1].startswith("it was tried 3 times, and is not tried again by itself; tagsel jobs resubmit")
    assert job.diagnose()[0].cause.action == actions[-1]
    monkeypatch.delenv("TAGSEL_KILL_AT")
    job.resubmit()
    assert job.wait().state == "done"
    assert job.result().value == {"n": 10}


@pytest.mark.parametrize("passage", [1, 2, 3])  # the merged events, what they cost, the result that names them
def test_fault_13_31_a_submitter_killed_in_the_merge(tmp_path: Path, passage: int) -> None:
    body = "branches = ['MET_pt']\n\ndef process(events):\n    return events\n"
    done = submitter(tmp_path, body, TAGSEL_KILL_AT=f"jobs.merge:{passage}")
    assert done.returncode == -signal.SIGKILL, done.stderr
    job = load(tmp_path / "jobs" / "0001")
    assert job.status().state == "interrupted"
    assert [p.state for p in job.pieces] == ["done", "done"]
    assert not job.folder.result.exists()
    job.resubmit()
    assert job.wait().state == "done"
    assert job.result().events == len(set(job.result().value.event.to_list())) == 30
    assert [p.attempts for p in job.pieces] == [1, 1]  # nothing was run again


def test_fault_13_a_submitter_killed_before_the_job_has_its_name(tmp_path: Path) -> None:
    done = submitter(tmp_path, TAGSEL_KILL_AT="jobs.submit")
    assert done.returncode == -signal.SIGKILL, done.stderr
    jobs = tmp_path / "jobs"
    assert list_jobs(jobs) == []
    left = clean(jobs, dry_run=True)
    assert [p.parent for p in left] == [jobs]
    with JobFolder(left[0]).locked():  # somebody is at it
        assert clean(jobs) == []
    assert clean(jobs) == left
    assert list(jobs.iterdir()) == []


def test_feature_69_a_submitter_killed_while_workers_run(tmp_path: Path) -> None:
    """The first piece kills the process that submitted it; the second was never started. Resubmitting runs it."""
    (tmp_path / "job.py").write_text("")
    body = (
        "import os, signal\nfrom pathlib import Path\n\ndef process(events):\n"
        f"    marker = Path({str(tmp_path / 'shot')!r})\n"
        "    if not marker.exists():\n        marker.touch()\n        os.kill(os.getppid(), signal.SIGKILL)\n"
        "    return {'n': len(events)}\n"
    )
    maker = Path(__file__).parent.parent / "aod" / "aodmaker.py"
    (tmp_path / "job.py").write_text(body)
    done = subprocess.run(
        [sys.executable, "-c", SUBMITTER, str(maker), str(tmp_path)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    job = load(tmp_path / "jobs" / "0001")
    job.resubmit()
    assert job.wait().state == "done"
    assert job.result().value == {"n": 30}
    assert job.pieces[1].attempts == 1


def test_a_worker_that_takes_too_long_is_killed(start: Callable[..., Job]) -> None:
    body = "import threading\n\ndef process(events):\n    threading.Event().wait()\n"
    executor = LocalExecutor(1, timeout_s=0.3)
    job = start(body, range(3), executor=executor)
    assert job.wait().state == "failed"
    assert job.pieces[0].error.startswith("killed after 0.3 s")
    assert [f.cause.kind for f in job.pieces[0].failures] == ["user"]  # it would take as long again


def test_a_job_is_killed_from_elsewhere(start: Callable[..., Job], tmp_path: Path) -> None:
    pipe = tmp_path / "started"
    os.mkfifo(pipe)
    body = WAIT.format(pipe=str(pipe))
    job = start(body, range(20), executor=LocalExecutor(1), events_per_job=5)
    pipe.open().close()  # waits until the worker is at work
    load(job.folder.path).kill()
    status = job.wait()
    assert (status.state, status.done, status.running) == ("killed", 0, 0)
    assert load(job.folder.path).folder.workers() == {}
    assert job.ledger == DeliveryLedger(accepted=20, failed=20)
    assert [p.attempts for p in job.pieces] == [1, 0, 0, 0] or job.pieces[0].attempts == 1
    assert job.pieces[0].failures[-1].cause.action == "it was killed by jobs kill; tagsel jobs resubmit runs it"


def test_ctrl_c_kills_the_workers(start: Callable[..., Job], tmp_path: Path) -> None:
    pipe = tmp_path / "started"
    os.mkfifo(pipe)
    body = WAIT.format(pipe=str(pipe))
    job = start(body, range(5))

    def press() -> None:
        pipe.open().close()
        signal.pthread_kill(main.ident or 0, signal.SIGINT)

    main = threading.current_thread()
    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    assert job.status().state == "killed"
    assert job.folder.workers() == {}
    assert job.pieces[0].failures[-1].cause.action == (
        "it was killed when Ctrl-C ended the process that waited; tagsel jobs resubmit runs it"
    )
    job.folder.killed.write_text("")  # as earlier versions marked it
    assert job.pieces[0].failures[-1].cause.action == "it was killed; tagsel jobs resubmit runs it"


def test_fault_29_names_with_every_kind_of_sign(maker: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "a b; touch x $(touch y) `touch z` 'q' \"p\" & | > \\ *"
    folder.mkdir()
    sample = maker.make(folder, (5,))
    path = folder / "job; rm -rf $HOME;.py"
    path.write_text(COUNT)
    events = sample.events(range(5))
    job = submit(folder / "jobs", events, sample.map(events), path, name="x; touch w", executor=LocalExecutor(1))
    assert job.wait().state == "done"
    assert job.result().value == {"n": 5}
    for place in (Path.cwd(), tmp_path, folder):
        assert not {"x", "y", "z", "w"} & {p.name for p in place.iterdir()}


def test_the_worker_opens_nothing_but_its_piece_and_files(start: Callable[..., Job], tmp_path: Path) -> None:
    """No catalog, no event list, no script: they may be gone when the piece runs."""
    job = start(COUNT, range(10))
    job.wait()
    stem = tmp_path / "elsewhere" / "00000.7"
    stem.parent.mkdir()
    piece = stem.parent / "copy.piece"
    job.folder.piece(0).rename(piece)
    for name in ("list.events", "job.py", "job.json"):
        (job.folder.path / name).unlink()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tagsel.jobs.worker", str(piece), str(stem), "7"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(stem.with_name("00000.7.json").read_text().splitlines()[1])["value"] == {"n": 10}


def test_the_executor_alone(tmp_path: Path) -> None:
    executor = LocalExecutor(2)
    scripts = (f"print({i}); exit({code})" for i, code in enumerate((0, 3, 0)))
    commands = [(sys.executable, "-c", script) for script in scripts]
    executor.submit([Task(i, 1, c, tmp_path / f"{i}.out", tmp_path / f"{i}.err") for i, c in enumerate(commands)])
    ended = sorted((e.task.piece, e.code, e.error) for e in (executor.ended() for _ in range(3)))
    assert ended == [(0, 0, ""), (1, 3, "exit code 3"), (2, 0, "")]
    assert [(tmp_path / f"{i}.out").read_text() for i in range(3)] == ["0\n", "1\n", "2\n"]
    executor.submit([Task(3, 1, ("/nowhere/at/all",), tmp_path / "3.out", tmp_path / "3.err")])
    assert executor.ended().error.startswith("cannot start: ")
    executor.kill()
    executor.submit([Task(4, 1, (sys.executable, "-c", ""), tmp_path / "4.out", tmp_path / "4.err")])
    last = executor.ended()
    assert (last.code, last.error) == (None, "killed before it ran")
    assert signal_name(-250) == "killed by signal 250"
