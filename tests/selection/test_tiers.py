"""Which tier answers: what is compiled already, what pays, and what is compiled behind the answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.base import settings
from tagsel.base.cache import Cache
from tagsel.engine import cost
from tagsel.kernels import driver, kernel_cache
from tagsel.selection import bind_query

MILLION = 1_000_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A process that has compiled nothing, and an empty cache."""
    made = workspace(tmp_path)
    build(made, "a.TAG", rows(20))
    monkeypatch.setenv("TAGSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "_functions", Cache("kernels", entries=kernel_cache.MOST_KERNELS))
    monkeypatch.setattr(cost, "_spent", {})
    monkeypatch.setattr(kernel_cache, "_making", set())
    yield made
    finish()


def finish() -> None:
    """Wait for what is compiled behind the answers."""
    for thread in threading.enumerate():
        if thread.name == "tagsel-compile":
            thread.join()


def choose(home: Workspace, cut: str, events: int) -> str:
    """One step, on one row group."""
    cuts = [(b.cut.node, b.input.snapshot.frame) for b in bind_query(home["a.TAG"].query([cut]))]
    return cost.choose(cuts, [[(events, 1)]])


def test_little_work_is_interpreted_and_much_is_compiled(home: Workspace) -> None:
    """A step and the loop take 0.3 s each to compile; a comparison of 10^9 rows 1.5 s to interpret, of 10^5 0.15 ms."""
    assert choose(home, "MET_pt > 30", MILLION // 10) == "interpreter"
    assert choose(home, "MET_pt > 30", 1000 * MILLION) == "kernel"
    assert not kernel_cache.ready(driver.run_steps)  # nothing was compiled to find out


def test_what_comes_again_is_compiled_behind_the_answers(home: Workspace) -> None:
    """Two million rows and a row group take 3.1 ms; 1 % of 0.3 s is spent after the first question."""
    chosen = [choose(home, "MET_pt > 5", 2 * MILLION)]
    finish()
    assert chosen == ["interpreter"]
    assert choose(home, "MET_pt > 77", 10) == "kernel"  # another threshold is the same step
    assert choose(home, "MET_pt < 77", 10) == "interpreter"


def test_a_process_that_ends_after_its_answer_compiles_nothing_behind(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "one_answer", True)
    for n in range(20):
        assert choose(home, f"MET_pt > {n}", 2 * MILLION) == "interpreter"
    finish()
    assert not kernel_cache.ready(driver.run_steps) and not kernel_cache._making


def test_texts_are_interpreted_however_many(home: Workspace) -> None:
    assert choose(home, "aod_guid == 'a'", 1000 * MILLION) == "interpreter"
