"""Columns of ingested files that became no attribute, with the reason: a document that files of one kind share.

Invariant: `bookkeeping[KEY]` of a file names the document; files that were ingested before it existed name none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagsel.store import disk
from tagsel.store.log import commits_folder

KEY = "left_out"
"""The key of a file's bookkeeping that holds the name of its document."""


@dataclass(frozen=True, slots=True)
class Omission:
    """A column of a file that was left out, and what to do about it ("": nothing)."""

    name: str
    reason: str
    remedy: str = ""


def write(folder: Path, omissions: Iterable[Omission]) -> str:
    """Keep omissions with the dataset in `folder`; the name of their document."""
    names: dict[tuple[str, str], list[str]] = {}
    for one in omissions:
        names.setdefault((one.reason, one.remedy), []).append(one.name)
    return disk.write_document(commits_folder(folder), [[*why, sorted(same)] for why, same in names.items()])


def read(folder: Path, document: str) -> list[Omission]:
    """The omissions of a document of a dataset. StoreError where it is absent or damaged."""
    groups: Any = disk.read_document(commits_folder(folder), document)
    omissions = []
    for reason, remedy, names in groups:
        omissions += [Omission(name, reason, remedy) for name in names]
    return omissions
