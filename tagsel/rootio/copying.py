"""Copying a file from one place to another, both paths or URLs, and knowing that the copy is good.

Invariant: a file has its name at the target only when it was read back with the checksum that was wanted; what was
there before under that name is a good copy, or is an error, and is never written over.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tagsel.base.atomic_write import sync
from tagsel.base.fail_points import fail_point
from tagsel.errors import AccessError
from tagsel.rootio import xrootd
from tagsel.rootio.remote import is_remote, reach

CHUNK = 4 << 20
"""Bytes that are read at once."""

_MARK = ".part-"
"""What stands in the name of a file that is being written, between a digest of its own and who writes it."""


def checksum(place: str) -> str:
    """The checksum of a file, `adler32:` and 8 hexadecimal digits; AccessError where it cannot be read.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a"); _ = path.write_bytes(b"Wikipedia")
    ...     checksum(str(path))
    'adler32:11e60398'
    """
    return _checksum(_read(place))


def _checksum(chunks: Iterable[bytes]) -> str:
    value = 1
    for chunk in chunks:
        value = zlib.adler32(chunk, value)
    return f"adler32:{value:08x}"


def copy(source: str, target: str, wanted: str = "", between: Callable[[], None] = lambda: None) -> str:
    """Copy a file and return its checksum; a good copy that is at the target already is left as it is.

    `wanted` is the checksum that it must have, "" where none is known. AccessError where either place cannot be used,
    what is read differs from `wanted`, or another file has the target's name. `between` is called after each piece of
    the file: what it raises ends the copy, and nothing of it is left.
    """

    def pieces(place: str) -> Iterator[bytes]:
        for chunk in _read(place):
            yield chunk
            fail_point("copying.piece")
            between()

    def check(written: str) -> str:
        there = _checksum(pieces(written))
        right = wanted or _checksum(pieces(source))
        if there == right:
            return there
        if written == target:
            raise AccessError(f"{target}: another file is there ({there}, not {right})", hint="remove it", path=target)
        raise AccessError(
            f"{source}: its checksum is {there}, {right} was expected: it is damaged, or another file",
            hint="another copy of it may be good",
            path=source,
        )

    if is_remote(target) and not target.startswith("root"):
        raise AccessError(f"{target}: files are written to paths and root:// only", path=target)
    if xrootd.exists(target) if is_remote(target) else _exists(target):
        return check(target)
    if is_remote(target):
        folder, _, name = target.rpartition("/")
        return xrootd.put(target, f"{folder}/{_part(name)}", pieces(source), check)
    return _put(target, pieces(source), check)


def sweep(targets: Iterable[str]) -> None:
    """Remove what killed threads of this machine left of copies to places of XRootD servers. Paths are swept by `copy`.

    What a server does not let be seen, or removed, stays.
    """
    folders: dict[str, set[str]] = {}
    for folder, _, name in (target.rpartition("/") for target in targets if is_remote(target)):
        folders.setdefault(folder, set()).add(_stem(name))
    for folder, names in folders.items():
        with suppress(AccessError):
            for name in xrootd.names(folder):
                if name.partition(_MARK)[0] in names and _is_left(name):
                    xrootd.remove(f"{folder}/{name}")


def _stem(name: str) -> str:
    """How the names of parts of a file begin: of one length, for a file's name may be as long as any can be."""
    return f".{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _part(name: str) -> str:
    """The name under which this thread writes a file."""
    return f"{_stem(name)}{_MARK}{os.uname().nodename}-{threading.get_native_id()}"


def _exists(target: str) -> bool:
    try:
        return Path(target).exists()
    except OSError as error:  # a name that is too long, a folder that is closed to us
        raise AccessError(f"{target}: cannot be written: {error.strerror or error}", path=target) from error


def _is_left(name: str) -> bool:
    """Whether a thread of this machine wrote a file of this name, and lives no more."""
    machine, _, thread = name.partition(_MARK)[2].rpartition("-")
    return machine == os.uname().nodename and thread.isdigit() and not Path("/proc", thread).exists()


def _put(target: str, chunks: Iterable[bytes], check: Callable[[str], str]) -> str:
    path = Path(target)
    part = path.with_name(_part(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with part.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)
        sync(part)
        checked = check(str(part))
        part.rename(path)
        sync(path.parent)
        return checked
    except OSError as error:
        raise AccessError(f"{target}: cannot be written: {error.strerror or error}", path=target) from error
    finally:
        with suppress(OSError):  # why it was not written is said already
            part.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what threads of this machine that were killed left of copies of that name."""
    for left in path.parent.glob(f"{_stem(path.name)}{_MARK}*"):
        if _is_left(left.name):
            left.unlink(missing_ok=True)


def _read(place: str) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    if is_remote(place) and place.startswith("root"):
        yield from xrootd.read(place)
        return
    from urllib.request import urlopen

    try:
        if is_remote(place):
            reach(place)
        with urlopen(place, timeout=60) if is_remote(place) else Path(place).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise AccessError(f"{place}: cannot be read: {error.strerror or error}", path=place) from error
