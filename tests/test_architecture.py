"""The shape of the package: layers, sizes, public names, docstrings, and what importing loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tagsel

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tagsel"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("numba", "uproot", "awkward", "pyarrow", "duckdb", "deltalake", "matplotlib", "polars", "hist", "lark", "rich")


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]


def test_imports_only_go_down() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_no_import_of_tagsel_dodges_the_layers_from_inside_a_function() -> None:
    """Function-level imports count in the contract too: import-linter sees them; this shows that it does."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import grimp; g = grimp.build_graph('tagsel');"
            "print(g.direct_import_exists(importer='tagsel.api.event_lists', imported='tagsel.api.submission'))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"  # it does so within a function only


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_and_public_name_is_described(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module"
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), node.name
        if isinstance(node, ast.ClassDef) and "Protocol" not in {getattr(b, "id", "") for b in node.bases}:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_") and not _overload(inner):
                    assert ast.get_docstring(inner), f"{node.name}.{inner.name}"


def _overload(function: ast.FunctionDef) -> bool:
    return any(getattr(d, "id", "") == "overload" for d in function.decorator_list)


def test_the_public_face_is_what_it_says() -> None:
    assert 15 <= len(tagsel.__all__) <= 25
    assert sorted(tagsel.__all__) == list(tagsel.__all__)
    for name in tagsel.__all__:
        assert getattr(tagsel, name) is not None
    assert set(dir(tagsel)) == set(tagsel.__all__)


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join({{m.partition('.')[0] for m in sys.modules}}))"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_tagsel_loads_nothing_heavy() -> None:
    assert not loaded("import tagsel").intersection(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "from tagsel.cli.main import run\nassert run(['--help']) == 0\nassert run(['select', '--help']) == 0"
    assert not loaded(code).intersection((*HEAVY, "numpy"))


def test_there_are_no_empty_rooms() -> None:
    for folder in {p.parent for p in MODULES}:
        code = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert code or any(f.is_dir() for f in folder.iterdir()), folder


@pytest.mark.parametrize("lock", ["requirements.lock", "bench/rivals.lock", "scripts/docs.lock"])
def test_the_lock_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert "://" not in text and "index" not in text


def test_the_rivals_stay_out_of_the_environment_of_the_tests() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not any(f"\n{rival}==" in text for rival in ("chdb", "datafusion", "root"))
