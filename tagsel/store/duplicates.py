"""Rows that repeat the (run, event) of another row of the snapshot, kept as sorted row numbers in one file
a snapshot.

Of the rows with one (run, event) the first by (AOD GUID, AOD entry, row) stays; the others are marked. What
a selection does with a mark is its own decision: simulation reuses run and event numbers.

Marks are added part by part: a new part can only change the marks of keys that it holds, so old row groups
are read only where their run and event ranges meet its own. Invariant: adding parts one after another gives
the marks that a look at all rows at once gives.

File, little-endian: magic, SHA-256 of the snapshot (`Marks.binding`), SHA-256 of magic, binding and rows, the rows as
int64. It is a cache: a file that is damaged, of another snapshot or of an older version is made again from the rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tagsel.base.atomic_write import write_bytes
from tagsel.store.bus_error import watched
from tagsel.store.columns import Array
from tagsel.store.zones import Zone

_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)  # spreads runs over 64 bits; where hashes are equal the keys are compared
_MIX_LUMI = np.uint64(0xC2B2_AE3D_27D4_EB4F)
_AT_ONCE = 4_000_000  # keys looked at together: bounds the memory
_MAGIC = b"TAGSELD2"
_OLD_MAGIC = b"TAGSELD1"
_HEAD = struct.Struct("<8s32s32s")  # magic, binding, checksum of all but itself
NONE = np.zeros(0, np.int64)
log = logging.getLogger("tagsel")
RUN_EVENT = ("run", "event")
"""The columns that make two rows the same event; `run lumi event` is the other way."""


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
    """The marked rows of snapshot `number`, read from `path` when first asked for, or made from `parts`."""

    path: Path
    number: int
    parts: Sequence[Any] = ()
    identity: Sequence[str] = RUN_EVENT
    _rows: Array | None = field(default=None, repr=False)

    def rows(self) -> Array:
        """Row numbers in the snapshot, sorted, (n,) int64. StoreError: a part cannot be read."""
        if self._rows is None:
            try:
                self._rows = load(self.path, self.binding())
            except Unusable as problem:
                if problem.damage:
                    log.warning("%s %s: the marks are made again from the rows", self.path, problem)
                self._rows = self.anew()
                save(self.path, self._rows, self.binding())
        return self._rows

    def problem(self) -> str:
        """Why the file is not that of this snapshot; "" where it is, is absent, or is of an older tagsel."""
        try:
            load(self.path, self.binding())
        except Unusable as problem:
            return str(problem) if problem.damage else ""
        return ""

    def binding(self) -> bytes:
        """What the file is bound to: SHA-256 over the snapshot's number, what makes rows equal, and its parts in order.

        A part's name is the hash of its content, so two datasets that share a binding have the same rows.
        """
        names = [part.name for part in self.parts]
        return hashlib.sha256(json.dumps([self.number, list(self.identity), names]).encode()).digest()

    def anew(self) -> Array:
        """The marks as the parts give them, whatever the file holds. StoreError: a part cannot be read."""
        rows, start = NONE, 0
        for stop in _portions([sum(part.groups) for part in self.parts]):
            rows = extend(rows, self.parts[:start], self.parts[start:stop], self.identity)
            start = stop
        return rows

    def within(self, first: int, rows: int) -> Array | None:
        """Marks of the rows `first` … `first + rows` as (rows,) bool; None when there are none."""
        marked = self.rows()
        low, high = np.searchsorted(marked, (first, first + rows))
        if low == high:
            return None
        mask = np.zeros(rows, np.bool_)
        mask[marked[low:high] - first] = True
        return mask


def _portions(rows: Sequence[int]) -> Iterator[int]:
    """Where portions of parts end that are looked at together: each has `_AT_ONCE` rows or a part more."""
    together = 0
    for number, rows_of_part in enumerate(rows, start=1):
        together += rows_of_part
        if together >= _AT_ONCE or number == len(rows):
            yield number
            together = 0


class Unusable(Exception):
    """A file of marks that cannot be used; `damage` where a file is there that should be right, and is not."""

    def __init__(self, reason: str, *, damage: bool = True) -> None:
        super().__init__(reason)
        self.damage = damage


def load(path: Path, binding: bytes) -> Array:
    """The marks in a file, which must be those of the snapshot that `binding` tells. Errors: Unusable."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise Unusable("is absent", damage=False) from error
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}") from error
    if data.startswith(_OLD_MAGIC):
        raise Unusable("is of an older tagsel, bound to no snapshot", damage=False)
    body = data[_HEAD.size :]
    if len(data) < _HEAD.size or len(body) % 8:
        raise Unusable("is damaged: it is cut short")
    magic, stated, checksum = _HEAD.unpack_from(data)
    if magic != _MAGIC or checksum != _checksum(stated, body):
        raise Unusable("is damaged: its content does not match its checksum")
    if stated != binding:
        raise Unusable("is of another snapshot")
    return np.frombuffer(body, "<i8")


def save(path: Path, rows: Array, binding: bytes) -> None:
    """Keep marks; a disk that cannot take them is no error, since they can be made again."""
    body = rows.astype("<i8").tobytes()
    with contextlib.suppress(OSError):
        write_bytes(path, _HEAD.pack(_MAGIC, binding, _checksum(binding, body)) + body)


def _checksum(binding: bytes, body: bytes) -> bytes:
    return hashlib.sha256(_MAGIC + binding + body).digest()


@watched
def extend(marked: Array, old: Sequence[Rows], new: Sequence[Rows], identity: Sequence[str] = RUN_EVENT) -> Array:
    """`marked`, right for the parts `old`, made right for `old` and `new` together; sorted (n,) int64."""
    hashes = _keys(new, identity)
    if not len(hashes):
        return marked
    shared = [_distinct(hashes[1:][hashes[1:] == hashes[:-1]])]
    near = list(_near(old, new))
    for part, group in near:
        mixed = _hash(part.read(group, identity))
        shared.append(_distinct(mixed[_among(mixed, hashes)]))
    keys = _distinct(np.concatenate(shared))
    groups = [*near, *_groups_of(new)]
    for start in range(0, len(keys), _AT_ONCE):
        first, repeats = _first_and_repeats(groups, keys[start : start + _AT_ONCE], identity)
        kept = np.setdiff1d(marked, first, assume_unique=True)
        marked = _distinct(np.concatenate([kept, repeats]))
    return marked


def _groups_of(parts: Sequence[Rows]) -> Iterator[tuple[Rows, int]]:
    """The row groups of parts, in order."""
    for part in parts:
        yield from ((part, group) for group in range(len(part.groups)))


def _hash(values: dict[str, Array]) -> Array:
    """64-bit hashes of (run, event), or of run, lumi and event: equal for equal keys, seldom for others."""
    mixed: Array = values["event"].astype(np.int64).view(np.uint64) ^ (values["run"].astype(np.uint64) * _MIX)
    if "lumi" in values:
        mixed = (mixed * _MIX) ^ (values["lumi"].astype(np.uint64) * _MIX_LUMI)
    return mixed


def _keys(parts: Sequence[Rows], identity: Sequence[str]) -> Array:
    """Sorted hashes of all rows of `parts`."""
    by_group = [_hash(part.read(group, identity)) for part, group in _groups_of(parts)]
    if not by_group:
        return np.zeros(0, np.uint64)
    keys = np.concatenate(by_group)
    keys.sort()
    return keys


def _distinct(values: Array) -> Array:
    """The values of an array, sorted, each once; `np.unique` goes by a hash table, and is slow where many are equal."""
    ordered = np.sort(values)
    is_new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    return ordered[is_new]


def _among(mixed: Array, keys: Array) -> Array:
    """Which hashes are among the sorted `keys`, of which there is at least one, (n,) bool."""
    at = np.minimum(np.searchsorted(keys, mixed), len(keys) - 1)
    return np.equal(keys[at], mixed)


def _near(old: Sequence[Rows], new: Sequence[Rows]) -> Iterator[tuple[Rows, int]]:
    """Row groups of `old` whose ranges of run and of event both meet those of `new`."""
    spans = [p.zones(RUN_EVENT) for p in new]
    ranges = {}
    for column in RUN_EVENT:
        zones = [span[column] for span in spans]
        ranges[column] = (min(zone.min.min() for zone in zones), max(zone.max.max() for zone in zones))
    yield from _meeting(old, ranges)


def _meeting(parts: Sequence[Rows], ranges: Mapping[str, tuple[int, int]]) -> Iterator[tuple[Rows, int]]:
    """Row groups that have values within the range of each column."""
    for part in parts:
        zones = part.zones(ranges)
        meets = np.ones(len(part.groups), np.bool_)
        for column, (low, high) in ranges.items():
            meets &= (zones[column].min <= high) & (zones[column].max >= low)
        yield from ((part, int(g)) for g in np.flatnonzero(meets))


def _by_group(parts: Sequence[Rows], rows: Array) -> Iterator[tuple[Rows, int, Array]]:
    """The row groups that hold any of these sorted rows of the snapshot, each with their places in it."""
    for part in parts:
        starts = np.cumsum([part.first_row, *part.groups])
        for group, (first, last) in enumerate(pairwise(starts.tolist())):
            low, high = np.searchsorted(rows, (first, last))
            if high > low:
                yield part, group, rows[low:high] - first


class _Guids:
    """GUIDs as codes, in the order in which they are met; "" is 0."""

    def __init__(self) -> None:
        self._codes = {"": 0}

    def codes(self, guids: Sequence[str]) -> Array:
        """The code of each GUID, (n,) int64."""
        return np.array([self._codes.setdefault(guid, len(self._codes)) for guid in guids])

    def ranks(self) -> Array:
        """By code, the place of its GUID among those that were met, in alphabetical order, (n,) int64."""
        in_order = {guid: rank for rank, guid in enumerate(sorted(self._codes))}
        return np.array([in_order[guid] for guid in self._codes])


def _suspects(
    groups: Iterable[tuple[Rows, int]], keys: Array, identity: Sequence[str], guids: _Guids
) -> Iterator[dict[str, Array]]:
    """By row group, the rows whose hash is in the sorted `keys`: row, identity, entry, and the code of the GUID."""
    for part, group in groups:
        values = part.read(group, (*identity, "aod_entry"))
        rows = np.flatnonzero(_among(_hash(values), keys))
        if not len(rows):
            continue
        entries = values.get("aod_entry")
        suspects = {name: values[name][rows] for name in identity}
        suspects["row"] = rows + part.first_row + sum(part.groups[:group])
        suspects["entry"] = np.full(len(rows), -1) if entries is None else entries[rows].astype(np.int64)
        suspects["guid"] = np.zeros(len(rows), np.int64)
        if "aod_guid" in part.columns:
            codes, names = part.read_codes(group, "aod_guid")
            suspects["guid"] = guids.codes(names)[codes[rows]]
        yield suspects


def _batches(pieces: Iterable[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    """Rows of pieces together, `_AT_ONCE` of them or a piece more at a time."""
    waiting: list[dict[str, Array]] = []
    rows = 0
    for piece in pieces:
        waiting.append(piece)
        rows += len(piece["event"])
        if rows >= _AT_ONCE:
            yield _joined(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(pieces: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Rows of pieces, one after the other."""
    joined = {}
    for name in pieces[0]:
        joined[name] = np.concatenate([piece[name] for piece in pieces])
    return joined


def _first_and_repeats(groups: Iterable[tuple[Rows, int]], keys: Array, identity: Sequence[str]) -> tuple[Array, Array]:
    """Of the events whose hash is in the sorted `keys`, the first row by (GUID, entry, row), and the other rows.

    What is held is bounded by `_AT_ONCE`, the number of events, and eight bytes for each other row.
    """
    guids = _Guids()
    first: list[dict[str, Array]] = []  # empty, or one piece
    repeats = []
    for batch in _batches(_suspects(groups, keys, identity, guids)):
        rows = _joined([*first, batch])
        order = np.lexsort([rows["row"], rows["entry"], guids.ranks()[rows["guid"]], *(rows[c] for c in identity)])
        again = _as_the_one_before({name: rows[name][order] for name in identity})
        repeats.append(rows["row"][order[again]])
        first = [{name: values[order[~again]] for name, values in rows.items()}]
    if not first:
        return NONE, NONE
    return first[0]["row"], np.concatenate(repeats)


def _as_the_one_before(columns: Mapping[str, Array]) -> Array:
    """Which rows have the values of the row before them in all columns, (n,) bool."""
    same = np.ones(len(next(iter(columns.values()))), np.bool_)
    same[:1] = False
    for values in columns.values():
        same[1:] &= values[1:] == values[:-1]
    return same


@dataclass(frozen=True)
class SplitEvents:
    """Rows that are marked though they lie in another luminosity block than the row that counts, and the first."""

    rows: int
    run: int
    event: int
    blocks: tuple[int, int]


@watched
def split_events(parts: Sequence[Rows], marked: Array) -> SplitEvents | None:
    """What is marked as a repeated (run, event) and stands in another luminosity block; None where nothing is."""
    if not len(marked):
        return None
    counted = _Counted(parts, marked, marked, RUN_EVENT)
    rows, first = 0, None
    for part, group, at in _by_group(parts, marked):
        values = {name: column[at] for name, column in part.read(group, (*RUN_EVENT, "lumi")).items()}
        lumi = counted.lumi[counted.find(values)]
        split = np.flatnonzero(values["lumi"] != lumi)
        rows += len(split)
        if len(split) and first is None:
            row = split[0]
            one, other = sorted((int(lumi[row]), int(values["lumi"][row])))
            first = SplitEvents(0, int(values["run"][row]), int(values["event"][row]), (one, other))
    return None if first is None else replace(first, rows=rows)


@watched
def counted_rows(parts: Sequence[Rows], marked: Array, duplicates: Array, identity: Sequence[str] = RUN_EVENT) -> Array:
    """The rows that count of the events that some marked rows repeat.

    `duplicates` are sorted rows of the snapshot, all of them `marked`; the answer is in their order.
    """
    counted = _Counted(parts, marked, duplicates, identity)
    rows = [NONE]
    for part, group, at in _by_group(parts, duplicates):
        values = {name: column[at] for name, column in part.read(group, identity).items()}
        rows.append(counted.row[counted.find(values)])
    return np.concatenate(rows)


@watched
def numbers_of(parts: Sequence[Rows], rows: Array, identity: Sequence[str] = RUN_EVENT) -> dict[str, Array]:
    """The numbers of the events in sorted rows of the snapshot."""
    pieces = []
    for part, group, at in _by_group(parts, rows):
        columns = part.read(group, identity)
        pieces.append({name: column[at] for name, column in columns.items()})
    return _joined(pieces)


class _Counted:
    """Of the events that some marked rows repeat, the rows that count: `row` in the snapshot, and `lumi`.

    They are found by the numbers of an event. What is held is bounded by the number of these events.
    """

    def __init__(self, parts: Sequence[Rows], marked: Array, duplicates: Array, identity: Sequence[str]) -> None:
        self._identity = identity
        keys, ranges = _keys_and_ranges(parts, duplicates, identity)
        pieces = list(_unmarked(_meeting(parts, ranges), marked, keys, identity))
        columns = _joined(pieces)
        hashes = _hash({name: columns[name] for name in identity})
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._numbers = {name: columns[name][order] for name in identity}
        self.row = columns["row"][order]
        self.lumi = columns["lumi"][order]

    def find(self, numbers: Mapping[str, Array]) -> Array:
        """The places in `row` and `lumi` of the events with these numbers, (n,) int64; each of them is here."""
        places = np.searchsorted(self._hashes, _hash({name: numbers[name] for name in self._identity}))
        others = np.arange(len(places))
        while True:  # events of one hash lie side by side
            equal = np.ones(len(others), np.bool_)
            for name in self._identity:
                equal &= self._numbers[name][places[others]] == numbers[name][others]
            others = others[~equal]
            if not len(others):
                return places
            places[others] += 1


def _keys_and_ranges(
    parts: Sequence[Rows], rows: Array, identity: Sequence[str]
) -> tuple[Array, dict[str, tuple[int, int]]]:
    """Sorted hashes of the events in sorted rows of the snapshot, each once, and the range of their run and event."""
    keys = []
    bounds: dict[str, list[int]] = {name: [] for name in RUN_EVENT}
    for part, group, at in _by_group(parts, rows):
        values = {name: column[at] for name, column in part.read(group, identity).items()}
        keys.append(_distinct(_hash(values)))
        for name, ends in bounds.items():
            ends += [int(values[name].min()), int(values[name].max())]
    return _distinct(np.concatenate(keys)), {name: (min(ends), max(ends)) for name, ends in bounds.items()}


def _unmarked(
    groups: Iterable[tuple[Rows, int]], marked: Array, keys: Array, identity: Sequence[str]
) -> Iterator[dict[str, Array]]:
    """By row group, the rows that are not marked and whose hash is in the sorted `keys`: row, run, event and lumi."""
    for part, group in groups:
        first = part.first_row + sum(part.groups[:group])
        suspect = _among(_hash(part.read(group, identity)), keys)
        low, high = np.searchsorted(marked, (first, first + len(suspect)))
        suspect[marked[low:high] - first] = False
        rows = np.flatnonzero(suspect)
        if len(rows):
            values = part.read(group, (*RUN_EVENT, "lumi"))
            yield {"row": rows + first, **{name: column[rows] for name, column in values.items()}}
