"""Pieces as tasks of a Dask cluster whose workers share a file system with us; a lost worker's are run by another.

Tasks end with the process that submitted them: it holds their futures. Needs `pip install "tagsel[dask]"`; clusters on
HTCondor or Slurm come from dask-jobqueue, by the address of their scheduler.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tagsel.errors import JobError
from tagsel.jobs.executors import Ended, Task, create, signal_name

RETRIES = 2
"""How often Dask runs a task again whose worker was lost."""


class DaskExecutor:
    """Tasks of the cluster at `options["address"]`."""

    name = "dask"
    detached = False

    def __init__(self, options: Mapping[str, str]) -> None:
        if set(options) != {"address"}:
            raise JobError(
                f"options of Dask: {sorted(options)} were given, address was expected",
                hint="--set address=tcp://host:port, of its scheduler",
            )
        try:
            import distributed
        except ImportError as error:
            raise JobError(f"Dask cannot be used: {error}", hint='pip install "tagsel[dask]"') from error
        try:
            self._client: Any = distributed.Client(options["address"], timeout="10s", set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise JobError(f"no Dask scheduler answers at {options['address']}: {error}") from error
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._tasks: dict[str, Task] = {}  # by key of their future

    def resume(self, notes: Path) -> list[Task]:
        """Nothing: futures end with the process that holds them."""
        return []

    def submit(self, tasks: Sequence[Task]) -> None:
        """One future for each."""
        for task in tasks:
            where = task.command, str(task.stdout), str(task.stderr)
            future = self._client.submit(_run, *where, pure=False, retries=RETRIES)
            self._tasks[future.key] = task
            future.add_done_callback(self._done.put)

    def ended(self, patience: float | None = None) -> Ended | None:
        """The next task that ended; waits for it, `patience` seconds at most."""
        try:
            future = self._done.get(timeout=patience)
        except Empty:
            return None
        task = self._tasks.pop(future.key)
        if future.status == "finished":
            code = int(future.result())
            return Ended(task, code, signal_name(code))
        return Ended(task, None, f"Dask: {future.status}: {future.exception() if future.status == 'error' else ''}")

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()

    def kill(self) -> None:
        """Cancel all futures; what runs in a worker goes on until it is killed there."""
        self._client.cancel([self._client.futures[key] for key in self._tasks if key in self._client.futures])


def _run(command: tuple[str, ...], stdout: str, stderr: str) -> int:
    """On a worker: a process for the command, so that a script that crashes takes no worker with it."""
    with create(Path(stdout)) as out, create(Path(stderr)) as err:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode
