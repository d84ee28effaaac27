"""A rival in a process of its own, so that libraries cannot disturb each other and a crash is a line in the table.

The clock runs in that process, around the call alone. `Here` is the same without a process, for tests.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bench.data import Copies, Data
from bench.plain import Unsupported
from bench.questions import Question
from bench.rivals import Answer, Entry, Rival

THREADS = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "TAGSEL_THREADS")


class Here:
    """A rival in this process."""

    def __init__(self, kind: type[Rival], data: Data, copies: Copies, threads: int) -> None:
        self.rival = kind(data, copies, threads)
        self.call: Callable[[], Any] = lambda: None

    def ask(self, question: Question) -> tuple[float, Answer]:
        """Prepare a question and answer it once: seconds of that first time, with all that is compiled, and answer."""
        started = time.perf_counter()
        self.call = self.rival.ask(question)
        raw = self.call()
        took = time.perf_counter() - started
        settle = getattr(self.rival, "settle", None)
        if settle is not None:
            settle(self.call)
        return took, self.rival.answer(question, raw)

    def time(self) -> float:
        """Seconds of one more call."""
        started = time.perf_counter()
        raw = self.call()
        took = time.perf_counter() - started
        del raw
        return took

    def close(self) -> None:
        """Nothing to close here."""


class Apart:
    """The same as `Here`, in a process of its own."""

    def __init__(self, entry: Entry, data: Data, copies: Copies, threads: int) -> None:
        for name in THREADS:
            os.environ[name] = str(threads)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, entry, data, copies, threads), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def ask(self, question: Question) -> tuple[float, Answer]:
        """As `Here.ask`."""
        return self._do("ask", question)  # type: ignore[no-any-return]

    def time(self) -> float:
        """As `Here.time`."""
        return self._do("time")  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _do(self, verb: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((verb, arguments))
        except OSError:
            raise Unsupported("its process has died") from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            good, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise Unsupported(f"its process died (exit code {self._process.exitcode})") from None
        if not good:
            raise Unsupported(value)
        return value


def _serve(pipe: Connection, entry: Entry, data: Data, copies: Copies, threads: int) -> None:
    """What the process does: make the rival, then do what it is told until the pipe closes."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TAGSEL_CACHE"] = cache  # so that the first call compiles
        rival = _tried(pipe, lambda: Here(entry.load(), data, copies, threads), lambda _: None)
        while rival is not None:
            try:
                verb, arguments = pipe.recv()
            except EOFError:
                return
            _tried(pipe, lambda: getattr(rival, verb)(*arguments), lambda value: value)  # noqa: B023


def _tried(pipe: Connection, do: Callable[[], Any], shown: Callable[[Any], Any]) -> Any:
    """Do it, and send what came of it, or why nothing did."""
    try:
        value = do()
    except ImportError as error:
        pipe.send((False, f"not installed: {error}"))
    except Unsupported as error:
        pipe.send((False, str(error)))
    except Exception as error:  # whatever a rival's library raises is shown in the table
        pipe.send((False, f"{type(error).__name__}: {error}"))
    else:
        pipe.send((True, shown(value)))
        return value
    return None
