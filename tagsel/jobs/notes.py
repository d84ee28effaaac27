"""What a batch engine keeps on disk of its submissions, so that another process can take them up.

Invariant: a submission's tasks are on disk before the engine hears of them; its token is in the engine's record of it,
so that what was submitted by a process that died right then is found again.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagsel.aside import aside
from tagsel.errors import JobError
from tagsel.jobs.executors import Task

TASKS = "*.tasks"
"""What the files are called that hold the tasks of submissions."""


@dataclass(frozen=True)
class Submission:
    """Tasks that were handed over together, in order; `token` names them, `id` is the engine's name, "" if unknown."""

    token: str
    tasks: tuple[Task, ...]
    id: str = ""


class Notes:
    """The submissions of one job, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def submissions(self) -> list[Submission]:
        """All of them, in no order. JobError for a file that is damaged."""
        found = []
        for path in sorted(self.folder.glob(TASKS)):
            try:
                told = json.loads(path.read_text("utf-8"))
                tasks = tuple(Task.of_json(t) for t in told)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise JobError(f"{path}: not a record of tasks: {error}", path=str(path)) from error
            given = path.with_suffix(".id")
            found.append(Submission(path.stem, tasks, given.read_text("utf-8") if given.exists() else ""))
        return found

    def new(self, tasks: Sequence[Task]) -> Submission:
        """A submission that is about to be made, on disk."""
        made = Submission(secrets.token_hex(6), tuple(tasks))
        self._write(f"{made.token}.tasks", json.dumps([t.to_json() for t in tasks]))
        return made

    def name(self, submission: Submission, number: str) -> Submission:
        """The submission with the engine's name for it, on disk."""
        self._write(f"{submission.token}.id", number)
        return Submission(submission.token, submission.tasks, number)

    def drop(self, submission: Submission) -> None:
        """Forget a submission that the engine never took."""
        for suffix in (".tasks", ".id"):
            (self.folder / f"{submission.token}{suffix}").unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        with aside(self.folder / name) as temporary:
            temporary.write_text(text, "utf-8")
