"""Picking by the event index against the slow way, which looks at every row: the same list, hits and misses, always."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.engine.row_groups import Unit
from tagsel.events import EventList
from tagsel.language.bounds import ALL
from tagsel.selection import Query
from tagsel.selection import pick as by_index
from tagsel.selection.eligible_rows import rows_that_count
from tagsel.selection.list_builder import event_list, events_of_group

EVENTS = (0, 1, 2, 3, 2**53, 2**53 + 1, 2**62, 2**63 - 1)


def slow_pick(query: Query, wanted: EventList) -> tuple[EventList, list[tuple[int, int, int]]]:
    """What every row, looked at one by one, says of the wanted: the list, and the misses in the order asked."""
    counts = rows_that_count(query, masked=False)
    hit, blocks = np.zeros(len(wanted), bool), []
    for index, source in enumerate(query.inputs):
        for part in source.snapshot.parts:
            for group, size in enumerate(part.groups):
                unit = Unit(index, part, group, size, ALL, 0)
                columns = part.read(group, ["run", "lumi", "event"])
                duplicate = counts.duplicates(unit)
                kept = []
                for row in range(size):
                    run, lumi, event = (int(columns[c][row]) for c in ("run", "lumi", "event"))
                    if duplicate is not None and duplicate[row]:
                        continue
                    answers = [
                        k for k, e in enumerate(wanted) if (e.run, e.event) == (run, event) and e.lumi in (-1, lumi)
                    ]
                    hit[answers] = True
                    kept += [row] if answers else []
                if kept:
                    blocks.append(events_of_group(unit, np.array(kept)))
    misses = [(e.run, e.lumi, e.event) for k, e in enumerate(wanted) if not hit[k]]
    return event_list(blocks, query.inputs, None, {}), misses


def compared(query: Query, wanted: EventList) -> None:
    fast, (slow, misses) = by_index(query, wanted), slow_pick(query, wanted)
    assert list(fast.events) == list(slow)
    assert fast.events.digest == slow.digest
    assert list(fast.misses) == misses
    assert fast.asked == len(wanted)
    assert fast.events.provenance["missed"] == len(misses)


def some_rows(random: np.random.Generator) -> dict[str, Any]:
    """Rows of few runs and few events, so that both repeat, within a part and between parts."""
    n = int(random.integers(1, 40))
    wild = random.random() < 0.5
    return rows(
        n,
        int(random.integers(1, 1000)),
        run=random.integers(7, 10, n).astype(np.int32),
        event=random.choice(EVENTS, n) if wild else random.integers(0, 30, n),
        aod_entry=random.permutation(n).astype(np.int64),
    )


def some_ids(random: np.random.Generator, n: int) -> EventList:
    """Ids of which some are there, in this luminosity block or another, or in none that is asked for."""
    lumi = np.where(random.random(n) < 0.5, -1, random.integers(1, 6, n))
    event = np.where(random.random(n) < 0.3, random.choice(EVENTS, n), random.integers(0, 40, n))
    return EventList.from_arrays(random.integers(6, 11, n), lumi, event)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_feature_52_54_the_index_answers_as_every_row_does(seed: int, simulation: bool) -> None:
    """Two datasets, several parts; then packed; then restored; each policy. Every id is found or listed."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Workspace.init(Path(folder) / "W")
        for name in ("x.A.TAG", "x.B.TAG")[: 1 + simulation]:
            parts = [some_rows(random) for _ in range(3)]
            table = build(home, name, *parts, simulation=simulation, sample=name if simulation else "")
        for change in (None, table.compact, lambda: table.restore(1)):
            if change is not None:
                change()
            for policy in ("", "all"):
                compared(home["x.*"].query([], duplicates=policy), some_ids(random, int(random.integers(0, 60))))


def test_feature_54_simulation_that_repeats_ids_returns_all(tmp_path: Path) -> None:
    """Run 1, events 1 to 5 in two parts of one file each: every id has two rows."""
    home = Workspace.init(tmp_path / "W")
    twice = [rows(5, k, run=np.ones(5, np.int32), event=np.arange(1, 6), lumi=np.full(5, k, np.int32)) for k in (1, 2)]
    build(home, "mc.TAG", *twice, simulation=True, sample="mc")
    picked = home["mc.TAG"].pick(["1:3", "1:2:5", "1:9"])
    assert sorted((e.lumi, e.event) for e in picked.events) == [(1, 3), (2, 3), (2, 5)]
    assert picked.misses == ((1, -1, 9),)


def test_feature_51_another_luminosity_block_is_said(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    build(home, "a.TAG", rows(3, 1, run=np.full(3, 7, np.int32), lumi=np.full(3, 4, np.int32), event=np.arange(3)))
    picked = home["a.TAG"].pick(["7:5:1", "7:4:2", "7:5:9", "7:0"])
    assert [e.event for e in picked.events] == [0, 2]
    assert picked.misses == ((7, 5, 1), (7, 5, 9))
    assert picked.elsewhere == {(7, 5, 1): 4}
    assert [m["in_lumi"] for m in picked.to_json()["misses"]] == [4, None]


def test_a_list_names_a_thousand_misses_and_counts_them_all(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    build(home, "a.TAG", rows(3, 1))
    asked = EventList.from_arrays(np.full(1500, 5), np.full(1500, -1), np.arange(1500))
    picked = home["a.TAG"].pick(asked)
    assert len(picked.misses) == 1500
    assert picked.events.provenance["missed"] == 1500
    assert len(picked.events.provenance["misses"]) == 1000


def test_ids_are_looked_up_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 7 ids: the same list and misses as in one piece."""
    from tagsel.store import lookup

    home = Workspace.init(tmp_path / "W")
    build(home, "a.TAG", rows(200, 1), rows(100, 2))
    random = np.random.default_rng(4)
    asked = EventList.from_arrays(random.integers(7, 10, 300), np.full(300, -1), random.integers(900, 2200, 300))
    whole = home["a.TAG"].pick(asked)
    sizes: list[int] = []
    original = lookup.find_in
    monkeypatch.setattr(lookup, "_AT_ONCE", 7)
    monkeypatch.setattr(lookup, "find_in", lambda p, r, e: sizes.append(len(r)) or original(p, r, e))
    pieces = home["a.TAG"].pick(asked)
    assert (list(pieces.events), pieces.misses) == (list(whole.events), whole.misses)
    assert max(sizes) == 7 and 0 < len(pieces.events) < 300


def test_why_touches_only_parts_that_may_hold_the_event(tmp_path: Path) -> None:
    """A part of other events may be gone: the answer does not need it."""
    home = Workspace.init(tmp_path / "W")
    table = build(home, "a.TAG", rows(20, 1), rows(20, 2))
    first, other = table.snapshot().parts
    columns = first.read(0, ["run", "event"])
    home["a.TAG"].count()  # marks of duplicates are there
    other.path.unlink()
    assert home["a.TAG"].why((int(columns["run"][3]), int(columns["event"][3])), "true").verdict == "accepted"
    assert home["a.TAG"].why((8, 3000), "true").verdict == "not in dataset"
