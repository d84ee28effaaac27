"""One task of a batch system's array job: `python -m tagsel.jobs.array TASKS SHA256` becomes the command of its index.

The file of tasks must have that SHA-256, or nothing is run; array jobs of yesterday do not say.
What it prints goes where the task says; nothing of a shell reads the command.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from tagsel.jobs.executors import create
from tagsel.jobs.notes import tasks_of

INDEX = "SLURM_ARRAY_TASK_ID"


def main(tasks: Path, index: int, sha256: str = "") -> None:
    """Become the command."""
    content = tasks.read_bytes()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        sys.exit(f"{tasks} is not the file of tasks that was submitted: nothing of it was run")
    task = tasks_of(tasks, content)[index]
    for stream, path in ((1, task.stdout), (2, task.stderr)):
        with create(path) as file:
            os.dup2(file.fileno(), stream)
    os.execv(task.command[0], task.command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ[INDEX]), *sys.argv[2:3])
