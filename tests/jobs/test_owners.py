"""Whose a job is: only its submitter's workers are killed, and nobody runs what another user could have changed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.using import wait_for

from tagsel.base import processes
from tagsel.errors import JobError
from tagsel.jobs import Job, LocalExecutor, load, submit
from tagsel.jobs.array import INDEX
from tagsel.jobs.executors import WORKER, Task
from tagsel.jobs.piece import read_piece

COUNT = "branches = ['MET_pt']\ndef process(events):\n    return {'n': len(events)}\n"
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[str]]:
    """A process of this user that has nothing to do with any job."""
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def _claim(path: Path, pid: int) -> None:
    """A run file that says of a process that it is the worker."""
    path.write_text(json.dumps({"pid": pid, "host": os.uname().nodename, "user": "", "action": "", "since": ""}))


def test_fault_45_a_run_files_text_kills_nobody(run: Callable[..., Job], innocent: subprocess.Popen[str]) -> None:
    """Its text names a process of this user's, and another process holds its lock: neither is touched.

    Once any user who could write a run file chose the process that `jobs kill` killed.
    """
    job = run(COUNT, range(30), events_per_job=10)
    path = job.folder.path / "outputs" / "00001.1.run"
    _claim(path, innocent.pid)
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert job.folder.workers()[1, 1].pid == innocent.pid  # what the file says, for people
        assert job.folder.kill_workers() == 0
        assert (innocent.poll(), other.poll()) == (None, None)
        other.kill()


def test_fault_45_a_pipe_in_the_place_of_a_run_file_blocks_nobody(run: Callable[..., Job]) -> None:
    """A process that checked a worker waited for ever for a write into the pipe."""
    job = run(COUNT, range(30), events_per_job=10)
    os.mkfifo(job.folder.path / "outputs" / "00001.1.run")
    assert job.folder.workers() == {}


def test_fault_45_a_worker_is_known_by_its_command_line(run: Callable[..., Job]) -> None:
    """A process with the command line of a worker of this job is killed, with its group; one of another job is not."""
    job = run(COUNT, range(30), events_per_job=10)

    def worker(stem: Path) -> subprocess.Popen[str]:
        code = (
            "import subprocess, sys, time; child = subprocess.Popen(['sleep', '600']); "
            "print(child.pid, flush=True); time.sleep(600)"
        )
        command = [sys.executable, "-c", code, WORKER, "piece", str(stem), "1"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)

    mine = worker(job.folder.stem(1, 1))
    kept = worker(job.folder.stem(2, 1))
    others = worker(job.folder.path.with_name("0002") / "outputs" / "00001.1")
    try:
        children = [int(process.stdout.readline()) for process in (mine, kept, others)]  # type: ignore[union-attr]
        assert job.folder.kill_workers(keep=[(2, 1)]) == 1
        assert mine.wait(10) == -signal.SIGKILL
        assert (kept.poll(), others.poll()) == (None, None)
        wait_for(lambda: not _lives(children[0]), seconds=10)
        assert _lives(children[1])
        assert _lives(children[2])
    finally:
        for process in (mine, kept, others):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


def _lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return ") Z " not in (processes.PROC / str(pid) / "stat").read_text()
    except OSError:
        return False


def test_fault_45_an_id_that_is_used_again_is_not_killed(innocent: subprocess.Popen[str]) -> None:
    """The id was a worker's when it was looked for; at the kill the kernel says another command line."""
    seen = []

    def first_only(words: object) -> bool:
        seen.append(words)
        return False

    assert not processes.kill(innocent.pid, first_only)
    assert len(seen) == 1
    assert innocent.poll() is None
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not processes.kill(ended.pid, lambda words: True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start processes of other users")
def test_fault_45_processes_of_others_are_not_found() -> None:
    """Even root, who may signal them, takes only its own for its own workers."""
    with subprocess.Popen(["sleep", "600"], user=64001, group=64001, extra_groups=[]) as other:
        assert other.pid not in processes.find(lambda words: "600" in words)
        assert not processes.kill(other.pid, lambda words: True)
        assert other.poll() is None
        other.kill()


def test_fault_45_a_piece_that_was_changed_is_not_run(run: Callable[..., Job], tmp_path: Path) -> None:
    """The worker is told the piece's SHA-256; what another wrote there is not loaded, and the error says so."""
    job = run(COUNT, range(30), events_per_job=10)
    piece = job.folder.piece(0)
    digest = str(job.folder.pieces[0]["digest"])
    mark = tmp_path / "was run"
    evil = COUNT.encode().replace(b"def process", b"open(%r, 'w')\ndef process" % str(mark))
    text = piece.read_bytes()
    plain = json.dumps(COUNT).encode()
    assert plain in text
    piece.write_bytes(text.replace(plain, json.dumps(evil.decode()).encode()))
    with pytest.raises(JobError, match="is not the piece that was submitted"):
        read_piece(piece, digest)
    stem = job.folder.stem(0, 9)
    command = [sys.executable, "-P", "-m", WORKER, str(piece), str(stem), "9", digest]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "is not the piece that was submitted" in done.stderr
    assert not mark.exists()
    piece.write_bytes(text)
    without = [*command[:-1]]  # of a job of yesterday, whose workers are not told
    assert subprocess.run(without).returncode == 0


def test_fault_45_every_engine_is_given_the_digest(run: Callable[..., Job], inline: object) -> None:
    """Tasks are made in one place; the digest is the last word, in a sandbox, too."""
    job = run(COUNT, range(30), events_per_job=10)
    seen: list[Task] = inline.seen  # type: ignore[attr-defined]
    digests = {plan["number"]: plan["digest"] for plan in job.folder.pieces}
    assert [task.command[-1] for task in seen] == [digests[task.piece] for task in seen]
    assert [task.in_sandbox()[-1] for task in seen] == [digests[task.piece] for task in seen]


def test_fault_45_a_changed_file_of_tasks_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was run"
    tasks = tmp_path / "x.tasks"
    task = Task(0, 1, (sys.executable, "-c", f"open({str(mark)!r}, 'w')"), tmp_path / "o", tmp_path / "e")
    tasks.write_text(json.dumps([task.to_json()]))
    command = [sys.executable, "-P", "-m", "tagsel.jobs.array", str(tasks), "0" * 64]
    done = subprocess.run(command, env={**os.environ, INDEX: "0"}, capture_output=True, text=True)
    assert (done.returncode, mark.exists()) == (1, False)
    assert "is not the file of tasks that was submitted" in done.stderr
    subprocess.run(command[:-1], env={**os.environ, INDEX: "0"}, check=True)  # an array job of yesterday
    assert mark.exists()


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_fault_45_a_jobs_folder_is_its_submitters_at_any_umask(
    sample: Any, script: Callable[[str], Path], tmp_path: Path, umask: int
) -> None:
    """Folders 0755, files 0644: others look, nobody else changes."""
    before = os.umask(umask)
    try:
        events = sample.events(range(5))
        job = submit(tmp_path / "jobs", events, sample.map(events), script(COUNT), executor=LocalExecutor(1))
        job.wait()
        load(job.folder.path).status()
    finally:
        os.umask(before)
    for path in (job.folder.path, *job.folder.path.rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o644
        if path.name != "lock":  # of which nothing is run
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path
