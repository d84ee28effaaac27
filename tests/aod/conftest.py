"""Fixtures of the AOD tests: the maker of small AOD files, and a sample of three of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("aodmaker", Path(__file__).with_name("aodmaker.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["aodmaker"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    """The module aodmaker."""
    return _load()


@pytest.fixture(scope="session")
def sample(maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three good files of 50, 30 and 40 events; nobody changes them."""
    return maker.make(tmp_path_factory.mktemp("aod"))


@pytest.fixture
def own(maker: ModuleType, tmp_path: Path) -> Any:
    """Three files of this test alone, to be damaged."""
    return maker.make(tmp_path)
