"""The values of one column of one row group: mapped from the file where the layout allows, decoded
otherwise.

Both give the same arrays. A part is opened only after its footer's hash has been compared with its name,
and a page's CRC is verified when the chunk is first touched in this process. Invariant: no bytes reach a
caller unverified, unless the file was written by another program without CRCs.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.base.cache import Cache, memoize
from tagsel.errors import StoreError
from tagsel.store import disk
from tagsel.store.bus_error import watch
from tagsel.store.footers import part_name, read_footer
from tagsel.store.mapping import Identity, Mapping, whole, window
from tagsel.store.pages import BITS, Chunk

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bits32": np.dtype("<u4"),
    "bits64": np.dtype("<u8"),
    "string": np.dtype(object),
}
"""The NumPy type in which values of an attribute type are handed out; words of bits are unsigned."""

_READ_AT_ONCE = 1 << 22

_verified: Cache[tuple[Identity, str], int] = Cache("verified-columns", entries=1 << 20)
"""Row groups, one bit each, of a part's column whose CRC is right."""


def open_part(part: Identity) -> Mapping | None:
    """The bytes of a part, once its footer's hash has been found equal to its name.

    None: the part is too large for the address space, and `chunk_bytes` maps pieces of it. StoreError: the part is gone
    or damaged.
    """
    check_footer(part)
    return whole(part)


def chunk_bytes(part: Identity, start: int, size: int) -> Array:
    """Some bytes of an opened part, (size,) uint8, read-only. StoreError: the part does not have them."""
    watch.note(part[0], part[2])
    mapping = open_part(part)
    if mapping is None:
        return window(part, start, size).bytes()
    if start < 0 or size < 0 or start + size > mapping.size:
        raise StoreError(f"{part[0]} has {mapping.size} bytes: it has none at {start} to {start + size}", path=part[0])
    return mapping.bytes()[start : start + size]


@memoize("verified-footers", entries=1 << 16)
def check_footer(part: Identity) -> None:
    """Compare a part's footer with its name, once. StoreError: they differ."""
    _check_footer(Path(part[0]))


def _check_footer(path: Path) -> None:
    rows = path.stem.rpartition("-")[2]
    found = part_name(read_footer(path), int(rows) if rows.isdigit() else 0)
    if found != path.name:
        raise StoreError(
            f"the footer of {path} is damaged: its hash is {found.partition('-')[0]}, the part's name says "
            f"{path.name.partition('-')[0]}",
            path=str(path),
        )


@memoize("footers", entries=32)  # a parsed footer takes megabytes
def metadata(part: Identity) -> Any:
    """The parsed footer (pyarrow's FileMetaData) of a part, its hash compared with the name first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_footer(part)
    try:
        return pq.read_metadata(part[0])
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"the footer of {part[0]} cannot be read: {error}", path=part[0]) from error


def content_is_right(part: Identity) -> bool:
    """Whether all bytes before the footer are those whose SHA-256 it states; True where it states none."""
    stated = (metadata(part).metadata or {}).get(b"tagsel.content")
    if stated is None:
        return True
    digest = hashlib.sha256()
    with disk.saying("read", Path(part[0])), Path(part[0]).open("rb") as file:
        left = part[2] - len(read_footer(Path(part[0])))
        while left > 0:
            data = file.read(min(left, _READ_AT_ONCE))
            if not data:
                return False
            digest.update(data)
            left -= len(data)
    return digest.hexdigest().encode() == bytes(stated)


def crc_of(part: Identity, chunk: Chunk) -> int:
    """CRC-32 of the bytes that a chunk's CRC covers."""
    data = chunk_bytes(part, chunk.body, chunk.size)
    with watch:
        return zlib.crc32(data.data)


def verify(part: Identity, group: int, column: str, chunk: Chunk) -> None:
    """Compare a chunk's bytes with its CRC, the first time in this process. StoreError: they differ."""
    seen = _verified.get((part, column), 0)
    if seen >> group & 1:
        return
    if crc_of(part, chunk) != chunk.crc:
        raise damaged(part, group, column, "its CRC does not match")
    _verified[part, column] = seen | 1 << group


def map_chunk(part: Identity, group: int, column: str, chunk: Chunk, dtype: np.dtype[Any]) -> Array:
    """The values of a mappable chunk: a read-only view of the mapped file (booleans are unpacked: a copy)."""
    verify(part, group, column, chunk)
    if chunk.kind == BITS:
        packed = chunk_bytes(part, chunk.start, chunk.size)
        return np.unpackbits(packed, count=chunk.values, bitorder="little").view(np.bool_)
    data = chunk_bytes(part, chunk.start, chunk.values * dtype.itemsize)
    return data.view(dtype)


def damaged(part: Identity, group: int, column: str, why: str) -> StoreError:
    """The error for a page that cannot be trusted."""
    return StoreError(
        f"part {part[0]} is damaged: column {column}, row group {group}: {why}",
        hint="restore the file from a copy, or select with losses allowed: the ledger then counts its rows",
        path=part[0],
        column=column,
        group=group,
    )


def decode_arrow(part: Identity, group: int, column: str, dictionary: bool = False) -> pa.Array:
    """One column of one row group as one Arrow array without nulls; `verify` it first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(
            part[0],
            metadata=metadata(part),
            page_checksum_verification=True,
            read_dictionary=[column] if dictionary else None,
        ) as file:
            array = file.read_row_group(group, columns=[column], use_threads=False).column(0).combine_chunks()
    except MemoryError:  # Arrow's own is both
        raise
    except (pa.ArrowException, OSError) as error:
        raise damaged(part, group, column, str(error)) from error
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if array.null_count:
        raise damaged(part, group, column, f"{array.null_count} nulls where a part has none")
    return array


def decode_codes(part: Identity, group: int, column: str) -> tuple[Array, list[str]]:
    """A string column of a row group as codes, (rows,) int32, into the list of strings beside it; `verify` it first."""
    array = decode_arrow(part, group, column, dictionary=True)
    encoded = array if hasattr(array, "dictionary") else array.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return codes, encoded.dictionary.to_pylist()


def decode(part: Identity, group: int, column: str, dtype: np.dtype[Any], is_list: bool) -> Array:
    """One column of one row group as NumPy values (of a list: concatenated), whatever the file's layout."""
    import pyarrow.compute as pc

    array = decode_arrow(part, group, column)
    if is_list:
        array = pc.list_flatten(array)
    values: Array = array.to_numpy(zero_copy_only=False)
    if dtype.kind == "u":
        values = values.view(dtype)
    if values.dtype != dtype:
        raise damaged(part, group, column, f"holds {values.dtype} where the schema says {dtype}")
    values.flags.writeable = False
    return values
