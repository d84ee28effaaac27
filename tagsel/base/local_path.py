"""Paths on this machine: told from URLs, for a URL is never taken for a relative path, and what lies there."""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from pathlib import Path

from tagsel.errors import AccessError

# pathlib makes `https:/host/a.root` of a URL, so one slash is enough.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def as_given(place: Path | str) -> str:
    """A place as the user spelled it: a URL has its slashes again, of which pathlib leaves one.

    >>> as_given(Path("https://host:1094/a.root")), as_given(Path("file:///a.root")), as_given(Path("d/a.root"))
    ('https://host:1094/a.root', 'file:///a.root', 'd/a.root')
    """
    text = str(place)
    scheme, _, rest = text.partition(":")
    if not _URL.match(text) or rest.startswith("//"):
        return text
    slashes = "///" if scheme == "file" else "//"  # a URL of a file names no host
    return f"{scheme}:{slashes}{rest.lstrip('/')}"


def local_path(place: Path | str, hint: str) -> Path:
    """The path that `place` names; AccessError, with the hint, where it is a URL and no such file is here.

    >>> local_path("/data/a.root", "").name
    'a.root'
    """
    text = str(place)
    path = Path(place)
    if _URL.match(text) and not path.exists():
        url = as_given(place)
        if url.startswith("file:///"):
            hint = f"name the path: {url.removeprefix('file://')}"
        raise AccessError(f"{url} is a URL, and a path on this machine is needed here", hint=hint, path=url)
    return path


def disk_usage(path: Path) -> tuple[int, int]:
    """How many files there are at a path or below it, and their bytes; what goes meanwhile is not counted."""
    files = bytes_ = 0
    for file in (path, *path.rglob("*")):
        with suppress(OSError):
            state = file.lstat()
            if not stat.S_ISDIR(state.st_mode):
                files += 1
                bytes_ += state.st_size
    return files, bytes_
