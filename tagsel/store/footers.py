"""A part's footer and its name: the name is the footer's hash, so any node can tell whether it holds the
right file.

Invariant: a footer is compared with the name before it is parsed: readers differ on damaged ones.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tagsel.errors import StoreError
from tagsel.store import disk

SUFFIX = ".parquet"


def part_name(footer: bytes, rows: int) -> str:
    """A part's name: 32 hex digits of the SHA-256 of its footer (metadata, length, magic), and its rows."""
    return f"{hashlib.sha256(footer).hexdigest()[:32]}-{rows}{SUFFIX}"


def identity_of(part: Path) -> bytes:
    """What binds a cache to its part: a hash of the part's name, which is a hash of its content; 16 bytes.

    The caches beside a part have its stem, so their paths give the same identity.
    """
    return hashlib.sha256(part.stem.encode()).digest()[:16]


def read_footer(path: Path) -> bytes:
    """The footer's bytes (metadata, its length, magic) of a Parquet file; StoreError when there is none."""
    with disk.saying("read", path), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little") + 8
        if len(tail) < 8 or tail[4:] != b"PAR1" or length + 4 > size:
            raise StoreError(
                f"{path} is not a whole Parquet file ({size} bytes): it was cut short or damaged",
                path=str(path),
            )
        file.seek(size - length)
        return file.read(length)
