"""scripts/bench: it runs, and gives up where answers differ. Times are not looked at."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    """bench/suite.py."""
    spec = importlib.util.spec_from_file_location("suite", ROOT / "bench" / "suite.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["suite"] = module  # its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def arguments(folder: Path) -> list[str]:
    return ["suite", "--events", "3000", "--repeat", "1", "--threads", "2", "--folder", str(folder)]


def test_answers_are_duckdb_s_on_the_same_parts(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", arguments(tmp_path))
    assert suite.main() == 0
    said = capsys.readouterr().out
    assert all(question.name in said for question in suite.QUESTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["W3000"], "nothing else is left"

    wrong = suite.Question("wrong", "NTrk > 10", "NTrk > 11")
    monkeypatch.setattr(suite, "QUESTIONS", (wrong,))
    assert suite.main() == 1
    assert "wrong: the answers differ" in capsys.readouterr().out
    wrong = suite.Question("wrong", "NTrk > 10", "NTrk > 11", select=True)
    monkeypatch.setattr(suite, "QUESTIONS", (wrong,))
    assert suite.main() == 1
