"""Where pieces run. The seam is narrow: argument vectors in, ends out; local processes are one
implementation.

Invariant: no shell is ever involved; every task that was submitted ends once, be it by being cancelled.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tagsel.cores import cores


@dataclass(frozen=True, slots=True)
class Task:
    """A command to run for a piece: its argument vector, and the files that take what it prints."""

    piece: int
    attempt: int
    command: tuple[str, ...]
    stdout: Path
    stderr: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: `code` is its exit code, -N for signal N, None where it never ran; `error` in
    words, or ""."""

    task: Task
    code: int | None
    error: str = ""


class Executor(Protocol):
    """Runs tasks, any number at once; `name` is kept with the job."""

    name: str

    def submit(self, task: Task) -> None:
        """Take a task; returns at once."""

    def ended(self) -> Ended:
        """The next task that ended; waits for it."""

    def kill(self) -> None:
        """End all tasks, running and waiting; each still comes out of `ended`."""


class LocalExecutor:
    """Processes on this machine, `workers` at a time (default: the cores this process may use).

    A task that takes longer than `timeout_s` seconds is killed. Workers are fresh interpreters in process
    groups of their own: Ctrl-C at the prompt does not reach them, `kill` reaches what they started too.
    """

    name = "local"

    def __init__(self, workers: int | None = None, timeout_s: float | None = None) -> None:
        self.workers = workers or cores()
        self.timeout_s = timeout_s
        self._waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._threads = 0
        self._killed = False

    def submit(self, task: Task) -> None:
        """Take a task; a thread is started for it unless all workers are busy."""
        self._waiting.put(task)
        with self._lock:
            if self._threads >= self.workers:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="tagsel-worker", daemon=True).start()

    def ended(self) -> Ended:
        """The next task that ended; waits for it."""
        return self._ended.get()

    def kill(self) -> None:
        """End all tasks; each still comes out of `ended`."""
        with self._lock:
            self._killed = True
            for process in self._running:
                _end(process)

    def _work(self) -> None:
        """Run tasks until none waits."""
        while True:
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                with self._lock:
                    # A task may have come between the look and the lock: then stay.
                    if self._waiting.empty():
                        self._threads -= 1
                        return
                continue
            self._ended.put(self._run(task))

    def _run(self, task: Task) -> Ended:
        try:
            with task.stdout.open("wb") as out, task.stderr.open("wb") as err:
                process = self._start(task, out.fileno(), err.fileno())
                if process is None:
                    return Ended(task, None, "killed before it ran")
                return self._wait(task, process)
        except OSError as error:
            return Ended(task, None, f"cannot start: {error}")

    def _start(self, task: Task, out: int, err: int) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._killed:
                return None
            process = subprocess.Popen(
                task.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
            self._running.add(process)
            return process

    def _wait(self, task: Task, process: subprocess.Popen[bytes]) -> Ended:
        error = ""
        try:
            code = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            code, error = process.wait(), f"killed after {self.timeout_s:g} s"
        with self._lock:
            self._running.discard(process)
        return Ended(task, code, error or signal_name(code))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def signal_name(code: int) -> str:
    """An exit code in words; "" for 0.

    >>> signal_name(-9), signal_name(3)
    ('killed by SIGKILL', 'exit code 3')
    """
    if code >= 0:
        return f"exit code {code}" if code else ""
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
