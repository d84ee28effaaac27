"""Files of XRootD servers, read and written in pieces by its own client (`pip install "tagsel[xrootd]"`).

Invariant: a file that `put` leaves under its name is one that `check` agreed to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from tagsel.errors import AccessError
from tagsel.rootio.remote import reach

CHUNK = 4 << 20
"""Bytes that are read at once."""


def read(url: str) -> Iterator[bytes]:
    """The bytes of a file, in pieces; AccessError where its server does not give them."""
    file = _client(url).File()
    _good(file.open(url), url)
    try:
        at = 0
        while chunk := _good(file.read(at, CHUNK), url):
            yield chunk
            at += len(chunk)
    finally:
        file.close()


def exists(url: str) -> bool:
    """Whether there is a file of that name; AccessError where its server does not answer."""
    status, _ = _system(url).stat(_path(url))
    if not status.ok and status.errno != 3011:  # kXR_NotFound
        raise AccessError(f"{url}: {_words(status)}", path=url)
    return bool(status.ok)


def names(url: str) -> list[str]:
    """What is in a folder; AccessError where its server does not say."""
    return [entry.name for entry in _good(_system(url).dirlist(_path(url)), url)]


def remove(url: str) -> None:
    """Remove a file; AccessError where its server does not."""
    _good(_system(url).rm(_path(url)), url)


def put(url: str, part: str, chunks: Iterable[bytes], check: Callable[[str], str]) -> str:
    """Write a file under the name `part`, have it checked, and give it its own; folders are made. `check`'s answer."""
    client = _client(url)
    file, flags, modes = client.File(), client.flags.OpenFlags, client.flags.AccessMode
    mode = modes.UR | modes.UW | modes.GR | modes.OR  # what none is given for, not even its writer can read
    _good(file.open(part, flags.NEW | flags.MAKEPATH, mode), part)
    try:
        at = 0
        for chunk in chunks:
            _good(file.write(chunk, at), part)
            at += len(chunk)
        _good(file.close(), part)
        checked = check(part)
        _good(_system(url).mv(_path(part), _path(url)), url)
        return checked
    except BaseException:
        with suppress(AccessError):
            file.close()
            remove(part)
        raise


def _client(url: str) -> Any:
    reach(url)
    os.environ.setdefault("XRD_REQUESTTIMEOUT", "60")  # its own is half an hour
    os.environ.setdefault("XRD_STREAMTIMEOUT", "60")
    try:
        from XRootD import client
    except ImportError as error:
        raise AccessError(f"{url}: {error}", hint='pip install "tagsel[xrootd]"', path=url) from error
    return client


def _system(url: str) -> Any:
    scheme, _, rest = url.partition("://")
    return _client(url).FileSystem(f"{scheme}://{rest.partition('/')[0]}")


def _path(url: str) -> str:
    """The path of a URL on its server.

    >>> _path("root://eos.example.org:1094//data/a.root")
    '/data/a.root'
    """
    return "/" + url.partition("://")[2].partition("/")[2].lstrip("/")


def _good(answer: Any, url: str) -> Any:
    status, value = answer
    if not status.ok:
        raise AccessError(f"{url}: {_words(status)}", path=url)
    return value


def _words(status: Any) -> str:
    return " ".join(str(status.message).split())[:200]
