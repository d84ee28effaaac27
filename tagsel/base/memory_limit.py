"""What limits of this process leave of memory: of the address space (`ulimit -v`) and of its own data (`ulimit -d`).

Batch systems set one or the other. Where there is no limit, nothing here says how much memory the machine has.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tagsel.errors import MemoryLimitError, TagselError

PAGE = os.sysconf("SC_PAGE_SIZE")
_SIZE, _DATA = 0, 5
"""Fields of /proc/self/statm: all of the address space, and what the process may write to."""


def address_space_left() -> int | None:
    """Bytes of address space that this process may still take; None where there is no limit."""
    return _left(resource.RLIMIT_AS, _SIZE)


def memory_left() -> int | None:
    """Bytes that this process may still take as memory of its own; None where there is no limit."""
    limits = [_left(resource.RLIMIT_AS, _SIZE), _left(resource.RLIMIT_DATA, _DATA)]
    return min((left for left in limits if left is not None), default=None)


def _left(kind: int, field: int) -> int | None:
    limit = resource.getrlimit(kind)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = int(Path("/proc/self/statm").read_bytes().split()[field]) * PAGE
    except OSError:  # not Linux
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(limit - used, 0)


def hold_to(size: int) -> None:
    """Have the kernel refuse this process more than `size` bytes of memory, what it takes now included.

    RLIMIT_DATA also counts what is only reserved, such as the stacks of threads (8 MB each, one thread a core in some
    libraries). So the limit is what is reserved now, and the room that is left.
    """
    fields = [int(field) for field in Path("/proc/self/statm").read_bytes().split()]
    resident, shared, data = fields[1], fields[2], fields[_DATA]
    own = (resident - shared) * PAGE
    most = data * PAGE + max(size - own, 0)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def require(size: int, what: str) -> None:
    """Refuse early what would take more memory than is left. MemoryLimitError: `what` takes `size` bytes."""
    left = memory_left()
    if left is not None and size > left:
        raise MemoryLimitError(
            f"{what} takes {_megabytes(size)}; {_megabytes(left)} are left of the memory that this process may have",
            hint=HINT,
            size=size,
            left=left,
        )


def is_refusal(error: BaseException) -> bool:
    """Whether an error says that the system gives no more memory: to an array, a thread's stack, or a library's code.

    >>> is_refusal(MemoryError()), is_refusal(RuntimeError("can't start new thread")), is_refusal(ValueError("x"))
    (True, True, False)
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return not isinstance(error, TagselError) and any(words in str(error) for words in _REFUSALS)


def exhausted(error: BaseException, what: str = "") -> MemoryLimitError:
    """What to say of memory that the system refused to `what`."""
    left = memory_left()
    limit = "" if left is None else f"; {_megabytes(left)} are left of the memory that this process may have"
    reason = f"not enough memory: {str(error) or 'the system gives no more'}{limit}"
    return MemoryLimitError(f"{what}: {reason}" if what else reason, hint=HINT, left=left)


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """Inside, memory that the system refuses is a MemoryLimitError that names `what` it was for."""
    try:
        yield
    except Exception as error:
        if not is_refusal(error):
            raise
        raise exhausted(error, what) from error


def has_room_for_a_thread() -> bool:
    """Whether a thread that is started now gets its stack, and memory to begin with.

    One that gets too little dies before it begins, and Python waits for ever for it to begin.
    """
    left = memory_left()
    return left is None or left >= _a_thread()


def start(thread: Thread) -> None:
    """Start a thread that is needed. MemoryLimitError: there is no memory for it."""
    require(_a_thread(), "a thread")
    thread.start()


def require_a_thread(what: str) -> None:
    """Refuse early what starts threads of a library's own. MemoryLimitError: there is no memory for one.

    A library that finds none in the middle may end the process (glibc: "cannot allocate memory for thread-local data").
    """
    require(_a_thread(), what)


def _a_thread() -> int:
    """Bytes of the stack of a thread, and of what it asks for until it looks at its first rows."""
    stack = threading.stack_size() or resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack == resource.RLIM_INFINITY:
        stack = _DEFAULT_STACK
    return stack + _BEGINNING


_REFUSALS = ("can't start new thread", "failed to map segment", "Cannot allocate memory", "Out of Memory Error")
"""What Python, the dynamic linker and DuckDB say of memory that they did not get."""

_DEFAULT_STACK, _BEGINNING = 8 << 20, 16 << 20
"""Bytes of a thread's stack where stacks have no limit, and of what a thread asks for besides."""

HINT = "raise the limit (ulimit -v, ulimit -d, or what the batch job asks for), select fewer events, or use --threads 1"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
