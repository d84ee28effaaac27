"""Small NanoAOD-like files, and the command line as a process of its own, which tests may kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import console
import numpy as np
import uproot

TAGSEL = [sys.executable, "-m", "tagsel"]


def nano(path: Path, first: int, n: int = 25, run_number: int = 315267) -> Path:
    """A NanoAOD-like file of `n` events numbered from `first`."""
    with uproot.recreate(path) as file:
        file.mktree("Events", {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64", "MET_pt": "float32"})
        file["Events"].extend(
            {
                "run": np.full(n, run_number, np.uint32),
                "luminosityBlock": np.full(n, 3, np.uint32),
                "event": np.arange(first, first + n, dtype=np.uint64),
                "MET_pt": np.linspace(0, 100, n).astype(np.float32),
            }
        )
    return path


def tagsel(*arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a workspace: in a process of its own where `environment` kills it there, else in this one."""
    words = [*map(str, arguments), "-w", str(home)]
    if environment:
        return subprocess.run([*TAGSEL, *words], capture_output=True, text=True, env={**os.environ, **environment})
    return console.in_this_process(words)


def ingest(home: Path, path: Path, name: str = "data18.X.TAG", **environment: str) -> subprocess.CompletedProcess[str]:
    """Ingest one file in a process of its own."""
    return tagsel("ingest", path, "--dataset", name, home=home, **environment)
