"""What the sidecars of all parts of a snapshot say, one file a column, so that planning opens a file a column and not
one a part.

A stack holds one column's zones (or one kind of places) of all parts, one after another, under the parts' names, which
are hashes of their content: a stack is right for every snapshot whose parts begin with its own, or the other way
round, and grows after an append. It also names what it stacks (`key_of`), as its file's name does. It is a cache:
absent, damaged or foreign, it is made again from the sidecars.

File, little-endian: header (magic, key, parts, sections, row groups, CRC of header, names and table of sections), the
parts' names (16 B each), the table (length, CRC of each section), the sections. Version: in the magic.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tagsel.base.atomic_write import write_bytes
from tagsel.store.columns import Array
from tagsel.store.disk import dataset_caches
from tagsel.store.places import Stretches, decode, encode, joined
from tagsel.store.zones import FIELDS

if TYPE_CHECKING:
    from tagsel.store.parts import Part

BOUNDS, WHERE = 0, 1
"""The halves of a column's fields, a section each: what its values are, and where they lie."""

HALF = len(FIELDS) // 2
FEWEST = 2
"""Parts from which on a stack is kept: the sidecar of a single part is as good."""

AT_MOST_MISSING = 64
"""So many new parts, or one for 32 old ones, are read from their sidecars before a stack is written anew."""

_MAGIC = b"TAGSELS2"
_HEADER = struct.Struct("<8s16sIIQQ")
_CHECKED = _HEADER.size - 8  # bytes of the header before its CRC
_SECTION = struct.Struct("<QI4x")
_NAME = 16


ON_DISK = dataset_caches("stacks", "stacked/*.stack")


def folder_of(dataset: Path) -> Path:
    """Where a dataset's stacks lie."""
    return dataset / "_tagsel" / "stacked"


def key_of(what: str) -> bytes:
    """What binds a stack to what it stacks, 16 bytes: the stack's file is named by them, too."""
    return hashlib.sha256(what.encode()).digest()[:16]


def names_of(parts: Iterable[str]) -> bytes:
    """The content hashes in parts' names, 16 bytes each. Errors: ValueError where a name holds none."""
    return bytes.fromhex("".join(name[: 2 * _NAME] for name in parts))


class Stored:
    """A stack file, of which only the sections asked for are read. Errors: OSError; ValueError: damaged, or foreign."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            head = self._bytes(0, _HEADER.size)
            magic, key, parts, sections, groups, crc = _HEADER.unpack(head)
            self.parts, self.groups = int(parts), int(groups)
            if key != bytes.fromhex(path.stem):
                raise ValueError("a stack of something else")
            if magic != _MAGIC or self.parts * _NAME > os.fstat(self._descriptor).st_size or sections > 2:
                raise ValueError("not a stack")
            table = self._bytes(_HEADER.size, self.parts * _NAME + sections * _SECTION.size)
            if zlib.crc32(head[:_CHECKED] + table) != crc:
                raise ValueError("the head of the stack is damaged")
        except BaseException:
            self.close()
            raise
        self.names = table[: self.parts * _NAME]
        self._sections = list(_SECTION.iter_unpack(table[self.parts * _NAME :]))
        self._start = _HEADER.size + len(table)

    def close(self) -> None:
        """No more is read; again is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _bytes(self, offset: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise ValueError("the stack is too short")
        return data

    def section(self, number: int) -> bytes:
        """A section, its CRC compared."""
        if number >= len(self._sections):
            raise ValueError("the stack has no such section")
        start = self._start + sum(length for length, _ in self._sections[:number])
        length, crc = self._sections[number]
        data = self._bytes(start, length)
        if zlib.crc32(data) != crc:
            raise ValueError("a section of the stack is damaged")
        return data

    def half(self, number: int) -> Array:
        """Half of the fields of a column: (HALF, row groups) int64."""
        return np.frombuffer(self.section(number), "<i8").reshape(HALF, self.groups)


def write(path: Path, names: bytes, groups: int, sections: Sequence[bytes]) -> None:
    """Write a stack aside and rename it; where that cannot be done there is none, which is no error."""
    table = b"".join(_SECTION.pack(len(s), zlib.crc32(s)) for s in sections)
    key = bytes.fromhex(path.stem)
    head = _HEADER.pack(_MAGIC, key, len(names) // _NAME, len(sections), groups, 0)[:_CHECKED]
    header = head + struct.pack("<Q", zlib.crc32(head + names + table))
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, b"".join([header, names, table, *sections]), durable=False)


class Stack:
    """The pieces of `parts`, by way of the stacks of the dataset in `folder`; None: without."""

    def __init__(self, folder: Path | None, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._folder = folder_of(folder) if folder is not None and len(parts) >= FEWEST else None

    @cached_property
    def _names(self) -> bytes | None:
        try:
            return names_of(p.name for p in self.parts) if self._folder else None
        except ValueError:
            return None

    def half(self, column: str, number: int) -> Array:
        """BOUNDS or WHERE of a column: (HALF, G) int64, zeros in parts that lack it. StoreError: a part is damaged."""
        kind = next(p.kinds[column] for p in self.parts if column in p.columns)
        path = self._path(f"column {kind[0]} {kind[1]} {column}")
        stored = self._stored(path)
        if stored is not None:
            try:
                return self._grown(path, stored, column, number)
            except (OSError, ValueError):
                pass  # damaged: made again
            finally:
                stored.close()
        halves = self._from_sidecars(column, 0)
        self._write(path, halves)
        return halves[number]

    def _grown(self, path: Path | None, stored: Stored, column: str, number: int) -> Array:
        """What is stored, with the parts that came since."""
        if stored.parts >= len(self.parts):
            return stored.half(number)[:, : sum(len(p.groups) for p in self.parts)]
        fresh = self._from_sidecars(column, stored.parts)
        if self._few(stored):
            return np.concatenate([stored.half(number), fresh[number]], axis=1)
        halves = [np.concatenate([stored.half(n), fresh[n]], axis=1) for n in (BOUNDS, WHERE)]
        self._write(path, halves)
        return halves[number]

    def _from_sidecars(self, column: str, first: int) -> list[Array]:
        """Both halves of a column in the parts from `first` on."""
        pieces = [
            p.block(column) if column in p.columns else np.zeros((len(FIELDS), len(p.groups)), np.int64)
            for p in self.parts[first:]
        ]
        block = np.concatenate(pieces, axis=1)
        return [block[:HALF], block[HALF:]]

    def places(self, kind: str) -> Stretches | None:
        """Where the rows come from; None where a part does not keep it. StoreError: a part is damaged."""
        path = self._path(f"places {kind}")
        stored, whole = self._stored(path), False
        if stored is not None:
            try:
                whole = stored.parts > len(self.parts)  # of a later snapshot: it is left as it is
                if not whole:
                    return self._more_places(path, stored, kind)
            except (OSError, ValueError, KeyError):
                pass  # damaged: made again
            finally:
                stored.close()
        found = joined(kind, ((p.first_row, p.places()) for p in self.parts))
        if not whole:
            self._write_places(path, kind, found)
        return found

    def _more_places(self, path: Path | None, stored: Stored, kind: str) -> Stretches | None:
        held = decode(stored.section(0), sum(p.rows for p in self.parts[: stored.parts]))
        if stored.parts == len(self.parts) or kind not in held:
            return held.get(kind)
        fresh = ((p.first_row, p.places()) for p in self.parts[stored.parts :])
        found = joined(kind, [(0, held), *fresh])
        if not self._few(stored):
            self._write_places(path, kind, found)
        return found

    def _path(self, what: str) -> Path | None:
        if self._folder is None or self._names is None:
            return None
        return self._folder / f"{key_of(what).hex()}.stack"

    def _stored(self, path: Path | None) -> Stored | None:
        """The stack in a file, if one of its parts and ours begins with the other."""
        if path is None or self._names is None:
            return None
        try:
            stored = Stored(path)
        except (OSError, ValueError):
            return None
        if alike(stored.names, self._names):
            return stored
        stored.close()
        return None

    def _few(self, stored: Stored) -> bool:
        """Whether too few parts are new for a stack to be written anew."""
        new = len(self.parts) - stored.parts
        return new < AT_MOST_MISSING and 32 * new < stored.parts

    def _write(self, path: Path | None, halves: Sequence[Array]) -> None:
        if path is not None and self._names is not None:
            write(path, self._names, halves[0].shape[1], [h.astype("<i8").tobytes() for h in halves])

    def _write_places(self, path: Path | None, kind: str, found: Stretches | None) -> None:
        if path is not None and self._names is not None:
            write(path, self._names, 0, [encode({} if found is None else {kind: found})])


def alike(some: bytes, others: bytes) -> bool:
    """Whether one list of parts begins with the other."""
    size = min(len(some), len(others))
    return size > 0 and some[:size] == others[:size]


def useless(dataset: Path, kept: Sequence[Iterable[str]]) -> list[Path]:
    """Stacks that serve none of the snapshots whose parts' names are given, damaged ones too."""
    try:
        names = [names_of(parts) for parts in kept]
    except ValueError:
        names = []
    return [path for path in folder_of(dataset).glob("*.stack") if not _serves(path, names)]


def _serves(path: Path, names: Sequence[bytes]) -> bool:
    try:
        stored = Stored(path)
    except (OSError, ValueError):
        return False
    stored.close()
    return any(alike(stored.names, one) for one in names)
