"""Worker processes that start from an entry of our own, never from the user's `__main__`.

`multiprocessing` runs the user's script again in each process that it spawns, and lets no daemonic process (a worker of
Dask) have children. A worker here is a plain child process that imports tagsel and answers calls over two pipes.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

Answer = TypeVar("Answer")

_LENGTH = struct.Struct("<Q")
_ENTRY = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = sys.argv[1:]; "
    "from tagsel.base.workers import serve; serve()"
)


class WorkerDied(Exception):
    """A worker ended in the midst of a call: out of memory, killed, or crashed in a library."""


class WorkersStopped(Exception):
    """The workers were stopped while this call waited or ran."""


class Workers:
    """Child processes that call functions of tagsel; any number of threads may `call`, each call has one process.

    Idle processes are used again. Use it in a `with` statement: at its end no process is left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self.pids: set[int] = set()
        """Process ids of all workers that were ever started."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, function: Callable[..., Answer], *arguments: object, fresh: bool = False) -> Answer:
        """What `function`, found by its module and name, answers in a worker; in a new one where `fresh`.

        An exception of the function is raised here. WorkerDied where the process ended before it answered;
        WorkersStopped where `stop` was called meanwhile.
        """
        process = self._take(fresh)
        try:
            _send(_pipe(process.stdin), pickle.dumps((function, arguments)))
            text = _receive(_pipe(process.stdout))
        except (OSError, EOFError) as error:
            self._end(process)
            if self._stopped:
                raise WorkersStopped from error
            raise WorkerDied(_how_it_ended(process.returncode)) from error
        except BaseException:
            self._end(process)
            raise
        self._give_back(process)
        answer, failure = pickle.loads(text)
        if failure is not None:
            raise failure
        return cast("Answer", answer)

    def stop(self) -> None:
        """Kill all workers; calls in progress end with WorkersStopped."""
        with self._lock:
            self._stopped = True
            idle, self._idle = self._idle, []
            for process in self._processes:
                process.kill()
        for process in idle:
            self._end(process)  # the others are ended by the threads whose calls they answer

    def _take(self, fresh: bool) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise WorkersStopped
            if self._idle and not fresh:
                return self._idle.pop()
            paths = [entry or str(Path.cwd()) for entry in sys.path]
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _ENTRY, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._processes.add(process)
            self.pids.add(process.pid)
            return process

    def _give_back(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            if not self._stopped:
                self._idle.append(process)
                return
        self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close(pipe)
        with self._lock:
            self._processes.discard(process)


def serve() -> None:
    """Answer calls from standard input until it ends; what libraries print goes to standard error."""
    calls = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, arguments = pickle.loads(_receive(calls))
        except EOFError:
            return
        _send(answers, _answer(function, arguments))


def _answer(function: Callable[..., object], arguments: tuple[object, ...]) -> bytes:
    """The pickled pair (answer, exception) of a call."""
    try:
        return pickle.dumps((function(*arguments), None))
    except Exception as error:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        try:
            text = pickle.dumps((None, error))
            pickle.loads(text)
        except Exception:
            # Some exceptions of libraries cannot be pickled, or not read back.
            text = pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
        return text


def _pipe(pipe: object) -> BinaryIO:
    return cast("BinaryIO", pipe)


def _send(pipe: BinaryIO, text: bytes) -> None:
    pipe.write(_LENGTH.pack(len(text)))
    pipe.write(text)
    pipe.flush()


def _receive(pipe: BinaryIO) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return _exactly(pipe, length)


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    text = pipe.read(length)
    if len(text) < length:
        raise EOFError
    return text


def _close(pipe: object) -> None:
    with suppress(OSError):  # what was still to be written has no reader any more
        _pipe(pipe).close()


def _how_it_ended(code: int) -> str:
    """The end of a process in words.

    >>> _how_it_ended(-9), _how_it_ended(3)
    ('was killed by SIGKILL', 'ended with exit code 3')
    """
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
