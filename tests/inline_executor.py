"""An executor that runs the pieces of a job in this process: the second implementation of the seam `Executor`.

A piece in a process of its own costs a second of imports. Tests of what a job delivers, and not of how its processes
live and die, run their pieces here.
"""

from __future__ import annotations

import contextlib
import io
import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tagsel.jobs import Ended, Task
from tagsel.jobs.worker import main


class InlineExecutor:
    """Runs each task here, when its end is asked for; `seen` are all tasks that came."""

    name = "inline"
    detached = False

    def __init__(self) -> None:
        self.seen: list[Task] = []
        self._waiting: deque[Task] = deque()
        self._killed = False

    def resume(self, notes: Path) -> list[Task]:
        return []

    def submit(self, tasks: Sequence[Task]) -> None:
        self.seen.extend(tasks)
        self._waiting.extend(tasks)

    def ended(self, patience: float | None = None) -> Ended:
        task = self._waiting.popleft()
        if self._killed:
            return Ended(task, None, "killed before it ran")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                code = main([*task.command[4:]])
            except Exception:
                traceback.print_exc()
                code = 1
        task.stderr.write_text(printed.getvalue())
        return Ended(task, code, f"exit code {code}" if code else "")

    def kill(self) -> None:
        self._killed = True

    def close(self) -> None:
        pass
