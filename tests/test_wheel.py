"""The wheel: what it carries, and that it works installed elsewhere, away from the source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import tagsel

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by hatchling without a network."""
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of another environment that has the wheel, and borrows the libraries of this one."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Only a path: .pth files there, which make the source tree importable, are not read from it.
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home / "bin"


def run(elsewhere: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{elsewhere}{os.pathsep}{environment['PATH']}"
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_carries_all_that_is_no_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    wanted = {f"tagsel/queries/{p.name}" for p in (ROOT / "queries").iterdir()}
    wanted |= {
        str(p.relative_to(ROOT))
        for suffix in ("*.lark", "*.json", "*.sql", "*.toml", "*.py", "py.typed")
        for p in (ROOT / "tagsel").rglob(suffix)
    }
    assert wanted <= names
    needed = ("py.typed", "language/grammar.json", "language/grammar.lark", "catalog/sql/locations.sql")
    assert {f"tagsel/{name}" for name in needed} <= wanted
    assert "tagsel/schema/standard/nanoaod.toml" in wanted
    assert not [n for n in names if not n.startswith(("tagsel/", f"tagsel-{tagsel.__version__}.dist-info/"))]
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_it_is_this_wheel_that_runs(elsewhere: Path, tmp_path: Path) -> None:
    done = run(elsewhere, tmp_path, "python", "-c", "import tagsel; print(tagsel.__file__)")
    assert done.stdout.startswith(str(elsewhere.parent)), done.stdout + done.stderr


def test_verbs_work_away_from_the_source(elsewhere: Path, tmp_path: Path) -> None:
    assert run(elsewhere, tmp_path, "tagsel", "--help").stdout.startswith("Usage: tagsel")
    done = run(elsewhere, tmp_path, "tagsel", "queries", "--json")
    assert done.returncode == 0, done.stderr
    queries = {q["name"]: q["path"] for q in json.loads(done.stdout)["queries"]}
    assert len([n for n in queries if n in ("z_to_mumu", "trigger_2_of_2009")]) == 2
    assert all(path.startswith(str(elsewhere.parent)) for path in queries.values())


def test_the_main_job_works_away_from_the_source(elsewhere: Path, tmp_path: Path) -> None:
    """Schemas, SQL and grammar are found: ingest the muon stream, ask a named cut and a named query."""
    files = ROOT / "data" / "sample" / "files"
    tags = str(files / "data09_900GeV.physics_Muon.TAG._0001.parquet")
    assert run(elsewhere, tmp_path, "tagsel", "init", "W").returncode == 0
    done = run(elsewhere, tmp_path, "tagsel", "-w", "W", "ingest", tags, "--dataset", "muons.TAG")
    assert done.returncode == 0, done.stderr
    done = run(elsewhere, tmp_path, "tagsel", "-w", "W", "count", "muons.TAG", "@muon_trigger")
    assert done.stdout == "4514\n", done.stderr
    done = run(elsewhere, tmp_path, "tagsel", "-w", "W", "datasets", "@summary", "--csv")
    assert done.stdout.splitlines()[1] == "TAG,,1,4517,1", done.stderr
