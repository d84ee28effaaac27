"""Pieces as processes on this machine.

Invariant: no shell is ever involved; what is killed takes with it what it started.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tagsel.base import processes
from tagsel.base.cpus import cores
from tagsel.jobs.executors import MEMORY_VARIABLE, Ended, Task, create, signal_name
from tagsel.jobs.failures import last_lines

LOG_BYTES = 100_000_000
"""Bytes that a piece may print to each of its logs."""

LOOK_S = 0.05
"""How often a worker's logs are looked at, in seconds."""

MEMORY_LOOK_S = 0.25
"""How often its memory is."""

LEAST_MEMORY = 500_000_000
"""Bytes of memory that a piece is given at least. Its imports (awkward, uproot, pyarrow, numba, hist) take 77 MB of its
own and 157 MB with the pages that it shares; the rest is room for a batch of events."""

NEAR_LIMIT = 0.9
"""The part of its memory from which on a crash is put down to memory."""

_CRASHES = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)
_REFUSED = re.compile(r"^MemoryError|bad_alloc|Cannot allocate memory|can't start new thread|pthread_create", re.M)


class LocalExecutor:
    """Processes on this machine, `workers` at a time (default: the cores this process may use).

    Each worker limits itself to `memory` bytes after its imports (MEMORY_VARIABLE tells it).
    A task that takes longer than `timeout_s` seconds, more than `memory` bytes with all that it started (default: its
    share of the machine's), or that prints more than `log` bytes, is killed. Workers are fresh interpreters in sessions
    of their own: Ctrl-C at the prompt does not reach them, and what they started ends with them.
    """

    name = "local"
    detached = False

    def __init__(
        self, workers: int | None = None, timeout_s: float | None = None, *, memory: int = 0, log: int = LOG_BYTES
    ) -> None:
        self.workers = workers or cores()
        self.timeout_s = timeout_s
        self.memory = memory or max(_share(self.workers), LEAST_MEMORY)
        self.log = log
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
            with create(task.stdout) as out, create(task.stderr) as err:
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
                task.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={**os.environ, MEMORY_VARIABLE: str(self.memory)},
            )
            self._running.add(process)
        return process

    def _wait(self, task: Task, process: subprocess.Popen[bytes]) -> Ended:
        error = self._watch(task, process)
        _end(process)  # what it left behind, if it has ended by itself
        with self._lock:
            self._running.discard(process)
            _, status, usage = os.wait4(process.pid, 0)
            code = process.returncode = os.waitstatus_to_exitcode(status)
        for path in (task.stdout, task.stderr):
            with contextlib.suppress(OSError):
                if path.stat().st_size > self.log:
                    os.truncate(path, self.log)
        if not error:
            error = signal_name(code)
            if _met_limit(task, code, usage.ru_maxrss * 1024, self.memory):
                error = f"{error}: {self.memory:,} bytes of memory are what a piece may take"
        return Ended(task, code, error)

    def _watch(self, task: Task, process: subprocess.Popen[bytes]) -> str:
        """Return when a worker has ended, or is to be ended: why, or "". It is not waited for, so its id stays its."""
        begun = time.monotonic()
        looked = begun
        descriptor = os.pidfd_open(process.pid)
        try:
            while not select.select([descriptor], [], [], LOOK_S)[0]:
                now = time.monotonic()
                if self.timeout_s is not None and now - begun > self.timeout_s:
                    return f"killed after {self.timeout_s:g} s"
                if any(_size(path) > self.log for path in (task.stdout, task.stderr)):
                    return f"stopped: it printed more than {self.log:,} bytes, which a piece may (--set log=1GB)"
                if now - looked > MEMORY_LOOK_S:
                    looked = now
                    used = processes.private_bytes({process.pid, *processes.family(process.pid)})
                    if used > self.memory:
                        return (
                            f"stopped: it and what it started took {used:,} bytes of memory, "
                            f"more than the {self.memory:,} that a piece may (--set memory=4GB)"
                        )
        finally:
            os.close(descriptor)
        return ""


def _share(workers: int) -> int:
    """Bytes of memory that each of so many workers may take: nine tenths of the machine's together."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine * 9 // 10 // workers


def _met_limit(task: Task, code: int, peak: int, memory: int) -> bool:
    """Whether a worker that ended by itself, without an output, did so for memory: it took `peak` bytes of `memory`."""
    if code in _CRASHES and peak >= NEAR_LIMIT * memory:
        return True
    if code not in _CRASHES and code != 1:
        return False
    return _REFUSED.search(last_lines(task.stderr.read_text("utf-8", "replace"))) is not None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker, which nobody has waited for, and what it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)  # it starts nothing more
        processes.end_family(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
