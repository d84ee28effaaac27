"""One task of a batch system's array job: `python -m tagsel.jobs.array TASKS` becomes the command of its index.

What it prints goes where the task says; nothing of a shell reads the command.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tagsel.jobs.executors import Task

INDEX = "SLURM_ARRAY_TASK_ID"


def main(tasks: Path, index: int) -> None:
    """Become the command."""
    task = Task.of_json(json.loads(tasks.read_text("utf-8"))[index])
    for stream, path in ((1, task.stdout), (2, task.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream)
    os.execv(task.command[0], task.command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ[INDEX]))
