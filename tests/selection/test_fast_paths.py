"""Every fast way to an answer gives what a loop over rows gives: tiers, zones, threads, stretches, masks.

Generated cuts on generated datasets of several parts with small row groups: columns that parts lack, repeated events,
good-run lists, menus that disagree, NaN and everything else that hurts. The loop knows the oracle only.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle as slow
import pytest
from hypothesis import settings
from strategies import MENUS, SCHEMA, lumi, make_table, write_cut
from tag_parts import Event, by_hand, dataset, numbered, opened

from tagsel.errors import CutError
from tagsel.language import Scope, bind
from tagsel.language.tree import walk
from tagsel.quality import LumiSet
from tagsel.selection import Query, count, select
from tagsel.store import layout

MANY = settings.default.max_examples > 1000  # --profile more
CASES = settings.default.max_examples if MANY else 60
COMPILED = CASES if MANY else 8
"""Cases whose cut is compiled: it takes up to a second a step."""
SMALL = 30
"""Nodes of a cut that is compiled in CI."""

TIERS = ("interpreter", "kernel")


@pytest.fixture(autouse=True)
def _small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROW_GROUP", 4)


def answers(query: Query, zones: bool) -> tuple[list[Event], dict[str, int], int, dict[str, int]]:
    """Events and ledger of `select`, accepted events and ledger of `count`."""
    events, listed = select(query, zones=zones)
    counted = count(query, zones=zones)
    return [tuple(e) for e in events], listed.ledger.to_json(), counted.accepted, counted.ledger.to_json()


@pytest.mark.slow
def test_all_fast_ways_are_the_slow_one(tmp_path: Path) -> None:
    seen = {"answered": 0, "unanswerable": 0, "accepted": 0, "duplicate": 0, "masked": 0, "compiled": 0}
    folders = (tmp_path / f"d{n}" for n in itertools.count())

    def agree(seed: int, given: str = "") -> None:
        rng = np.random.default_rng(seed)
        cut = given or write_cut(int(rng.integers(2**63)), int(rng.integers(0, 3)))
        repeat, simulation = bool(rng.random() < 0.4), bool(rng.random() < 0.2)
        sizes = rng.integers(0, 15, 3).tolist()
        made = [make_table(n, int(rng.integers(2**32))) for n in sizes]
        tables = [numbered(t, 100 * n, repeat) for n, t in enumerate(made)]
        good = LumiSet.from_ranges([(r, 1, 6) for r in range(0, 12, 2)]) if rng.random() < 0.5 else None
        source = opened("d", dataset(next(folders), tables), simulation)
        query = Query((source,), (("", cut),), lumi=(good,) if good else (), tables=lumi)
        node = bind(cut, Scope(SCHEMA, MENUS, lumi)).node
        small = MANY or sum(1 for _ in walk(node)) <= SMALL
        compiled = small and seen["compiled"] < COMPILED
        seen["compiled"] += compiled
        ways = list(itertools.product(TIERS if compiled else TIERS[:1], (True, False), (1, 3)))
        try:
            events, ledger = by_hand(node, tables, query.policy, good)
        except slow.Unanswerable:
            seen["unanswerable"] += 1
            for tier, zones, threads in ways:
                with pytest.raises(CutError):
                    select(replace(query, tier=tier, threads=threads), zones=zones)
            return
        seen["answered"] += 1
        for fate in ("accepted", "duplicate", "masked"):
            seen[fate] += ledger[fate]
        for tier, zones, threads in ways:
            found = answers(replace(query, tier=tier, threads=threads), zones)
            assert found == (events, ledger, len(events), ledger), (cut, tier, zones, threads)

    for seed in range(CASES):
        agree(seed)
    for seed in range(4):
        agree(seed, "j % i == 0")  # i is 0 in a row of some of these
    assert seen["compiled"] >= COMPILED
    assert seen["answered"] > 0.8 * CASES and seen["unanswerable"] > 0
    assert min(seen[fate] for fate in ("accepted", "duplicate", "masked")) > CASES
