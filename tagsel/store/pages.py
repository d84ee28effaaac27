"""Where the values of a Parquet column chunk lie: page headers read by hand, so that the bytes can be
mapped.

Format: apache/parquet-format, `parquet.thrift` (PageHeader, compact protocol) and "Data Pages" (levels
before values). Invariant: a chunk is said to be mappable only if it is one uncompressed PLAIN page without
nulls.
"""

from __future__ import annotations

from typing import Any, BinaryIO, NamedTuple

import numpy as np

DECODE, FIXED, LIST, BITS = 0, 1, 2, 3
"""How a chunk is read: by a Parquet reader; as numbers; as the tail of a list's page; as bits."""

_WIDTH = {"INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8}
_PLAIN = 0
_DATA_PAGE_HEADER = 5  # there in data pages of version 1 only
_STRUCT, _I32_LIKE, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET = 12, (4, 5, 6), 1, 2, 3, 7, 8, 9, 10


class Chunk(NamedTuple):
    """One column of one row group: `kind`, its values at `start`, and the bytes that the CRC covers."""

    kind: int = DECODE
    start: int = 0  # offset of the first value in the file
    values: int = 0  # how many (of a list: elements)
    body: int = 0  # offset of what the CRC covers: the page's body; of a chunk to decode, all of it
    size: int = 0  # bytes of that
    crc: int = -1  # CRC-32; -1: not known yet


def inside(where: Any, width: int, sizes: Any) -> Any:
    """Whether chunks lie within their files: (6, G) int64 fields of `Chunk`, values of `width` bytes, files' sizes.

    The values of a mapped chunk lie in the bytes that its CRC covers. Nothing is added before it is bounded, so no sum
    wraps. Returns (G,) bool.
    """
    kind, start, values, body, size, _ = where
    covered = (body >= 0) & (size >= 0) & (body <= sizes) & (size <= sizes - np.clip(body, 0, sizes))
    end = np.where(covered, body + size, 0)
    starts_inside = (start >= body) & (start <= end)
    room = np.where(starts_inside, end - start, 0)
    numbers = (kind == FIXED) | (kind == LIST)
    fits = np.where(numbers, values <= room // width, values <= 8 * room)
    mapped = numbers | (kind == BITS)
    known = mapped | (kind == DECODE)
    return known & covered & (values >= 0) & (~mapped | (starts_inside & fits))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _integer(data: bytes, at: int) -> tuple[int, int]:
    raw, at = _varint(data, at)
    return (raw >> 1) ^ -(raw & 1), at


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """One thrift value of the compact protocol; what a page header never holds is refused with ValueError."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _I32_LIKE:
        return _integer(data, at)
    if kind == _BYTE:
        return data[at], at + 1
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        return None, at + length
    if kind == _STRUCT:
        return _struct(data, at)
    raise ValueError(f"thrift type {kind} in a page header")


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    number = 0
    while True:
        byte = data[at]
        at += 1
        if byte == 0:
            return fields, at
        if byte >> 4:
            number += byte >> 4
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(data, at, byte & 0x0F)


def locate(file: BinaryIO, meta: Any, max_definition: int, max_repetition: int) -> Chunk:
    """Where a column chunk's values lie in the open `file`; `meta` is pyarrow's ColumnChunkMetaData.

    A chunk that cannot be mapped (compressed, dictionary, several pages, nulls) has the kind DECODE, and all its bytes
    as its body. Errors: ValueError, TypeError, IndexError, KeyError for a page header without sense.
    """
    first = meta.data_page_offset
    if meta.has_dictionary_page:
        first = min(first, meta.dictionary_page_offset)
    whole = Chunk(DECODE, values=meta.num_values, body=first, size=meta.total_compressed_size)
    if meta.compression != "UNCOMPRESSED" or meta.has_dictionary_page:
        return whole
    if max_definition != max_repetition or max_repetition > 1:
        return whole  # optional: rows may be null; lists of lists
    file.seek(first)
    header, length = _struct(file.read(min(whole.size, 512)), 0)
    page, size = header.get(_DATA_PAGE_HEADER), header[3]
    if page is None or length + size != whole.size or page[1] != meta.num_values or page[2] != _PLAIN:
        return whole
    crc = header[4] & 0xFFFF_FFFF if 4 in header else -1
    body = first + length
    if max_repetition == 1:
        mapped = _list_values(file, meta.physical_type, body, size, crc)
    else:
        mapped = _values(meta.physical_type, page[1], body, size, crc)
    return mapped or whole


def _values(physical_type: str, count: int, body: int, size: int, crc: int) -> Chunk | None:
    """So many values of a plain page, one a row; None where they cannot be mapped."""
    if physical_type == "BOOLEAN":
        return Chunk(BITS, body, count, body, size, crc) if size == (count + 7) // 8 else None
    width = _WIDTH.get(physical_type, 0)
    return Chunk(FIXED, body, count, body, size, crc) if width and size == count * width else None


def _list_values(file: BinaryIO, physical_type: str, body: int, size: int, crc: int) -> Chunk | None:
    """The values of a plain page of lists, behind its levels; None where they cannot be mapped."""
    width = _WIDTH.get(physical_type, 0)
    skipped = _levels(file, body, size)
    if not width or skipped < 0 or (size - skipped) % width:
        return None
    return Chunk(LIST, body + skipped, (size - skipped) // width, body, size, crc)


def _levels(file: BinaryIO, body: int, size: int) -> int:
    """Bytes of the repetition and definition levels at the start of a list's page, each after its length."""
    at = 0
    for _ in range(2):
        file.seek(body + at)
        at += 4 + int.from_bytes(file.read(4), "little")
        if at > size:
            return -1
    return at
