"""Strings of events, kept as codes into a small table: GUIDs of files, samples of simulation.

Invariant: a table is sorted, without repeats, and every entry of it is used; so codes order as their
strings do and equal columns are equal byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from tagsel.errors import EventListError

UNKNOWN = -1
"""A luminosity block or entry that a list does not know; an unknown GUID is the empty string."""

GUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")

Array = npt.NDArray[np.generic]
Codes = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
A = TypeVar("A", bound=npt.NDArray[Any])


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """A string for each event: `codes` (n,) int32 into `values`; made by `of`, which orders the table.

    >>> names = Names.of([1, 0, 1], ["b", "a", "unused"])
    >>> names.values, names.codes.tolist()
    (('a', 'b'), [0, 1, 0])
    """

    codes: Codes
    values: tuple[str, ...]

    @classmethod
    def of(cls, codes: npt.ArrayLike, values: Sequence[str]) -> Names:
        """From any codes and any table; EventListError for a code outside the table."""
        raw = np.asarray(codes, np.int64)
        if raw.size and not 0 <= int(raw.min()) <= int(raw.max()) < len(values):
            raise EventListError(f"codes {raw.min()} to {raw.max()} for a table of {len(values)} names")
        used = np.flatnonzero(np.bincount(raw, minlength=len(values))).tolist() if raw.size else []
        table = tuple(sorted({values[i] for i in used}))
        rank = {name: position for position, name in enumerate(table)}
        lookup = np.array([rank.get(name, 0) for name in values], np.int32)
        return cls(frozen(lookup[raw] if raw.size else np.empty(0, np.int32)), table)

    @classmethod
    def same(cls, value: str, count: int) -> Names:
        """The one string `value` for `count` events."""
        return cls(frozen(np.zeros(count, np.int32)), (value,) if count else ())

    @classmethod
    def of_strings(cls, strings: Sequence[str]) -> Names:
        """From one string an event."""
        table = tuple(sorted(set(strings)))
        rank = {name: position for position, name in enumerate(table)}
        return cls(frozen(np.array([rank[name] for name in strings], np.int32)), table)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Array) -> Names:
        """The strings of the given rows (indices or a mask)."""
        return Names.of(self.codes[rows], self.values)

    def join(self, other: Names) -> Names:
        """These strings, then those of `other`."""
        codes = np.concatenate([self.codes, other.codes.astype(np.int64) + len(self.values)])
        return Names.of(codes, (*self.values, *other.values))

    def strings(self) -> list[str]:
        """One string an event."""
        return [self.values[code] for code in self.codes.tolist()]

    def known(self) -> npt.NDArray[np.bool_]:
        """Which events have a string that is not empty."""
        if not self.values or self.values[0]:
            return np.ones(len(self), bool)
        return self.codes > 0


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Where events are at one stage: GUIDs of files, and (n,) int64 entries, 0-based, -1 = unknown."""

    guid: Names
    entry: Longs

    @classmethod
    def of(cls, codes: npt.ArrayLike, guids: Sequence[str], entry: npt.ArrayLike) -> Reference:
        """From codes, a table of canonical GUIDs (or "") and entries; EventListError for other GUIDs."""
        for guid in guids:
            if guid and not GUID.fullmatch(guid):
                raise EventListError(f"{guid!r} is no GUID", hint="8-4-4-4-12 upper-case hexadecimal digits")
        return cls(Names.of(codes, guids), frozen(np.array(entry, np.int64)))

    @classmethod
    def unknown(cls, count: int) -> Reference:
        """The reference of `count` events that nothing is known about."""
        return cls(Names.same("", count), frozen(np.full(count, UNKNOWN, np.int64)))

    def take(self, rows: Array) -> Reference:
        """The references of the given rows (indices or a mask)."""
        return Reference(self.guid.take(rows), frozen(self.entry[rows]))

    def join(self, other: Reference) -> Reference:
        """These references, then those of `other`."""
        return Reference(self.guid.join(other.guid), frozen(np.concatenate([self.entry, other.entry])))

    def files(self) -> list[tuple[str, Longs]]:
        """(GUID, its entries rising) by GUID; events without a GUID are left out."""
        order = np.lexsort((self.entry, self.guid.codes))
        bounds = np.searchsorted(self.guid.codes[order], np.arange(len(self.guid.values) + 1))
        entries = self.entry[order]
        return [
            (guid, frozen(entries[bounds[code] : bounds[code + 1]]))
            for code, guid in enumerate(self.guid.values)
            if guid
        ]


def frozen(array: A) -> A:
    """The same values, (n,), which neither NumPy nor an Arrow array that shares them can make writeable again."""
    if array.size and array.ndim == 1 and array.flags.c_contiguous:
        return cast(A, np.frombuffer(memoryview(cast(Any, array)).toreadonly(), array.dtype))
    array.flags.writeable = False
    return array
