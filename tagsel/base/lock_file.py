"""Lock files: exclusive or shared, with a named holder and a bounded wait.

The lock is the kernel's (flock), so a process that dies releases it. The file's text names the holder for people; it is
never the judge of whether the lock is held.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

from tagsel.errors import AccessError, TagselError

E = TypeVar("E", bound=TagselError)

PATIENCE = 10.0
"""Seconds to wait for a lock before giving up."""

GLANCE = 1.0
"""Seconds to wait for somebody who only looks whether a lock is held."""

_SHORTEST_NAP, _LONGEST_NAP = 0.0005, 0.02
_HOLDER_BYTES = 512  # one write of fixed length, so that two holders never mix
_NAME_LENGTHS = (100, 40, 20, 10)  # with the last, the JSON of any three names fits: 12 bytes a character


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as it named itself."""

    pid: int
    host: str
    user: str = ""
    action: str = ""
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "a process that left no name"
        user = f" of {self.user}" if self.user else ""
        action = f", {self.action}" if self.action else ""
        since = f", since {self.since}" if self.since else ""
        return f"process {self.pid}{user} on {self.host}{action}{since}"


@dataclass(eq=False)
class LockFile:
    """A lock that this process holds until `release`; the descriptor is -1 where a reader may not open the file.

    A child that is forked meanwhile does not hold it.
    """

    path: Path
    descriptor: int

    def __post_init__(self) -> None:
        _mine.add(self)

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self.descriptor >= 0:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # a child that was just forked may have it open, too
        self.close()

    def close(self) -> None:
        """Close the file; the lock stays where another process shares it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """Delete the file and let go."""
        self.path.unlink(missing_ok=True)
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_mine: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _forked() -> None:
    """Close a child's copies of the descriptors: as long as one is open, the kernel keeps its lock."""
    for lock in list(_mine):
        lock.close()


os.register_at_fork(after_in_child=_forked)


@contextmanager
def lock_file(
    path: Path,
    *,
    shared: bool = False,
    reader: bool = False,
    patience: float = PATIENCE,
    action: str = "",
    what: str = "",
    error: type[TagselError] = AccessError,
) -> Iterator[LockFile]:
    """Hold the lock on `path` during the block.

    `action` is what the holder does, for those who wait; `what` names the thing that is locked, for the error. Raises
    `error`, which names the holder, after `patience` seconds, and AccessError where the file cannot be written.
    """
    lock = acquire(path, shared=shared, reader=reader, patience=patience, action=action)
    if lock is None:
        raise held(path, patience, error, what)
    with lock:
        yield lock


def held(path: Path, patience: float, error: type[E], what: str = "") -> E:
    """The error for a lock that stayed held for `patience` seconds; it names the holder."""
    name = str(read_holder(path))
    return error(
        f"{what or path} is held by {name}; waited {patience:g} s{f' at {path}' if what else ''}",
        hint="let it finish, or end that process; nothing was changed",
        holder=name,
        path=str(path),
    )


def acquire(
    path: Path, *, shared: bool = False, reader: bool = False, patience: float | None = GLANCE, action: str = ""
) -> LockFile | None:
    """Take a lock, its file made if need be; None where others still hold it after `patience` seconds.

    `patience=None` waits for ever. A `reader` who may not write the file opens it for reading; where it neither exists
    nor can be made, nobody can hold it, and the reader holds nothing. AccessError: others may not write the file.
    """
    deadline = None if patience is None else time.monotonic() + patience
    while True:
        descriptor = _open(path, reader)
        lock = LockFile(path, descriptor)
        try:
            if descriptor < 0:
                return lock
            if not _flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, deadline):
                lock.release()
                return None
            if _is_current(path, descriptor):
                _sign(descriptor, action or ("reading" if shared else "writing"))
                return lock
        except BaseException:
            lock.release()
            raise
        lock.release()  # its file was removed meanwhile: try the new one


def holder(path: Path) -> Holder | None:
    """Who holds a lock, by the text of its file; None where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place blocks nobody
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return read_holder(path)
    finally:
        os.close(descriptor)


def read_holder(path: Path) -> Holder:
    """The process that last signed a lock file, whether it still holds it or not."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return Holder(0, "")


def this_process(action: str = "") -> Holder:
    """This process, as it signs a lock file."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(os.getpid(), socket.gethostname()[:100], user_name()[:60], action[:80], now)


def process_name() -> str:
    """This process: its id and machine."""
    return f"{os.getpid()} on {os.uname().nodename}"


def user_name() -> str:
    """The user as the kernel knows them, not as the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def owner_of(path: Path) -> str:
    """The user that a file belongs to."""
    try:
        return path.owner()
    except KeyError:  # a user without a name
        return f"uid {path.stat().st_uid}"


def opening(path: Path) -> str:
    """What to try where a file or folder of a workspace is closed to this user."""
    return f"chmod g+w {path} opens it to its group; tagsel init makes a workspace of your own"


def _refused(path: Path, error: OSError) -> AccessError:
    """The error of a lock file that cannot be opened for writing: where rights are missing, whose they are to give."""
    message, hint = f"cannot lock {path}: {error.strerror}", ""
    closed = path if os.access(path, os.F_OK) else path.parent
    if error.errno in (errno.EACCES, errno.EPERM) and os.access(closed, os.F_OK):
        owner = owner_of(closed)
        message = f"{message}: {closed} belongs to {owner}, who gave you ({user_name()}) no right to write it"
        hint = opening(closed)
    return AccessError(message, hint=hint, path=str(path), errno=error.errno)


def _open(path: Path, reader: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if not reader:
            raise _refused(path, error) from error
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return -1


def _flock(descriptor: int, mode: int, deadline: float | None) -> bool:
    """Whether the lock was taken before the deadline; None: wait for ever."""
    if deadline is None:
        fcntl.flock(descriptor, mode)
        return True
    nap = _SHORTEST_NAP
    while True:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
        time.sleep(min(nap, left))
        nap = min(2 * nap, _LONGEST_NAP)


def _is_current(path: Path, descriptor: int) -> bool:
    """Whether the open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int, action: str) -> None:
    try:
        os.pwrite(descriptor, _signature(this_process(action)), 0)
        os.ftruncate(descriptor, _HOLDER_BYTES)  # an older tagsel may have written more
    except OSError as error:  # a reader without rights, or a full disk: the lock is held all the same
        if error.errno not in (errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise


def _signature(holder: Holder) -> bytes:
    """A holder as JSON, `_HOLDER_BYTES` long; names that take more lose their ends."""
    for most in _NAME_LENGTHS:
        short = replace(holder, host=holder.host[:most], user=holder.user[:most], action=holder.action[:most])
        text = json.dumps(asdict(short)).encode()
        if len(text) < _HOLDER_BYTES:
            break
    return text.ljust(_HOLDER_BYTES - 1) + b"\n"
