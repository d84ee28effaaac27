"""Masks on disk, so that other processes and later ones find them: a file for each step and part, in the user's cache.

`masks/<step>/<part>.mask` in `$TAGSEL_CACHE`, or in the user's own folder for caches. As with kernels, folders and
files must belong to the user and be closed to everybody else, or they are not used; a file that is damaged, or another
step's or part's, is dropped. A file is written aside and renamed, so a reader finds it whole. It is a cache:
safe to delete, and bounded.

File, little-endian: magic, CRC-32 of the rest, hash of step and part, rows, bytes of each bitmap, 1 where all rows were
judged; the rows that were judged (unless all), the rows that passed. Version: in the magic.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.base.atomic_write import atomic_write
from tagsel.base.cache import Cache, DiskCache, register_on_disk
from tagsel.errors import TagselError
from tagsel.kernels import kernel_cache
from tagsel.store import Part

Bits = npt.NDArray[np.uint8]

_MAGIC = b"TAGSELM2"
_HEAD = struct.Struct("<8sI16sQQB7x")
_TAIL = struct.Struct("<16sQQB7x")
"""What follows magic and CRC in the head."""
FEWEST_ROWS = 100_000
"""Parts of fewer rows are judged again sooner than a file is opened."""
MOST_BYTES = 1 << 30
"""Masks kept on disk; the oldest go first."""
_CHECK_EVERY = 64

_listed: Cache[str, tuple[int, frozenset[str]]] = Cache("mask-names", entries=1024)
_written = 0


def folder() -> Path:
    """Where masks are kept."""
    return kernel_cache.folder().parent / "masks"


ON_DISK = register_on_disk(DiskCache("masks", lambda _: [folder()], "*/*.mask"))


def read(part: Part, step: str) -> tuple[Bits | None, Bits] | None:
    """(judged, passed) as kept on disk; None where there is no file, or none that can be used."""
    if part.rows < FEWEST_ROWS or part.name not in _names(step):
        return None
    path = _path(part, step)
    try:
        return _decoded(path, part, step)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, struct.error):
        with suppress(OSError):
            path.unlink()
        return None


def write_soon(part: Part, step: str, judged: Bits | None, passed: Bits) -> None:
    """Have a mask written behind the answer; a disk that cannot take it is no error."""
    if part.rows >= FEWEST_ROWS:
        with suppress(RuntimeError):  # the process is ending
            _writer().submit(_write, part, step, judged, passed)


def wait() -> None:
    """Return when all that was to be written is."""
    _writer().submit(int).result()


@cache
def _writer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="tagsel-masks")


os.register_at_fork(after_in_child=_writer.cache_clear)  # the writer's thread stays with the parent


def _path(part: Part, step: str) -> Path:
    return folder() / step / f"{part.name}.mask"


def _names(step: str) -> frozenset[str]:
    """The parts that a step has files for; the folder is listed again when it has changed."""
    place = folder() / step
    try:
        status = place.lstat()
    except OSError:
        return frozenset()
    stamp, names = _listed.get(str(place)) or (-1, frozenset())
    if stamp != status.st_mtime_ns:
        names = frozenset(p.stem for p in place.glob("*.mask")) if kernel_cache.private(status) else frozenset()
        _listed[str(place)] = status.st_mtime_ns, names
    return names


def _binding(part: Part, step: str) -> bytes:
    """What binds a mask to its step and part: a hash of both, 16 bytes."""
    return hashlib.sha256(f"{step}/{part.name}".encode()).digest()[:16]


def _decoded(path: Path, part: Part, step: str) -> tuple[Bits | None, Bits]:
    """ValueError for whatever is not a whole mask of this step and part, closed to others."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        if not kernel_cache.private(os.fstat(file.fileno())):
            raise ValueError(f"{path} is open to others")
        data = file.read()
    magic, crc, binding, rows, size, whole = _HEAD.unpack_from(data)
    wanted = _binding(part, step), part.rows, sum((n + 7) // 8 for n in part.groups)
    if magic != _MAGIC or (binding, rows, size) != wanted:
        raise ValueError(f"{path} is of another step or part")
    if zlib.crc32(data[12:]) != crc or len(data) != _HEAD.size + size * (1 if whole else 2):
        raise ValueError(f"{path} is damaged")
    bits = np.frombuffer(data, np.uint8, offset=_HEAD.size)
    return (None, bits) if whole else (bits[:size], bits[size:])


def _write(part: Part, step: str, judged: Bits | None, passed: Bits) -> None:
    body = (b"" if judged is None else judged.tobytes()) + passed.tobytes()
    tail = _TAIL.pack(_binding(part, step), part.rows, passed.size, judged is None) + body
    path = _path(part, step)
    with suppress(OSError, TagselError):
        for place in (folder(), path.parent):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not kernel_cache.private(place.lstat()):
                return
        with atomic_write(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(_MAGIC + struct.pack("<I", zlib.crc32(tail)) + tail)
        _bound()


def _bound() -> None:
    """Every so often, remove the oldest masks past `MOST_BYTES`."""
    global _written
    _written += 1
    if _written % _CHECK_EVERY:
        return
    files = [(p.stat().st_mtime, p.stat().st_size, p) for p in folder().glob("*/*.mask")]
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size
