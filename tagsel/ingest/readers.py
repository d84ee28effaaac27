"""Readers: the rows of an input file in chunks of bounded size, from ROOT trees and from Parquet.

Invariant: a reader is plain data (paths and names) and opens its file only inside `chunks`, so it travels to
another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tagsel.errors import IngestError
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


def tree_types(tree: EventTree) -> dict[str, ColumnType]:
    """The columns of a tree that can become attributes, with their types."""
    found = {c: tree.column_type(c) for c in tree.columns()}
    return {c: kind for c, kind in found.items() if kind is not None}


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
        is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
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
        return pq.ParquetFile(path, page_checksum_verification=True)


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
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = parquet_type(kind.value_type)
        return ColumnType(inner.base, is_list=True) if inner and not inner.is_list else None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ColumnType("string")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or kind in (pa.float32(), pa.float64()):
        return ColumnType(str(kind.to_pandas_dtype().__name__).removesuffix("_"))
    return None


def parquet_types(file: Any) -> dict[str, ColumnType]:
    """The columns of an open Parquet file that can become attributes, with their types."""
    found = {f.name: parquet_type(f.type) for f in file.schema_arrow}
    return {c: kind for c, kind in found.items() if kind is not None}
