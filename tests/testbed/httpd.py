"""A web server over a folder that gives parts of files, as storage with HTTPS does; it counts the bytes it sends.

With a certificate (`Authority.certify`) it speaks HTTPS.
"""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from testbed.servers import Missing

FOR_LEAF = "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth"
FOR_AUTHORITY = "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"


class Authority:
    """One who signs certificates: `file` is its own, `folder` has it under the hash of its name, as grid sites do."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("openssl"):
            raise Missing("certificates are made by the command openssl, which is not here")
        self.file = _certified(folder / "authority.pem", "/CN=Authority of the test", FOR_AUTHORITY)
        self.folder = folder / "certificates"
        self.folder.mkdir()
        name = _openssl("x509", "-in", self.file, "-noout", "-hash").strip()
        shutil.copy(self.file, self.folder / f"{name}.0")

    def certify(self, host: str = "IP:127.0.0.1") -> Path:
        """A certificate, with its key, for a server of this name (`DNS:…` or `IP:…`)."""
        path = self.file.with_name(f"{host.replace(':', '-')}.pem")
        return _certified(path, "/CN=server", (*FOR_LEAF, f"subjectAltName={host}"), self.file)


def _certified(path: Path, subject: str, extensions: tuple[str, ...], by: Path | None = None) -> Path:
    """A new key and its certificate in one file, signed by another's, or by itself."""
    key = path.with_suffix(".key")
    said = [word for extension in extensions for word in ("-addext", extension)]
    signed = ["-CA", by, "-CAkey", by.with_suffix(".key")] if by else []
    _openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        subject,
        "-keyout",
        key,
        "-out",
        path,
        *said,
        *signed,
    )
    path.write_text(path.read_text() + key.read_text())
    return path


def _openssl(*words: str | Path) -> str:
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True).stdout


class Sent:
    """Bytes of files that were sent, and connections that were taken.

    Bytes are counted before they are written: whoever has received them finds them counted.
    """

    def __init__(self) -> None:
        self.bytes = self.connections = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """So many bytes of a file were sent, by any thread."""
        with self._lock:
            self.bytes += count


@contextmanager
def running(
    folder: Path, certificate: Path | None = None, *, several: str = "refused", redirect: bool = False, breaks: int = 0
) -> Iterator[tuple[str, Sent]]:
    """(address, what was sent): `address/x` is the file `x` of the folder, one range a request.

    Several ranges are refused, or given as parts (`several="parts"`), or answered with the whole file (`"whole"`), as
    storage of kinds does. With `redirect` every request is sent to another path first, `breaks` is how many requests
    of ranges are cut off in the middle.
    """
    sent = Sent()
    left = [breaks]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            name = self.path.lstrip("/")
            if redirect and not name.startswith("moved/"):
                self.send_response(302)
                self.send_header("Location", f"http://{self.headers['Host']}/moved/{name}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path = folder / name.removeprefix("moved/")
            if not path.is_file():
                self.send_error(404)
                return
            whole = path.read_bytes()
            asked = self.headers.get("Range", "")
            ranges = [(int(a), int(b or len(whole) - 1)) for a, b in re.findall(r"(\d+)-(\d*)", asked)]
            if len(ranges) > 1 and several == "refused":
                self.send_error(416)
                return
            if len(ranges) > 1 and several == "parts":
                self.parts(whole, ranges)
                return
            first, last = ranges[0] if len(ranges) == 1 else (0, len(whole) - 1)
            part = whole[first : last + 1]
            self.send_response(206 if len(ranges) == 1 else 200)
            self.send_header("Content-Length", str(len(part)))
            if len(ranges) == 1:
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(whole)}")
            self.end_headers()
            if body and ranges and left[0]:
                left[0] -= 1
                part = part[: len(part) // 2]
                self.close_connection = True
            if body:
                self.send(part)

        def parts(self, whole: bytes, ranges: list[tuple[int, int]]) -> None:
            pieces = []
            for first, last in ranges:
                head = f"\r\n--PART\r\nContent-Range: bytes {first}-{last}/{len(whole)}\r\n\r\n"
                pieces.append(head.encode() + whole[first : last + 1])
            document = b"".join((*pieces, b"\r\n--PART--\r\n"))
            self.send_response(206)
            self.send_header("Content-Type", "multipart/byteranges; boundary=PART")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            sent.add(sum(len(whole[first : last + 1]) for first, last in ranges))
            self.wfile.write(document)

        def send(self, part: bytes) -> None:
            with suppress(ConnectionError):  # of a client that does not want all of it
                for begin in range(0, len(part), 65536):
                    block = part[begin : begin + 65536]
                    sent.add(len(block))
                    self.wfile.write(block)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def process_request(self, request: Any, client_address: Any) -> None:
            sent.connections += 1
            super().process_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that does not trust it hangs up

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
