"""What a dataset says of the files that were taken out of it: which, when, why, and where their events had been.

Invariant: a retraction is read from the commit that made it, and never changes; whether it is in force is a matter of
the snapshot: a file that was ingested again is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.store import disk, log
from tagsel.store.columns import Array

Spans = Mapping[str, list[list[int]]]
"""Ranges [first, last] of whole numbers, both included and rising, by a name."""

EVERYTHING = [[0, np.iinfo(np.int64).max]]


@dataclass(frozen=True)
class Retraction:
    """One file that was taken out of a dataset: `snapshot` is the first without it, `rows` is what went.

    `sources` are GUIDs of the ingested files that went whole, `partly` those that stay without some of their rows, and
    how many these are; `lfn` is "" where no name of the file is known.
    """

    snapshot: int
    guid: str
    lfn: str
    rows: int
    reason: str
    when: str
    who: str
    sources: tuple[str, ...] = ()
    partly: Mapping[str, int] | None = None
    record: str = ""

    @property
    def name(self) -> str:
        """The file as people call it."""
        return self.lfn or self.guid

    def in_force(self, guids: Iterable[str]) -> bool:
        """Whether the file is still out of a dataset with these ingested files: neither it nor all that went with it
        are back.
        """
        held = set(guids)
        return self.guid not in held and not (self.sources and held.issuperset(self.sources))


def read(folder: Path, record: str) -> Retraction:
    """The retraction that the commit record `record` of the dataset in `folder` made."""
    document: Any = disk.read_document(log.commits_folder(folder), record)
    said = document["said"]
    return Retraction(
        document["snapshot"],
        said["guid"],
        said["lfn"],
        document["rows"],
        said["reason"],
        said["when"],
        said["who"],
        tuple(document["guids"]),
        document["partly"],
        record,
    )


@dataclass(frozen=True)
class Places:
    """Where the rows of a retraction had been: entries by AOD file, and event numbers by run of rows without one."""

    files: Spans
    runs: Spans

    @classmethod
    def of(cls, folder: Path, record: str) -> Places:
        """Those of the retraction that a commit record made. StoreError: it cannot be read."""
        commits = log.commits_folder(folder)
        document: Any = disk.read_document(commits, record)
        found: Any = disk.read_document(commits, document["places"])
        return cls(found["files"], found["runs"])

    def holds(self, guid: str, entry: Array) -> Array:
        """Which entries of a file had rows that went, (n,) bool."""
        return within(self.files.get(guid, []), entry)

    def holds_ids(self, run: Array, event: Array) -> Array:
        """Which events, of rows whose file is not known, had rows that went, (n,) bool."""
        found = np.zeros(len(run), np.bool_)
        for name in self.runs:
            mine = np.flatnonzero(run == int(name))
            found[mine] = within(self.runs[name], event[mine])
        return found


def within(spans: list[list[int]], values: Array) -> Array:
    """Which values lie in one of the ranges, (n,) bool.

    >>> within([[1, 3], [7, 7]], np.array([0, 1, 3, 4, 7])).tolist()
    [False, True, True, False, True]
    """
    edges = np.array(spans, np.int64).reshape(-1, 2)
    at = np.searchsorted(edges[:, 0], values, side="right") - 1
    inside: Array = (at >= 0) & (values <= edges[np.maximum(at, 0), 1]) if len(edges) else np.zeros(len(values), bool)
    return inside


def spans(values: Array) -> list[list[int]]:
    """Whole numbers in any order as ranges.

    >>> spans(np.array([7, 2, 1, 3, 3]))
    [[1, 3], [7, 7]]
    """
    known = np.unique(values.astype(np.int64))
    if not len(known):
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(known) > 1) + 1])
    ends = np.append(starts[1:], len(known)) - 1
    found: list[list[int]] = np.stack([known[starts], known[ends]], axis=1).tolist()
    return found


def spans_by(keys: Array, values: Array) -> dict[int, list[list[int]]]:
    """The `spans` of the values of each key, both (n,).

    >>> spans_by(np.array([5, 4, 5]), np.array([1, 8, 2]))
    {4: [[8, 8]], 5: [[1, 2]]}
    """
    order = np.argsort(keys, kind="stable")
    known, starts = np.unique(keys[order], return_index=True)
    pieces = np.split(values[order], starts[1:])
    return {key: spans(piece) for key, piece in zip(known.tolist(), pieces, strict=False)}
