"""Indices into another collection: `Jet.pt[Muon.jetIdx[0]]`, in all engines, against a loop over rows.

Generated cuts hold such indices, too (tests/cut_writer.py), so the backbone compares their four meanings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tagsel.api import Workspace
from tagsel.engine.interpreter import interpret
from tagsel.errors import CutError
from tagsel.language import Block, Scope, bind
from tagsel.schema import Attribute, Schema

SCOPE = Scope(
    Schema(
        (
            Attribute("MET_pt", "float32", "GeV"),
            Attribute("nMuon", "int32", role="counter"),
            Attribute("Muon.pt", "float32", "GeV", is_list=True, counter="nMuon"),
            Attribute("Muon.jetIdx", "int32", is_list=True, counter="nMuon"),
            Attribute("nJet", "int32", role="counter"),
            Attribute("Jet.pt", "float32", "GeV", is_list=True, counter="nJet"),
        )
    )
)
BLOCK = Block(
    4,
    {
        "MET_pt": np.zeros(4, np.float32),
        "nMuon": np.array([2, 1, 1, 0], np.int32),
        "Muon_pt": np.array([50, 40, 30, 20], np.float32),
        "Muon_jetIdx": np.array([1, 0, -1, 7], np.int32),  # event 0: jets 1 and 0; event 1: none; event 2: past the end
        "nJet": np.array([2, 1, 2, 1], np.int32),
        "Jet_pt": np.array([25, 35, 99, 10, 12, 90], np.float32),
    },
)

CUTS = {
    "Jet.pt[Muon.jetIdx[0]] > 30": [True, False, False, False],  # 35 GeV
    "Jet.pt[Muon.jetIdx[1]] == 25": [True, False, False, False],
    "Jet.pt[Muon.jetIdx[0]] != 0": [True, False, False, False],  # -1, 7 and no muon: missing
    "!(Jet.pt[Muon.jetIdx[0]] > 30)": [False, True, True, True],
    "Jet[Muon.jetIdx[0]].pt > 30 GeV": [True, False, False, False],
    "Jet.pt[nJet - 1] > 30": [True, True, False, True],  # the last jet: 35, 99, 12, 90
    "count(m in Muon: Jet.pt[m.jetIdx] > 20) == 2": [True, False, False, False],
    "any(Jet.pt[Muon.jetIdx] == 25 && Muon.pt == 40)": [True, False, False, False],
    "sum(m in Muon: Jet.pt[m.jetIdx]) == 60": [True, False, False, False],
    "max(m in Muon: m.pt - Jet.pt[m.jetIdx]) == 15": [True, False, False, False],
}


@pytest.mark.parametrize("cut", CUTS)
def test_an_index_may_be_a_stored_value(cut: str) -> None:
    assert interpret(bind(cut, SCOPE).node, BLOCK).tolist() == CUTS[cut]


def test_not_over_an_index_names_the_guard() -> None:
    bare = "!(Jet.pt[Muon.jetIdx[0]] > 30)"
    guarded = f"present(Jet.pt[Muon.jetIdx[0]]) && {bare}"
    (warning,) = bind(bare, SCOPE).warnings
    assert "put present(Jet_pt[…]) && before it" in warning
    assert bind(guarded, SCOPE).warnings == ()


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("Jet.pt[MET_pt] > 1", "an index is a whole number, and this is a number"),
        ("Jet.pt[-1] > 1", "an index is a whole number: 0, 1, 2, …"),
        ("Jet.pt[1.5] > 1", "an index is a whole number: 0, 1, 2, …"),
        ("MET_pt[nMuon] > 1", "MET_pt is one value an event, not a list"),
        ("Jet[Muon.jetIdx[0]] > 1", r"Jet\[…\] with an index that is not a number is no object"),
        ("Jet.pt[Muon.jetIdx] > 1", "this is true or false for each object of Muon"),
    ],
)
def test_what_is_no_index_is_refused(cut: str, message: str) -> None:
    with pytest.raises(CutError, match=message):
        bind(cut, SCOPE)


def test_real_indices_of_nanoaod(real: Callable[[str], Path], tmp_path: Path) -> None:
    """32 of 40 events, computed apart with awkward: ak.any over pt of the jet that the leading muon names."""
    home = Workspace.init(tmp_path / "W")
    home.ingest(real("nano_dimuon.root"), dataset="d.TAG", profile="full")
    assert home["d.TAG"].count("Jet.pt[Muon.jetIdx[0]] > 20").accepted == 32
