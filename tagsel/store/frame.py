"""The row groups of a snapshot side by side: zones, memory and places of all of them at once, column by column.

What a part says row group by row group is here one array over all G row groups of the snapshot, so that planning and
reading cost a few array operations, however many parts there are. Invariant: an address that is handed out points to
bytes whose CRC was compared, in a file that is still the one the log names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.store import columns as cols
from tagsel.store.columns import DTYPES, Array
from tagsel.store.memo import Memo
from tagsel.store.pages import FIXED, LIST, Chunk
from tagsel.store.places import Stretches
from tagsel.store.stacked import BOUNDS, WHERE, Stack
from tagsel.store.zones import Zone, zone

if TYPE_CHECKING:
    from tagsel.store.parts import Part

_KIND, _START, _VALUES = (Chunk._fields.index(name) for name in ("kind", "start", "values"))


@dataclass(frozen=True)
class Memory:
    """A column of some row groups in memory: where its bytes begin (uint64), how many values (int64), and what holds
    them; `type` is NumPy's ("f4")."""

    addresses: Array
    sizes: Array
    type: str
    held: Sequence[Any]


class Frame:
    """The row groups of `parts`, G in all, in order.

    `part_of`, `group_of`: the part of each, and its place in the part, (G,) int64; `rows`, `first_rows`: its size and
    the number of its first row in the snapshot, (G,) int64. `folder`: the dataset's, whose stacks of zones serve all of
    its parts at once; None: each part is asked.
    """

    def __init__(self, parts: Sequence[Part], folder: Path | None = None) -> None:
        self.parts = parts
        self._stack = Stack(folder, parts)
        sizes = [len(p.groups) for p in parts]
        self.part_of = np.repeat(np.arange(len(parts)), sizes)
        self.rows = np.array([n for p in parts for n in p.groups], np.int64)
        self.first_rows = np.cumsum(self.rows) - self.rows
        starts = np.cumsum([0, *sizes])
        self.group_of = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        self.starts = starts  # the first row group of each part
        self._halves: dict[tuple[str, int], Array] = {}
        self._verified: dict[str, Array] = {}
        self.memo = Memo()
        self._places: dict[str, Stretches | None] = {}
        self._identities: list[cols.Identity | None] = [None] * len(parts)
        self._bases = np.zeros(len(parts), np.uint64)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, group: int) -> Part:
        """The part that a row group belongs to."""
        return self.parts[int(self.part_of[group])]

    @cached_property
    def kinds(self) -> list[tuple[frozenset[str], Array]]:
        """Row groups by the columns that their parts have: (columns, row groups) for each set of columns."""
        ids = np.array([id(p.columns) for p in self.parts], np.int64)
        _, firsts, kind_of = np.unique(ids, return_index=True, return_inverse=True)
        of_group = kind_of[self.part_of]
        return [(self.parts[first].columns, np.flatnonzero(of_group == at)) for at, first in enumerate(firsts.tolist())]

    def _half(self, column: str, number: int) -> Array:
        """What the sidecars say of a column that a part has, of its values or where they lie: (6, G) int64.

        StoreError: a part is damaged.
        """
        found = self._halves.get((column, number))
        if found is None:
            found = self._halves[column, number] = self._stack.half(column, number)
        return found

    def zone(self, column: str, groups: Array) -> Zone | None:
        """Bounds of a column over the given row groups, whose parts have it; None for text."""
        if not len(groups):
            return None
        kind = self.parts[self.part_of[groups[0]]].kinds[column]
        if kind[0] == "string":
            return None
        block = self._half(column, BOUNDS)
        return zone(block if len(groups) == len(self) else block[:, groups], kind)

    def places(self, kind: str) -> Stretches | None:
        """Where the snapshot's rows come from; None where a part does not keep it. StoreError: a part is damaged."""
        if kind not in self._places:
            self._places[kind] = self._stack.places(kind) if self.parts else None
        return self._places[kind]

    def type(self, column: str) -> str:
        """NumPy's type of a column ("f4"); "" where no part has it."""
        return next((DTYPES[p.kinds[column][0]].str[1:] for p in self.parts if column in p.kinds), "")

    def memory(self, column: str, groups: Array) -> Memory:
        """A column of the given row groups, mapped where the layout allows, decoded elsewhere; their parts have it.

        StoreError: a part is gone, cut short or damaged.
        """
        block = self._half(column, WHERE)[:, groups]
        part_of = self.part_of[groups]
        kind = self.parts[part_of[0]].kinds[column]
        addresses = self._bases[part_of] + block[_START].astype(np.uint64)
        self._verify(column, groups)
        mapped = (block[_KIND] == FIXED) | (block[_KIND] == LIST)
        sizes, held = block[_VALUES], []
        if not mapped.all():
            sizes = sizes.copy()
            for at in np.flatnonzero(~mapped).tolist():
                values = self.parts[part_of[at]].read(int(self.group_of[groups[at]]), [column])[column]
                addresses[at], sizes[at] = values.__array_interface__["data"][0], values.size
                held.append(values)
        return Memory(addresses, sizes, DTYPES[kind[0]].str[1:], held)

    def mapped(self, columns: Iterable[str], groups: Array) -> bool:
        """Whether columns of row groups whose parts have them are used where they lie in the files, none decoded."""
        kinds = [self._half(column, WHERE)[_KIND, groups] for column in columns]
        return all(bool(((k == FIXED) | (k == LIST)).all()) for k in kinds)

    def open(self, groups: Array) -> None:
        """See that the parts of the given row groups are the files that the log names, and map them.

        What was known of a file that has been replaced is forgotten. StoreError: gone, cut short, footer damaged.
        """
        for part in np.unique(self.part_of[groups]).tolist():
            identity = cols.identity(self.parts[part].path, self.parts[part].bytes)
            if identity != self._identities[part]:
                self._bases[part] = cols.mapped(identity).__array_interface__["data"][0]
                self._identities[part] = identity
                for verified in self._verified.values():
                    verified[self.starts[part] : self.starts[part + 1]] = False

    def _verify(self, column: str, groups: Array) -> None:
        """Compare pages with their CRCs where that was not done yet."""
        verified = self._verified.get(column)
        if verified is None:
            verified = self._verified[column] = np.zeros(len(self), np.bool_)
        where = self._half(column, WHERE)
        for group in groups[~verified[groups]].tolist():
            part, within = int(self.part_of[group]), int(self.group_of[group])
            identity = self._identities[part]
            assert identity is not None  # `open` came first
            cols.verify(identity, within, column, Chunk(*where[:, group].tolist()))
            verified[group] = True

    def pieces(self, rows: Array) -> Iterator[tuple[Part, int, Array, slice]]:
        """Rows of the snapshot, rising, by row group: (part, its row group, rows within it, where in `rows`)."""
        ends = np.searchsorted(rows, self.first_rows + self.rows)
        begin = 0
        for group in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            end = int(ends[group])
            part = self.parts[int(self.part_of[group])]
            yield part, int(self.group_of[group]), rows[begin:end] - self.first_rows[group], slice(begin, end)
            begin = end
