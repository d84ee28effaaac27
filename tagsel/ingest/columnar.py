"""Files of columns: Parquet, and Arrow IPC, which is also what Feather is; one way to open them.

Folders whose names are `key=value`, as Hive and Spark write them (`year=2018/part-0.parquet`), are columns of the files
below them. Invariant: batches come in the file's order, and only the columns that are asked for are read.
"""

from __future__ import annotations

import io
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import unquote

from tagsel.base.output_file import own_place
from tagsel.errors import AccessError, IngestError, StoreError
from tagsel.ingest.arrow_columns import ArrowColumn, check_places, columns_of, values_of
from tagsel.ingest.columns import Columns
from tagsel.rootio import ColumnType
from tagsel.store import mapping, watch

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {b"PAR1": "parquet", b"ARRO": "arrow", b"\xff\xff\xff\xff": "arrow", b"FEA1": "feather 1"}
"""Formats by the first four bytes of a file."""


def columnar_format(path: Path) -> str:
    """The format of a file of columns, as its first bytes say; "" for another file. AccessError: cannot be opened."""
    try:
        with path.open("rb") as file:
            return FORMATS.get(file.read(4), "")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise AccessError(f"{path}: cannot be opened: {reason}", path=str(path)) from error


def open_columnar(path: Path) -> ColumnarFile:
    """Open a Parquet, Arrow IPC or Feather file; IngestError where it cannot be read."""
    name = columnar_format(path)
    if name == "feather 1":
        raise IngestError(
            f"{path}: Feather of version 1, which Arrow reads no more in pieces",
            hint="write it anew, as Feather of version 2 or as Parquet",
            path=str(path),
        )
    kind = ArrowFile if name == "arrow" else ParquetFile
    with damage(path, kind.format):
        return kind(path)


@contextmanager
def damage(path: Path, name: str) -> Iterator[None]:
    """Turn Arrow's errors into an IngestError that names the file and its format."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        is_unknown_type = isinstance(error, pa.ArrowNotImplementedError)
        hint = "write it as Parquet, or without columns of that type" if is_unknown_type else ""
        raise IngestError(f"{path}: cannot be read as {name}: {first}", hint=hint, path=str(path)) from error


class ColumnarFile(ABC):
    """An open file of columns: its Arrow `schema`, its number of `rows`, and what its writer says of it."""

    format: ClassVar[str]
    path: Path
    schema: pa.Schema
    rows: int

    @abstractmethod
    def _batches(self, columns: Sequence[ArrowColumn], rows: int) -> Iterator[pa.RecordBatch]:
        """The values of columns, at least one, in all rows in order, at most `rows` at a time."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The keys and values that the file's writer left."""
        return dict(self.schema.metadata or {})

    @cached_property
    def arrow_columns(self) -> dict[str, ArrowColumn]:
        """The columns by name, structures taken apart; of two that are called the same the plain one."""
        columns: dict[str, ArrowColumn] = {}
        for column in columns_of(self.schema):
            other = columns.get(column.name)
            if other is None or len(column.path) < len(other.path):
                columns[column.name] = column
        return columns

    @cached_property
    def folder_keys(self) -> dict[str, int | str]:
        """The keys of the folders above the file that the file itself has no column for."""
        keys = hive_keys(self.path)
        return {name: value for name, value in keys.items() if name not in self.schema.names}

    def columns(self) -> Columns:
        """The columns for schemas; IngestError where two have one name."""
        names = self.schema.names
        twice = next((name for name, times in Counter(names).items() if times > 1), None)
        if twice is not None:
            raise IngestError(
                f"{self.path}: two columns are called {twice!r}",
                hint="write the file anew with other names",
                path=str(self.path),
                column=twice,
            )
        types: dict[str, ColumnType] = {}
        odd: dict[str, str] = {}
        for name, column in self.arrow_columns.items():
            if column.type is None:
                odd[name] = column.typename
            else:
                types[name] = column.type
        for name, value in self.folder_keys.items():
            types[name] = ColumnType("int64" if isinstance(value, int) else "string")
        nested = frozenset(c.name for c in self.arrow_columns.values() if len(c.path) > 1)
        return Columns(self.path, types, odd=odd, nested=nested)

    def chunks(self, names: Sequence[str], rows: int) -> Iterator[tuple[int, dict[str, pa.Array]]]:
        """The number of rows and the Arrow arrays of columns, at most `rows` rows at a time, in order."""
        import pyarrow as pa

        stored = [self.arrow_columns[name] for name in names if name not in self.folder_keys]
        keys = {name: self.folder_keys[name] for name in names if name in self.folder_keys}
        for size, batch in self._sized(stored, rows):
            arrays = {} if batch is None else dict(zip(batch.schema.names, batch.columns, strict=True))
            arrays |= {name: pa.repeat(pa.scalar(value), size) for name, value in keys.items()}
            yield size, arrays

    def _sized(self, stored: Sequence[ArrowColumn], rows: int) -> Iterator[tuple[int, Any]]:
        """The batches of columns with their sizes; without any column, sizes alone."""
        if stored:
            for batch in self._batches(stored, rows):
                yield batch.num_rows, batch
            return
        for start in range(0, self.rows, rows):
            yield min(rows, self.rows - start), None


class ParquetFile(ColumnarFile):
    """A Parquet file, page checksums verified."""

    format = "Parquet"

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        options: Any = {"page_checksum_verification": True, "pre_buffer": False}
        try:
            self._file = pq.ParquetFile(path, **options)
        except pa.ArrowNotImplementedError:
            self._file = pq.ParquetFile(path, metadata=_plain_footer(path), **options)
        self.path = path
        self.schema = self._file.schema_arrow
        self.rows = self._file.metadata.num_rows

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The keys and values that the file's writer left."""
        return dict(self._file.metadata.metadata or {})

    def _batches(self, columns: Sequence[ArrowColumn], rows: int) -> Iterator[pa.RecordBatch]:
        paths = [self._file.schema.column(column.leaf).path for column in columns]
        for batch in self._file.iter_batches(batch_size=rows, columns=paths):
            yield values_of(batch, columns)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain_footer(path: Path) -> Any:
    """The footer without the Arrow schema that the writer left in it.

    Where that has a type which this Arrow cannot hold (128-bit integers of polars), no column could be read; without it
    such a column is one of bytes, and the others are what Parquet says.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        file.seek(-8, io.SEEK_END)
        tail = file.read(8)
        size = int.from_bytes(tail[:4], "little")
        file.seek(-8 - size, io.SEEK_END)
        footer = file.read(size)
    hidden = footer.replace(b"ARROW:schema", b"HIDDEN:schem")
    return pq.read_metadata(io.BytesIO(b"PAR1" + hidden + tail))


class ArrowFile(ColumnarFile):
    """An Arrow IPC file or stream, or Feather of version 2.

    It is mapped, since a writer may put all rows into one batch. What is handed out is a copy of some rows, made while
    the file is watched: a file that is cut short meanwhile is an error, not the end of the process.
    """

    format = "Arrow"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapping = mapping.Mapping(mapping.identity_by(str(path), path.stat()))
        self.schema = self._open().schema
        counted = self._open([0] if len(self.schema) else None)  # one column tells the number of rows
        self.rows = sum(batch.num_rows for batch in self._each(counted))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Inside, the file's bytes may be looked at. IngestError: it was cut short."""
        try:
            with watch:
                watch.note(self._mapping.path, self._mapping.size)
                yield
        except StoreError as error:
            raise IngestError(
                f"{self.path}: was cut short while it was read",
                hint="ingest it again when it is whole and nothing writes to it",
                path=str(self.path),
            ) from error

    def _open(self, fields: Sequence[int] | None = None) -> Any:
        """Arrow's reader of the file, of these of its fields, or of all of them."""
        import pyarrow as pa

        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)  # the watch is this thread's
        data = pa.BufferReader(pa.py_buffer(self._mapping.bytes()))
        with self._watched():
            stream = data.read(4) == b"\xff\xff\xff\xff"
            data.seek(0)
            open_ = pa.ipc.open_stream if stream else pa.ipc.open_file
            return open_(data, options=options)

    def _each(self, source: Any) -> Iterator[pa.RecordBatch]:
        """The batches as the file has them; their values are looked up when they are used."""
        if hasattr(source, "num_record_batches"):
            batches = map(source.get_batch, range(source.num_record_batches))
        else:
            batches = iter(source)
        while True:
            with self._watched():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _batches(self, columns: Sequence[ArrowColumn], rows: int) -> Iterator[pa.RecordBatch]:
        names = dict.fromkeys(column.path[0] for column in columns)
        source = self._open([self.schema.get_field_index(name) for name in names])
        for batch in self._each(source):
            with self._watched():
                for column in columns:
                    check_places(batch.column(column.path[0]), column.path[1:])
            for start in range(0, batch.num_rows, rows):
                yield self._copy(batch.slice(start, rows), columns)

    def _copy(self, batch: pa.RecordBatch, columns: Sequence[ArrowColumn]) -> pa.RecordBatch:
        """The values of columns in memory of their own.

        The values first: of a text view Arrow copies the texts of all rows, of a category those of all categories.
        """
        import pyarrow as pa

        memory = pa.BufferOutputStream()
        with self._watched():
            pass  # whole until here: Arrow does not survive a category whose text ends before it begins
        with self._watched():
            values = values_of(batch, columns)
            with pa.ipc.new_stream(memory, values.schema) as writer:
                writer.write_batch(values)
        return pa.ipc.open_stream(memory.getvalue()).read_next_batch()

    def close(self) -> None:
        """The map goes with the object, and with the last batch."""


# -- folders

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What stands for a null in the name of a folder."""

_WHOLE = re.compile(r"-?\d{1,18}")


def hive_keys(path: Path) -> dict[str, int | str]:
    """The keys that the folders right above a file are named for; whole numbers as such, nulls left out.

    >>> hive_keys(Path("/d/stream=Muon/year=2018/part-0.parquet"))
    {'stream': 'Muon', 'year': 2018}
    """
    keys: dict[str, int | str] = {}
    for folder in path.absolute().parent.parts[::-1]:
        name, equals, text = folder.partition("=")
        if not equals or not name:
            break
        value = unquote(text)
        if value != NO_VALUE:
            keys[unquote(name)] = int(value) if _WHOLE.fullmatch(value) else value
    return dict(reversed(keys.items()))


SUFFIXES = (".parquet", ".parq", ".pq", ".arrow", ".feather", ".ipc", ".arrows", ".root")
"""The files that a folder is searched for."""


@dataclass(frozen=True)
class DataFiles:
    """The files that the places given to an ingest stand for, and those in folders that are no input, with why."""

    files: tuple[Path, ...]
    passed_over: tuple[tuple[Path, str], ...] = ()


def data_files(places: Sequence[Path]) -> DataFiles:
    """The files among `places`, and those in the folders among them, sorted; IngestError for a folder without any.

    Names that begin with `_` or `.` are the writers' own, and left. Of a Delta table only the files of its newest
    version count, which its log knows. What tagsel made in a workspace, such as the parts of a dataset, is passed over.
    """
    files: list[Path] = []
    passed_over: list[tuple[Path, str]] = []
    for place in places:
        if not place.is_dir():
            files.append(place)
            continue
        paths = _in_folder(place)
        own = {path: made for path in paths if (made := own_place(Path(os.path.realpath(path))))}
        if len(own) == len(paths):
            raise _no_file(place, list(own))
        files += [path for path in paths if path not in own]
        passed_over += [(path, f"tagsel made them in {made}") for path, made in own.items()]
    return DataFiles(tuple(files), tuple(passed_over))


def _in_folder(folder: Path) -> list[Path]:
    if (folder / "_delta_log").is_dir():
        from deltalake import DeltaTable

        names = DeltaTable(str(folder)).file_uris()
        return sorted(Path(name.removeprefix("file://")) for name in names)
    files = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        own = any(part.startswith(("_", ".")) for part in inside)
        if path.suffix.lower() in SUFFIXES and not own and path.is_file():
            files.append(path)
    return sorted(files)


def _no_file(folder: Path, passed_over: Sequence[Path]) -> IngestError:
    besides = f" but {len(passed_over):,} that tagsel made ({passed_over[0]})" if passed_over else ""
    return IngestError(
        f"{folder}: no file of data in this folder{besides}",
        hint=f"files end in {', '.join(SUFFIXES)}",
        path=str(folder),
    )


def identity_of_keys(keys: Mapping[str, int | str]) -> bytes:
    """What the keys of folders add to a file's content: the same rows of two years are two files."""
    return "".join(f"{name}={value!r}\n" for name, value in sorted(keys.items())).encode()
