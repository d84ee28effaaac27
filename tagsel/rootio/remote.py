"""Files on other machines, by URL: whether their server answers, and how uproot reads them.

`root://` needs `pip install "tagsel[xrootd]"`; `https://` and `http://` need a server that gives parts of a file.
Invariant: a server that does not answer costs one timeout a minute in a process, not one for each of its files.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tagsel.errors import AccessError

PORTS = {"root": 1094, "roots": 1094, "https": 443, "http": 80}
"""Schemes that can be read, and the port of each where a URL names none."""

ANSWER_S = 5.0
"""How long a server may take to accept a connection, and again to say its first word, in seconds."""

HELLO = {
    "root": struct.pack("!5i", 0, 0, 0, 4, 2012),  # of the XRootD protocol, section 2.1, "initial handshake"
    "http": b"HEAD / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
}
"""What a client says first, by scheme; any byte is an answer. HTTPS begins with a handshake of its own."""

SILENT_S = 60.0
"""How long a server that did not answer is not asked again, in seconds."""

_silent: dict[tuple[str, int], tuple[float, str]] = {}
_lock = threading.Lock()


def is_remote(place: object) -> bool:
    """Whether a place is a URL that can be read here.

    >>> is_remote("root://eos.example.org//store/a.root"), is_remote("/data/a.root")
    (True, False)
    """
    scheme, mark, _ = str(place).partition("://")
    return bool(mark) and scheme in PORTS


def reach(url: str) -> None:
    """AccessError where the server of a URL does not answer, or did not a short while ago."""
    parts = urlsplit(url)
    server = parts.hostname or "", parts.port or PORTS[parts.scheme]
    with _lock:
        when, why = _silent.get(server, (0.0, ""))
    if not why or time.monotonic() - when > SILENT_S:
        try:
            _greet(server, parts.scheme)
            why = ""
        except OSError as error:
            why = error.strerror or str(error)
        with _lock:
            if why:
                _silent[server] = time.monotonic(), why
            else:
                _silent.pop(server, None)
    if why:
        said = f"{url}: its server {server[0]}:{server[1]} does not answer: {why}"
        raise AccessError(said, path=url, server=server[0])


def _greet(server: tuple[str, int], scheme: str) -> None:
    """Connect, and wait for the server's first word; OSError where there is none."""
    with socket.create_connection(server, ANSWER_S) as connection:
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever reads checks who it is
            with suppress(ssl.SSLError), context.wrap_socket(connection, server_hostname=server[0]):
                return
            return
        hello = HELLO[scheme.removesuffix("s")]
        connection.sendall(hello % server[0].encode() if scheme == "http" else hello)
        if not connection.recv(1):
            raise OSError("it closed the connection at once")


def open_remote(url: str) -> Any:
    """The file as uproot reads it: only what is asked for comes over the network, several parts at once."""
    import uproot

    reach(url)
    if url.startswith("root"):
        os.environ.setdefault("XRD_REQUESTTIMEOUT", "60")  # its own is half an hour
        os.environ.setdefault("XRD_STREAMTIMEOUT", "60")
        try:
            import fsspec_xrootd  # noqa: F401
        except ImportError as error:
            raise AccessError(f"{url}: {error}", hint='pip install "tagsel[xrootd]"', path=url) from error
        return uproot.open(url)
    return uproot.open(url, handler=uproot.HTTPSource)
