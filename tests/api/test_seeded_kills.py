"""Kills at steps and passages chosen by a printed seed; whatever was acknowledged before is there after.

`TAGSEL_SEED=123 scripts/test tests/api/test_seeded_kills.py -s` repeats one; without it the day's seed is taken.
"""

from __future__ import annotations

import os
import random
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nanofile import nano, tagsel

from tagsel.api import Workspace

SEED = int(os.environ.get("TAGSEL_SEED", datetime.now(UTC).strftime("%Y%m%d")))
STEPS = (
    "store.write",
    "store.fsync",
    "store.rename",
    "store.commit",
    "store.logged",
    "store.manifest",
    "catalog.journal",
    "catalog.apply",
)
FILES, EVENTS = 3, 25


def ingest(home: Path, *paths: Path, kill: str = "") -> int:
    """The exit code of an ingest in a process of its own, killed at a step where one is named."""
    return tagsel(
        "ingest", *paths, "--dataset", "x.TAG", home=home, **({"TAGSEL_KILL_AT": kill} if kill else {})
    ).returncode


@pytest.mark.parametrize("turn", range(3))
def test_fault_13_nothing_acknowledged_is_lost_wherever_an_ingest_dies(tmp_path: Path, turn: int) -> None:
    chance = random.Random(SEED + turn)
    home = Workspace.init(tmp_path / "W").folder
    first = nano(tmp_path / "first.root", 1, EVENTS)
    rest = [nano(tmp_path / f"{k}.root", 1000 * (k + 1), EVENTS) for k in range(FILES)]
    assert ingest(home, first) == 0  # acknowledged
    died = 0
    for _ in range(3):
        # Steps before the commit are passed once a file, the others once an ingest.
        step = chance.choice(STEPS)
        passage = chance.randint(1, FILES) if step in ("store.write", "store.fsync", "store.rename") else 1
        print(f"seed {SEED}, turn {turn}: {step}:{passage}")
        code = ingest(home, *rest, kill=f"{step}:{passage}")
        assert code in (0, -signal.SIGKILL)
        died += code == -signal.SIGKILL
        count = Workspace(home)["x.TAG"].count("true").accepted
        assert count in (EVENTS, EVENTS * (1 + FILES)), f"{step}:{passage} left {count} events"
        if count > EVENTS:
            break  # the commit came before the kill: all is there, and asking again does nothing
    assert died, "no step was reached"
    assert ingest(home, *rest) == 0
    ws = Workspace(home)
    assert ws["x.TAG"].count("true").accepted == EVENTS * (1 + FILES)
    assert ws.catalog.dataset("x.TAG").events == EVENTS * (1 + FILES)
    ws.datasets.gc("x.TAG", grace=0)
    assert ws["x.TAG"].count("true").accepted == EVENTS * (1 + FILES)
