"""The turnstile before the catalog: writers one at a time, readers together, and nobody starves.

DuckDB shuts all others out while one process writes, and refuses them at once. So whoever wants the catalog
first passes `catalog.gate`, and under it takes `catalog.lock`: readers shared, writers alone. A writer
keeps the gate while it waits for the readers inside to leave, so no new reader can slip in before it; that
is the whole protection against starvation. Both are flock on small files, so a process that dies lets go of
them.

Invariant: while `shared` or `exclusive` is held, no other process or thread holds `exclusive`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tagsel.errors import AccessError, CatalogError

PATIENCE = 10.0
"""Seconds to wait before giving up."""

_LONGEST_NAP = 0.02
_HOLDER_BYTES = 256  # one write of fixed length, so that holders written at once never mix


@contextmanager
def shared(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the catalog in `folder` for reading; without a lock file that could be made, hold nothing."""
    with _held(folder, fcntl.LOCK_SH, patience):
        yield


@contextmanager
def exclusive(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the catalog in `folder` alone; CatalogError names the holder after `patience` seconds.

    Raises AccessError naming the path where the lock cannot be made or written.
    """
    with _held(folder, fcntl.LOCK_EX, patience):
        yield


@contextmanager
def _held(folder: Path, mode: int, patience: float) -> Iterator[None]:
    deadline = time.monotonic() + patience
    lock_path = folder / "catalog.lock"
    with ExitStack() as inside:
        with ExitStack() as entering:
            gate = entering.enter_context(_opened(folder / "catalog.gate", mode))
            lock = inside.enter_context(_opened(lock_path, mode))
            if gate is not None:
                _flock(gate, fcntl.LOCK_EX, deadline, lock_path, patience)
            if lock is not None:
                _flock(lock, mode, deadline, lock_path, patience)
        if lock is not None:
            _sign(lock, mode)
        yield


@contextmanager
def _opened(path: Path, mode: int) -> Iterator[int | None]:
    """A descriptor of `path`, made if need be; None for a reader who may neither make nor open it."""
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if mode == fcntl.LOCK_EX:
            raise AccessError(f"cannot write to the catalog: {path}: {error.strerror}", path=str(path)) from error
        if path.exists():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _flock(descriptor: int, mode: int, deadline: float, path: Path, patience: float) -> None:
    nap = 0.0005
    while True:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = describe_holder(path)
                raise CatalogError(
                    f"the catalog is held by {holder}; waited {patience:g} s at {path}",
                    hint="let it finish, or end that process",
                    holder=holder,
                    path=str(path),
                ) from None
        time.sleep(min(nap, max(0.0, deadline - time.monotonic())))
        nap = min(2 * nap, _LONGEST_NAP)


def _sign(descriptor: int, mode: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname()[:100],
        "does": "writing" if mode == fcntl.LOCK_EX else "reading",
    }
    try:
        os.pwrite(descriptor, json.dumps(holder).encode().ljust(_HOLDER_BYTES - 1) + b"\n", 0)
    except OSError:  # a reader of a catalog that it may not write, or a full disk: the lock is held all the same
        return


def describe_holder(path: Path) -> str:
    """Who last passed the turnstile: `process 123 on host, writing`."""
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']}, {holder['does']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that left no name"
