"""The row groups of a snapshot side by side: zones, memory and places of all of them at once, column by column.

What a part says row group by row group is here one array over all G row groups of the snapshot, so that planning and
reading cost a few array operations, however many parts there are. Invariant: an address that is handed out points to
bytes whose CRC was compared, in a file that is still the one the log names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.base.cache import CacheGroup
from tagsel.base.fork_lock import fork_lock
from tagsel.base.memory_limit import PAGE
from tagsel.errors import StoreError
from tagsel.kernels import regions
from tagsel.store import columns as cols
from tagsel.store.columns import DTYPES, Array
from tagsel.store.mapping import MOST_PARTS, Identity, batch_bytes, identity, window
from tagsel.store.pages import FIXED, LIST, Chunk, inside
from tagsel.store.parts import MOST_ROWS
from tagsel.store.places import Stretches
from tagsel.store.stacked import BOUNDS, WHERE, Stack, folder_of
from tagsel.store.zones import Zone, sidecar_path, zone

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


class OpenParts:
    """Parts of a frame whose files are mapped; the maps stay while this lives.

    `files`: what stands for each part's file, by the part's number in the frame.
    """

    def __init__(self, frame: Frame, files: dict[int, Identity], replacements: int) -> None:
        self.frame = frame
        self.files = files
        self.replacements = replacements
        self._maps = {part: cols.open_part(file) for part, file in files.items()}
        self._bases = np.zeros(len(frame.parts), np.uint64)
        for part, mapping in self._maps.items():
            if mapping is not None:
                self._bases[part] = mapping.address
        self._in_windows = any(mapping is None for mapping in self._maps.values())

    def check_whole(self) -> None:
        """See that no part was cut short while it was read; first, then use what was read. StoreError: one was."""
        for part, mapping in self._maps.items():
            if mapping is not None:
                mapping.check_whole()
            else:
                identity(self.frame.parts[part].path, self.frame.parts[part].bytes)

    def memory(self, column: str, groups: Array) -> Memory:
        """A column of row groups, mapped where the layout allows, decoded elsewhere; their parts have it.

        StoreError: a part is gone, cut short or damaged.
        """
        frame = self.frame
        block = frame.where(column)[:, groups]
        part_of = frame.part_of[groups]
        attribute, is_list = frame.parts[part_of[0]].kinds[column]
        dtype = DTYPES[attribute]
        addresses = self._bases[part_of] + block[_START].astype(np.uint64)
        frame.verify(column, groups, self)
        mapped = (block[_KIND] == FIXED) | (block[_KIND] == LIST)
        sizes, held = block[_VALUES], [self, *self._maps.values()]
        if self._in_windows:
            for at in np.flatnonzero(mapped & (self._bases[part_of] == 0)).tolist():
                start, size = int(block[_START, at]), int(sizes[at]) * dtype.itemsize
                piece = window(self.files[int(part_of[at])], start, size)
                addresses[at] = piece.address
                held.append(piece)
        if not mapped.all():
            sizes = sizes.copy()
            for at in np.flatnonzero(~mapped).tolist():
                group = groups[at]
                values = frame.parts[part_of[at]].read(int(frame.group_of[group]), [column])[column]
                if not is_list and len(values) != frame.rows[group]:
                    raise cols.damaged(
                        self.files[int(part_of[at])],
                        int(frame.group_of[group]),
                        column,
                        f"{len(values)} values for {frame.rows[group]} rows",
                    )
                addresses[at], sizes[at] = values.__array_interface__["data"][0], values.size
                held.append(values)
        memory = Memory(addresses, sizes, dtype.str[1:], held)
        if regions.ACTIVE:
            regions.note_columns(memory, addresses, sizes * dtype.itemsize)
        return memory


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
        self.rows = np.array(list(chain.from_iterable(p.groups for p in parts)), np.int64)
        if len(self.rows) and self.rows.max() > MOST_ROWS:
            part = self.part(int(self.rows.argmax()))
            raise StoreError(f"{part.path} has a row group of {self.rows.max():,} rows: at most {MOST_ROWS:,}")
        self.first_rows = np.cumsum(self.rows) - self.rows
        starts = np.cumsum([0, *sizes])
        self.group_of = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        self.starts = starts  # the first row group of each part
        self._halves: dict[tuple[str, int], Array] = {}
        self._verified: dict[str, Array] = {}
        self.memo = CacheGroup()
        self._places: dict[str, Stretches | None] = {}
        self.bytes = sum(p.bytes for p in parts)
        self._files: list[Identity | None] = [None] * len(parts)
        self._replacements = 0  # how often a part was found to be another file than before
        self._lock = fork_lock()

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
            found = self._stack.half(column, number)
            if number == WHERE:
                self._check_places(column, found)
            self._halves[column, number] = found
        return found

    def _check_places(self, column: str, where: Array) -> None:
        """See that the chunks of a column lie in their files and have a value a row, before an address is made.

        StoreError: they do not.
        """
        attribute, is_list = next(p.kinds[column] for p in self.parts if column in p.columns)
        sizes = np.array([p.bytes for p in self.parts], np.int64)[self.part_of]
        right = inside(where, DTYPES[attribute].itemsize, sizes)
        if not is_list and attribute != "string":
            there = np.array([column in p.columns for p in self.parts], np.bool_)[self.part_of]
            right &= ~there | (where[_VALUES] == self.rows)
        if not right.all():
            group = int(np.flatnonzero(~right)[0])
            path, rows = self.part(group).path, int(self.rows[group])
            raise StoreError(
                f"the sidecar of part {path} is wrong: column {column}, row group {self.group_of[group]}: "
                f"{where[_VALUES, group]} values at byte {where[_START, group]}, for {rows} rows",
                hint=f"delete {sidecar_path(path)} and {folder_of(path.parent)}: they are made again from the parts",
                path=str(path),
                column=column,
            )

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

    def where(self, column: str) -> Array:
        """Where the values of a column lie in each row group (the fields of `Chunk`), (6, G) int64."""
        return self._half(column, WHERE)

    def mapped(self, columns: Iterable[str], groups: Array) -> bool:
        """Whether columns of row groups whose parts have them are used where they lie in the files, none decoded."""
        kinds = [self._half(column, WHERE)[_KIND, groups] for column in columns]
        return all(bool(((k == FIXED) | (k == LIST)).all()) for k in kinds)

    def open(self, groups: Array, again: bool = False) -> OpenParts:
        """The parts of the given row groups, once they are seen to be the files that the log names, and mapped.

        `again`: this question has opened them before, so the files are not looked at unless they must be mapped anew.
        What was known of a file that has been replaced is forgotten. StoreError: gone, cut short, footer damaged.
        """
        parts = np.unique(self.part_of[groups]).tolist()
        files: dict[int, Identity] = {}
        replacements = self._replacements
        for part in parts:
            before = self._files[part]
            if again and before is not None:
                files[part] = before
                continue
            files[part] = identity(self.parts[part].path, self.parts[part].bytes)
            if files[part] != before:
                cols.check_footer(files[part])
                self._replaced(part, files[part])
                replacements += 1
        return OpenParts(self, files, replacements)

    def _replaced(self, part: int, file: Identity) -> None:
        """Forget which chunks of a part were verified."""
        with self._lock:
            self._files[part] = file
            self._replacements += 1
            for verified in self._verified.values():
                verified[self.starts[part] : self.starts[part + 1]] = False

    def mapped_bytes(self, columns: Iterable[str], groups: Array) -> Array:
        """About how many bytes are mapped for columns of each row group, (len(groups),) int64.

        A part that is mapped as a whole counts with its first row group here.
        """
        most, part_of = batch_bytes(), self.part_of[groups]
        sizes = np.array([part.bytes for part in self.parts], np.int64)[part_of]
        first = np.ones(len(groups), np.bool_)
        first[1:] = part_of[1:] != part_of[:-1]
        whole = np.where(first, sizes, 0)
        if not (sizes > most).any():
            return whole
        size = Chunk._fields.index("size")
        windows = sum((self._half(c, WHERE)[size, groups] + 2 * PAGE for c in columns), np.zeros(len(groups), np.int64))
        return np.where(sizes > most, windows, whole)

    def batches(self, columns: Iterable[str], groups: Array, rows: int) -> list[tuple[int, int]]:
        """Ranges of `groups` that are looked at together: of about `rows` rows, and of no more parts and bytes than may
        be mapped at once."""
        if not len(groups):
            return []
        number = (np.cumsum(self.rows[groups]) - 1) // rows
        limit = batch_bytes()
        if len(self.parts) > MOST_PARTS or self.bytes > limit:
            number += (np.cumsum(self.mapped_bytes(columns, groups)) - 1) // limit
            number += (self.part_of[groups] - self.part_of[groups[0]]) // MOST_PARTS
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(groups)]
        return list(pairwise(edges))

    def verify(self, column: str, groups: Array, opened: OpenParts) -> None:
        """Compare pages of opened parts with their CRCs where that was not done yet."""
        verified = self._verified.get(column)
        if verified is None:
            verified = self._verified.setdefault(column, np.zeros(len(self), np.bool_))
        current = opened.replacements == self._replacements
        fresh = groups[~verified[groups]] if current else groups
        if not len(fresh):
            return
        where = self._half(column, WHERE)
        for group in fresh.tolist():
            part, within = int(self.part_of[group]), int(self.group_of[group])
            chunk = Chunk(*where[:, group].tolist())
            cols.verify(opened.files[part], within, column, chunk)
            if chunk.kind == LIST:
                self.parts[part].check_length(opened.files[part], within, column, chunk.values)
        with self._lock:
            if opened.replacements == self._replacements:
                verified[fresh] = True

    def pieces(self, rows: Array) -> Iterator[tuple[Part, int, Array, slice]]:
        """Rows of the snapshot, rising, by row group: (part, its row group, rows within it, where in `rows`)."""
        ends = np.searchsorted(rows, self.first_rows + self.rows)
        begin = 0
        for group in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            end = int(ends[group])
            part = self.parts[int(self.part_of[group])]
            yield part, int(self.group_of[group]), rows[begin:end] - self.first_rows[group], slice(begin, end)
            begin = end
