"""How bytes reach the disk for good: written aside, fsynced, renamed, the folder fsynced; and the dataset's
lock.

Invariant: a file under its final name is whole. What a killed process leaves behind is named `.tmp-…` and
is removed by `gc`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.errors import StoreError
from tagsel.faults import step
from tagsel.held import drop, take

TEMPORARY = ".tmp-"
"""Prefix of files that are being written."""

_fsync: Callable[[int], None] = os.fsync  # a seam: tests make it fail


def temporary(folder: Path) -> Path:
    """A fresh name in `folder` for a file that is being written."""
    return folder / f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"


def sync(path: Path) -> None:
    """Force a file or folder to the disk; an error is final: it is never retried and called good."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`; `os.write` may take less than it was given."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(descriptor, view) :]


@contextmanager
def saying(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside into a StoreError that names `what` was done and the path."""
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else str(path)
        raise StoreError(
            f"cannot {what} {path}: {error.strerror or error}",
            hint="free some space, or check the permissions of the folder",
            path=place,
            errno=error.errno,
        ) from error


def write_file(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Put `data` under `path` at once and for good; on an error nothing is left behind. Errors: OSError.

    Not `lasting`: a cache that knows when it is not whole; the disk is not waited for.
    """
    aside = temporary(path.parent)
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write_all(descriptor, data)
            if lasting:
                _fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(path)
        if lasting:
            sync(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_document(folder: Path, document: object) -> str:
    """Write `document` as JSON named by its own SHA-256 (hex, returned); a no-op when it is there."""
    data = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    name = hashlib.sha256(data).hexdigest()
    path = folder / f"{name}.json"
    if not path.exists():
        write_file(path, data)
    return name


def read_document(folder: Path, name: str) -> object:
    """The document that `write_document` named `name`; StoreError when it is absent or damaged."""
    path = folder / f"{name}.json"
    with saying("read", path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != name:
        raise StoreError(f"{path} is damaged: its content is not the one that its name states", path=str(path))
    document: object = json.loads(data)
    return document


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the dataset's lock: commits, pins and clean-ups of one machine happen one after another.

    The kernel frees the lock of a killed process. Writers that do not know it (another engine) are still
    kept apart by the Delta protocol itself.
    """
    path = folder / "lock"
    with saying("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the right to change what the dataset in `folder` holds, from asking whether that may be until the catalog
    knows of it: no other process of this machine closes or moves it meanwhile. The folder need not be there."""
    path = folder.with_name(f".{hashlib.sha256(folder.name.encode()).hexdigest()[:16]}.lock")
    with saying("lock", path):
        lock = take(path, None)
    assert lock is not None  # it waits
    try:
        yield
    finally:
        drop(path, lock)


__all__ = [
    "TEMPORARY",
    "changing",
    "locked",
    "read_document",
    "saying",
    "step",
    "sync",
    "temporary",
    "write_all",
    "write_document",
    "write_file",
]
