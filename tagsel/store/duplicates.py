"""Rows that repeat the (run, event) of another row of the snapshot, kept as sorted row numbers in one file
a snapshot.

Of the rows with one (run, event) the first by (AOD GUID, AOD entry, row) stays; the others are marked. What
a selection does with a mark is its own decision: simulation reuses run and event numbers.

Marks are added part by part: a new part can only change the marks of keys that it holds, so old row groups
are read only where their run and event ranges meet its own. Invariant: adding parts one after another gives
the marks that a look at all rows at once gives.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tagsel.store import disk
from tagsel.store.columns import Array
from tagsel.store.zones import Zone

_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)  # spreads runs over 64 bits; where hashes are equal the keys are compared
_AT_ONCE = 4_000_000  # keys looked at together: bounds the memory
_MAGIC = b"TAGSELD1"
_HEAD = struct.Struct("<8sI4x")
NONE = np.zeros(0, np.int64)


class Rows(Protocol):
    """What is needed of a part: its rows, read by row group."""

    @property
    def first_row(self) -> int:
        """Its first row in the snapshot."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Rows of each row group."""

    @property
    def columns(self) -> frozenset[str]:
        """Columns that it has."""

    def read(self, group: int, columns: Iterable[str]) -> dict[str, Array]:
        """Columns of a row group."""

    def read_codes(self, group: int, column: str) -> tuple[Array, list[str]]:
        """A string column of a row group."""

    def zones(self, columns: Iterable[str]) -> dict[str, Zone]:
        """Bounds by row group."""


@dataclass
class Marks:
    """The marked rows of one snapshot, read from `path` when first asked for, or made from `parts`."""

    path: Path
    parts: Sequence[Any] = ()
    _rows: Array | None = field(default=None, repr=False)

    def rows(self) -> Array:
        """Row numbers in the snapshot, sorted, (n,) int64. StoreError: a part cannot be read."""
        if self._rows is None:
            found = load(self.path)
            if found is None:
                found = NONE
                for i, part in enumerate(self.parts):
                    found = extend(found, self.parts[:i], [part])
                save(self.path, found)
            self._rows = found
        return self._rows

    def within(self, first: int, rows: int) -> Array | None:
        """Marks of the rows `first` … `first + rows` as (rows,) bool; None when there are none."""
        marked = self.rows()
        low, high = np.searchsorted(marked, (first, first + rows))
        if low == high:
            return None
        mask = np.zeros(rows, np.bool_)
        mask[marked[low:high] - first] = True
        return mask


def load(path: Path) -> Array | None:
    """The marks in a file; None when it is absent or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[_HEAD.size :]
    if len(data) < _HEAD.size or _HEAD.unpack_from(data) != (_MAGIC, zlib.crc32(body)) or len(body) % 8:
        return None
    return np.frombuffer(body, "<i8")


def save(path: Path, rows: Array) -> None:
    """Keep marks; a disk that cannot take them is no error, since they can be made again."""
    body = rows.astype("<i8").tobytes()
    with contextlib.suppress(OSError):
        disk.write_file(path, _HEAD.pack(_MAGIC, zlib.crc32(body)) + body)


def extend(marked: Array, old: Sequence[Rows], new: Sequence[Rows]) -> Array:
    """`marked`, right for the parts `old`, made right for `old` and `new` together; sorted (n,) int64."""
    hashes = _keys(new)
    if not len(hashes):
        return marked
    shared = [hashes[1:][hashes[1:] == hashes[:-1]]]
    near = list(_near(old, new))
    for part, group in near:
        mixed = _hash(part.read(group, ("run", "event")))
        at = np.searchsorted(hashes, mixed)
        shared.append(mixed[hashes[np.minimum(at, len(hashes) - 1)] == mixed])
    keys = np.unique(np.concatenate(shared))
    groups = [*near, *((p, g) for p in new for g in range(len(p.groups)))]
    for start in range(0, len(keys), _AT_ONCE):
        suspects = _suspects(groups, keys[start : start + _AT_ONCE])
        kept = np.setdiff1d(marked, suspects["row"], assume_unique=True)
        marked = np.union1d(kept, _repeats(suspects))
    return marked


def _hash(values: dict[str, Array]) -> Array:
    """64-bit hashes of (run, event): equal for equal keys, seldom for others."""
    mixed: Array = values["event"].astype(np.int64).view(np.uint64) ^ (values["run"].astype(np.uint64) * _MIX)
    return mixed


def _keys(parts: Sequence[Rows]) -> Array:
    """Sorted hashes of all rows of `parts`."""
    found = [_hash(p.read(g, ("run", "event"))) for p in parts for g in range(len(p.groups))]
    return np.sort(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _near(old: Sequence[Rows], new: Sequence[Rows]) -> Iterator[tuple[Rows, int]]:
    """Row groups of `old` whose ranges of run and of event both meet those of `new`."""
    spans = [p.zones(("run", "event")) for p in new]
    ranges = {c: (min(s[c].min.min() for s in spans), max(s[c].max.max() for s in spans)) for c in ("run", "event")}
    for part in old:
        zones = part.zones(("run", "event"))
        meets = np.ones(len(part.groups), np.bool_)
        for column, (low, high) in ranges.items():
            meets &= (zones[column].min <= high) & (zones[column].max >= low)
        yield from ((part, int(g)) for g in np.flatnonzero(meets))


def _suspects(groups: Iterable[tuple[Rows, int]], keys: Array) -> dict[str, Array]:
    """All rows whose hash is in the sorted `keys`: row, run, event, entry, and the rank of the GUID."""
    found: dict[str, list[Array]] = {c: [] for c in ("row", "run", "event", "entry", "guid")}
    ranks: dict[str, int] = {"": 0}
    for part, group in groups:
        values = part.read(group, ("run", "event", "aod_entry"))
        mixed = _hash(values)
        rows = np.flatnonzero(keys[np.minimum(np.searchsorted(keys, mixed), len(keys) - 1)] == mixed)
        if not len(rows):
            continue
        entries, codes, guids = values.get("aod_entry"), np.zeros(part.groups[group], np.int32), [""]
        if "aod_guid" in part.columns:
            codes, guids = part.read_codes(group, "aod_guid")
        found["row"].append(rows + part.first_row + sum(part.groups[:group]))
        found["run"].append(values["run"][rows])
        found["event"].append(values["event"][rows])
        found["entry"].append(np.full(len(rows), -1) if entries is None else entries[rows])
        found["guid"].append(np.array([ranks.setdefault(g, len(ranks)) for g in guids])[codes[rows]])
    in_order = {g: i for i, g in enumerate(sorted(ranks))}
    rank = np.array([in_order[g] for g in ranks])
    together = {c: np.concatenate(v) for c, v in found.items()}
    return {**together, "guid": rank[together["guid"]]}


def _repeats(rows: dict[str, Array]) -> Array:
    """Of each (run, event) the rows but the first by (GUID, entry, row)."""
    order = np.lexsort([rows[c] for c in ("row", "entry", "guid", "event", "run")])
    run, event, row = (rows[c][order] for c in ("run", "event", "row"))
    same = np.zeros(len(order), np.bool_)
    same[1:] = (run[1:] == run[:-1]) & (event[1:] == event[:-1])
    return np.sort(row[same])
