"""A mapped file that is cut short while it is read: an error that names it, where the system would end the process.

Reading a mapped page that the file no longer has raises SIGBUS in the reading thread. The handler here puts zero pages
in place of what is gone, and the `watch` around the read raises StoreError when it is left, so no answer rests on those
zeros. A page that the file has in part reads as zeros behind its end without a fault: so the watch compares the size
of each file that was read in it, too. Every question is a watch, and so is every piece of it that a thread does. A read
outside a watch ends the process as before, but says which file it was. Linux only: elsewhere the process ends without
a word. Invariant: a fault that is not in one of our mappings goes to the handler that was there before.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import platform
import signal
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from tagsel.base.memory_limit import PAGE
from tagsel.errors import StoreError

_PROT_READ, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 1, 0x2, 0x10, 0x20
_SA_SIGINFO, _SA_RESTART = 4, 0x10000000
_ADDRESS_AT = 16
"""Where siginfo_t has the address of the fault, on 64-bit Linux."""

P = ParamSpec("P")
T = TypeVar("T")

libc = ctypes.CDLL(None, use_errno=True)
"""The C library, with types of the calls that mappings need."""
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

FAILED = ctypes.c_void_p(-1).value
"""What mmap gives for an error."""

mapped: dict[int, tuple[int, str]] = {}
"""Our mappings, by where they begin: bytes, and the file."""


class _Action(ctypes.Structure):
    """struct sigaction of glibc and musl on 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Level:
    """One watch of a thread: the file that was found cut short in it, and the size of each file that was read in it."""

    __slots__ = ("sizes", "torn")

    def __init__(self) -> None:
        self.torn = ""
        self.sizes: dict[str, int] = {}


class _Mine(threading.local):
    """The watches that this thread is in, the innermost last."""

    def __init__(self) -> None:
        self.levels: list[_Level] = []


_mine = _Mine()
_before = _Action()


class Watch:
    """What is read inside comes from whole files, or leaving raises StoreError; one for all threads, and it nests."""

    def __enter__(self) -> None:
        _mine.levels.append(_Level())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        level = _mine.levels.pop()
        if kind is not None and not issubclass(kind, Exception):
            return  # Ctrl-C: there is no answer
        for path, size in level.sizes.items():
            if not level.torn and _is_shorter(path, size):
                level.torn = path
        if level.torn:
            raise cut_short(level.torn) from error

    def note(self, path: str, size: int) -> None:
        """Have the size of a file compared when this watch is left: its mapped bytes are about to be read."""
        if _mine.levels:
            _mine.levels[-1].sizes[path] = size

    @property
    def is_on(self) -> bool:
        """Whether this thread is in a watch."""
        return bool(_mine.levels)


watch = Watch()
"""The watch of every thread."""


def watched(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function a watch: what it reads comes from whole files, or it raises StoreError."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with watch:
            return function(*args, **kwargs)

    return inside


def _is_shorter(path: str, size: int) -> bool:
    """Whether a file has fewer bytes than it had; one that was removed keeps them while it is mapped."""
    try:
        return Path(path).stat().st_size < size
    except OSError:
        return False


def cut_short(path: str) -> StoreError:
    """The error for a file that lost bytes while it was mapped."""
    return StoreError(
        f"part {path} was cut short while it was read",
        hint="restore the file from a copy; parts are never changed in place",
        path=path,
    )


def _on_bus_error(number: int, info: int, context: int) -> None:
    try:
        address = ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
        for base, (length, path) in list(mapped.items()):
            if base <= address < base + length and _repaired(address, base + length, path):
                return
    except KeyboardInterrupt:  # of the main thread: the fault comes again, and Ctrl-C after it
        _thread.interrupt_main()
        return
    except BaseException:  # whatever it is, the process must not run in circles
        libc.sigaction(signal.SIGBUS, ctypes.byref(_Action()), None)
        return
    libc.sigaction(signal.SIGBUS, ctypes.byref(_before), None)  # the fault comes again, and goes there


def _repaired(address: int, end: int, path: str) -> bool:
    """Put zeros where the file has no more bytes; False where nobody would notice that they are not the file's."""
    if not _mine.levels:
        os.write(2, f"tagsel: {path} was cut short while it was read\n".encode())
        return False
    page = address // PAGE * PAGE
    flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED
    if libc.mmap(page, end - page, _PROT_READ, flags, -1, 0) == FAILED:
        return False
    _mine.levels[-1].torn = path
    return True


_handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_on_bus_error)
_installed = False


def install() -> None:
    """Have faults in our mappings come here, from now on; again is a no-op."""
    global _installed
    if _installed:
        return
    _installed = True
    if platform.system() != "Linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return
    action = _Action(ctypes.cast(_handler, ctypes.c_void_p).value, (ctypes.c_ulong * 16)(), _SA_SIGINFO | _SA_RESTART)
    libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(_before))
