"""Notes of commits that a catalog may not know yet, one empty file each beside the dataset: `.unsettled-NUMBER-NAME`.

A note is on the disk before the commit, and goes when somebody has registered the snapshot. So a process that was
killed between the two leaves the note, and the next reader finds it by one listing, without opening a dataset.

Invariant: a snapshot that no catalog was told of has a note, its own or that of a later one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from tagsel.base.atomic_write import write_bytes

_NAME = re.compile(r"\.unsettled-(\d+)-(.+)")


def note(folder: Path, number: int) -> None:
    """Note that snapshot `number` of the dataset in `folder` is about to be committed; earlier notes give way."""
    with suppress(PermissionError):  # the dataset may be another user's folder in a folder that is nobody's
        write_bytes(folder.parent / f".unsettled-{number}-{folder.name}", b"")
        settle(folder, number - 1)


def settle(folder: Path, number: int) -> None:
    """Remove the notes of snapshots up to `number`: a catalog knows that one."""
    for name, noted, path in _notes(folder.parent):
        if name == folder.name and noted <= number:
            with suppress(PermissionError):
                path.unlink(missing_ok=True)


def unsettled(datasets: Path) -> list[str]:
    """Names of the datasets below a folder that have notes, each once, sorted."""
    return sorted({name for name, _, _ in _notes(datasets)})


def _notes(datasets: Path) -> list[tuple[str, int, Path]]:
    """Dataset, snapshot and file of each note below a folder."""
    notes = []
    for path in datasets.glob(".unsettled-*"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            notes.append((match[2], int(match[1]), path))
    return notes
