"""The real client of PanDA without a server: what prun would submit, as the task that it makes of its arguments."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.servers import installed

_PRUN = """#!{python}
import json, os, sys
from pandaclient import PrunScript
task = PrunScript.main(get_taskparams=True, ext_args=["--noSubmit", "--noBuild", *sys.argv[1:]], dry_mode=True)
open(os.environ["TASK"], "w").write(json.dumps(dict(task=task, arguments=sys.argv[1:]), default=str))
"""

_PICK = """#!{python}
import sys
from pandaclient import Client
Client.requestEventPicking(sys.argv[1], "AOD", "", "", "", [], sys.argv[2], "user.me.pick", "prun", "", 1, True, "")
"""


@dataclass(frozen=True)
class Client:
    """`environment` has a `prun` in PATH that keeps its task in `task`; `pick` asks a server for events."""

    environment: Mapping[str, str]
    pick: Path
    told: Path

    def task(self) -> Any:
        """The task that prun last made: its parameters under `task`, what it was called with under `arguments`."""
        return json.loads(self.told.read_text())


@contextmanager
def running(folder: Path, port: int = 9) -> Iterator[Client]:
    """The client, of a server at a port of loopback. Missing where it is not installed."""
    venv = installed("panda") / "venv"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name, text in (("prun", _PRUN), ("pick", _PICK)):
        (programs / name).write_text(text.format(python=venv / "bin/python"))
        (programs / name).chmod(0o755)
    address = f"http://127.0.0.1:{port}/server/panda"
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "TASK": str(folder / "task.json"),
        "PANDA_URL": address,
        "PANDA_URL_SSL": address,
        "PANDACACHE_URL": address,
        "PANDA_SYS": str(venv),
        "PANDA_CONFIG_ROOT": str(folder),
        "PANDA_AUTH": "oidc",
        "PANDA_AUTH_VO": "tagsel",
        "PANDA_AUTH_ID_TOKEN": _token(),
        "HOME": str(folder),
    }
    environment.pop("PYTHONPATH", None)
    yield Client(environment, programs / "pick", folder / "task.json")


def _token() -> str:
    """A token that names a user and is signed by nobody."""
    parts = ({"alg": "none"}, {"name": "T S", "preferred_username": "ts", "exp": 9_999_999_999})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + ".x"
