"""The real Ganga, with a home of its own: jobs are submitted in one session and followed in the next."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.servers import installed

PATIENCE_S = 120

_FOLLOW = """
import json, sys, time
told = []
end = time.time() + 60
for job in jobs:
    while job.status not in ("completed", "failed", "killed") and time.time() < end:
        runMonitoring()
        time.sleep(0.2)
    parts = [(s.status, s.outputdir) for s in job.subjobs]
    told.append(dict(name=job.name, status=job.status, subjobs=parts))
open(sys.argv[1], "w").write(json.dumps(told))
"""


@dataclass(frozen=True)
class Ganga:
    """Ganga's program, and its home."""

    program: Path
    home: Path

    def run(self, script: Path, *arguments: str, cwd: Path | None = None) -> str:
        """Run a script in a session of its own; all that was said."""
        command = [str(self.program), "--no-prompt", "--quiet", str(script), *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HOME": str(self.home)}
        done = subprocess.run(
            command,
            env=environment,
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.stdout

    def follow(self) -> list[dict[str, Any]]:
        """Every job when it has ended: `name`, `status`, and (status, output folder) of its `subjobs`."""
        script, told = self.home / "follow.py", self.home / "followed.json"
        script.write_text(_FOLLOW)
        told.unlink(missing_ok=True)
        said = self.run(script, str(told))
        assert told.exists(), said
        return list(json.loads(told.read_text()))


@contextmanager
def running(folder: Path) -> Iterator[Ganga]:
    """Ganga with nothing in its registry. Missing where it is not installed."""
    program = installed("ganga") / "venv/bin/ganga"
    home = folder / "home"
    home.mkdir(parents=True)
    made = {**os.environ, "HOME": str(home)}
    subprocess.run([program, "-g"], env=made, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
    yield Ganga(program, home)
