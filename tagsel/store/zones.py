"""Zones: what is known of each column of each row group without reading it, kept in one sidecar file a
part.

The sidecar also says where the values lie (so that mapping needs no Parquet reader) and holds the small
table (run, lumi) → events. It is a cache: deleted, damaged or of another part, it is rebuilt by reading the part. Its
columns are found by the hash of their name and lie apart, so reading the zones of 3 columns costs the same
in a part of 10 or of 1,000 columns. Invariant: what it says is what the part's own bytes say.

File, little-endian: header (magic, hash of the part's name, columns, groups, rows of the small table, bytes of the
places, CRC of each of the two, CRC of header and directory), directory (16 B a column, sorted by hash, with its block's
CRC), one block a column (`FIELDS` × groups × 8 B), the small table, the places (`places`). Version: in the magic.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from tagsel.base.atomic_write import write_bytes
from tagsel.base.cache import Cache, memoize
from tagsel.errors import StoreError
from tagsel.store import columns as cols
from tagsel.store import disk, pages
from tagsel.store.bus_error import watched
from tagsel.store.columns import DTYPES, Array
from tagsel.store.footers import identity_of
from tagsel.store.mapping import Identity, identity
from tagsel.store.pages import DECODE, Chunk
from tagsel.store.places import Collected, Stretches, decode, encode

Answer = TypeVar("Answer")
Kind = tuple[str, bool]
"""An attribute type and whether the column is a list."""

_MAGIC = b"TAGSELZ3"
_HEADER = struct.Struct("<8s16sIIQQIIQ")
_CHECKED = _HEADER.size - 8  # bytes of the header before its CRC
_ENTRY = np.dtype([("hash", "<u8"), ("crc", "<u4"), ("type", "u1"), ("list", "u1"), ("pad", "<u2")])
_TYPES = tuple(DTYPES)
FIELDS = ("min", "max", "ored", "anded", "nan", "n", "kind", "start", "values", "body", "size", "crc")


@dataclass(frozen=True)
class Zone:
    """Bounds of a column, one value a row group; of a list, over all its values together.

    `min` and `max` are in the column's type (booleans: uint8 0 or 1; words of bits: unsigned) and leave NaN
    out; where `values - nan_count` is 0 there is no value and they mean nothing. `nan_count` is -1 where
    unknown. `ored` and `anded` are the union and intersection of words of bits (None for other types). `n`
    counts values, int64.
    """

    min: Array
    max: Array
    nan_count: Array
    values: Array
    ored: Array | None = None
    anded: Array | None = None


ON_DISK = disk.dataset_caches("zones", "zones/*.zones")


def sidecar_path(part: Path) -> Path:
    """Where the sidecar of a part lies."""
    return part.parent / "_tagsel" / "zones" / f"{part.stem}.zones"


class Sidecar:
    """One part's sidecar, read piece by piece; `data` is all of it where the file could not be written."""

    def __init__(self, path: Path, groups: int, size: int, data: Array | None = None) -> None:
        self.path = path
        self.groups = groups
        self._size = size  # bytes of the part
        self._data = data
        self._blocks: dict[str, Array] = {}
        header = self._bytes(0, _HEADER.size)
        magic, part, ncols, ngroups, self._lumis, self._places, *self._crcs, crc = _HEADER.unpack(header)
        if (magic, part, ngroups) != (_MAGIC, identity_of(path), groups):
            raise ValueError("not a sidecar of this part")
        raw = self._bytes(_HEADER.size, ncols * _ENTRY.itemsize)
        if zlib.crc32(header[:_CHECKED] + raw) != crc:
            raise ValueError("the sidecar's header is damaged")
        self._directory = np.frombuffer(raw, _ENTRY)
        self._start = _HEADER.size + len(raw)
        self._block_size = len(FIELDS) * groups * 8

    def _bytes(self, offset: int, size: int) -> bytes:
        if self._data is not None:
            data = self._data[offset : offset + size].tobytes()
        else:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, size, offset)
            finally:
                os.close(descriptor)
        if len(data) != size:
            raise ValueError("the sidecar is too short")
        return data

    def block(self, column: str) -> Array:
        """The fields of a column: (len(FIELDS), groups) int64. Errors: ValueError when absent or damaged."""
        if column not in self._blocks:
            wanted = _hash(column)
            at = int(np.searchsorted(self._directory["hash"], wanted))
            if at == len(self._directory) or self._directory["hash"][at] != wanted:
                raise ValueError(f"the sidecar knows no column {column}")
            raw = self._bytes(self._start + at * self._block_size, self._block_size)
            if zlib.crc32(raw) != self._directory["crc"][at]:
                raise ValueError(f"the sidecar's column {column} is damaged")
            block = np.frombuffer(raw, "<i8").reshape(len(FIELDS), self.groups)
            width = DTYPES[_TYPES[self._directory["type"][at] % len(_TYPES)]].itemsize
            if not pages.inside(block[6:], width, self._size).all():
                raise ValueError(f"the sidecar's column {column} lies beyond the part")
            self._blocks[column] = block
        return self._blocks[column]

    def _table(self, number: int) -> bytes:
        """The table of luminosity blocks (0) or of places (1)."""
        start = self._start + len(self._directory) * self._block_size
        sizes = (8 * (self.groups + 1) + 16 * self._lumis, self._places)
        raw = self._bytes(start + sum(sizes[:number]), sizes[number])
        if zlib.crc32(raw) != self._crcs[number]:
            raise ValueError(f"the sidecar's table of {('luminosity blocks', 'places')[number]} is damaged")
        return raw

    def lumis(self) -> tuple[Array, Array, Array, Array]:
        """The small table: group offsets (groups + 1), run int32, lumi int32, events int64."""
        body = self._table(0)
        offsets = np.frombuffer(body, "<i8", self.groups + 1)
        n = np.frombuffer(body, "<i8", self._lumis, offsets.nbytes)
        run = np.frombuffer(body, "<i4", self._lumis, offsets.nbytes + n.nbytes)
        lumi = np.frombuffer(body, "<i4", self._lumis, offsets.nbytes + n.nbytes + run.nbytes)
        return offsets, run, lumi, n

    def places(self, rows: int) -> dict[str, Stretches]:
        """Stretches of the part's rows by kind (`places`). ValueError: they are not those of so many rows."""
        return decode(self._table(1), rows)


def _hash(column: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(column.encode()).digest()[:8], "little"))


_unwritten: Cache[Identity, Array] = Cache("zones", nbytes=256 << 20, size=attrgetter("nbytes"), largest=32 << 20)
"""Sidecars that cannot be written, of read-only datasets."""

_decoded: Cache[Hashable, Array] = Cache("decoded-columns", nbytes=16 << 20, size=attrgetter("nbytes"), largest=2 << 20)
"""Chunks that had to be decoded. The key names the file as it is, and its bytes have the right CRC."""


@memoize("zones", entries=16_384)
def _opened(part: Path, groups: int, size: int) -> Sidecar:
    return Sidecar(sidecar_path(part), groups, size)


@dataclass(frozen=True)
class Zones:
    """The sidecar of one part, rebuilt by reading the part where it is absent, damaged or another part's."""

    part: Path
    size: int  # bytes of the part by the log
    groups: int
    kinds: Mapping[str, Kind]  # all columns of the part
    rows: int

    def block(self, column: str) -> Array:
        """The fields of a column, (len(FIELDS), groups) int64. StoreError: the part itself is damaged."""
        return self._ask(lambda sidecar: sidecar.block(column))

    def zone(self, column: str) -> Zone:
        """Bounds of a column by row group; not for strings."""
        return zone(self.block(column), self.kinds[column])

    def lumis(self) -> tuple[Array, Array, Array, Array]:
        """As `Sidecar.lumis`."""
        return self._ask(Sidecar.lumis)

    def places(self) -> dict[str, Stretches]:
        """As `Sidecar.places`."""
        return self._ask(lambda sidecar: sidecar.places(self.rows))

    def _ask(self, question: Callable[[Sidecar], Answer]) -> Answer:
        with contextlib.suppress(OSError, ValueError):
            return question(_opened(self.part, self.groups, self.size))
        file = identity(self.part, self.size)
        rebuilt = _unwritten.get(file)
        if rebuilt is None:
            rebuilt = np.frombuffer(build(file, self.kinds), np.uint8)
            _opened.cache_clear()
            with contextlib.suppress(OSError, ValueError):
                return question(_opened(self.part, self.groups, self.size))
            _unwritten[file] = rebuilt  # a read-only dataset
        return question(Sidecar(sidecar_path(self.part), self.groups, self.size, rebuilt))


def chunk(block: Array, group: int) -> Chunk:
    """Where the values of a row group lie, from a column's block."""
    return Chunk(*(int(v) for v in block[6:, group]))


def zone(block: Array, kind: Kind) -> Zone:
    """A column's block as a Zone."""
    dtype = DTYPES[kind[0]]
    if dtype.kind == "f":
        low, high = (block[i].view("<f8").astype(dtype) for i in (0, 1))
        return Zone(low, high, block[4], block[5])
    if dtype.kind == "u":
        low, high, ored, anded = (block[i].view("<u8").astype(dtype) for i in range(4))
        return Zone(low, high, block[4], block[5], ored, anded)
    low, high = (block[i].astype(np.uint8 if dtype.kind == "b" else dtype) for i in (0, 1))
    return Zone(low, high, block[4], block[5])


def build(part: Identity, kinds: Mapping[str, Kind], *, written: bool = False) -> bytes:
    """Make the sidecar of a part by reading all its columns; written beside it where that is possible.

    The part's bytes are first compared with the SHA-256 in its footer, unless they were just `written`: page headers
    have no CRC, and a sidecar made from a damaged one would mislead for ever. StoreError: the part is damaged.
    """
    data = _made(part, kinds, written)
    with contextlib.suppress(OSError):  # a cache: a read-only or full disk is no error here
        target = sidecar_path(Path(part[0]))
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, data)
    return data


@watched
def _made(part: Identity, kinds: Mapping[str, Kind], written: bool) -> bytes:
    """The sidecar of a part."""
    path = Path(part[0])
    right = written or cols.content_is_right(part)
    meta = cols.metadata(part)
    groups = meta.num_row_groups
    leaf = {meta.schema.column(i).path.partition(".")[0]: i for i in range(meta.num_columns)}
    blocks: dict[str, Array] = {c: np.zeros((len(FIELDS), groups), "<i8") for c in kinds}
    with disk.saying("read", path), path.open("rb") as file:
        for group in range(groups):
            for column, kind in kinds.items():
                try:
                    blocks[column][:, group] = _examined(part, file, group, leaf[column], column, kind)
                except (TypeError, ValueError, IndexError, KeyError) as error:  # from a senseless page header
                    raise cols.damaged(part, group, column, str(error)) from error
    if not right:
        raise StoreError(f"part {path} is damaged: its content is not the one that its footer states", path=str(path))
    places = encode(_placed(part, blocks, kinds))
    return bound(_encode(blocks, kinds, _lumi_table(part, blocks, kinds), places), path)


def _examined(part: Identity, file: BinaryIO, group: int, leaf: int, column: str, kind: Kind) -> list[int]:
    """The fields of one column, the file's `leaf`-th, in one row group."""
    row_group, described = cols.metadata(part).row_group(group), cols.metadata(part).schema.column(leaf)
    meta = row_group.column(leaf)
    where = pages.locate(file, meta, described.max_definition_level, described.max_repetition_level)
    if where.crc < 0:
        where = where._replace(crc=cols.crc_of(part, where))
    if kind[0] == "string":
        return [0, 0, 0, 0, 0, meta.num_values, *where]
    values = read_values(part, group, column, where, kind)
    if not kind[1] and len(values) != row_group.num_rows:
        raise cols.damaged(part, group, column, f"{len(values)} values for {row_group.num_rows} rows")
    return [*_bounds(values, DTYPES[kind[0]]).tolist(), *where]


def read_values(part: Identity, group: int, column: str, where: Chunk, kind: Kind) -> Array:
    """The values of one column of one row group, mapped or decoded."""
    dtype = DTYPES[kind[0]]
    if where.kind == DECODE:
        cols.verify(part, group, column, where)
        return _decoded.get_or_create((part, group, column), partial(cols.decode, part, group, column, dtype, kind[1]))
    return cols.map_chunk(part, group, column, where, dtype)


def _bounds(values: Array, dtype: np.dtype[Any]) -> Array:
    """min, max, ored, anded, NaN count and number of values, each as 8 bytes."""
    fields = np.zeros(6, "<i8")
    fields[5] = len(values)
    if dtype.kind == "f":
        low, high = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
        if np.isnan(low):
            fields[4] = np.count_nonzero(np.isnan(values))
            finite = values[~np.isnan(values)]
            low, high = (finite.min(), finite.max()) if len(finite) else (np.nan, np.nan)
        fields[:2].view("<f8")[:] = low, high
    elif dtype.kind == "u":
        if len(values):
            either, both = np.bitwise_or.reduce(values), np.bitwise_and.reduce(values)
            fields[:4].view("<u8")[:] = values.min(), values.max(), either, both
    elif len(values):
        fields[:2] = values.min(), values.max()
    return fields


def _lumi_table(part: Identity, blocks: Mapping[str, Array], kinds: Mapping[str, Kind]) -> list[tuple[Array, Array]]:
    """Per row group: the distinct run << 32 | lumi, sorted, and their events."""
    table = []
    for group in range(blocks["run"].shape[1]):
        run, lumi = (
            read_values(part, group, c, chunk(blocks[c], group), kinds[c]).astype(np.int64) for c in ("run", "lumi")
        )
        table.append(np.unique(run << 32 | lumi, return_counts=True))
    return table


def _placed(part: Identity, blocks: Mapping[str, Array], kinds: Mapping[str, Kind]) -> dict[str, Stretches]:
    """The stretches of the whole part."""
    collected = Collected()
    for group in range(blocks["run"].shape[1]):

        def read(column: str, group: int = group) -> Array | None:
            if column not in kinds:
                return None
            return read_values(part, group, column, chunk(blocks[column], group), kinds[column])

        def codes(column: str, group: int = group) -> tuple[Array, list[str]] | None:
            return cols.decode_codes(part, group, column) if column in kinds else None

        collected.add(int(blocks["run"][5, group]), read, codes)
    return collected.result()


def _encode(
    blocks: Mapping[str, Array], kinds: Mapping[str, Kind], lumis: list[tuple[Array, Array]], places: bytes
) -> bytes:
    """A sidecar that is not `bound` to a part yet."""
    names = sorted(blocks, key=_hash)
    raw = [blocks[c].tobytes() for c in names]
    rows = [
        (_hash(c), zlib.crc32(r), _TYPES.index(kinds[c][0]), kinds[c][1], 0) for c, r in zip(names, raw, strict=True)
    ]
    directory = np.array(rows, _ENTRY).tobytes()
    keys = np.concatenate([k for k, _ in lumis]) if lumis else np.zeros(0, np.int64)
    counts = np.concatenate([n for _, n in lumis]) if lumis else np.zeros(0, np.int64)
    offsets = np.cumsum([0, *(len(k) for k, _ in lumis)])
    small = b"".join(
        a.tobytes()
        for a in (
            offsets.astype("<i8"),
            counts.astype("<i8"),
            (keys >> 32).astype("<i4"),
            (keys & 0xFFFF_FFFF).astype("<i4"),
        )
    )
    crcs = zlib.crc32(small), zlib.crc32(places)
    header = _HEADER.pack(_MAGIC, bytes(16), len(names), len(lumis), len(keys), len(places), *crcs, 0)
    return b"".join([header, directory, *raw, small, places])


def bound(data: bytes, part: Path) -> bytes:
    """A sidecar as that of `part`: its header names the part, and has its CRC."""
    magic, _, ncols, *sizes, _ = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    head = _HEADER.pack(magic, identity_of(part), ncols, *sizes, 0)[:_CHECKED]
    crc = zlib.crc32(head + body[: ncols * _ENTRY.itemsize])
    return head + struct.pack("<Q", crc) + body
