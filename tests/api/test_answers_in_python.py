"""Answers as they look in Python: histograms against plain NumPy, tables as text and HTML, names of named cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import build, rows, workspace

import tagsel
from tagsel.api import Workspace
from tagsel.base.settings import completion
from tagsel.base.text_table import Table
from tagsel.errors import CatalogError, SchemaError, TagselError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = workspace(tmp_path_factory.mktemp("answers"))
    build(made, "A.TAG", rows(300, seed=1), rows(200, seed=2))
    return made


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    """The dataset's columns of numbers, as they were given."""
    parts = [rows(300, seed=1), rows(200, seed=2)]
    return {n: np.concatenate([p[n] for p in parts]) for n in ("MET_pt", "nMuon", "weight")}


def test_a_histogram_is_numpy_s_over_the_accepted_events(home: Workspace, columns: dict[str, np.ndarray]) -> None:
    filled = home["A.TAG"].where("nMuon >= 2").hist("MET_pt", bins=(10, 0, 100))
    expected, _ = np.histogram(columns["MET_pt"][columns["nMuon"] >= 2], bins=10, range=(0, 100))
    # NumPy counts a value at the last edge in the last bin; there is none here.
    assert filled.values().tolist() == expected.tolist()
    assert filled.axes[0].label == "MET_pt [GeV]"
    assert filled.sum(flow=True) == (columns["nMuon"] >= 2).sum()


def test_a_weighted_histogram_keeps_sums_of_squares(home: Workspace, columns: dict[str, np.ndarray]) -> None:
    filled = home["A.TAG"].where("MET_pt > 20").weight("weight").hist("nMuon", bins=[0, 1, 2, 3, 4])
    passed = columns["MET_pt"] > 20
    for n in range(4):
        weights = columns["weight"][passed & (columns["nMuon"] == n)]
        assert filled.values()[n] == pytest.approx(weights.sum(), rel=1e-12)
        assert filled.variances()[n] == pytest.approx((weights**2).sum(), rel=1e-12)


def test_a_list_fills_once_for_each_object(home: Workspace) -> None:
    pts = [np.concatenate(list(rows(n, seed=s)["Muon_pt"])) for n, s in ((300, 1), (200, 2))]
    expected, _ = np.histogram(np.concatenate(pts), bins=5, range=(0, 50))
    selection = home["A.TAG"].where("true")
    assert selection.hist("Muon.pt", bins=(5, 0, 50)).values().tolist() == expected.tolist()
    lengths = np.concatenate([rows(n, seed=s)["nMuon"] for n, s in ((300, 1), (200, 2))])
    weights = np.repeat(np.concatenate([rows(n, seed=s)["weight"] for n, s in ((300, 1), (200, 2))]), lengths)
    summed, _ = np.histogram(np.concatenate(pts), bins=5, range=(0, 50), weights=weights)
    np.testing.assert_allclose(selection.weight("weight").hist("Muon.pt", bins=(5, 0, 50)).values(), summed, rtol=1e-12)


def test_a_histogram_of_nothing_or_of_text(home: Workspace) -> None:
    assert home["A.TAG"].where("MET_pt < 0").hist("MET_pt").sum(flow=True) == 0
    with pytest.raises(SchemaError, match="aod_guid is text"):
        home["A.TAG"].where("true").hist("aod_guid")
    with pytest.raises(TagselError, match="MET_ptt"):
        home["A.TAG"].where("true").hist("MET_ptt")


def test_missing_values_are_not_filled(home: Workspace, sample_home: Path) -> None:
    """Second slot of the loose muons: filled where there are two."""
    sample = Workspace(sample_home)
    filled = sample["data09_900GeV.physics_Muon.TAG"].where("true").hist("LooseMuonPt2", bins=(2, -1e9, 1e9))
    two = sample["data09_900GeV.physics_Muon.TAG"].count("NLooseMuon >= 2")
    assert filled.sum(flow=True) == two.accepted


def test_feature_93_a_cutflow_shows_itself_as_a_table(home: Workspace, columns: dict[str, np.ndarray]) -> None:
    flow = home["A.TAG"].where(pair="nMuon >= 2").where("MET_pt > 50").cutflow()
    pair, met = columns["nMuon"] >= 2, columns["MET_pt"] > 50
    lines = [line.split() for line in repr(flow).splitlines()]
    assert lines[0][:3] == ["cut", "alone", "sequential"]
    assert lines[1] == ["(all)", "500", "500", "1.0"]
    share = round(pair.sum() / 500, 6)
    assert lines[2] == ["pair", *map(str, (pair.sum(), pair.sum(), share, share, met.sum()))]
    page = flow._repr_html_()
    assert page.count("<tr>") == 4 and f"<td>{(pair & met).sum()}</td>" in page
    assert flow["pair"].all_but.n == met.sum()


def test_a_table_escapes_what_it_shows() -> None:
    shown = Table(("name", "n"), (("<b>", None), ("x", 3)))
    assert "&lt;b&gt;</td><td></td>" in shown._repr_html_()
    assert repr(shown) == "name  n\n<b>\nx     3"
    assert (shown.names(), len(shown), list(shown)[1]) == (["<b>", "x"], 2, {"name": "x", "n": 3})


def test_feature_93_answers_say_what_matters_in_one_line(home: Workspace) -> None:
    selection = home["A.TAG"].where("nMuon >= 0")
    counted = selection.count()
    assert repr(counted).startswith("<Count: 500 of 500 pass; 500 accepted + 0 rejected")
    assert repr(selection.explain()).splitlines()[0].split() == ["parts", "2"]
    assert repr(selection.events().map()).startswith("<EventMap: 500 events in 3 files; touches 3 of 3 files")
    assert "not run" in repr(selection)


def test_a_named_cut_alone_gives_its_step_its_name(sample_home: Path) -> None:
    flow = Workspace(sample_home)["data09_900GeV.*"].cutflow("@met", "NTrk > 2 && @met", ("mine", "@met"))
    assert [s.name for s in flow.steps][::2] == ["met", "mine"]
    assert flow.steps[1].name == "NTrk > 2 && CellMissingET > 20 GeV"


def test_a_shell_has_a_script_for_completion() -> None:
    assert "_TAGSEL_COMPLETE=bash_complete" in completion("bash")
    with pytest.raises(CatalogError, match="no completion for 'tcsh'"):
        completion("tcsh")


def test_every_public_class_is_reached_from_the_top() -> None:
    assert tagsel.Workspace is Workspace
