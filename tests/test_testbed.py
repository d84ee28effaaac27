"""What scripts/testbed installed starts, answers, and is gone afterwards; jobs on it: tests/jobs/test_engines.py."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testbed import rucio, xrootd
from testbed.servers import Missing, listens, open_way

pytestmark = pytest.mark.grid


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Any]:
    """A launcher's context, or a skip with the reason."""
    open_way(tmp_path)

    @contextmanager
    def run(launcher: Any, *given: Any) -> Iterator[Any]:
        try:
            with launcher(tmp_path, *given) as found:
                yield found
        except Missing as missing:
            pytest.skip(str(missing))

    return run


def test_xrootd_says_who_it_is(running: Callable[..., Any]) -> None:
    """The handshake of the protocol: 20 bytes, 0 0 0 4 2012; a server answers with its version and that it is one."""
    with running(xrootd.running) as (address, _):
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), 10) as one:
            one.sendall(b"".join(n.to_bytes(4, "big") for n in (0, 0, 0, 4, 2012)))
            answer = one.recv(16)
    assert int.from_bytes(answer[12:16], "big") == 1  # kXR_DataServer
    assert not listens(port)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_rucio_gives_a_token_to_its_user_and_to_nobody_else(running: Callable[..., Any], database: str) -> None:
    with running(rucio.running, database) as configuration:
        told = dict(line.split("=", 1) for line in configuration.read_text().splitlines() if "=" in line)
        asked = {"X-Rucio-Account": "root", "X-Rucio-Username": told["username"], "X-Rucio-Password": told["password"]}
        address = f"{told['auth_host']}/auth/userpass"
        with urllib.request.urlopen(urllib.request.Request(address, headers=asked), timeout=30) as answer:
            assert answer.headers["X-Rucio-Auth-Token"]
        wrong = urllib.request.Request(address, headers={**asked, "X-Rucio-Password": "wrong"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(wrong, timeout=30)
