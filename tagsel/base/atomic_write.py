"""Atomic writes: a reader of a path sees the old file or the new one, never half of one.

A file is written under a temporary name beside its own, fsynced, renamed, and its folder fsynced. Invariant: after an
error nothing of the new file is left, and the old one is unchanged. What a killed process leaves begins with
`TEMPORARY`.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.errors import AccessError

TEMPORARY = ".tmp-"
"""Prefix of the names of files that are being written."""

_fsync: Callable[[int], None] = os.fsync  # a seam: tests make it fail


_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space: the quota is used up",
    errno.EFBIG: "raise the limit on the size of files: ulimit -f, or what the batch job asks for",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EROFS: "use a folder on a disk that is not read-only",
}


def remedy(error: BaseException) -> str:
    """What to try where a file could not be written, as an OSError says, or a library in its words.

    >>> remedy(OSError(errno.EFBIG, "File too large"))
    'raise the limit on the size of files: ulimit -f, or what the batch job asks for'
    """
    for code, text in _REMEDIES.items():
        if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
            return text
    return "free some space, or check the permissions of the folder"


@contextmanager
def atomic_write(path: Path | str, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, the file there is fsynced and renamed to `path`.

    A symlink is followed; a device or a pipe is written directly. The new file gets the permission bits `mode`, or
    keeps those of the file that it replaces. An OSError of the block or of the renaming becomes an AccessError that
    names `path`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "a.txt")) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    target = Path(path).resolve()
    special = target.exists() and not target.is_file()
    if target.is_dir():
        raise AccessError(f"{path} is a folder: a file name was expected", path=str(path))
    if not target.parent.is_dir():
        raise AccessError(f"cannot write {path}: there is no folder {target.parent}", path=str(path))
    temporary = target if special else target.with_name(f"{TEMPORARY}{target.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
        if not special:
            if mode is None:
                _keep_mode(temporary, target)
            else:
                temporary.chmod(mode)
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
    except OSError as error:
        reason = error.strerror or error
        raise AccessError(f"cannot write {path}: {reason}", hint=remedy(error), path=str(path)) from error
    finally:
        if not special:
            temporary.unlink(missing_ok=True)


def _keep_mode(new: Path, old: Path) -> None:
    """Give the new file the permission bits of the file that it replaces."""
    if old.exists():
        new.chmod(stat.S_IMODE(old.stat().st_mode))


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` atomically. Errors: OSError.

    With `durable=False` nothing is fsynced: for a cache that carries a checksum.
    """
    aside = temporary_name(path.parent)
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write_all(descriptor, data)
            if durable:
                _fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(path)
        if durable:
            sync(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def temporary_name(folder: Path) -> Path:
    """A fresh name in `folder` for a file that is being written; it names this process."""
    return folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(16)}"


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`; `os.write` may write less than it is given."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(descriptor, view) :]


def sync(path: Path) -> None:
    """Fsync a file or folder. A failure is final: it is never retried and called good."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)
