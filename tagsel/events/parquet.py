"""Columns of events as an Arrow table and as a Parquet file with our header, and back.

Invariant: equal columns and header give the same bytes (with the same pyarrow), and what is read back was
verified: page checksums, the header's own checksum, and the checksum of all columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagsel.errors import EventListError
from tagsel.events.names import Names

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Version of the `.events` file; readers refuse what is newer."""

HEADER = b"tagsel.events"
CHECK = b"tagsel.events.check"
MARK = b"tagsel.events.version"

Columns = Mapping[str, npt.NDArray[np.integer] | Names]


def to_table(columns: Columns) -> pa.Table:
    """The columns as an Arrow table without copying; `Names` become dictionaries of strings."""
    import pyarrow as pa

    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(c.codes), pa.array(c.values, pa.string()))
        if isinstance(c, Names)
        else pa.array(c)
        for c in columns.values()
    ]
    fields = [pa.field(n, a.type, nullable=False) for n, a in zip(columns, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def checksum(columns: Columns) -> str:
    """SHA-256 (hex) over names and bytes of the columns, in their order."""
    state = hashlib.sha256()
    for name, column in columns.items():
        state.update(f"{name}\n".encode())
        if isinstance(column, Names):
            state.update("\n".join((*column.values, "")).encode())
        raw = column.codes if isinstance(column, Names) else column
        state.update(np.ascontiguousarray(raw.astype(raw.dtype.newbyteorder("<"), copy=False)).data)
    return state.hexdigest()


def write_parquet(path: Path, columns: Columns, header: Mapping[str, object]) -> None:
    """Write columns and a header to `path`, which nobody else reads yet; EventListError unless JSON can hold it."""
    import pyarrow.parquet as pq

    try:
        text = json.dumps({**header, "content": checksum(columns)}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EventListError(f"provenance that JSON cannot hold: {error}") from error
    check = hashlib.sha256(text.encode()).hexdigest()
    table = to_table(columns)
    table = table.replace_schema_metadata({MARK: str(VERSION), HEADER: text, CHECK: check})
    dictionaries = [name for name, column in columns.items() if isinstance(column, Names)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        row_group_size=1 << 20,
        write_page_checksum=True,
        use_dictionary=dictionaries,
    )


def is_intact(path: Path) -> bool:
    """Whether a file is an event list that tagsel wrote, unchanged since: its checksums agree."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                return False
        return read_parquet(path, ())[1] is not None
    except (OSError, EventListError):
        return False


def read_parquet(path: Path | str, known: Collection[str]) -> tuple[Columns, dict[str, object] | None]:
    """(columns, header) of a Parquet file; of one that is not ours the `known` columns, and no header.

    EventListError, naming the file, for one that is truncated, damaged, newer than this program, or has
    nulls.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.metadata.metadata or {}
            ours = _is_ours(Path(path))
            table = file.read(None if ours else [n for n in file.schema_arrow.names if n in known])
            names = table.column_names  # decoded here, so that damaged names are found here
        header = _header(path, metadata) if ours else None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise EventListError(f"{path}: damaged or no Parquet file: {error}", path=str(path)) from error
    columns = from_table(table, names, str(path))
    if header is not None and header.get("content") != checksum(columns):
        raise EventListError(f"{path}: the columns are not those that were written", path=str(path))
    return columns, header


def _is_ours(path: Path) -> bool:
    """Whether the footer holds our name at all: damage must not make the file a stranger's."""
    with path.open("rb") as file:
        size = file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - length))
        return HEADER in file.read()


def _header(path: Path | str, metadata: Mapping[bytes, bytes]) -> dict[str, object]:
    """The header of one of our files, its version and checksum verified."""
    version = metadata.get(MARK, b"")
    if version != str(VERSION).encode():
        raise EventListError(
            f"{path}: event list of version {version.decode('ascii', 'replace')}; known is {VERSION}",
            hint="a newer tagsel reads it",
            path=str(path),
        )
    text = metadata.get(HEADER, b"")
    if hashlib.sha256(text).hexdigest().encode() != metadata.get(CHECK):
        raise EventListError(f"{path}: the header is damaged", path=str(path))
    header: dict[str, object] = json.loads(text)
    return header


def from_table(table: pa.Table, names: Sequence[str], where: str) -> Columns:
    """The columns of an Arrow table as arrays, strings as `Names`; EventListError at `where` for nulls."""
    import pyarrow as pa

    columns: dict[str, npt.NDArray[np.integer] | Names] = {}
    for name, chunked in zip(names, table.columns, strict=True):
        if chunked.null_count:
            raise EventListError(f"{where}: column {name} has nulls", path=where, column=name)
        if _is_text(chunked.type):
            encoded = chunked if pa.types.is_dictionary(chunked.type) else chunked.dictionary_encode()
            joined = encoded.unify_dictionaries().combine_chunks()
            if isinstance(joined, pa.ChunkedArray):
                joined = joined.chunk(0) if joined.num_chunks else pa.array([], encoded.type)
            columns[name] = Names.of(joined.indices.to_numpy(), joined.dictionary.to_pylist())
        elif pa.types.is_integer(chunked.type):
            columns[name] = chunked.to_numpy()
        else:
            raise EventListError(f"{where}: column {name} holds {chunked.type}", path=where, column=name)
    return columns


def from_stream(stream: object, known: Collection[str]) -> Columns:
    """The `known` columns of anything with an Arrow stream."""
    import pyarrow as pa

    table = pa.table(stream)
    names = [name for name in table.column_names if name in known]
    return from_table(table.select(names), names, "table")


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return value in (pa.string(), pa.large_string(), pa.string_view())
