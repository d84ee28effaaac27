"""What a new process imports to answer: a physicist's prompt waits for imports longer than for a small answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import GUIDS, build, rows, workspace

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "numba",
    "llvmlite",
    "pyarrow",
    "deltalake",
    "duckdb",
    "polars",
    "rich",
    "lark",
    "uproot",
    "awkward",
    "matplotlib",
    "hist",
    "boost_histogram",
    "asyncio",
}
CUT = "MET_pt > 20 GeV && nMuon >= 2 && HLT_mu10"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset "d.TAG" of two parts, whose rows come from one file each, entry after entry."""
    made = workspace(tmp_path_factory.mktemp("cold"))
    files = [rows(500, seed, aod_guid=[GUIDS[seed]] * 500, aod_entry=range(500), lumi=[1] * 500) for seed in (1, 2)]
    build(made, "d.TAG", *files)
    return Path(made.folder)


@pytest.mark.parametrize("verb", [["count"], ["cutflow"], ["select"], ["count", "--json"]], ids=" ".join)
def test_a_new_process_answers_without_heavy_libraries(home: Path, verb: list[str]) -> None:
    """The interpreter answers small data from mapped columns, zones and stretches: NumPy and click suffice.

    (To save the list as `.events`, which is Parquet, takes pyarrow.)
    """
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from tagsel.__main__ import main; main()"
    command = [sys.executable, "-c", code, "-w", str(home), verb[0], "d.TAG", CUT, *verb[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert imported & HEAVY == set()
    assert {"numpy", "click", "tagsel"} <= imported
