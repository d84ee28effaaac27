"""Fixtures of the store's tests: the table maker, and a way to run it as a program of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tagsel.store import Table

MAKER = Path(__file__).with_name("tagmaker.py")


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    """The module tagmaker."""
    spec = importlib.util.spec_from_file_location("tagmaker", MAKER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table(tmp_path: Path, maker: ModuleType) -> Table:
    """A dataset of one part of 300 rows: snapshot 1."""
    made = Table.create(tmp_path / "ds", maker.SCHEMA)
    made.append([maker.part(made.folder, 300)], maker.SCHEMA, {})
    return made


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tagmaker.py ARGUMENTS` with more environment; the finished process."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(MAKER), *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
