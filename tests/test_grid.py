"""The whole way, all real: select, Rucio's copies, HTCondor, XRootD, merge, registered, and selected from again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from testbed import grid
from testbed.servers import Missing, open_way

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.grid


def test_scripts_grid_goes_the_whole_way(tmp_path_factory: pytest.TempPathFactory) -> None:
    """scripts/grid-chain in the grid, as `scripts/grid` does; it fails itself where the answer is not the local one."""
    home = tmp_path_factory.mktemp("grid")  # a short name: sockets have at most 108 letters
    open_way(home)
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    try:
        with grid.running(home / "g") as environment:
            done = subprocess.run(
                [ROOT / "scripts/grid-chain", home / "out"],
                capture_output=True,
                text=True,
                check=False,
                timeout=240,
                env={**os.environ, **environment, "PATH": paths, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            )
    except Missing as missing:
        pytest.skip(str(missing))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    accepted = re.findall(r"([\d,]+) events accepted", said)[0]
    assert f"{accepted} accepted + {accepted} delivered + 0 unreadable + 0 failed" in said
    assert "yes: " in done.stdout
