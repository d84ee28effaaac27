"""Bounds on zones written out by hand: one group a case, its verdict worked out beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from slow_zones import SlowZone
from strategies import DTYPES, MENUS, SCHEMA, lumi

from tagsel.language import Scope, bind
from tagsel.language.bounds import ALL, NONE, SOME, bounds

SCOPE = Scope(SCHEMA, MENUS, lumi)
WORDS = {NONE: "none", SOME: "some", ALL: "all"}


@dataclass(frozen=True)
class Z:
    """A column's zone in one group."""

    low: Any
    high: Any
    nans: int = 0
    values: int = 10


def verdict(cut: str, absent: Sequence[str] = (), **columns: Z) -> str:
    """The verdict on one group."""
    zones = {
        name: SlowZone(
            np.array([z.low], DTYPES[SCHEMA.by_column[name].type]),
            np.array([z.high], DTYPES[SCHEMA.by_column[name].type]),
            np.array([z.nans]),
            np.array([z.values]),
        )
        for name, z in columns.items()
    }
    return WORDS[int(bounds(bind(cut, SCOPE).node, zones, 1, frozenset(absent))[0])]


@pytest.mark.parametrize(
    ("cut", "wanted"),
    [
        ("i > 5", "some"),
        ("i > 9", "none"),
        ("i > 1", "all"),
        ("i >= 9", "some"),
        ("i >= 2", "all"),
        ("i < 2", "none"),
        ("i <= 2", "some"),
        ("i == 1", "none"),
        ("i == 2", "some"),
        ("i != 1", "all"),
        ("!(i > 9)", "all"),
        ("!(i > 1)", "none"),
        ("!(i > 5)", "some"),
        ("i in (0, 1, 10)", "none"),
        ("i in (0, 5)", "some"),
        ("i not in (0, 1)", "all"),
        ("i > 9 && i > 5", "none"),
        ("i > 5 && i > 1", "some"),
        ("i > 1 || i > 5", "all"),
        ("i > 9 || i < 2", "none"),
        ("i + 1 > 2", "all"),
        ("2 * i - 4 >= 0", "all"),
        ("-i < -9", "none"),
        ("abs(i) < 2", "none"),
        ("i / 2 >= 1", "all"),
        ("sqrt(i) > 3.1", "none"),
        ("sqrt(i) > 1.4", "all"),
        ("cos(i) <= 1.5", "all"),
        ("(i & 3) < 4", "all"),
        ("i % 5 < 5", "all"),
        ("max2(i, 3) >= 3", "all"),
        ("min2(i, 20) > 9", "none"),
    ],
)
def test_feature_09_integers_between_2_and_9(cut: str, wanted: str) -> None:
    """Row 9: zones decide row groups without their rows."""
    assert verdict(cut, i=Z(2, 9)) == wanted


def test_a_point() -> None:
    assert verdict("i == 4", i=Z(4, 4)) == "all"
    assert verdict("i != 4", i=Z(4, 4)) == "none"
    assert verdict("i in (1, 4)", i=Z(4, 4)) == "all"


def test_nan_forbids_all_but_not_none() -> None:
    """Values 2 to 9 and a NaN: every comparison but != is false for it."""
    some, unknown = Z(2, 9, 1), Z(2, 9, -1)
    for zone in (some, unknown):
        assert verdict("x > 1", x=zone) == "some"
        assert verdict("x > 9", x=zone) == "none"
        assert verdict("!(x > 9)", x=zone) == "all"  # the NaN passes as well
        assert verdict("!(x > 1)", x=zone) == "some"
        assert verdict("x != 1", x=zone) == "all"
        assert verdict("isnan(x)", x=zone) == "some"
    assert verdict("x != 4", x=Z(4, 4, 0)) == "none"
    assert verdict("x != 4", x=Z(4, 4, -1)) == "some"
    assert verdict("isnan(x)", x=Z(2, 9, 0)) == "none"
    assert verdict("isfinite(x)", x=Z(2, 9, 0)) == "all"


def test_fault_06_only_nan() -> None:
    """Ten values, all NaN: min and max mean nothing."""
    zone = Z(0, 0, 10)
    assert verdict("x == 0", x=zone) == "none"
    assert verdict("x != 0", x=zone) == "all"
    assert verdict("isnan(x)", x=zone) == "all"
    assert verdict("isfinite(x)", x=zone) == "none"


def test_infinities_make_nan() -> None:
    """inf - inf, 0 * inf and inf / inf are NaN, so nothing is certain of them."""
    wide = Z(-np.inf, np.inf)
    assert verdict("x - x != 1", x=wide) == "some"
    assert verdict("x * y >= 0", x=Z(0, 1), y=Z(0, np.inf)) == "some"
    assert verdict("x / y >= 0", x=Z(1, np.inf), y=Z(1, np.inf)) == "some"
    assert verdict("x / y > 0", x=Z(1, 2), y=Z(-1, 1)) == "some"  # the divisor may be 0
    assert verdict("log(x) < 5", x=Z(-1, 2)) == "some"  # NaN below 0


def test_overflow_and_remainder_are_never_skipped() -> None:
    """A row that may have no answer must be looked at, unless a term before it stops."""
    assert verdict("j * j < 0", j=Z(0, 2**40)) == "some"
    assert verdict("j * j < 0", j=Z(0, 2**20)) == "none"
    assert verdict("j < 0 && j * j < 0", j=Z(0, 2**40)) == "none"
    assert verdict("j * j < 0 && j < 0", j=Z(0, 2**40)) == "some"
    assert verdict("j >= 0 || j * j < 0", j=Z(0, 2**40)) == "all"
    assert verdict("j % i < 5", j=Z(0, 4), i=Z(0, 5)) == "some"


def test_missing() -> None:
    """Of a column that the part lacks, no atom is true; what is in neither is unknown."""
    assert verdict("x > 1", absent=["x"]) == "none"
    assert verdict("x != 1", absent=["x"]) == "none"
    assert verdict("!(x > 1)", absent=["x"]) == "all"
    assert verdict("present(x)", absent=["x"]) == "none"
    assert verdict("present(x)", x=Z(0, 1)) == "all"
    assert verdict("x > 1") == "some"
    assert verdict("present(x)") == "some"


def test_elements_by_their_counter() -> None:
    pt = Z(30, 40, 0, 25)
    assert verdict("Muon.pt[1] > 20 GeV", Muon_pt=pt, nMuon=Z(2, 3)) == "all"
    assert verdict("Muon.pt[1] > 20 GeV", Muon_pt=pt, nMuon=Z(1, 3)) == "some"
    assert verdict("Muon.pt[1] > 20 GeV", Muon_pt=pt, nMuon=Z(0, 1)) == "none"
    assert verdict("present(Muon.pt[1])", Muon_pt=pt, nMuon=Z(2, 3)) == "all"
    assert verdict("present(Muon.pt[1])", absent=["Muon_pt"], nMuon=Z(2, 3)) == "none"
    assert verdict("Tau.pt[1] > 20 GeV", TauPt2=Z(30, 40), NTau=Z(2, 3)) == "all"
    assert verdict("Tau.pt[1] > 20 GeV", TauPt2=Z(30, 40), NTau=Z(-1, 1)) == "none"


def test_aggregates() -> None:
    """Two to three muons of 10 to 20 GeV each."""
    muons = {"Muon_pt": Z(10, 20, 0, 25), "nMuon": Z(2, 3)}
    assert verdict("count(Muon.pt > 20 GeV) >= 1", **muons) == "none"
    assert verdict("count(Muon.pt > 5 GeV) >= 2", **muons) == "all"
    assert verdict("count(Muon.pt > 5 GeV) >= 3", **muons) == "some"
    assert verdict("any(Muon.pt > 20 GeV)", **muons) == "none"
    assert verdict("any(Muon.pt > 5 GeV)", **muons) == "all"
    assert verdict("all(Muon.pt > 5 GeV)", **muons) == "all"
    assert verdict("all(Muon.pt > 20 GeV)", **muons) == "none"
    assert verdict("max(Muon.pt) <= 20 GeV", **muons) == "all"
    assert verdict("sum(Muon.pt) > 61 GeV", **muons) == "none"  # at most 3 of 20
    assert verdict("sum(Muon.pt) >= 19 GeV", **muons) == "all"  # at least 2 of 10
    assert verdict("sum(Muon.pt) > 60 GeV", **muons) == "some"  # by the room left for rounding


def test_aggregates_of_nothing() -> None:
    none = {"Muon_pt": Z(0, 0, 0, 0), "nMuon": Z(0, 0)}
    assert verdict("count(Muon.pt > 5 GeV) == 0", **none) == "all"
    assert verdict("any(Muon.pt > 5 GeV)", **none) == "none"
    assert verdict("all(Muon.pt > 5 GeV)", **none) == "all"
    assert verdict("sum(Muon.pt) == 0", **none) == "all"
    assert verdict("max(Muon.pt) != 0", **none) == "none"
    assert verdict("any(Muon.pt > 5 GeV)", absent=["nMuon"], Muon_pt=Z(10, 20)) == "none"


def test_triggers() -> None:
    """HLT_a is bit 0 of trigger_0 in the first menu; the third menu lacks it."""
    first, _, third = MENUS
    assert verdict("HLT_a", menu=Z(third, third)) == "none"
    assert verdict("present(HLT_a)", menu=Z(first, first), trigger_0=Z(0, 7)) == "all"
    assert verdict("HLT_a", menu=Z(first, first), trigger_0=Z(0, 7)) == "some"
    assert verdict("HLT_a", menu=Z(first, first), trigger_0=Z(0, 0)) == "none"
    assert verdict("HLT_a", menu=Z(first, first), trigger_0=Z(5, 5)) == "all"
    assert verdict("HLT_b", menu=Z(first, first), trigger_0=Z(0, 2**31 - 1)) == "none"  # bit 31
    assert verdict("HLT_a", menu=Z(first, first), absent=["trigger_0"]) == "none"
    assert verdict("HLT_a", absent=["menu"]) == "none"


@pytest.mark.parametrize(
    ("run", "lumis", "wanted"),
    [
        ((1, 1), (2, 4), "all"),
        ((1, 1), (2, 7), "some"),
        ((1, 1), (6, 9), "none"),
        ((1, 1), (6, 10), "some"),
        ((2, 2), (1, 99), "none"),
        ((0, 2), (1, 99), "some"),
        ((4, 6), (1, 99), "none"),
        ((8, 99), (1, 99), "none"),
        ((7, 7), (1, 2**31 - 1), "all"),
        ((3, 3), (1, 1), "none"),
        ((0, 0), (0, 2**31 - 1), "none"),
    ],
)
def test_good_runs(run: tuple[int, int], lumis: tuple[int, int], wanted: str) -> None:
    """run 1: 1 to 5, and 10; run 3: 2 to 9; run 7: 1 to the end."""
    assert verdict('in_lumi("good")', run=Z(*run), lumi=Z(*lumis)) == wanted


def test_ten_thousand_terms_and_no_groups() -> None:
    cut = " && ".join(f"i != {k}" for k in range(100, 10_100))
    assert verdict(cut, i=Z(2, 9)) == "all"
    assert bounds(bind("i > 2", SCOPE).node, {}, 0).tolist() == []
