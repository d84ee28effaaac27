"""The turnstile before the catalog: writers one at a time, readers together, and nobody starves.

DuckDB refuses all other processes at once while one writes. So a process that wants the catalog first passes
`catalog.gate`, and under it takes `catalog.lock`: readers share it, a writer has it alone. A writer
keeps the gate while it waits for the readers inside to leave, so no new reader can slip in before it; that
is the whole protection against starvation. Both are flock on small files, so a process that dies lets go of
them.

Invariant: while `shared` or `exclusive` is held, no other process or thread holds `exclusive`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.base.lock_file import GLANCE, PATIENCE, LockFile, acquire, held
from tagsel.errors import AccessError, CatalogError

GATE, LOCK = "catalog.gate", "catalog.lock"
"""The names of the lock files."""


def files(folder: Path) -> tuple[Path, Path]:
    """The lock files of the catalog in `folder`."""
    return folder / GATE, folder / LOCK


class Busy(CatalogError):
    """The catalog is held by another process, which the message names."""


def is_held(folder: Path) -> bool:
    """Whether somebody holds the catalog in `folder` alone, and still does after a glance of a second."""
    try:
        with shared(folder, GLANCE):
            return False
    except Busy:
        return True


@contextmanager
def shared(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the catalog in `folder` for reading; without a lock file that could be made, hold nothing."""
    with _passed(folder, shared=True, patience=patience):
        yield


@contextmanager
def exclusive(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the catalog in `folder` alone; CatalogError names the holder after `patience` seconds.

    Raises AccessError naming the path where the lock cannot be made or written.
    """
    with _passed(folder, shared=False, patience=patience):
        yield


@contextmanager
def _passed(folder: Path, *, shared: bool, patience: float) -> Iterator[None]:
    deadline = time.monotonic() + patience
    with _lock(folder, GATE, False, shared, deadline, patience):
        lock = _lock(folder, LOCK, shared, shared, deadline, patience)
    with lock:
        yield


def _lock(folder: Path, name: str, shared: bool, reader: bool, deadline: float, patience: float) -> LockFile:
    """One of the two locks, before the deadline."""
    action = "reading" if reader else "writing"
    left = max(0.0, deadline - time.monotonic())
    try:
        lock = acquire(folder / name, shared=shared, reader=reader, patience=left, action=action)
    except AccessError as error:
        message = f"cannot write to the catalog: {error.message}"
        raise AccessError(message, hint=error.hint, path=str(folder / name)) from error
    if lock is None:
        raise held(folder / LOCK, patience, Busy, "the catalog")
    return lock
