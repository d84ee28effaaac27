"""A proxy of HTTP before a server, which does harm to the requests that a test names.

Invariant: a request to which no harm is done is answered as the server answers it.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Proxy:
    """What came through: `seen` are the requests, `GET /path`; `harm` says by number (from 0) and request what is done.

    "": nothing. `refuse`: the server does not hear of it. `lose`: it does, its answer is lost. `half`: half of the
    answer comes. `silent`: no answer until the proxy ends. Three digits: an answer of that status from in front of it.
    """

    port: int = 0
    seen: list[str] = field(default_factory=list)
    harm: Callable[[int, str], str] = lambda _number, _request: ""
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running(upstream: int) -> Iterator[Proxy]:
    """A proxy before the server at a port of loopback."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request = f"{self.command} {self.path.partition('?')[0]}"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.seen.append(request)
            harm = proxy.harm(len(proxy.seen) - 1, request)
            self.close_connection = True
            if harm == "silent":
                proxy.over.wait()
            elif harm.isdigit():
                self.send_response(int(harm))
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif harm != "refuse":
                self.pass_on(body, harm)

        do_POST = do_PUT = do_DELETE = do_GET

        def pass_on(self, body: bytes, harm: str) -> None:
            server = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
            given = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            server.request(self.command, self.path, body or None, {**given, "Connection": "close"})
            answer = server.getresponse()
            told = answer.read()
            server.close()
            if harm == "lose":
                return
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(told)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(told[: len(told) // 2] if harm == "half" else told)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.over.set()
            server.shutdown()
            thread.join()
