"""Local pieces are bounded: what they print, the memory that they take, and what they start and leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagsel.base import processes
from tagsel.errors import JobError
from tagsel.jobs import Ended, Job, LocalExecutor, Task, submit
from tagsel.jobs.engines import Chosen, memory_setting, parse_size
from tagsel.jobs.local import LEAST_MEMORY

MB = 1_000_000


def _run(folder: Path, code: str, **limits: Any) -> Ended:
    """One task of Python code on local processes, to its end."""
    task = Task(0, 1, (sys.executable, "-c", code), folder / "out", folder / "err")
    executor = LocalExecutor(1, **limits)
    executor.submit([task])
    ended = executor.ended(60)
    assert ended is not None
    return ended


def _is_alive(pid: int) -> bool:
    return processes.command_line(pid) != []


def test_fault_48_a_piece_that_prints_for_ever_is_stopped(tmp_path: Path) -> None:
    """It left 2.9 GB of log in 8 s: now what was allowed, and the reason says so."""
    ended = _run(tmp_path, "while True: print('x' * 10000)", log=5 * MB)
    assert ended.code == -signal.SIGKILL
    assert ended.error == "stopped: it printed more than 5,000,000 bytes, which a piece may (--set log=1GB)"
    assert (tmp_path / "out").stat().st_size == 5 * MB


GREEDY = "branches = ['MET_pt']\n\ndef process(events):\n    {taken}\n    return {{'n': len(events)}}\n"


@pytest.mark.parametrize(
    ("taken", "state"),
    [
        ("x = b'x' * 300_000_000", "done"),  # 300 MB of 500, beside the 80 MB of the imports
        ("x = b'x' * 600_000_000", "failed"),
        ("raise OSError(12, 'Cannot allocate memory')", "failed"),
        ("import os; os.write(2, b'std::bad_alloc'); os.abort()", "failed"),
    ],
)
def test_fault_48_memory_of_one_process_is_bounded_by_the_kernel(
    sample: Any, script: Callable[[str], Path], tmp_path: Path, taken: str, state: str
) -> None:
    """What a piece takes beyond its memory is an error of the script's; it is the user's, and is not tried again."""
    events = sample.events(range(3))
    executor = Chosen("local", {"memory": "500MB"}).executor(1)
    assert executor.memory == LEAST_MEMORY
    path = script(GREEDY.format(taken=taken))
    job: Job = submit(tmp_path / "jobs", events, sample.map(events), path, executor=executor)
    assert job.wait().state == state
    (piece,) = job.pieces
    if state == "done":
        return
    assert piece.attempts == 1
    (failure,) = piece.failures
    assert (failure.cause.kind, failure.cause.words) == ("user", "it took more memory than it had")
    assert "500,000,000 bytes of memory are what a piece may take" in piece.error


def test_a_small_piece_runs_in_the_least_memory_with_room_to_spare() -> None:
    """What a worker imports is half of LEAST_MEMORY at most: 157 MB with shared pages when it was measured."""
    code = (
        "import tagsel.jobs.worker, awkward, hist, numba, pyarrow.parquet, uproot\n"
        "print(open('/proc/self/status').read())"  # ru_maxrss would be that of the process that forked it
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    peak = int(status["VmHWM"].removesuffix("kB")) * 1024
    assert peak < LEAST_MEMORY / 2


@pytest.mark.parametrize("name", ["local", "condor", "slurm"])
@pytest.mark.parametrize("amount", ["1", "2", "150MB", "499MB"])
def test_too_little_memory_for_a_piece_is_refused(name: str, amount: str) -> None:
    """A piece of 150 MB hung in its imports for ever; 2 was meant as 2 GB."""
    with pytest.raises(JobError, match=f"memory {amount} is .* bytes; a piece needs 500 MB or more") as refused:
        memory_setting(name, amount)
    assert "at least 500MB" in refused.value.hint
    assert ("name the unit: 2GB" in refused.value.hint) == (amount == "2")
    if name == "local":
        with pytest.raises(JobError, match="a piece needs 500 MB or more"):
            Chosen("local", {"memory": amount}).executor(1)


def test_fault_48_memory_of_all_that_a_piece_started_is_bounded(tmp_path: Path) -> None:
    """Four processes of 80 MB each, where 200 MB are allowed in all."""
    child = "x = b'x' * 80_000_000; print(flush=True); import time; time.sleep(600)"
    code = (
        "import subprocess, sys\n"
        f"children = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(4)]\n"
        "for one in children: one.wait()\n"
    )
    ended = _run(tmp_path, code, memory=200 * MB)
    assert ended.error.startswith("stopped: it and what it started took ")
    assert "more than the 200,000,000 that a piece may" in ended.error


@pytest.mark.parametrize("how", ["child", "session"])
@pytest.mark.parametrize("end", ["well", "killed"])
def test_fault_48_what_a_worker_started_ends_with_it(tmp_path: Path, how: str, end: str) -> None:
    """A child of its own, and one that left for a session of its own and lost its parent, as daemons do."""
    note = tmp_path / "pid"
    start = (
        "import os, subprocess, sys, time; from pathlib import Path; from tagsel.base import processes\n"
        "processes.adopt()\n"
        f'inner = \'import subprocess; print(subprocess.Popen(["sleep", "600"], '
        f"stdout=-3, stderr=-3, start_new_session={how == 'session'}).pid)'\n"
        f"pid = subprocess.run([sys.executable, '-c', inner], capture_output=True, text=True).stdout\n"
        f"Path({str(note)!r}).write_text(pid)\n"
    )
    code = start + ("processes.end_family(os.getpid())" if end == "well" else "time.sleep(600)")
    task = Task(0, 1, (sys.executable, "-c", code), tmp_path / "out", tmp_path / "err")
    executor = LocalExecutor(1)
    executor.submit([task])
    if end == "killed":
        deadline = time.monotonic() + 60
        while not (note.exists() and note.read_text()):
            assert time.monotonic() < deadline
            assert executor.ended(0.05) is None
        assert _is_alive(int(note.read_text()))
        executor.kill()
    assert executor.ended(60) is not None
    assert not _is_alive(int(note.read_text()))


def test_fault_48_a_job_says_why_its_piece_was_stopped(
    sample: Any, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """It is the user's to mend: it is not tried again by itself."""
    events = sample.events(range(3))
    body = "branches = ['MET_pt']\ndef process(events):\n    while True: print('x' * 1000)\n"
    executor = Chosen("local", {"log": "1MB"}).executor(1)
    job: Job = submit(tmp_path / "jobs", events, sample.map(events), script(body), executor=executor)
    assert job.wait().state == "failed"
    (piece,) = job.pieces
    assert piece.error.startswith("stopped: it printed more than 1,000,000 bytes")
    assert [(failure.cause.name, failure.cause.kind) for failure in piece.failures] == [("limits", "user")]
    assert job.folder.log(0, 1, "out").stat().st_size == MB


def test_amounts_are_read_as_people_write_them() -> None:
    assert [parse_size(text) for text in ("512MB", "4 GB", "2GiB", "1k")] == [512 * MB, 4000 * MB, 2 << 30, 1000]
    for text in ("", "lots", "0", "-1GB", "1PB"):
        with pytest.raises(JobError, match="an amount was expected"):
            parse_size(text)


def test_processes_of_others_are_none_of_a_family() -> None:
    """A process of a session of its own, started by this one, is in this one's family; its brother's is not."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as one:
        assert one.pid in processes.family(os.getpid())
        assert processes.family(one.pid) == set()
        one.kill()


def test_memory_of_a_piece_is_said_in_the_terms_of_its_engine() -> None:
    """4 GB are 4,000,000,000 B, or 3,815 MiB rounded up: 4e9 / 2^20 = 3814.7."""
    assert memory_setting("local", "4GB") == {"memory": "4000000000B"}
    assert memory_setting("condor", "4GB") == {"request_memory": "3815"}
    assert memory_setting("slurm", "4GB") == {"mem": "3815M"}
    executor = Chosen("local", memory_setting("local", "4GB")).executor(1)
    assert isinstance(executor, LocalExecutor)
    assert executor.memory == 4_000_000_000
    for name, amount in (("dask", "4GB"), ("local", "much")):
        with pytest.raises(JobError):
            memory_setting(name, amount)
