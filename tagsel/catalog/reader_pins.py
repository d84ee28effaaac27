"""Pins of readers: `pins = "/group/pins"` in a workspace's `tagsel.toml` names a folder where they leave them.

Somebody who may only read a workspace cannot write its pins. In the folder that its owner names and opens to them
(mode 1777, or 3775 for a group) each pin is a file of its own, a sealed document, so nobody waits for anybody.

Invariants: a pin is its owner's, as the kernel knows them, whatever its text says. A file's name says its dataset and
snapshot, so that damage to its content, or a closed file, loses no pin.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tagsel.base.atomic_write import atomic_write
from tagsel.base.checksum import Damaged, seal, unseal
from tagsel.base.documents import read_toml
from tagsel.base.settings import WORKSPACE_FILE
from tagsel.catalog.records import DatasetRecord
from tagsel.errors import AccessError, CatalogError

KEY = "pins"
"""The key of `tagsel.toml`: a folder, a relative one from the workspace's own."""

VERSION = 1
"""Version of a pin's file."""

MOST_BYTES = 1 << 16
"""Bytes of a pin's file; a longer one is damaged."""

_NAME = re.compile(r"(?P<dataset>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<snapshot>\d{1,12})\.[0-9a-f]{16}\.\d+\.json")

_log = logging.getLogger("tagsel")


@dataclass(frozen=True)
class ReaderPin:
    """A snapshot that a reader keeps. `id` is that of its dataset; "" where the file is damaged: then of any."""

    dataset: str
    snapshot: int
    reason: str
    id: str
    updated: str
    who: str
    path: Path


def folder_of(home: Path) -> Path | None:
    """The folder that a workspace names for readers' pins; None where it names none. CatalogError: not a text."""
    path = home / WORKSPACE_FILE
    try:
        value = read_toml(path).get(KEY)
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}", path=str(path)) from error
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        hint = f'{KEY} = "/group/pins", above any [table]'
        raise CatalogError(f"{path}: {KEY} = {value!r:.60}, a folder was expected", hint=hint, path=str(path))
    return home / value


def may_add(home: Path) -> bool:
    """Whether this user may leave a pin for a workspace."""
    folder = folder_of(home)
    return folder is not None and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def add(home: Path, record: DatasetRecord, snapshot: int, reason: str) -> Path:
    """Leave a pin; its file. One that is there already stays as it is. AccessError: the folder is closed."""
    folder = folder_of(home)
    if folder is None:
        path = home / WORKSPACE_FILE
        hint = f'its owner makes a folder for them (chmod 1777) and writes {KEY} = "FOLDER" there, above any [table]'
        raise AccessError(f"{path} names no folder for readers' pins", hint=hint, path=str(path))
    path = folder / _file_name(record, snapshot, reason)
    if path.exists():
        return path
    document = {
        "version": VERSION,
        "dataset": record.name,
        "id": record.id,
        "snapshot": snapshot,
        "reason": reason,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_write(path, 0o644) as temporary:  # open to the workspace's owner at any umask
        temporary.write_bytes(seal(document))
    return path


def _file_name(record: DatasetRecord, snapshot: int, reason: str) -> str:
    what = hashlib.sha256(json.dumps([record.id, reason]).encode()).hexdigest()
    return f"{record.name}@{snapshot}.{what[:16]}.{os.geteuid()}.json"


def read(home: Path, record: DatasetRecord | None = None) -> list[ReaderPin]:
    """Readers' pins of a workspace, or of one of its datasets, sorted.

    CatalogError where the folder cannot be read: then nobody knows what is pinned.
    """
    folder = folder_of(home)
    if folder is None:
        return []
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise CatalogError(
            f"{folder}, where readers leave pins, cannot be read: {error.strerror}",
            hint=f"bring the folder back, or take {KEY} out of {home / WORKSPACE_FILE}",
            path=str(folder),
        ) from error
    pins = list(_read(folder, names))
    if record is None:
        return pins
    return [pin for pin in pins if pin.dataset == record.name and pin.id in ("", record.id)]


def remove(pin: ReaderPin) -> None:
    """Take a pin back. AccessError: it is another's."""
    try:
        pin.path.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot take back the pin of {pin.who}: {pin.path}: {error.strerror}"
        raise AccessError(message, hint="its owner can, or who owns the folder", path=str(pin.path)) from error


def is_mine(pin: ReaderPin) -> bool:
    """Whether this user left a pin, and so may take it back."""
    with suppress(FileNotFoundError):  # taken back just now
        return pin.path.lstat().st_uid == os.geteuid()
    return False


def _read(folder: Path, names: list[str]) -> Iterator[ReaderPin]:
    """The pins of files in a folder; what is no pin by its name is left alone."""
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        path = folder / name
        dataset, snapshot = match["dataset"], int(match["snapshot"])
        with suppress(FileNotFoundError):  # taken back just now
            who = _owner(path)
            try:
                document = _document(path)
                if (document.get("dataset"), document.get("snapshot")) != (dataset, snapshot):
                    raise Damaged("it is of another snapshot than its name says")
                reason, identity, updated = (str(document[key]) for key in ("reason", "id", "updated"))
            except FileNotFoundError:
                raise
            except (OSError, Damaged, KeyError) as error:
                _log.warning("the pin %s is damaged: %s; its snapshot is kept", path, error)
                reason, identity, updated = "(its file is damaged)", "", ""
            yield ReaderPin(dataset, snapshot, reason, identity, updated, who, path)


def _document(path: Path) -> dict[str, object]:
    """What a pin's file says. Errors: OSError, Damaged."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise Damaged("not a small file")
        return unseal(os.read(descriptor, MOST_BYTES))
    finally:
        os.close(descriptor)


def _owner(path: Path) -> str:
    uid = path.lstat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
