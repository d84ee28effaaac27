"""ROOT's TEntryList: entries of a tree of a file, or of each file of a chain.

Invariant: as many entries come out as the list and each of its blocks say that they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import AccessError
from tagsel.rootio.file import RootFile

Ints = npt.NDArray[np.int64]

BLOCK = 64_000
"""Entries of a TEntryListBlock: 4,000 words of 16 bits."""


@dataclass(frozen=True)
class TreeEntries:
    """Entries of one tree of one file, rising; `file` is a path or URL as ROOT wrote it."""

    file: str
    tree: str
    entries: Ints


def entry_lists(file: RootFile) -> dict[str, list[TreeEntries]]:
    """The TEntryLists of a file by name, each as the entries of its trees; AccessError for one that does not add up."""
    lists = {}
    for name, entry_list in file.objects("TEntryList").items():
        parts = entry_list.member("fLists") or [entry_list]
        lists[name] = [_entries_of(part, f"{file.place}: {name}") for part in parts]
    return lists


def _entries_of(entry_list: Any, what: str) -> TreeEntries:
    blocks = [_entries_of_block(block, what) for block in entry_list.member("fBlocks") or []]
    shifted = [number * BLOCK + entries for number, entries in enumerate(blocks)]
    entries = np.concatenate([np.zeros(0, np.int64), *shifted])
    expected = int(entry_list.member("fN"))
    if len(entries) != expected:
        raise AccessError(f"{what}: holds {len(entries)} entries and says that it holds {expected}")
    return TreeEntries(str(entry_list.member("fFileName")), str(entry_list.member("fTreeName")), entries)


def _entries_of_block(block: Any, what: str) -> Ints:
    """Entries within a block: bits, or (type 1) a list of those that pass, or of those that do not.

    In the last case `fNPassed` counts those that do not pass (ROOT's TEntryListBlock::GetNPassed).
    """
    expected = int(block.member("fNPassed"))
    if not block.member("fPassing"):
        expected = BLOCK - expected
    words = block.member("fIndices")
    words = np.zeros(0, np.uint16) if words is None else np.asarray(words).astype("<u2")
    if block.member("fType") == 0:
        entries = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    elif block.member("fPassing"):
        entries = words[: int(block.member("fN"))].astype(np.int64)
    else:
        entries = np.setdiff1d(np.arange(BLOCK), words[: int(block.member("fN"))])
    if len(entries) != expected:
        raise AccessError(f"{what}: a block holds {len(entries)} entries and says that it holds {expected}")
    return np.asarray(entries, np.int64)
