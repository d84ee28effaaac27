"""Locks that say who holds them: a file that is locked, and signed with the holder's process and machine.

Invariant: whether one is held is what the kernel says, never what stands in the file: a process that dies lets go.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TextIO

PATIENCE = 1.0
"""Seconds that `take` waits for somebody who merely looks whether a lock is held."""


def identity() -> str:
    """This process, for a lock file: its id and machine."""
    return f"{os.getpid()} on {os.uname().nodename}"


def take(path: Path, patience: float | None = PATIENCE) -> TextIO | None:
    """Hold a lock, made if need be, until the answer is closed; None where another holds it after so many seconds.

    `patience` None: wait for it. A file that `drop` removes meanwhile is made anew. OSError where it cannot be written.
    """
    while True:
        lock = path.open("a+")
        try:
            if not _locks(lock.fileno(), patience):
                lock.close()
                return None
            if _is(path, lock):
                lock.truncate(0)
                lock.write(identity())
                lock.flush()
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def drop(path: Path, lock: TextIO) -> None:
    """Let go of a lock that is needed no more, and remove its file."""
    path.unlink(missing_ok=True)
    lock.close()


def holder(path: Path) -> str | None:
    """What the holder of a lock wrote in it; None where nobody holds it."""
    try:
        with path.open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "unknown"
            return None
    except FileNotFoundError:
        return None


def _is(path: Path, lock: TextIO) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _locks(handle: int, patience: float | None) -> bool:
    if patience is None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(min(0.02, patience))
