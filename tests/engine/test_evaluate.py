"""`evaluate` gives the same bitmaps whichever way it chooses, and a row group that is lost has no passing row."""

from __future__ import annotations

from dataclasses import replace
from operator import add

import numpy as np
import numpy.typing as npt
import pytest
from builders import SCHEMA, build, rows, workspace

from tagsel.engine import evaluate as module
from tagsel.engine.compiled_scan import How, Unanswered
from tagsel.engine.evaluate import Passing, evaluate, fold_passing, total_fate
from tagsel.engine.row_groups import Unit
from tagsel.errors import StoreError
from tagsel.language import Block
from tagsel.quality import LumiSet
from tagsel.schema import Schema
from tagsel.selection import Query, prepare
from tagsel.selection.run import candidates_of
from tagsel.store import layout

CUTS = ("true", "MET_pt > 20 && nMuon >= 1", "MET_pt > 1e9", "nMuon > 0 && event % nMuon == 0", "HLT_mu10 || run == 8")


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Query:
    """Rows in three row groups, and a part that lacks MET_pt; some luminosity blocks are not good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", 333)
        home = workspace(tmp_path_factory.mktemp("evaluate"))
        build(home, "a.TAG", rows(900, 1), rows(70, 2))
        less = Schema(tuple(a for a in SCHEMA if a.name != "MET_pt"), "test")
        build(home, "a.TAG", {k: v for k, v in rows(30, 3).items() if k != "MET_pt"}, schema=less)
    good = LumiSet.from_ranges([(7, 1, 4), (8, 1, 5), (9, 2, 3)])
    return home["a.TAG"].query(["true"], lumi=(good,))


def passing(query: Query, cut: str, how: How) -> Passing:
    """The rows of the only input that pass a cut."""
    return evaluate(candidates_of(prepare(replace(query, cuts=(("", cut),))), 0), how)


def row_numbers(found: Passing) -> list[int]:
    assert found.bitmaps is not None
    return found.bitmaps.rows(found.candidates.frame).tolist()


@pytest.mark.parametrize("cut", CUTS)
def test_every_way_gives_the_same_rows(query: Query, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = passing(query, cut, How(True, tier="interpreter"))
    fast = passing(query, cut, How(True, tier="kernel"))
    assert row_numbers(fast) == row_numbers(slow)
    assert fast.fate.alive == slow.fate.alive > 0 and fast.fate.masked == slow.fate.masked > 0
    for tier in ("interpreter", "kernel"):
        counted = passing(query, cut, How(False, tier=tier))
        assert (counted.count, counted.bitmaps) == (len(row_numbers(slow)), None)

    def gives_up(*of: object) -> None:
        raise Unanswered

    monkeypatch.setattr(module, "accept", gives_up)
    assert row_numbers(passing(query, cut, How(True, tier="kernel"))) == row_numbers(slow)


@pytest.mark.parametrize("tier", ["interpreter", "kernel"])
def test_a_row_group_that_cannot_be_read_later_stops_or_is_lost(query: Query, tier: str) -> None:
    found = passing(query, "MET_pt > 20", How(True, tier=tier))

    def work(unit: Unit, block: Block, bits: npt.NDArray[np.uint64]) -> int:
        if unit.group == 1:
            raise StoreError("the column is damaged")
        return int(np.bitwise_count(bits).sum())

    with pytest.raises(StoreError, match="damaged") as error:
        fold_passing([found], work, add, 0, How(True, tier=tier))
    assert "--allow-losses" in error.value.hint
    total, (rest,) = fold_passing([found], work, add, 0, How(True, tier=tier, allow_losses=True))
    assert total == rest.count == len(row_numbers(rest)) < found.count
    fate = total_fate([rest])
    assert (fate.unreadable, fate.losses) == (333, ("the column is damaged",))
    assert fate.alive + fate.masked + fate.duplicate + fate.unreadable == 1000
