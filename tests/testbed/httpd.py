"""A web server over a folder that gives parts of files, as storage with HTTPS does; it counts the bytes it sends."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Sent:
    """Bytes of files that were sent."""

    bytes = 0


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, Sent]]:
    """(address, what was sent): `address/x` is the file `x` of the folder. One range a request; several are refused."""
    sent = Sent()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            whole = path.read_bytes()
            asked = self.headers.get("Range")
            one = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
            if asked and not one:
                self.send_error(416)
                return
            first, last = (int(one[1]), int(one[2] or len(whole) - 1)) if one else (0, len(whole) - 1)
            part = whole[first : last + 1]
            self.send_response(206 if one else 200)
            self.send_header("Content-Length", str(len(part)))
            if one:
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(whole)}")
            self.end_headers()
            if body:
                sent.bytes += len(part)
                self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
