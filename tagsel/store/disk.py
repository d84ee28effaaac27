"""Documents, errors and locks of a dataset's folder.

Invariant: a file under its final name is whole. What a killed process leaves behind is named `.tmp-…` and is removed
by `gc`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.base.atomic_write import remedy, write_bytes
from tagsel.base.cache import DiskCache, register_on_disk
from tagsel.base.lock_file import LockFile, acquire, held, read_holder
from tagsel.errors import StoreError

PATIENCE = 60.0
"""Seconds to wait while another process changes a dataset; a commit takes less than one."""

LONG_PATIENCE = 600.0
"""Seconds to wait for a lock while another process extends a dataset, splits a job, or ingests its output."""

LAST_PATIENCE = 6 * 3600.0
"""Seconds to wait for a lock where to give up would throw finished work away."""

_SILENT_S = 3.0  # after that many seconds the log says for whom we wait

DATASETS = "data"
"""The folder of a workspace's datasets."""

log = logging.getLogger("tagsel")


def dataset_caches(name: str, pattern: str) -> DiskCache:
    """Register a cache whose files lie in the datasets of a workspace, where `pattern` says."""

    def folders(workspace: Path | None) -> list[Path]:
        return [] if workspace is None else [workspace / DATASETS]

    return register_on_disk(DiskCache(name, folders, f"*/_tagsel/{pattern}"))


@contextmanager
def saying(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside into a StoreError that names `what` was done and the path."""
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else str(path)
        raise StoreError(
            f"cannot {what} {path}: {error.strerror or error}",
            hint=remedy(error),
            path=place,
            errno=error.errno,
        ) from error


def write_document(folder: Path, document: object) -> str:
    """Write `document` as JSON named by its own SHA-256 (hex, returned); a no-op when it is there."""
    data = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    name = hashlib.sha256(data).hexdigest()
    path = folder / f"{name}.json"
    if not path.exists():
        write_bytes(path, data)
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
def locked(folder: Path, patience: float | None = None, action: str = "changing the dataset") -> Iterator[None]:
    """Hold the lock of a folder: commits, pins and clean-ups of one machine happen one after another.

    Writers that do not know it (another engine) are still kept apart by the Delta protocol itself. StoreError, naming
    the holder, after `patience` seconds, PATIENCE where none is given.
    """
    with _waited_for(folder / "lock", PATIENCE if patience is None else patience, action):
        yield


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the right to change what the dataset in `folder` holds, from asking whether that may be until the catalog
    knows of it: no other process of this machine closes or moves it meanwhile. The folder need not be there."""
    path = folder.with_name(f".{hashlib.sha256(folder.name.encode()).hexdigest()[:16]}.lock")
    with _for_long(path, f"changing {folder.name}", LONG_PATIENCE):
        yield


@contextmanager
def taking_in(datasets: Path) -> Iterator[None]:
    """Hold the right to take input files into any dataset of the folder `datasets`, from looking whether their GUIDs
    are those of other files until the catalog knows them: no other process of this machine takes any in meanwhile.

    Whoever asks has written their parts, and may be one of hundreds: they wait for up to `LAST_PATIENCE`.
    """
    with _for_long(datasets / ".files.lock", "taking files into a dataset", LAST_PATIENCE):
        yield


@contextmanager
def _for_long(path: Path, action: str, patience: float) -> Iterator[None]:
    """Hold a lock that others may wait for long; its file goes with it."""
    lock = _waited_for(path, patience, action)
    try:
        yield
    finally:
        lock.remove()


def _waited_for(path: Path, patience: float, action: str) -> LockFile:
    """The lock on `path`. StoreError, naming the holder, after `patience` seconds; the log says earlier who it is."""
    silent = min(_SILENT_S, patience)
    lock = acquire(path, patience=silent, action=action)
    if lock is None and patience > silent:
        log.warning("waiting for %s, up to %g s", read_holder(path), patience)
        lock = acquire(path, patience=patience - silent, action=action)
    if lock is None:
        raise held(path, patience, StoreError)
    return lock
