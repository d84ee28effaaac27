"""EIO and ENOSPC at every write, fsync and rename of a verb.

The verb refuses or is done all the same, nothing acknowledged is lost, and it can be repeated.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak import world
from soak.forks import in_child, tagsel
from soak.tally import Part, Tally
from soak.verbs import Verb, aftermath

ERRORS = (errno.EIO, errno.ENOSPC)
SOURCE = Path(__file__).with_name("failing_calls.c")
PRELOADED = "TAGSEL_FAILING_CALLS"
"""The variable that says that this process was started under the shim, and where it is."""


def build(folder: Path) -> Path | None:
    """The shim, compiled; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "failing_calls.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def under_the_shim(library: Path) -> dict[str, str]:
    """The environment in which a program's calls can be made to fail."""
    return {**os.environ, "LD_PRELOAD": str(library), PRELOADED: str(library)}


def _armed(work: Callable[[], int], folder: Path, call: int, error: int) -> Callable[[], tuple[int, Any]]:
    """Work for a child whose n-th call fails; it says how many calls there were."""

    def armed() -> tuple[int, Any]:
        shim = ctypes.CDLL(os.environ[PRELOADED])
        shim.fail_count.restype = ctypes.c_long
        shim.fail_arm(str(folder).encode(), ctypes.c_long(call), error)
        code = work()
        calls = shim.fail_count()
        shim.fail_arm(b"", ctypes.c_long(0), 0)
        return code, calls

    return armed


def failing_disk(seed: int, verb: Verb, pristine: Path, scratch: Path, most: int = 0) -> Part:
    """Let each call of a verb fail with each error; at most `most` of them, chosen by the seed (0: all).

    The calls are counted in `scratch` at once.
    """
    world.copy(pristine, scratch)
    counted = in_child(_armed(tagsel(*verb.command(scratch)), scratch.resolve(), 0, 0))
    if counted.code != 0:
        raise world.BadWorld(f"{verb.name}: exit code {counted.code}: {counted.output}")
    every = [(call, error) for error in ERRORS for call in range(1, counted.value + 1)]
    if most and len(every) > most:
        every = sorted(random.Random(f"{seed} {verb.name}").sample(every, most))

    def run(tally: Tally, trials: range, scratch: Path) -> None:
        for trial in trials:
            call, error = every[trial]
            home = world.copy(pristine, scratch)
            ended = in_child(_armed(tagsel(*verb.command(scratch)), scratch.resolve(), call, error))
            wrong = aftermath(verb, home, scratch, ended)
            if ended.crashed:
                wrong = f"{'hung' if ended.hung else f'exit code {ended.code}'}: {ended.last_line}"
            if wrong:
                tally.fail(f"{verb.name}, {errno.errorcode[error]} at call {call} of {counted.value}: {wrong}")
            else:
                tally.add("done all the same" if ended.code == 0 else "refused")

    return Part(f"disk: {verb.name}", len(every), 10, run)
