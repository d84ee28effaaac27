"""Files on other machines, by URL: whether their server answers, and how uproot reads them.

`root://` needs `pip install "tagsel[xrootd]"`; `https://` and `http://` need a server that gives parts of a file.
Invariant: a server that does not answer, or whose certificate is not good, costs one attempt a minute in a process, not
one for each of its files.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tagsel.base.fork_lock import fork_lock
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

GRID_AUTHORITIES = "/etc/grid-security/certificates"
"""Where grid sites have the authorities that they trust, unless X509_CERT_DIR says another folder."""

TRUST = "SSL_CERT_FILE names a file of authorities to trust, X509_CERT_DIR a folder of them, as grid sites have"

UNTRUSTED: Mapping[int, str] = {
    9: "is the clock of this machine right?",  # not yet valid
    10: "tell the site that it has expired; is the clock of this machine right?",
    62: "name the server in the URL as its certificate does",
    64: "name the server in the URL as its certificate does, not by its number",
}
"""What to do about a certificate, by OpenSSL's code for what is wrong with it; else its authority is not known."""


class Refusal(NamedTuple):
    """Why a server cannot be used, and what to try."""

    why: str
    hint: str = ""


_silent: dict[tuple[str, int], tuple[float, Refusal]] = {}
_lock = fork_lock()


def is_remote(place: object) -> bool:
    """Whether a place is a URL that can be read here.

    >>> is_remote("root://eos.example.org//store/a.root"), is_remote("/data/a.root")
    (True, False)
    """
    scheme, mark, _ = str(place).partition("://")
    return bool(mark) and scheme in PORTS


def reach(url: str) -> None:
    """AccessError where the server of a URL cannot be used, or could not a short while ago: silent, or not trusted."""
    parts = urlsplit(url)
    server = parts.hostname or "", parts.port or PORTS[parts.scheme]
    with _lock:
        when, refused = _silent.get(server, (0.0, None))
    if refused is None or time.monotonic() - when > SILENT_S:
        refused = _refusal(server, parts.scheme)
        with _lock:
            if refused:
                _silent[server] = time.monotonic(), refused
            else:
                _silent.pop(server, None)
    if refused:
        said = f"{url}: its server {server[0]}:{server[1]} {refused.why}"
        raise AccessError(said, hint=refused.hint, path=url, server=server[0])


def _refusal(server: tuple[str, int], scheme: str) -> Refusal | None:
    try:
        _greet(server, scheme)
    except ssl.SSLCertVerificationError as error:
        hint = UNTRUSTED.get(error.verify_code, TRUST)
        return Refusal(f"has a certificate that is not good here: {error.verify_message}", hint)
    except OSError as error:
        return Refusal(f"does not answer: {error.strerror or error}")
    return None


def _greet(server: tuple[str, int], scheme: str) -> None:
    """Connect, and wait for the server's first word; OSError where there is none, or its certificate is not good."""
    with socket.create_connection(server, ANSWER_S) as connection:
        if scheme == "https":
            _trust_grid()
            with ssl.create_default_context().wrap_socket(connection, server_hostname=server[0]):
                return
        hello = HELLO[scheme.removesuffix("s")]
        connection.sendall(hello % server[0].encode() if scheme == "http" else hello)
        if not connection.recv(1):
            raise OSError("it closed the connection at once")


def _trust_grid() -> None:
    """Trust the authorities of grid sites beside the system's, in all that reads here; SSL_CERT_DIR says it all."""
    folder = os.environ.get("X509_CERT_DIR") or GRID_AUTHORITIES
    if Path(folder).is_dir():
        known = ssl.get_default_verify_paths().openssl_capath
        os.environ.setdefault("SSL_CERT_DIR", os.pathsep.join((known, folder)))


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
    server = urlsplit(url).netloc
    with _lock:
        handler = _http_sources()[server in _one_range]
    return uproot.open(url, handler=handler)


_one_range: set[str] = set()
"""Web servers that give one range of a file at a time."""


@cache
def _http_sources() -> tuple[type[Any], type[Any]]:
    """uproot's source of a file by HTTP, with several ranges a request, and with one; mended in what they ask for."""
    from uproot.source.chunk import Chunk, notifier
    from uproot.source.futures import ResourceThreadPoolExecutor
    from uproot.source.http import HTTPResource, HTTPSource, MultithreadedHTTPSource

    class Resource(HTTPResource):  # type: ignore[misc]
        def handle_no_multipart(self, source: Any, ranges: Any, futures: Any, results: Any) -> None:
            """A server that refused several ranges gave none of them, and is not asked so again."""
            source._num_requested_bytes -= sum(stop - start for start, stop in ranges)
            with _lock:
                _one_range.add(urlsplit(source._file_path).netloc)
            super().handle_no_multipart(source, ranges, futures, results)

    class Source(HTTPSource):  # type: ignore[misc]
        ResourceClass = Resource

        def _open(self) -> None:
            self._executor = ResourceThreadPoolExecutor([Resource(self._file_path, self._timeout)])

        def chunks(self, ranges: Any, notifications: Any) -> Any:
            """One range is an ordinary request; uproot takes its answer for a refusal of several, and asks twice."""
            if len(ranges) != 1 or self._fallback is not None:
                return super().chunks(ranges, notifications)
            ((start, stop),) = ranges
            self._num_requests += 1
            self._num_requested_chunks += 1
            self._num_requested_bytes += stop - start
            future = self.ResourceClass.future(self, start, stop)
            chunk = Chunk(self, start, stop, future)
            future._set_notify(notifier(chunk, notifications))
            self._executor.submit(future)
            return [chunk]

    return Source, MultithreadedHTTPSource


def bytes_asked(source: Any) -> int:
    """Bytes that a source of uproot's has been asked for."""
    others = getattr(source, "fallback", None)
    return int(source.num_requested_bytes) + (int(others.num_requested_bytes) if others is not None else 0)
