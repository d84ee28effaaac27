"""One part of a snapshot: a Parquet file whose columns are read by row group, mapped where its layout
allows.

Invariant: a part's content never changes; where the file is not what its name and the log say, reading
raises StoreError with file, column and row group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tagsel.base.cache import Cache
from tagsel.store import columns as cols
from tagsel.store.bus_error import watched
from tagsel.store.columns import DTYPES, Array
from tagsel.store.duplicates import Marks
from tagsel.store.mapping import Identity, identity
from tagsel.store.pages import DECODE
from tagsel.store.places import Stretches
from tagsel.store.zones import Kind, Zone, Zones, chunk, read_values

if TYPE_CHECKING:
    import pyarrow as pa


MOST_ROWS = (1 << 31) - 1
"""Rows that a row group may have: machine code counts them in int32."""

_counted: Cache[tuple[Identity, str], int] = Cache("verified-counters", entries=1 << 20)
"""Row groups, one bit each, of a part's list column whose lengths add up to its values."""


@dataclass(frozen=True)
class Part:
    """A part of a snapshot; `groups` are the rows of its row groups, `columns` the columns that it has."""

    name: str
    folder: Path
    rows: int
    bytes: int
    groups: tuple[int, ...]
    columns: frozenset[str]
    first_row: int = field(default=0, compare=False)  # in the snapshot
    kinds: Mapping[str, Kind] = field(default_factory=dict, compare=False, repr=False)  # of its own columns
    marks: Marks | None = field(default=None, compare=False, repr=False)
    counters: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)  # of its list columns

    @cached_property
    def path(self) -> Path:
        """Its file."""
        return self.folder / self.name

    def read(self, group: int, columns: Iterable[str]) -> dict[str, Array]:
        """Values of a row group, one read-only array a column that the part has; absent columns are left
        out.

        Scalars: (rows,). Lists: the values of all rows one after another; lengths are in the counter's
        column. bits32 and bits64 come as uint32 and uint64, strings as an object array. Mapped columns are
        views of the file. StoreError: the file is gone, cut short or damaged (file, column and row group
        named).
        """
        wanted = [c for c in columns if c in self.columns]
        if not wanted:
            return {}
        file = identity(self.path, self.bytes)
        return {c: self._values(file, group, c) for c in wanted}

    def _values(self, file: Identity, group: int, column: str) -> Array:
        kind = self.kinds[column]
        if kind[0] == "string":
            codes, names = self.read_codes(group, column)
            return np.array(names, object)[codes]
        block = self._zones.block(column)
        where = chunk(block, group)
        if where.kind == DECODE and not kind[1] and DTYPES[kind[0]].kind in "iu" and block[0, group] == block[1, group]:
            values = np.full(self.groups[group], block[0, group]).astype(DTYPES[kind[0]])
            values.flags.writeable = False
            return values  # one value in the whole row group (a menu): no need to decompress it
        values = read_values(file, group, column, where, kind)
        if kind[1]:
            self.check_length(file, group, column, len(values))
        elif len(values) != self.groups[group]:
            raise cols.damaged(file, group, column, f"{len(values)} values for {self.groups[group]} rows")
        return values

    def check_length(self, file: Identity, group: int, column: str, values: int) -> None:
        """Compare a list column's number of values with its counter, the first time. StoreError: they differ.

        Each length is bounded before it is added, so that no sum wraps.
        """
        counter = self.counters.get(column)
        if counter is None or counter not in self.columns:
            return
        seen = _counted.get((file, column), 0)
        if seen >> group & 1:
            return
        lengths = np.maximum(self._values(file, group, counter), 0)
        longest = int(lengths.max(initial=0))
        total = longest if longest > values else int(lengths.sum(dtype=np.int64))
        if total != values:
            raise cols.damaged(file, group, column, f"it has {values:,} values, its counter {counter} says {total:,}")
        _counted[file, column] = seen | 1 << group

    @watched
    def check_lists(self, group: int) -> None:
        """Compare each event's list with its counter, value by value. StoreError: a list has another length."""
        import pyarrow.compute as pc

        for column in sorted(self.counters.keys() & self.columns):
            counter = self.counters[column]
            if counter not in self.columns:
                continue
            lengths = pc.list_value_length(self.arrow(group, column)).to_numpy(zero_copy_only=False)
            stated = self.read(group, [counter])[counter]
            wrong = np.flatnonzero(lengths != np.maximum(stated, 0))
            if len(wrong):
                row = int(wrong[0])
                why = f"it has {lengths[row]} values in row {row}, its counter {counter} says {stated[row]}"
                raise cols.damaged(identity(self.path, self.bytes), group, column, why)

    def read_codes(self, group: int, column: str) -> tuple[Array, list[str]]:
        """A string column of a row group as codes, (rows,) int32, into the list of strings beside it."""
        file = identity(self.path, self.bytes)
        cols.verify(file, group, column, chunk(self._zones.block(column), group))
        return cols.decode_codes(file, group, column)

    def arrow(self, group: int, column: str, dictionary: bool = False) -> pa.Array:
        """A column of a row group as an Arrow array in the file's own type (lists as lists)."""
        file = identity(self.path, self.bytes)
        cols.verify(file, group, column, chunk(self._zones.block(column), group))
        return cols.decode_arrow(file, group, column, dictionary)

    def zones(self, columns: Iterable[str]) -> dict[str, Zone]:
        """Bounds by row group of those columns that the part has; strings have none and are left out."""
        known = (c for c in columns if c in self.kinds and self.kinds[c][0] != "string")
        return {c: self._zones.zone(c) for c in known}

    @cached_property
    def _zones(self) -> Zones:
        return Zones(self.path, self.bytes, len(self.groups), self.kinds, self.rows)

    def lumi_counts(self, group: int) -> tuple[Array, Array, Array]:
        """Luminosity blocks of a row group: run int32, lumi int32, events int64, (n_blocks,) each, sorted."""
        offsets, run, lumi, events = self._zones.lumis()
        of = slice(int(offsets[group]), int(offsets[group + 1]))
        return run[of], lumi[of], events[of]

    def block(self, column: str) -> Array:
        """What the sidecar says of a column: (len(zones.FIELDS), groups) int64."""
        return self._zones.block(column)

    def places(self) -> dict[str, Stretches]:
        """Where its rows come from, in stretches, by kind: "ids", "aod", "esd", "raw"; those that pay."""
        return self._zones.places()

    def duplicates(self, group: int) -> Array | None:
        """Rows of a row group that repeat the (run, event) of an earlier row of the snapshot, (rows,) bool.

        Earlier is the one with the lowest (AOD GUID, AOD entry); None when the row group has no such row.
        """
        if self.marks is None:
            return None
        return self.marks.within(self.first_row + sum(self.groups[:group]), self.groups[group])
