"""Logical file names and the paths that a site's prefix makes of them; nothing outside the prefix is ever named.

Invariant: a path returned by `resolve_pfn` lies under its prefix, symbolic links followed.
"""

from __future__ import annotations

import errno
from pathlib import Path

from tagsel.errors import AccessError

_LONGEST = 4096


def safe_lfn(text: str) -> str:
    """Return the logical file name `text` when it can only name something below a prefix.

    Refused with AccessError: empty, NUL and other control characters, absolute, `..`, `~`, backslashes,
    and a scheme (`root://…`), which is a physical name.

    >>> safe_lfn("data18/AOD.01.root")
    'data18/AOD.01.root'
    """
    wrong = (
        "it is empty"
        if not text
        else "it holds control characters"
        if any(ord(c) < 32 or ord(c) == 127 for c in text)
        else "it is absolute"
        if text.startswith("/")
        else "it starts with '~'"
        if text.startswith("~")
        else "it holds a backslash"
        if "\\" in text
        else "it holds '..'"
        if ".." in text.split("/")
        else "it has a scheme"
        if "://" in text
        else f"it is longer than {_LONGEST} bytes"
        if len(text.encode("utf-8", "surrogatepass")) > _LONGEST
        else ""
    )
    if wrong:
        raise AccessError(
            f"logical file name {text[:120]!r} is refused: {wrong}",
            hint="a relative name such as data18/AOD.01.root",
            lfn=text,
        )
    return text


def resolve_pfn(prefix: str | Path, lfn: str) -> Path:
    """The local path of `lfn` under a site's `prefix` (an absolute folder), links followed; AccessError if outside.

    The file itself need not exist; whatever part of the path exists must not lead out of the prefix.
    """
    if "\0" in str(prefix) or not Path(prefix).is_absolute():
        raise AccessError(f"site prefix {str(prefix)[:120]!r} is no absolute folder", prefix=str(prefix))
    try:
        root = Path(prefix).resolve()
        path = (root / safe_lfn(lfn)).resolve()
        _refuse_loop(root / lfn)
    except (OSError, RuntimeError) as error:  # a loop of links; a name that the file system refuses
        raise AccessError(f"cannot resolve {lfn[:120]!r} under {prefix}: {error}", lfn=lfn) from error
    if not path.is_relative_to(root):
        raise AccessError(
            f"logical file name {lfn[:120]!r} leads out of {prefix}, to {path}",
            hint="a link in the folder points elsewhere; register the file by its real place",
            lfn=lfn,
            prefix=str(prefix),
        )
    return path


def _refuse_loop(path: Path) -> None:
    """OSError for a loop of links, which `resolve` itself reports before Python 3.13 only."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
