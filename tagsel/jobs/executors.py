"""Where pieces run. The seam is narrow: argument vectors in, ends out; each engine is one implementation.

Invariant: every task that was submitted ends once, be it by being cancelled or lost.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tagsel.errors import JobError

WORKER = "tagsel.jobs.worker"
"""The module that does a piece: a worker has it on its command line."""

MEMORY_VARIABLE = "TAGSEL_PIECE_MEMORY"
"""The environment variable that tells a worker on this machine how many bytes of memory it may take."""

MODE = 0o644
"""Permissions of a job's files, at any umask: what its submitter runs, nobody else may change, and all may look at."""

FOLDER_MODE = 0o755
"""Permissions of a job's folders."""


def create(path: Path) -> BinaryIO:
    """Make a file of a job, or empty it, for writing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    with suppress(PermissionError):  # of another user, as where a cluster's daemons write for us
        os.fchmod(descriptor, MODE)
    return os.fdopen(descriptor, "wb")


@dataclass(frozen=True, slots=True)
class Task:
    """A command to run for a piece: its argument vector, and the files that take what it prints.

    `inputs` are the files that it names and reads, `stem` the outputs that it writes, without their suffix: an engine
    that moves files needs to know them. `site` is where it is best run, "" where that is not known.
    """

    piece: int
    attempt: int
    command: tuple[str, ...]
    stdout: Path
    stderr: Path
    inputs: tuple[Path, ...] = ()
    stem: Path | None = None
    site: str = ""

    def in_sandbox(self) -> tuple[str, ...]:
        """The command as it is said in a folder that holds the inputs and takes the outputs.

        >>> piece, stem = Path("/a/0.piece"), Path("/b/0.1")
        >>> Task(0, 1, ("run", str(piece), str(stem)), Path("o"), Path("e"), (piece,), stem).in_sandbox()
        ('run', '0.piece', '0.1')
        """
        moved = {str(p): p.name for p in (*self.inputs, *([self.stem] if self.stem else []))}
        return tuple(moved.get(word, word) for word in self.command)

    def to_json(self) -> dict[str, Any]:
        """What `of_json` makes it of again."""
        return {
            "piece": self.piece,
            "attempt": self.attempt,
            "command": list(self.command),
            "stdout": str(self.stdout),
            "stderr": str(self.stderr),
            "inputs": [str(p) for p in self.inputs],
            "stem": str(self.stem) if self.stem else None,
            "site": self.site,
        }

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Task:
        """The task that `to_json` told of."""
        return cls(
            document["piece"],
            document["attempt"],
            tuple(document["command"]),
            Path(document["stdout"]),
            Path(document["stderr"]),
            tuple(Path(p) for p in document["inputs"]),
            Path(document["stem"]) if document["stem"] else None,
            document.get("site", ""),
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: `code` is its exit code, -N for signal N, None where it never ran or nobody saw it end;
    `error` in words, or ""; `hold` is the reason of a batch system that held it, in its own words."""

    task: Task
    code: int | None
    error: str = ""
    hold: str = ""


class NotNow(JobError):
    """An engine takes no task for a while: `full` says that its queue is full, else it gives no answer. `left` are the
    tasks that it has not taken; to offer them again is safe, they run once."""

    def __init__(self, message: str, left: Sequence[Task] = (), *, full: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.left, self.full = tuple(left), full


class Executor(Protocol):
    """Runs tasks, any number at once. `name` is that of its engine; `detached` says whether tasks go on without the
    process that submitted them."""

    name: str
    detached: bool

    def resume(self, notes: Path) -> list[Task]:
        """Come before all else: `notes` is a folder of the job for what must outlive this process. Tasks of an earlier
        process that have not been seen to end; they come out of `ended` as if they had been submitted now."""

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks, all at once; returns when the engine has them. JobError where it refuses, NotNow where that may
        pass."""

    def ended(self, patience: float | None = None) -> Ended | None:
        """The next task that ended; waits for it, but about `patience` seconds at most: None where none ended."""

    def kill(self) -> None:
        """End all tasks, running and waiting; each still comes out of `ended`. Any thread may ask."""

    def close(self) -> None:
        """Comes last: nothing more will be asked."""


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
