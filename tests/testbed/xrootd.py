"""An XRootD server over one folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.servers import LIBRARIES, as_nobody, for_nobody, free_port, give_to_nobody, installed, listens, serving

CONFIGURATION = """xrd.port {port}
all.export /data
oss.localroot {folder}/root
all.adminpath {folder}/run
all.pidpath {folder}/run
xrd.network nodnr norpipa
xrootd.chksum max 2 adler32
xrootd.async off
"""


@contextmanager
def running(folder: Path, port: int = 0) -> Iterator[tuple[str, Path]]:
    """(address, folder): `address/data/x` is the file `x` of the folder. It cannot be kept to loopback."""
    port = port or free_port()
    with server(folder, port):
        yield f"root://127.0.0.1:{port}/", folder / "root" / "data"


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server alone, at a port; files of an earlier one in the folder are there again."""
    prefix = for_nobody(installed("xrootd"))
    for made in (folder / "root" / "data", folder / "run"):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "xrootd.cfg").write_text(CONFIGURATION.format(port=port, folder=folder))
    give_to_nobody(folder)
    command = [*as_nobody(), prefix / "usr/bin/xrootd", "-c", folder / "xrootd.cfg", "-I", "v4"]
    env = {"LD_LIBRARY_PATH": str(prefix / LIBRARIES)}
    with serving(command, folder / "log", lambda: listens(port), env=env) as process:
        yield process
