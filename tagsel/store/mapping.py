"""Files mapped into memory, read-only: a reference to a `Mapping`, or to an array over it, keeps its bytes.

A mapping holds no file descriptor, so a limit of open files does not bound how many there are. `POOL` keeps those that
were used last; when it drops one, the bytes stay for as long as a scan, a job of machine code or an array refers to
them. How many bytes are mapped at once follows from the limit of the address space (RLIMIT_AS, which batch systems
set). Invariant: an address is valid while its Mapping lives.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.cache import Cache, clear_memory
from tagsel.base.memory_limit import PAGE, address_space_left
from tagsel.errors import MemoryLimitError, StoreError, TagselError
from tagsel.store import bus_error
from tagsel.store.bus_error import FAILED, libc

Identity = tuple[str, int, int, int, int]
"""Path, inode, size, and the times of the last write and of the last change (ns), which no program can set back."""

Bytes = npt.NDArray[np.uint8]

MAPPED_FILES = "mapped-files"
"""The name of the caches that keep mappings: all are cleared when address space is needed."""

MOST_MAPS = 16_384
"""Maps that the pool keeps; a process of Linux may have 65,530 of all kinds (vm.max_map_count)."""

MOST_PARTS = 8_192
"""Parts that one batch of a scan maps at once."""

UNLIMITED_POOL, UNLIMITED_BATCH = 1 << 42, 1 << 38
"""Bytes that the pool, and one batch of a scan, map where the address space has no limit."""

LEAST_BATCH = 8 << 20
"""Bytes that a batch may map however small the limit is."""

_PAUSES_S = (0.0, 0.01, 0.05, 0.2)
"""Seconds in which other threads may come to the end of a batch, and give address space back."""

_PROT_READ, _MAP_SHARED = 1, 1
_MAGIC = b"PAR1"


def identity_by(path: str, state: os.stat_result) -> Identity:
    """The identity of a file from what the system says of it."""
    return path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


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
    return identity_by(str(path), state)


class Mapping:
    """Some bytes of a file in memory: `size` bytes from `start` on, at `address`.

    Parameters
    ----------
    file: the file as it must be.
    start, size: which of its bytes; all of them by default.

    Raises
    ------
    OSError: the file cannot be read, or has changed (ESTALE), or there is no address space for it (ENOMEM).
    """

    __slots__ = ("__weakref__", "_base", "_length", "address", "path", "size", "start")

    def __init__(self, file: Identity, start: int = 0, size: int | None = None) -> None:
        self._base = self._length = 0
        self.path = file[0]
        self.start = start
        self.size = file[2] - start if size is None else size
        first = start // PAGE * PAGE
        length = start + self.size - first
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if identity_by(self.path, os.fstat(descriptor)) != file:
                raise OSError(errno.ESTALE, "it has changed since it was opened", self.path)
            base = libc.mmap(None, length, _PROT_READ, _MAP_SHARED, descriptor, first)
            if base == FAILED:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), self.path)
        finally:
            os.close(descriptor)
        self._base, self._length = int(base), length
        bus_error.mapped[self._base] = length, self.path
        bus_error.install()
        self.address = self._base + start - first

    def __del__(
        self,
        munmap: Callable[[int, int], int] = libc.munmap,
        forget: Callable[[int, None], object] = bus_error.mapped.pop,
    ) -> None:
        if self._length:
            forget(self._base, None)
            munmap(self._base, self._length)

    def check_whole(self) -> None:
        """See that a Parquet file that is mapped as a whole still has its last bytes. StoreError: it was cut short.

        A page that a file has only in part reads as zeros behind its end, without a fault.
        """
        with bus_error.watch:
            last = ctypes.string_at(self.address + self.size - len(_MAGIC), len(_MAGIC))
        if last != _MAGIC:
            raise bus_error.cut_short(self.path)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The bytes for NumPy; an array over them refers to the mapping, and can never be made writable."""
        return {"data": (self.address, True), "shape": (self.size,), "typestr": "|u1", "version": 3}

    def bytes(self) -> Bytes:
        """The bytes as a read-only array, which keeps the mapping."""
        return np.asarray(self)


def pool_bytes() -> int:
    """Bytes that the pool may map: half of what is free for it."""
    left = address_space_left()
    if left is None:
        return UNLIMITED_POOL
    return max((left + POOL.nbytes) // 2, 2 * LEAST_BATCH)


POOL: Cache[Identity, Mapping] = Cache(
    MAPPED_FILES, entries=MOST_MAPS, nbytes=lambda: pool_bytes(), size=attrgetter("size")
)
"""Whole files that were mapped last, so that the next question need not map them again."""


def batch_bytes() -> int:
    """Bytes that one batch of a scan may map: several threads may be at one each."""
    left = address_space_left()
    return UNLIMITED_BATCH if left is None else max((left + POOL.nbytes) // 8, LEAST_BATCH)


def whole(file: Identity) -> Mapping | None:
    """The mapping of a whole file; None where it is too large for the address space that is left: map windows of it.

    Raises
    ------
    StoreError: the file cannot be read, or has changed.
    """
    mapping = POOL.get(file)
    if mapping is not None:
        return mapping
    if file[2] > batch_bytes():
        return None
    try:
        mapping = _new(file)
    except MemoryLimitError:  # other threads have mapped what there was
        return None
    POOL[file] = mapping
    return mapping


def window(file: Identity, start: int, size: int) -> Mapping:
    """Some bytes of a file.

    Raises
    ------
    StoreError: it cannot be read, or has changed, or does not have them. MemoryLimitError: no address space is left.
    """
    if start < 0 or size < 0 or start + size > file[2]:
        raise StoreError(f"{file[0]} has {file[2]} bytes: it has none at {start} to {start + size}", path=file[0])
    return _new(file, start, size, _PAUSES_S)


def _new(file: Identity, start: int = 0, size: int | None = None, pauses: Sequence[float] = (0.0,)) -> Mapping:
    """A mapping; where no address space is left, the pool is emptied after each pause, and it is tried again."""
    for pause in pauses:
        try:
            return Mapping(file, start, size)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise _refused(file, error) from error
        time.sleep(pause)
        clear_memory(MAPPED_FILES)
    try:
        return Mapping(file, start, size)
    except OSError as error:
        raise _refused(file, error) from error


def _refused(file: Identity, error: OSError) -> TagselError:
    left = address_space_left()
    if error.errno == errno.ENOMEM and left is not None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return MemoryLimitError(
            f"cannot map {file[0]}: {left >> 20:,} MB of the limit of {limit >> 20:,} MB of address space are left",
            hint="raise the limit (ulimit -v, or what the batch job asks for), or use fewer threads",
            path=file[0],
            left=left,
        )
    hint = "check that the file is there and that you may read it"
    return StoreError(f"cannot map {file[0]}: {error.strerror}", hint=hint, path=file[0], errno=error.errno)
