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
from typing import Any

from tagsel.errors import JobError
from tagsel.jobs.executors import FOLDER_MODE, Task
from tagsel.jobs.folder import OF_JOB, parse_document, write_document

TASKS = "*.tasks"
"""What the files are called that hold the tasks of submissions."""


def _job(notes: Path) -> str:
    """The number of the job whose notes lie in a folder."""
    return notes.parent.name


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
        if not folder.exists():
            folder.mkdir()
            folder.chmod(FOLDER_MODE)

    def submissions(self) -> list[Submission]:
        """All of them, in no order. JobError for a file that is damaged."""
        return [
            Submission(path.stem, tuple(read_tasks(path)), _read_id(path.with_suffix(".id")))
            for path in sorted(self.folder.glob(TASKS))
        ]

    def new(self, tasks: Sequence[Task]) -> Submission:
        """A submission that is about to be made, on disk."""
        submission = Submission(secrets.token_hex(6), tuple(tasks))
        document = {"token": submission.token, OF_JOB: _job(self.folder), "tasks": [task.to_json() for task in tasks]}
        write_document(self.folder / f"{submission.token}.tasks", document)
        return submission

    def name(self, submission: Submission, number: str) -> Submission:
        """The submission with the engine's name for it, on disk."""
        document = {"token": submission.token, OF_JOB: _job(self.folder), "id": number}
        write_document(self.folder / f"{submission.token}.id", document)
        return Submission(submission.token, submission.tasks, number)

    def drop(self, submission: Submission) -> None:
        """Forget a submission that the engine never took."""
        for suffix in (".tasks", ".id"):
            (self.folder / f"{submission.token}{suffix}").unlink(missing_ok=True)


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a submission, in order. JobError: the file is damaged, or of another submission."""
    try:
        return tasks_of(path, path.read_bytes())
    except OSError as error:
        raise JobError(f"{path}: not a record of tasks: {error}", path=str(path)) from error


def tasks_of(path: Path, content: bytes) -> list[Task]:
    """The tasks in the `content` of a submission's file, in order. Errors as `read_tasks`."""
    try:
        sealed = content.startswith(b"{")  # of version 1: a bare list
        tasks = _of_token(path, content)["tasks"] if sealed else json.loads(content)
        return [Task.of_json(task) for task in tasks]
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(f"{path}: not a record of tasks: {error}", path=str(path)) from error


def _read_id(path: Path) -> str:
    """The engine's name for a submission, "" where it is not known."""
    if not path.exists():
        return ""
    content = path.read_bytes()
    if content.startswith(b"{"):
        return str(_of_token(path, content)["id"])
    return content.decode()  # of version 1: bare text


def _of_token(path: Path, content: bytes) -> dict[str, Any]:
    """A sealed file of the submission that its name states, and of the job in whose folder it lies."""
    document = parse_document(path, content, "tagsel jobs kill, then tagsel jobs resubmit")
    if document.get("token") != path.stem:
        raise JobError(f"{path} is of another submission, {document.get('token')}", path=str(path))
    if document.get(OF_JOB, _job(path.parent)) != _job(path.parent):  # an older tagsel did not say
        raise JobError(f"{path} is that of job {document[OF_JOB]}", hint="remove the file", path=str(path))
    return document
