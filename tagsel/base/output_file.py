"""Output files: what a user asks for with `-o FILE` or `save(path)` never destroys another file.

Every place where a user names the file to write goes through `output_file` or `output_folder`. The rules:

- A new name is written aside and renamed. Nobody who opens it sees half of it.
- A file that exists is refused. `force` replaces one that tagsel wrote and that nobody changed since: its SHA-256 is in
  a log of outputs, or the caller's `intact` recognizes its mark.
- Always refused: a folder; a symbolic link (its target may be another's file); what tagsel made in a workspace; a file
  that a workspace has registered which is open in this process, which the file is in, or which this user ever opened.
- A device or a pipe gets the bytes once they are whole, and stays there whatever goes wrong; a descriptor of this
  process (/dev/stdout) gets them where it stands, so that a file that a shell appends to keeps what it has.

Invariant: after an error nothing of the new file is left, and the old one is unchanged. A process that is killed leaves
a temporary file that the next output in that folder removes: the owner's lock on it went with the owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import socket
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from tagsel.base import known_workspaces, output_log
from tagsel.base.atomic_write import sync, write_all
from tagsel.base.checksum import file_sha256
from tagsel.base.fail_points import fail_point
from tagsel.base.settings import WORKSPACE_FILE
from tagsel.errors import AccessError

TEMPORARY = ".tmp-output-"
"""Prefix of the names of outputs that are being written; the machine's name and a random number follow."""

FOREIGN_AGE = 24 * 3600.0
"""Seconds after which an unlocked temporary of another machine is removed: its lock may not reach this one."""

MADE_IN_WORKSPACE = frozenset({WORKSPACE_FILE, "data", "jobs", "trash", "transfers", output_log.FOLDER})
"""Files and folders of a workspace that are tagsel's own, beside those called `catalog.…`."""

REMEDY = "name another file, or remove it first; --force (force=True) replaces a file that tagsel wrote"


class Guard(Protocol):
    """Somebody who knows of files that no output may replace."""

    def reason(self, path: Path) -> str:
        """Why an existing file may not be replaced; "" where nothing is known against it."""


_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def add_guard(guard: Guard) -> None:
    """Ask `guard` before any file is replaced, for as long as it lives."""
    _guards.add(guard)


def check_output(path: Path | str, *, force: bool = False, intact: Callable[[Path], bool] | None = None) -> None:
    """AccessError where `output_file` would refuse the path; for the start of a long command."""
    target = Path(path)
    if is_stream(target):
        return
    _check_place(target)
    if target.exists():
        _check_replacement(target, force, intact)


@contextmanager
def output_file(
    path: Path | str, *, force: bool = False, intact: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, the file there is fsynced and gets the name.

    Parameters
    ----------
    path
        The file that the user names.
    force
        Replace a file that exists, where tagsel wrote it. The new file keeps its mode.
    intact
        Whether an existing file bears a mark of tagsel and is unchanged; for forms that carry one and so need no
        entry in the log of outputs.

    Raises
    ------
    AccessError
        The path is refused (see this module's rules), or it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with output_file(Path(folder, "a.txt")) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    target = Path(path)
    if is_stream(target):
        # No writer of a library gets the name: some remove what they could not write to the end, devices too.
        with _named_errors(path), TemporaryDirectory(prefix="tagsel-") as folder:
            whole = Path(folder) / f"output{target.suffix}"
            yield whole
            _pour(whole, target)
        return
    replaced = _identity(target)
    check_output(target, force=force, intact=intact)
    with _named_errors(path):
        remove_leftovers(target.parent)
        temporary, descriptor = _new_temporary(target)
        try:
            yield temporary
            fail_point("output.written")
            if replaced is not None:
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            sync(temporary)
            if intact is None:
                output_log.record(_log_folder(target), target, file_sha256(temporary))
            if replaced is None:
                _name_new(temporary, target)
            else:
                _replace(temporary, target, replaced)
            sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)


@contextmanager
def output_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which gets that name when the block ends well.

    AccessError where `path` is anything but missing or an empty folder; no force replaces a folder.
    """
    target = Path(path)
    _check_place(target, folder=True)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise AccessError(f"{path} exists and is not an empty folder", hint="name another", path=str(path))
    with _named_errors(path):
        remove_leftovers(target.absolute().parent)
        building, descriptor = _new_temporary(target.absolute(), folder=True)
        try:
            yield building
            fail_point("output.written")
            for written in (*building.rglob("*"), building):
                sync(written)
            building.replace(target)
            sync(target.absolute().parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)
            os.close(descriptor)


def check_output_folder(path: Path | str) -> None:
    """AccessError for a folder in which no output may be: one that tagsel made in a workspace, a link, a file."""
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise AccessError(f"{path} exists and is not a folder", hint="name another", path=str(path))
    _check_workspace(target)


def is_stream(path: Path) -> bool:
    """Whether a path leads to a device, a pipe, a socket or a descriptor of this process.

    Such a place has no name to replace: it gets the bytes of a temporary file, in TMPDIR, once they are whole.
    """
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove temporaries of outputs in `folder` whose processes have died; what was removed."""
    removed = []
    for left in sorted(folder.glob(f"{TEMPORARY}*")):
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # another process was faster, or it is another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_dead(left, descriptor):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
                removed.append(left)
        except OSError:  # locked: its owner lives; or it may not be removed by us
            continue
        finally:
            os.close(descriptor)
    return removed


def _is_dead(left: Path, descriptor: int) -> bool:
    """Whether a temporary that this process has locked is nobody's: made here, or long ago on another machine."""
    state = os.fstat(descriptor)
    if not os.path.samestat(state, left.lstat()):
        return False
    here = left.name.startswith(f"{TEMPORARY}{_machine()}-")
    return here or time.time() - state.st_mtime > FOREIGN_AGE


def _new_temporary(target: Path, *, folder: bool = False) -> tuple[Path, int]:
    """A new temporary beside `target` and a descriptor that holds its lock."""
    while True:
        temporary = target.with_name(f"{TEMPORARY}{_machine()}-{secrets.token_hex(8)}{target.suffix}")
        if folder:
            temporary.mkdir()
            flags = os.O_RDONLY | os.O_DIRECTORY
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(temporary, flags | os.O_CLOEXEC, 0o666)
        fail_point("output.made")
        with suppress(OSError):  # a file system without locks: others cannot lock it either, so nobody removes it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if temporary.exists():  # else another process took it for a leftover before it was locked
            return temporary, descriptor
        os.close(descriptor)


def _machine() -> str:
    """This machine's name, without what may not stand in a file name."""
    name = socket.gethostname()[:40]
    return "".join(c if c.isalnum() or c == "." else "_" for c in name)


def _check_place(target: Path, *, folder: bool = False) -> None:
    """AccessError for a place where no output may be, whether something is there or not."""
    if target.is_symlink():
        raise AccessError(
            f"{target} is a symbolic link, and its target may be another's file",
            hint=f"name the file itself ({target.readlink()}), or another",
            path=str(target),
        )
    if not folder and target.is_dir():
        raise AccessError(f"{target} is a folder: a file name was expected", path=str(target))
    parent = target.absolute().parent
    if not parent.is_dir():
        raise AccessError(f"cannot write {target}: there is no folder {parent}", path=str(target))
    _check_workspace(target)


def _check_workspace(target: Path) -> None:
    """AccessError for a place among what tagsel itself made in a workspace."""
    place = own_place(target)
    if place:
        raise AccessError(
            f"{target} is in {place}, which only tagsel itself writes", hint="name a file elsewhere", path=str(target)
        )


def own_place(path: Path) -> str:
    """Where a path lies among what tagsel itself made in a workspace, as "data of the workspace /W"; else ""."""
    workspace = enclosing_workspace(path)
    if workspace is None:
        return ""
    first = (path.absolute().parent.resolve() / path.name).relative_to(workspace).parts[0]
    is_own = first in MADE_IN_WORKSPACE or first.startswith("catalog.")
    return f"{first} of the workspace {workspace}" if is_own else ""


def _check_replacement(target: Path, force: bool, intact: Callable[[Path], bool] | None) -> None:
    """AccessError unless an existing file may be replaced."""
    if not force:
        raise AccessError(f"{target} exists, and an output never replaces a file", hint=REMEDY, path=str(target))
    for guard in list(_guards):
        reason = guard.reason(target)
        if reason:
            raise AccessError(
                f"{target} is {reason}: no output replaces it", hint="name another file", path=str(target)
            )
    for workspace in dict.fromkeys((*_enclosing(target), *known_workspaces.folders())):
        if known_workspaces.registered_in(target, workspace):
            raise AccessError(
                f"{target} is, or was, registered in the workspace {workspace}: no output replaces it",
                hint="name another file, or remove it first",
                path=str(target),
            )
    if intact is not None and intact(target):
        return
    digest = file_sha256(target)
    if any(output_log.knows(log, digest) for log in _log_folders(target)):
        return
    raise AccessError(
        f"{target} is not a file that tagsel wrote, or it was changed since",
        hint="name another file, or remove it first",
        path=str(target),
    )


def _enclosing(target: Path) -> list[Path]:
    """The workspace whose folder a path is in, if any, as a list."""
    workspace = enclosing_workspace(target)
    return [] if workspace is None else [workspace]


def enclosing_workspace(path: Path) -> Path | None:
    """The workspace whose folder a path is in, if any."""
    for folder in (parent := path.absolute().parent.resolve(), *parent.parents):
        if os.path.isfile(folder / WORKSPACE_FILE):  # noqa: PTH113 - a name that is too long is none
            return folder
    return None


def _log_folder(target: Path) -> Path:
    """Where an output is written down: in the workspace that it is in, else in the user's own state folder."""
    workspace = enclosing_workspace(target)
    if workspace is not None and os.access(workspace, os.W_OK):
        return workspace / output_log.FOLDER
    return output_log.user_folder()


def _log_folders(target: Path) -> list[Path]:
    """Where an output may have been written down."""
    workspace = enclosing_workspace(target)
    own = output_log.user_folder()
    return [own] if workspace is None else [workspace / output_log.FOLDER, own]


def _identity(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _name_new(temporary: Path, target: Path) -> None:
    """Give a file a name that is free. AccessError where another process took the name meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        raise AccessError(f"{target} was made by another process meanwhile", hint=REMEDY, path=str(target)) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        if target.exists() or target.is_symlink():  # a file system without hard links
            message = f"{target} was made by another process meanwhile"
            raise AccessError(message, hint=REMEDY, path=str(target)) from error
        temporary.replace(target)


def _replace(temporary: Path, target: Path, checked: os.stat_result) -> None:
    """Replace the very file that was checked. AccessError where another one has its name by now."""
    now = _identity(target)
    same = now is not None and os.path.samestat(now, checked) and now.st_mtime_ns == checked.st_mtime_ns
    if not same:
        raise AccessError(f"{target} was changed by another process meanwhile", hint=REMEDY, path=str(target))
    temporary.replace(target)


def _pour(whole: Path, stream: Path) -> None:
    """Write the bytes of a file to a device or a pipe, or to a descriptor of this process where it stands."""
    own = _descriptor(stream)
    descriptor = os.open(stream, os.O_WRONLY | os.O_CLOEXEC) if own is None else own
    try:
        with whole.open("rb") as source:
            while block := source.read(1 << 20):
                write_all(descriptor, block)
    finally:
        if own is None:
            os.close(descriptor)


def _descriptor(path: Path) -> int | None:
    """The open descriptor of this process that a path names (/dev/stdout, /dev/fd/3), or None."""
    own = (Path("/proc/self/fd").resolve(), Path("/dev/fd").resolve())
    places = [path]
    if path.is_symlink():
        places.append(path.parent / path.readlink())
    for place in places:
        if place.parent.resolve() in own and place.name.isdigit():
            return int(place.name)
    return None


@contextmanager
def _named_errors(path: Path | str) -> Iterator[None]:
    """Turn an OSError into an AccessError that names the output."""
    try:
        yield
    except OSError as error:
        raise AccessError(f"cannot write {path}: {error.strerror or error}", path=str(path)) from error
