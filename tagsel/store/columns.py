"""The values of one column of one row group: mapped from the file where the layout allows, decoded
otherwise.

Both give the same arrays. A part is opened only after its footer's hash has been compared with its name,
and a page's CRC is verified when the chunk is first touched in this process. Invariant: no bytes reach a
caller unverified, unless the file was written by another program without CRCs.
"""

from __future__ import annotations

import hashlib
import resource
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.errors import StoreError
from tagsel.store import disk
from tagsel.store.footers import part_name, read_footer
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

_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
OPEN_MAPS = min(max(_FILES // 3, 16), 4096) if _FILES > 0 else 4096  # each map holds a descriptor
Identity = tuple[str, int, int, int]

_verified: dict[tuple[Identity, str], int] = {}  # row groups, one bit each, whose CRC was found right


def identity(path: Path, size: int | None = None) -> Identity:
    """What stands for the content of `path` in this process; StoreError if it is gone or not `size` bytes."""
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise StoreError(
            f"part {path} is not there: removed by gc after a compaction or restore, by an ingest of "
            "the same file that was broken off, or from outside",
            hint="open the dataset's latest snapshot; pin snapshots that must stay readable",
            path=str(path),
        ) from error
    except OSError as error:
        raise StoreError(f"cannot open part {path}: {error.strerror}", path=str(path)) from error
    if size is not None and state.st_size != size:
        raise StoreError(
            f"part {path} has {state.st_size} bytes, the log says {size}: it was cut short or changed",
            path=str(path),
            size=state.st_size,
            expected=size,
        )
    return str(path), state.st_ino, state.st_mtime_ns, state.st_size


@lru_cache(maxsize=OPEN_MAPS)
def mapped(part: Identity) -> np.memmap[Any, np.dtype[np.uint8]]:
    """The bytes of a part, mapped read-only, once its footer's hash has been found equal to its name."""
    path = Path(part[0])
    _check_footer(path)
    with disk.saying("map", path):
        return np.memmap(path, dtype=np.uint8, mode="r")


def _check_footer(path: Path) -> None:
    rows = path.stem.rpartition("-")[2]
    found = part_name(read_footer(path), int(rows) if rows.isdigit() else 0)
    if found != path.name:
        raise StoreError(
            f"the footer of {path} is damaged: its hash is {found.partition('-')[0]}, the part's name says "
            f"{path.name.partition('-')[0]}",
            path=str(path),
        )


@lru_cache(maxsize=32)  # a parsed footer takes megabytes
def metadata(part: Identity) -> Any:
    """The parsed footer (pyarrow's FileMetaData) of a part, its hash compared with the name first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    mapped(part)
    try:
        return pq.read_metadata(part[0])
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"the footer of {part[0]} cannot be read: {error}", path=part[0]) from error


def content_is_right(part: Identity) -> bool:
    """Whether all bytes before the footer are those whose SHA-256 it states; True where it states none."""
    stated = (metadata(part).metadata or {}).get(b"tagsel.content")
    data = mapped(part)
    end = len(data) - int.from_bytes(data[-8:-4].tobytes(), "little") - 8
    return stated is None or hashlib.sha256(data[:end].data).hexdigest().encode() == stated


def crc_of(part: Identity, chunk: Chunk) -> int:
    """CRC-32 of the bytes that a chunk's CRC covers."""
    return zlib.crc32(mapped(part)[chunk.body : chunk.body + chunk.size].data)


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
    data = mapped(part)
    if chunk.kind == BITS:
        packed = data[chunk.start : chunk.start + chunk.size].view(np.ndarray)
        return np.unpackbits(packed, count=chunk.values, bitorder="little").view(np.bool_)
    return np.ndarray((chunk.values,), dtype, buffer=data, offset=chunk.start)


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
