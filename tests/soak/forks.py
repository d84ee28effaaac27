"""Work in a forked child, which may be killed, may crash, and may take too long, without harm to its parent.

The parent has imported everything and runs nothing itself, so a child starts in milliseconds and finds no thread of
its parent's in the middle of something. What a child had to import all the same, the parent imports after it.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIMIT_S = 120.0 if os.nice(0) <= 0 else 1800.0
"""Seconds after which a child counts as hung; one that runs behind all others may wait long for its turn."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code (or minus the signal), what its work returned, what it printed, its seconds."""

    code: int
    value: Any
    output: str
    seconds: float
    hung: bool = False

    @property
    def crashed(self) -> bool:
        """Whether it ended in a way that is our fault: a signal nobody sent, exit code 1, or no end at all."""
        return self.hung or self.code not in (0, 2, 3)

    @property
    def last_line(self) -> str:
        """The last line that it printed, but for what to try."""
        lines = [line for line in self.output.strip().splitlines() if not line.startswith("  try: ")]
        return lines[-1] if lines else ""


def warm() -> None:
    """Import all of tagsel and what it uses, so that children need not."""
    import awkward  # noqa: F401
    import deltalake  # noqa: F401
    import duckdb  # noqa: F401
    import numba  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import uproot  # noqa: F401

    import tagsel

    for module in pkgutil.walk_packages(tagsel.__path__, "tagsel."):
        if module.name != "tagsel.__main__":
            importlib.import_module(module.name)


def in_child(work: Callable[[], Any], *, kill_after: float | None = None, limit: float = LIMIT_S) -> Ended:
    """Do `work` in a child of its own session; kill it and all that it started after `kill_after` seconds.

    `work` returns an exit code, or (exit code, a value that JSON can say).
    """
    modules = frozenset(sys.modules)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _work(work, modules, writing, output.fileno())
        os.close(writing)
        patience = limit if kill_after is None else min(kill_after, limit)
        in_time = _wait(child, patience)
        if not in_time:
            _kill(child)
        _, status = os.waitpid(child, 0)
        seconds = time.perf_counter() - began
        output.seek(0)
        printed = output.read().decode(errors="replace")
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    code = os.waitstatus_to_exitcode(status)
    hung = not in_time and kill_after is None
    if not text or code < 0:
        return Ended(code, None, printed, seconds, hung)
    value, imported = json.loads(text)
    for module in imported:
        importlib.import_module(module)
    return Ended(code, value, printed, seconds, hung)


def _work(work: Callable[[], Any], modules: frozenset[str], answer: int, output: int) -> None:
    """The child's whole life."""
    code = 1
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        result = work()
        code, value = result if isinstance(result, tuple) else (result, None)
        imported = sorted(set(sys.modules) - modules)
        os.write(answer, json.dumps([value, imported]).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, seconds: float) -> bool:
    """Whether the child ended within so many seconds."""
    handle = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
        return bool(ready)
    finally:
        os.close(handle)


def _kill(child: int) -> None:
    """Kill the child and its process group."""
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)


def tagsel(*arguments: object) -> Callable[[], int]:
    """A command line as work for a child."""

    def work() -> int:
        from tagsel.cli.main import run

        return run([str(argument) for argument in arguments])

    return work
