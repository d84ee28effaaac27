"""A list that came from `select` is looked up again, whether the catalog knows its files or not."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import GUIDS, build, rows, workspace

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import StoreError
from tagsel.selection import select


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_feature_52_events_of_files_without_a_path_are_found_among_the_tags(home: Workspace) -> None:
    build(home, "a.TAG", rows(200, 1), rows(100, 2))
    events = home["a.TAG"].select("MET_pt > 20")
    picked = home["a.TAG"].pick(events)
    assert len(events) > 0 and not picked.misses
    assert [tuple(e) for e in picked.events] == [tuple(e) for e in events]


def test_feature_54_simulated_events_are_found_in_the_files_that_they_name(home: Workspace) -> None:
    """Two files repeat the numbers 1000 … 1049; a list of one file's events is just these."""
    a, b = ({**rows(50, 1), "aod_guid": np.array([GUIDS[g]] * 50, object)} for g in (5, 7))
    build(home, "mc.TAG", a, b, simulation=True)
    events = home["mc.TAG"].select("MET_pt > 20")
    one = events[np.array([e.guid == GUIDS[5] for e in events])]
    picked = home["mc.TAG"].pick(one)
    assert 0 < len(one) < len(events) and not picked.misses
    assert picked.events.digest == one.digest


def test_losses_are_allowed_in_columns_that_only_the_list_needs(home: Workspace) -> None:
    """Entries that do not rise are read from their column; damaged, its part is unreadable in either tier."""
    random = np.random.default_rng(2)
    table = build(home, "a.TAG", rows(300, 1, aod_entry=random.permutation(300)), rows(50, 2))
    part = table.snapshot().parts[0]
    at = int(part.block("aod_entry")[7, 0])
    data = bytearray(part.path.read_bytes())
    data[at] ^= 1
    part.path.write_bytes(data)
    found = []
    for tier in ("interpreter", "kernel"):
        query = replace(home["a.TAG"].query(["MET_pt > 20"]), tier=tier, allow_losses=True)
        found.append(select(query)[1].ledger.to_json())
        with pytest.raises(StoreError, match="aod_entry"):
            select(replace(query, allow_losses=False))
    assert found[0] == found[1] and found[0]["unreadable"] == 300


@pytest.mark.parametrize("name", ["list.txt", "my list.events"])
def test_a_file_in_the_place_of_an_event_is_named_with_its_option(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The hint, followed as it is written, finds the event; one for a file that is not there says so."""
    build(home, "a.TAG", rows(3, 1))
    event = next(iter(home["a.TAG"].select("true")))
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(f"{event.run}:{event.event}\n")
    assert run(["pick", "-w", str(home.folder), "a.TAG", name]) == 2
    hint = capsys.readouterr().err.rpartition("try: ")[2]
    option = shlex.split(hint)[:2]
    assert run(["pick", "-w", str(home.folder), "a.TAG", *option]) == 0
    assert f"{event.run}:{event.lumi}:{event.event}\t" in capsys.readouterr().out
    Path(name).unlink()
    assert run(["pick", "-w", str(home.folder), "a.TAG", name]) == 2
    assert f"there is no file {name}" in capsys.readouterr().err
