"""Pinned snapshots: those that a list, an output or a tag names, whose parts are never removed.

Invariant: `pins.json` is changed under the dataset's lock only, and replaced whole.
"""

from __future__ import annotations

import json
from pathlib import Path

from tagsel.errors import StoreError
from tagsel.store import disk


def _path(folder: Path) -> Path:
    return folder / "_tagsel" / "pins.json"


def read(folder: Path) -> dict[int, tuple[str, ...]]:
    """Pinned snapshots and the reasons for each. StoreError: the file is damaged."""
    path = _path(folder)
    try:
        with disk.saying("read", path):
            document = json.loads(path.read_bytes()) if path.exists() else {}
        return {int(n): tuple(map(str, reasons)) for n, reasons in document.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged: {error}", hint="mend or remove it, and pin again", path=str(path)
        ) from error


def add(folder: Path, number: int, reason: str) -> None:
    """Add a reason to keep a snapshot; one that stands there already is no error."""
    held = read(folder)
    _write(folder, {**held, number: tuple(dict.fromkeys((*held.get(number, ()), reason)))})


def remove(folder: Path, number: int, reason: str | None) -> None:
    """Take back a reason (None: all). StoreError: there is no such pin."""
    held = read(folder)
    if number not in held or (reason is not None and reason not in held[number]):
        raise StoreError(
            f"snapshot {number} is not pinned for {reason or 'anything'}", hint=f"pinned: {held or 'none'}"
        )
    left = tuple(r for r in held.pop(number) if reason is not None and r != reason)
    _write(folder, {**held, number: left} if left else held)


def _write(folder: Path, held: dict[int, tuple[str, ...]]) -> None:
    with disk.saying("pin in", folder):
        disk.write_file(_path(folder), json.dumps({str(n): r for n, r in sorted(held.items())}).encode())
