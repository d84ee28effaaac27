"""Readers: the rows of an input file in chunks of bounded size, from ROOT trees and from files of columns.

Invariant: a reader is plain data (paths and names) and opens its file only inside `chunks`, so it travels to
another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tagsel.errors import AccessError, IngestError
from tagsel.ingest.arrow_columns import column_type, is_list
from tagsel.ingest.columnar import ColumnarFile, damage, open_columnar
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Chunk, Nulls
from tagsel.rootio import ColumnType, EventTree, RootFile

if TYPE_CHECKING:
    import pyarrow as pa


class Reader(Protocol):
    """What all readers have in common."""

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """All rows in order, at most `rows` at a time, with just these columns."""


@dataclass(frozen=True, slots=True)
class TreeReader:
    """The rows of one tree of a ROOT file."""

    path: Path
    tree: str

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """All rows in order, at most `rows` at a time, with just these columns."""
        with RootFile(self.path) as file:
            tree = file.events(self.tree)
            window = rows_at_once(tree, len(columns), rows)
            for first in range(0, tree.entries, window):
                last = min(first + window, tree.entries)
                arrays = tree.arrays(columns, first, last)
                for start in range(first, last, rows):
                    stop = min(start + rows, last)
                    piece = {name: values[start - first : stop - first] for name, values in arrays.items()}
                    yield Chunk(self.path, start, stop - start, piece)


WINDOW_BYTES = 256_000_000
"""Decoded values that are held at once, where a file's clusters are larger than a chunk."""


def rows_at_once(tree: EventTree, columns: int, rows: int) -> int:
    """Rows to read together: a multiple of `rows` that is about a cluster, but no more than memory should hold.

    A cluster is decoded as a whole: read in chunks, one of 10 million rows would be decoded 77 times.
    """
    most = WINDOW_BYTES // (8 * max(columns, 1))
    return rows * max(1, min(tree.decoded_rows(), most) // rows)


TAG_PREFIX = "TAG:"
"""Before the names of columns that come from the TAG of a file that has both events and TAG."""


@dataclass(frozen=True, slots=True)
class JoinedReader:
    """The rows of an event tree, each with the columns `TAG:…` of its row in the file's TAG.

    `rows_of` is the TAG row of each entry, or None where row and entry are the same all through.
    """

    path: Path
    tree: str
    tag: str
    rows_of: tuple[int, ...] | None

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """All rows in order, at most `rows` at a time, with just these columns."""
        of_tag = [c.removeprefix(TAG_PREFIX) for c in columns if c.startswith(TAG_PREFIX)]
        of_events = [c for c in columns if not c.startswith(TAG_PREFIX)]
        with RootFile(self.path) as file:
            events, tag = file.events(self.tree), file.events(self.tag)
            for start in range(0, events.entries, rows):
                stop = min(start + rows, events.entries)
                arrays = events.arrays(of_events, start, stop)
                for name, values in self._tag_arrays(tag, of_tag, start, stop).items():
                    arrays[TAG_PREFIX + name] = values
                yield Chunk(self.path, start, stop - start, arrays)

    def _tag_arrays(self, tag: EventTree, columns: list[str], start: int, stop: int) -> dict[str, Any]:
        if self.rows_of is None:
            return tag.arrays(columns, start, stop)
        return tag.arrays_at(columns, self.rows_of[start:stop])


def tree_columns(tree: EventTree, prefix: str = "") -> Columns:
    """The columns of a tree; one that only groups others (a split object) is none.

    A column whose type cannot be told is odd, with the reason, and costs no other column anything.
    """
    names = tree.columns()
    groups = set(chain.from_iterable(map(_groups, names)))
    types: dict[str, ColumnType] = {}
    odd: dict[str, str] = {}
    for name in names:
        try:
            kind, typename = tree.column_type(name), tree.typename(name)
        except AccessError as error:
            kind, typename = None, error.message.rpartition(": ")[2] or "no type"
        if kind is not None:
            types[prefix + name] = kind
        elif name not in groups:
            odd[prefix + name] = typename
    nested = frozenset(prefix + name for name in tree.nested())
    return Columns(tree.path, types, prefix, odd, nested & types.keys())


def _groups(name: str) -> Iterator[str]:
    """What stands before each `/` and `.` of a column's name: the columns that group it."""
    for at, mark in enumerate(name):
        if mark in "/.":
            yield name[:at]


class NullMet(IngestError):
    """A value that is null, in a column that is read as if it had none."""


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """The rows of a Parquet, Arrow IPC or Feather file; `nullable` are columns that may hold nulls."""

    path: Path
    nullable: frozenset[str] = frozenset()

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """All rows in order, at most `rows` at a time, with just these columns."""
        with open_columnar(self.path) as file, damage(self.path, file.format):
            start = 0
            for size, stored in file.chunks(columns, rows):
                nulls = {}
                for name in self.nullable & stored.keys():
                    stored[name], nulls[name] = _filled(stored[name])
                arrays = {name: self._values(array, name, start) for name, array in stored.items()}
                yield Chunk(self.path, start, size, arrays, nulls)
                start += size

    def arrays(self, columns: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Rows [start, stop) of columns, read from the file's beginning; nothing where it has no rows."""
        for chunk in self.chunks(columns, stop):
            return {c: values[start:stop] for c, values in chunk.arrays.items()}
        return dict.fromkeys(columns, ())

    def first(self, file: ColumnarFile, column: str, rows: int) -> Any:
        """The first rows of a column of the file, which is open; None where it has no rows."""
        for _, arrays in file.chunks([column], rows):
            return self._values(arrays[column], column, 0)
        return None

    def _values(self, column: pa.Array, name: str, start: int) -> Any:
        """NumPy for numbers, awkward for lists, Arrow for strings; nulls are refused."""
        import awkward as ak

        listed = is_list(column.type)
        hole = _first_hole(column, listed)
        if hole is not None:
            raise NullMet(
                f"{self.path}: {name} has no value in row {start + hole}",
                hint="leave these rows, or this column, out of the file",
                path=str(self.path),
                column=name,
                row=start + hole,
            )
        if listed:
            return ak.from_arrow(column)
        if column_type(column.type) == ColumnType("string"):
            return column
        return column.to_numpy(zero_copy_only=False)


def _filled(column: pa.Array) -> tuple[pa.Array, Nulls]:
    """A column without nulls, and where they were."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = column.is_null().to_numpy(zero_copy_only=False)
    if not is_list(column.type):
        return pc.fill_null(column, _filler(column.type)), Nulls(rows, rows)
    flat = column.flatten()  # of a null there is nothing
    items = flat.is_null().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    values = pc.fill_null(flat, _filler(flat.type))
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values), Nulls(rows, items)


def _filler(kind: pa.DataType) -> pa.Scalar:
    """What is stored where there is no value."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return pa.scalar(float("nan"), kind)
    if pa.types.is_boolean(kind):
        return pa.scalar(False, kind)
    text = column_type(kind) == ColumnType("string")
    return pa.scalar("" if text else 0, kind)


def _first_hole(column: pa.Array, listed: bool) -> int | None:
    """The first row that is null or, of lists, holds a null; None where every value is there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        return int(pc.index(column.is_null(), pa.scalar(True)).as_py())
    if listed and column.flatten().null_count:
        item = pc.index(column.flatten().is_null(), pa.scalar(True)).as_py()
        return int(pc.list_parent_indices(column)[item].as_py())
    return None
