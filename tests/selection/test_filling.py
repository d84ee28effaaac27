"""Histograms filled by compiled code: the same bins, sums and counts as the interpreter's, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import VALUES, build, rows, workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.engine.measure import Measure
from tagsel.errors import CutError
from tagsel.kernels import kernel_cache
from tagsel.schema import Attribute, Schema
from tagsel.selection import filling
from tagsel.selection.binning import read_specs
from tagsel.selection.histogram import histograms
from tagsel.store import layout

IDS = tuple(
    Attribute(n, t, role=r)
    for n, t, r in (
        ("run", "int32", "id"),
        ("lumi", "int32", "id"),
        ("event", "int64", "id"),
        ("aod_guid", "string", "reference"),
        ("aod_entry", "int64", "reference"),
        ("menu", "int64", "menu"),
    )
)
MORE = (Attribute("odd", "float64"), Attribute("wide", "int64"), Attribute("flag", "bool"))
SCHEMA = Schema((*IDS, *VALUES, *MORE), "test")
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 10.0, np.nextafter(10.0, 0), 30.0, 1e300, -1e300, 0.1, 0.7])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Parts of row groups that end within a word; one part lacks `odd`; events that repeat."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", 333)
        made = workspace(tmp_path_factory.mktemp("filling"))
        random = np.random.default_rng(5)

        def columns(n: int, seed: int) -> dict[str, object]:
            wide = random.integers(-5, 40, n)
            return rows(n, seed, odd=random.choice(ODD, n), wide=wide, flag=random.random(n) < 0.4)

        build(made, "a.TAG", columns(1000, 1), columns(64, 2), schema=SCHEMA)
        less = Schema(tuple(a for a in SCHEMA if a.name != "odd"), "test")
        fewer = {k: v for k, v in columns(200, 3).items() if k != "odd"}
        build(made, "a.TAG", fewer, schema=less)
        return made


AXES = (
    "odd: 30, 0, 30",
    "odd: [-1, 0, 0.1, 10, 10.5]",
    "MET_pt: 40, 0, 200 GeV",
    "MET_pt: 7, 0, 70000 MeV",
    "MET_pt: [0.005, 0.02, 0.1] TeV",
    "nMuon: 4, 0, 4",
    "wide: 13, 0, 39",
    "flag: 2, 0, 2",
    "abs(wide): 9, 0, 9",
    "odd: 3, 0.1, 0.7",
    "run: [7, 8, 9]",
    "odd: 1, 0, 5e-324",
    "odd: 3, 0, 1e-320",
    "sum(Muon.pt): 20, 0, 200 GeV",
    "Muon.pt[1]: 9, 0, 90",
    "max(Muon.pt) / odd: 5, 0, 10",
    "let (a, b) = argmin(a, b in Muon: abs(a.pt - b.pt)); a.pt + b.pt: 10, 0, 100 GeV",
    "count(Muon.pt > 20): 3, 0, 3",
    "MET_pt if flag: 20, 0, 100 GeV",
)
OBJECTS = (
    "Muon.pt: 20, 0, 100",
    "Muon.pt: [5, 10, 1000] GeV",
    "Muon.pt if Muon.pt > 10: 20, 0, 100",
    "2 * Muon.pt / nMuon: 9, 0, 90 GeV",
    "Muon.pt / odd if flag: 5, 0, 10",
    "Muon.pt * wide: [0, 1, 100, 500]",
    "Muon.pt - max(Muon.pt): 7, -35, 0",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.one_of(
        st.lists(st.sampled_from(AXES), min_size=1, max_size=3),
        st.sampled_from(OBJECTS).map(lambda a: [a]),
        st.tuples(st.sampled_from(OBJECTS), st.sampled_from((*OBJECTS, *AXES))).map(list),
    ),
    cut=st.sampled_from(["true", "MET_pt > 20", "nMuon >= 1 && MET_pt < 60", "MET_pt < -1"]),
    weight=st.sampled_from(["", "weight"]),
    threads=st.integers(1, 2),
    duplicates=st.sampled_from(["first", "all"]),
)
def test_bins_are_those_of_the_interpreter(
    home: Workspace, axes: list[str], cut: str, weight: str, threads: int, duplicates: str
) -> None:
    query = home["a.TAG"].query([cut], weight=weight, threads=threads, duplicates=duplicates)
    specs = read_specs([" x ".join(axes)])
    (fast,), counted = histograms(replace(query, tier="kernel"), specs)
    (slow,), plain = histograms(replace(query, tier="interpreter"), specs)
    assert counted.ledger == plain.ledger
    assert fast.values.tobytes() == slow.values.tobytes() and fast.variances.tobytes() == slow.variances.tobytes()
    assert fast.summary() == slow.summary() and fast.to_json() == slow.to_json()


def test_columns_go_straight_into_the_bins(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work: the kernel runs once for a row group and a histogram, and no value is interpreted."""
    query = replace(home["a.TAG"].query(["nMuon >= 0"]), tier="kernel")
    specs = read_specs(["MET_pt: 40, 0, 200 x nMuon: 4, 0, 4", "Muon.pt: 20, 0, 100"])
    expected = histograms(replace(query, tier="interpreter"), specs)
    ran: list[str] = []
    function = kernel_cache.function
    monkeypatch.setattr(kernel_cache, "function", lambda s: (ran.append(s), function(s))[1])
    monkeypatch.setattr("tagsel.selection.filling.values_of", None)
    found = histograms(query, specs)
    assert ran.count(filling.filling.fill_bins) == 2 * 6  # of 333 + 333 + 333 + 1, of 64, of 200 rows
    assert [h.to_json() for h in found[0]] == [h.to_json() for h in expected[0]]


def test_other_numbers_of_events_are_measured_once_a_row_group(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work: two histograms of one number measure it once in each row group that has accepted rows; none interprets."""
    query = replace(home["a.TAG"].query(["nMuon >= 1"]), tier="kernel")
    specs = read_specs(["sum(Muon.pt): 20, 0, 200", "sum(Muon.pt): 5, 0, 50 x MET_pt: 4, 0, 100"])
    expected = histograms(replace(query, tier="interpreter"), specs)
    measured: list[int] = []
    call = Measure.__call__
    monkeypatch.setattr(Measure, "__call__", lambda self, *of: (measured.append(1), call(self, *of))[1])
    monkeypatch.setattr("tagsel.selection.filling.values_of", None)
    found = histograms(query, specs)
    assert len(measured) == 6
    assert [h.to_json() for h in found[0]] == [h.to_json() for h in expected[0]]


@pytest.mark.parametrize("number", ["wide % (wide - wide)", "9223372036854775807 + nMuon + wide * 0"])
def test_a_number_without_an_answer_names_the_event_in_both_tiers(home: Workspace, number: str) -> None:
    query = home["a.TAG"].query(["nMuon >= 1"], duplicates="all")
    said = []
    for tier in ("kernel", "interpreter"):
        with pytest.raises(CutError) as error:
            histograms(replace(query, tier=tier), read_specs([f"{number}: 4, 0, 4"]))
        said.append((error.value.message, error.value.fields))
    assert said[0] == said[1] and "run" in said[0][1]
