"""Pieces as processes on this machine.

Invariant: no shell is ever involved; what is killed takes with it what it started.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tagsel.cores import cores
from tagsel.jobs.executors import Ended, Task, signal_name


class LocalExecutor:
    """Processes on this machine, `workers` at a time (default: the cores this process may use).

    A task that takes longer than `timeout_s` seconds is killed. Workers are fresh interpreters in process
    groups of their own: Ctrl-C at the prompt does not reach them, `kill` reaches what they started too.
    """

    name = "local"
    detached = False

    def __init__(self, workers: int | None = None, timeout_s: float | None = None) -> None:
        self.workers = workers or cores()
        self.timeout_s = timeout_s
        self._waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._threads = 0
        self._killed = False

    def resume(self, notes: Path) -> list[Task]:
        """Nothing: processes end with the one that started them, or are ended by the next."""
        return []

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks; threads are started for them until all workers are busy."""
        for task in tasks:
            self._waiting.put(task)
        with self._lock:
            more = min(len(tasks), self.workers - self._threads)
            self._threads += more
        for _ in range(more):
            threading.Thread(target=self._work, name="tagsel-worker", daemon=True).start()

    def ended(self, patience: float | None = None) -> Ended | None:
        """The next task that ended; waits for it, `patience` seconds at most."""
        try:
            return self._ended.get(timeout=patience)
        except queue.Empty:
            return None

    def kill(self) -> None:
        """End all tasks; each still comes out of `ended`."""
        with self._lock:
            self._killed = True
            for process in self._running:
                _end(process)

    def close(self) -> None:
        """Nothing is held."""

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
