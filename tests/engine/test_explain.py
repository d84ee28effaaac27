"""Why a row passes: steps written out by hand, and in agreement with the interpreter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from strategies import MENUS, SCHEMA, Table, cuts, lumi, tables

from tagsel.engine.explain import explain_row, only_row
from tagsel.engine.interpreter import interpret
from tagsel.errors import CutError
from tagsel.language import Block, Scope, bind

SCOPE = Scope(SCHEMA, MENUS, lumi)
BLOCK = Block(
    2,
    {
        "nMuon": np.array([2, 1], np.int32),
        "Muon_pt": np.array([30.0, 0.1, 25.5], np.float32),
        "i": np.array([1, 5], np.int32),
        "j": np.array([3, 2**62]),
    },
)


def test_feature_50_each_atom_with_what_it_saw() -> None:
    """Row 50's ground: the verdict of each atom of an event, with values."""
    bound = bind("count(Muon.pt > 10 GeV) >= 1 && !(Muon.pt[1] > 1 GeV) && i not in (2, 3) && MET_pt < 1", SCOPE)
    steps = explain_row(bound, BLOCK, 1)
    assert [(s.text, s.verdict, s.values) for s in steps] == [
        ("count(Muon.pt > 10 GeV) >= 1", True, (("count(Muon.pt > 10 GeV)", 1),)),
        ("Muon.pt[1] > 1 GeV", False, (("Muon.pt[1]", "missing"),)),
        ("i not in (2, 3)", True, (("i", 5),)),
        ("MET_pt < 1", False, (("MET_pt", "missing"),)),
    ]
    assert explain_row(bound, BLOCK, 0)[1].values == (("Muon.pt[1]", 0.1),)  # a float32, as people write it


def test_an_atom_without_answer_says_so() -> None:
    (step,) = explain_row(bind("j * 2 > 1", SCOPE), BLOCK, 1)
    assert not step.verdict and step.values == (("j * 2 > 1", "the cut overflows 64-bit integers"),)


@given(cuts(), tables(5))
def test_one_row_is_the_row_of_the_block(text: str, table: Table) -> None:
    bound, block = bind(text, SCOPE), table.block()
    for row in range(table.rows):
        alone, alive = only_row(bound.node, block, row), np.arange(table.rows) == row
        try:
            verdict = interpret(bound.node, block, alive)[row]
        except CutError:
            continue
        assert interpret(bound.node, alone)[0] == verdict
        assert explain_row(bound, block, row)
