"""Readers: the rows of an input file in chunks of bounded size, from ROOT trees and from Parquet.

Invariant: a reader is plain data (paths and names) and opens its file only inside `chunks`, so it travels to
another process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tagsel.errors import IngestError
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Chunk
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
            for start in range(0, tree.entries, rows):
                stop = min(start + rows, tree.entries)
                yield Chunk(self.path, start, stop - start, tree.arrays(columns, start, stop))


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
    """The columns of a tree; one that only groups others (a split object) is none."""
    found = {c: tree.column_type(c) for c in tree.columns()}
    groups = {c[:at] for c in found for at, mark in enumerate(c) if mark in "/."}
    return Columns(
        tree.path, {prefix + c: kind for c, kind in found.items() if kind is not None}, prefix,
        {prefix + c: tree.typename(c) for c, kind in found.items() if kind is None and c not in groups},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """The rows of a Parquet file."""

    path: Path

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """All rows in order, at most `rows` at a time, with just these columns."""
        with open_parquet(self.path) as file, _damage(self.path):
            start = 0
            for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                arrays = {n: self._values(batch.column(n), n, start) for n in batch.schema.names}
                yield Chunk(self.path, start, batch.num_rows, arrays)
                start += batch.num_rows

    def arrays(self, columns: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Rows [start, stop) of columns, read from the file's beginning; nothing where it has no rows."""
        for chunk in self.chunks(columns, stop):
            return {c: values[start:stop] for c, values in chunk.arrays.items()}
        return dict.fromkeys(columns, ())

    def _values(self, column: pa.Array, name: str, start: int) -> Any:
        """NumPy for numbers, awkward for lists, Arrow for strings; nulls are refused."""
        import awkward as ak
        import pyarrow as pa

        if isinstance(column.type, pa.DictionaryType):
            column = column.dictionary_decode()
        if pa.types.is_float16(column.type):
            column = column.cast(pa.float32())
        is_list = _is_list(column.type)
        if is_list:
            column = _plain_list(column)
        hole = _first_hole(column, is_list)
        if hole is not None:
            raise IngestError(
                f"{self.path}: {name} has no value in row {start + hole}",
                hint="leave the column out: a column that a file lacks is missing for all its rows",
                path=str(self.path), column=name, row=start + hole,
            )  # fmt: skip
        if is_list:
            return ak.from_arrow(column)
        if parquet_type(column.type) == ColumnType("string"):
            return column
        return column.to_numpy(zero_copy_only=False)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType)


def _plain_list(column: pa.Array) -> pa.Array:
    """Lists of a fixed size as lists, half-precision values as float32, both exactly."""
    import pyarrow as pa

    values = pa.float32() if pa.types.is_float16(column.type.value_type) else column.type.value_type
    fixed = isinstance(column.type, pa.FixedSizeListType)
    return column.cast(pa.large_list(values)) if fixed or values != column.type.value_type else column


def _first_hole(column: pa.Array, is_list: bool) -> int | None:
    """The first row that is null or, of lists, holds a null; None where every value is there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        return int(pc.index(column.is_null(), pa.scalar(True)).as_py())
    if is_list and column.flatten().null_count:
        item = pc.index(column.flatten().is_null(), pa.scalar(True)).as_py()
        return int(pc.list_parent_indices(column)[item].as_py())
    return None


def open_parquet(path: Path) -> Any:
    """The Parquet file, page checksums verified; IngestError where it cannot be read."""
    import pyarrow.parquet as pq

    with _damage(path):
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise IngestError(f"{path}: cannot be read as Parquet: {first}", path=str(path)) from error


def parquet_type(kind: pa.DataType) -> ColumnType | None:
    """What a Parquet column of this Arrow type holds, or None where that is no scalar and no flat list."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return parquet_type(kind.value_type)
    if _is_list(kind):
        inner = parquet_type(kind.value_type)
        return ColumnType(inner.base, is_list=True) if inner and not inner.is_list else None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ColumnType("string")
    if pa.types.is_float16(kind):
        return ColumnType("float32")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or kind in (pa.float32(), pa.float64()):
        return ColumnType(str(kind.to_pandas_dtype().__name__).removesuffix("_"))
    return None


def parquet_columns(path: Path, file: Any) -> Columns:
    """The columns of an open Parquet file; IngestError where two have one name."""
    schema = file.schema_arrow
    twice = next((n for n, times in Counter(schema.names).items() if times > 1), None)
    if twice is not None:
        raise IngestError(f"{path}: two columns are called {twice!r}", hint="write the file anew with other names",
                          path=str(path), column=twice)  # fmt: skip
    found = {f.name: parquet_type(f.type) for f in schema}
    return Columns(
        path, {c: kind for c, kind in found.items() if kind is not None},
        odd={f.name: str(f.type) for f in schema if found[f.name] is None},
    )  # fmt: skip
