"""Fixtures of the tests of jobs: the maker of small AOD files, a sample, and an executor in this process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from inline_executor import InlineExecutor
from testbed.servers import open_way

from tagsel.jobs import Job, submit


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are tried again at once."""
    from tagsel.jobs import retries

    monkeypatch.setattr(retries, "PAUSE_S", 0.0)


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    """The module aodmaker."""
    path = Path(__file__).parent.parent / "aod" / "aodmaker.py"
    spec = importlib.util.spec_from_file_location("aodmaker", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["aodmaker"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sample(maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three good files of 50, 30 and 40 events; nobody changes them."""
    return maker.make(tmp_path_factory.mktemp("aod"))


@pytest.fixture
def own(maker: ModuleType, tmp_path: Path) -> Any:
    """Three files of this test alone, to be damaged."""
    return maker.make(tmp_path)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Write a script; `body` is its text."""

    def write(body: str, name: str = "job.py") -> Path:
        path = tmp_path / name
        path.write_text(body)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder into which pieces of other users write."""
    open_way(tmp_path)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def inline() -> InlineExecutor:
    """An executor in this process."""
    return InlineExecutor()


@pytest.fixture
def run(sample: Any, tmp_path: Path, script: Callable[[str], Path], inline: InlineExecutor) -> Callable[..., Job]:
    """Submit a script's text on rows of the sample (all by default), here, and wait."""

    def do(body: str, rows: Any = range(120), of: Any = None, **more: Any) -> Job:
        source = of or sample
        events = source.events(rows)
        job = submit(tmp_path / "jobs", events, source.map(events), script(body), executor=inline, **more)
        job.wait()
        return job

    return do
