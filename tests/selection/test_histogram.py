"""Histograms against numpy.histogram of the same events' values: bins, weights, objects, missing values, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uhi.io.json as uhi
import uproot
from builders import SCHEMA, build, rows, workspace
from hypothesis import given
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import AccessError, CutError, SchemaError, TagselError
from tagsel.schema import Attribute, Schema
from tagsel.selection.binning import axis, read_spec, read_specs
from tagsel.selection.filling import locate
from tagsel.selection.histogram import histograms

PARTS = [rows(300, seed=1), rows(200, seed=2)]
COLUMNS = {n: np.concatenate([p[n] for p in PARTS]) for n in ("MET_pt", "nMuon", "weight", "run", "lumi")}
TEXTS = ["MET_pt: 10, 0, 100", "grid: MET_pt: [0, 20, 90] x nMuon: 4, 0, 4", "run: 3,7,10 x lumi: 5,1,6 x nMuon: 2,0,4"]
PTS = np.concatenate([pt for p in PARTS for pt in p["Muon_pt"]])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = workspace(tmp_path_factory.mktemp("histograms"))
    build(made, "a.TAG", *PARTS)
    return made


# -- texts


@pytest.mark.parametrize(
    ("text", "name", "axes"),
    [
        ("MET_pt: 2, 0, 200", "MET_pt", [("MET_pt", (0, 100, 200), "")]),
        (" hard : MET_pt:2,-1e1,1e1GeV", "hard", [("MET_pt", (-10, 0, 10), "GeV")]),
        ("MET_pt: [0, 20.5, 50] GeV", "MET_pt", [("MET_pt", (0, 20.5, 50), "GeV")]),
        ("x: 1, 0, 1 x x: 1, 0, 2", "x_x_x", [("x", (0, 1), ""), ("x", (0, 2), "")]),
        ("any(m in Muon: m.pt > 2): 2, 0, 2", "any_m_in_Muon_m_pt_2", [("any(m in Muon: m.pt > 2)", (0, 1, 2), "")]),
    ],
)
def test_a_text_says_name_axes_and_units(text: str, name: str, axes: list[Any]) -> None:
    spec = read_spec(text)
    assert spec.name == name
    assert [(a.expression, a.edges, a.unit) for a in spec.axes] == axes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MET_pt", "bins are not given"),
        ("MET_pt: 50", "bins are not given"),
        ("MET_pt: 0, 0, 1", "0 bins"),
        ("MET_pt: 5, 1, 1", "finite numbers that rise"),
        ("MET_pt: [3]", "finite numbers that rise"),
        ("MET_pt: [1, a]", "no list of numbers"),
        ("a: 1,0,1 x b: 1,0,1 x c: 1,0,1 x d: 1,0,1", "4 axes, 1 to 3"),
        ("a: 5000,0,1 x b: 5000,0,1", "more than 16,777,216 bins"),
        ("MET_pt: 5, 0, 1e999", "finite numbers that rise"),
    ],
)
def test_texts_of_another_form_are_refused(text: str, message: str) -> None:
    with pytest.raises(CutError, match=message):
        read_spec(text)


def test_a_name_stands_for_one_histogram() -> None:
    with pytest.raises(CutError, match="two histograms have the name MET_pt"):
        read_specs(["MET_pt: 1,0,1", "MET_pt: 2,0,1"])
    with pytest.raises(CutError, match="no histogram is asked for"):
        read_specs([])
    assert [s.name for s in read_specs({"a": "MET_pt: 1,0,1", "b": "MET_pt: 2,0,1"})] == ["a", "b"]


# -- bins


@given(bins=st.integers(1, 40), low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), seed=st.integers(0, 2**32 - 1))
def test_the_fast_way_to_a_bin_is_the_slow_one(bins: int, low: float, width: float, seed: int) -> None:
    """Of equal bins by arithmetic, else by search: the same for values at, and one step beside, every edge."""
    regular = axis("x", (bins, low, low + width))
    edges = np.array(regular.edges)
    spread = np.random.default_rng(seed).uniform(low - width, low + 2 * width, 50)
    beside = [np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)]
    values = np.concatenate([*beside, spread, [np.inf, -np.inf, 1e308, -1e308]])
    assert locate(values, regular).tolist() == np.searchsorted(edges, values, side="right").tolist()


def test_values_at_edges_stand_where_the_edges_say(home: Workspace, tmp_path: Path) -> None:
    made = workspace(tmp_path)
    tenths = np.arange(12, dtype=np.float64) / 10  # 0.3 is below numpy's fourth edge, 0.30000000000000004
    build(made, "a.TAG", rows(12, weight=tenths))
    filled = made["a.TAG"].hist("weight: 10, 0, 1")
    edges = np.linspace(0, 1, 11)
    expected = [int(((edges[k] <= tenths) & (tenths < edges[k + 1])).sum()) for k in range(10)]
    assert filled.values().tolist() == expected and sum(expected) == 10
    assert filled.values(flow=True)[-1] == 2  # 1.0 and 1.1: the last edge is not in the last bin


# -- against numpy.histogram


def test_one_two_and_three_axes_in_one_scan(home: Workspace) -> None:
    found = home["a.TAG"].hist(TEXTS, "nMuon >= 1")
    chosen = {n: c[COLUMNS["nMuon"] >= 1].astype(float) for n, c in COLUMNS.items()}
    assert list(found) == ["MET_pt", "grid", "run_x_lumi_x_nMuon"]
    one, _ = np.histogram(chosen["MET_pt"], bins=np.linspace(0, 100, 11))
    assert found["MET_pt"].values().tolist() == one.tolist()
    two, *_ = np.histogram2d(chosen["MET_pt"], chosen["nMuon"], bins=[[0, 20, 90], [0, 1, 2, 3, 4]])
    assert found["grid"].values().tolist() == two.tolist()
    names = ("run", "lumi", "nMuon")
    three, _ = np.histogramdd([chosen[n] for n in names], bins=[[7, 8, 9, 10], [1, 2, 3, 4, 5, 6], [0, 2, 4]])
    assert found["run_x_lumi_x_nMuon"].values().tolist() == three.tolist()
    assert found.count.accepted == len(chosen["run"]) and found.ledger.read == 500
    assert found["MET_pt"].metadata["ledger"] == found.ledger.to_json()
    assert found["MET_pt"].metadata["cut"] == "nMuon >= 1"


def test_expressions_units_and_weights(home: Workspace) -> None:
    filled = home["a.TAG"].hist("2 * MET_pt: 7, 0, 0.1 TeV", "nMuon > 0", weight="weight")
    passed = COLUMNS["nMuon"] > 0
    values = 2 * COLUMNS["MET_pt"][passed].astype(np.float64) / 1000
    weights = COLUMNS["weight"][passed]
    sums, _ = np.histogram(values, bins=np.linspace(0, 0.1, 8), weights=weights)
    squares, _ = np.histogram(values, bins=np.linspace(0, 0.1, 8), weights=weights**2)
    np.testing.assert_allclose(filled.values(), sums, rtol=1e-12)
    np.testing.assert_allclose(filled.variances(), squares, rtol=1e-12)
    assert filled.axes[0].label == "2 * MET_pt [TeV]"


def test_a_list_fills_once_for_each_object_beside_values_of_its_event(home: Workspace) -> None:
    filled = home["a.TAG"].where("MET_pt > 20").hist("Muon.pt: 5, 0, 50 x MET_pt: 4, 0, 80")
    met = np.repeat(COLUMNS["MET_pt"], COLUMNS["nMuon"]).astype(float)
    kept = met > 20
    edges = [np.linspace(0, 50, 6), np.linspace(0, 80, 5)]
    expected, *_ = np.histogram2d(PTS[kept].astype(float), met[kept], bins=edges)
    assert filled.values().tolist() == expected.tolist()
    assert filled.metadata["entries"] == kept.sum()


def test_expressions_of_objects_and_values_on_a_condition(home: Workspace) -> None:
    """`Muon.pt if Muon.pt > 10` leaves objects out: they are missing, as is a value where its `if` fails."""
    met = np.repeat(COLUMNS["MET_pt"], COLUMNS["nMuon"]).astype(float)
    texts = ["pt: Muon.pt if Muon.pt > 10: 5, 0, 50", "sum: Muon.pt + MET_pt: 5, 0, 150"]
    found = home["a.TAG"].hist(texts, "MET_pt > 20")
    pts = PTS[met > 20].astype(float)
    expected, _ = np.histogram(pts[pts > 10], bins=np.linspace(0, 50, 6))
    assert found["pt"].values().tolist() == expected.tolist()
    assert found["pt"].metadata["missing"] == (pts <= 10).sum() > 0
    expected, _ = np.histogram(pts + met[met > 20], bins=np.linspace(0, 150, 6))
    assert found["sum"].values().tolist() == expected.tolist()
    leading = home["a.TAG"].hist(["met: MET_pt if nMuon >= 2: 5, 0, 100"])
    chosen = COLUMNS["MET_pt"][COLUMNS["nMuon"] >= 2].astype(float)
    assert leading["met"].values().tolist() == np.histogram(chosen, bins=np.linspace(0, 100, 6))[0].tolist()
    assert leading.filled[0].missing == (COLUMNS["nMuon"] < 2).sum()


def test_slots_are_objects_too(sample_home: Path) -> None:
    """`LooseMuon.pt` is what the four slots hold that the counter fills."""
    sample = Workspace(sample_home)
    data = "data09_900GeV.physics_Muon.TAG"
    slots = [sample[data].hist(f"LooseMuonPt{k}: 8, -2e4, 2e4").values() for k in (1, 2, 3, 4)]
    assert sample[data].hist("LooseMuon.pt: 8, -2e4, 2e4").values().tolist() == sum(slots).tolist()


def test_data_with_masks_duplicates_and_skipped_row_groups(tmp_path: Path) -> None:
    """What is filled is what is selected: the values of the event list's events, by numpy.histogram."""
    home = workspace(tmp_path)
    low = rows(200, 3, MET_pt=np.full(200, 5, np.float32))
    build(home, "a.TAG", rows(300, 1), low, rows(300, 1))  # the third part repeats the first
    options: dict[str, Any] = {"lumi": home.folder / "good.json"}
    (home.folder / "good.json").write_text('{"7": [[1, 3]], "9": [[2, 2]]}')
    found = home["a.TAG"].hist(["MET_pt: 20, 0, 100"], "MET_pt > 10", **options)
    events = home["a.TAG"].select("MET_pt > 10", **options)
    first = {(r["run"][i], r["event"][i]): r["MET_pt"][i] for r in (rows(300, 1), low) for i in range(len(r["run"]))}
    values = [float(first[e.run, e.event]) for e in events]
    expected, _ = np.histogram(values, bins=np.linspace(0, 100, 21))
    assert found["MET_pt"].values().tolist() == expected.tolist() and expected.sum() > 20
    assert found.count.ledger == home["a.TAG"].count("MET_pt > 10", **options).ledger
    assert found.ledger.duplicate == 300 and found.ledger.masked > 0
    assert found.count.work.to_json()["row_groups"]["none"] == 1


def test_threads_and_tiers_change_nothing(home: Workspace) -> None:
    texts = ["MET_pt: 13, 0, 100", "Muon.pt: 7, 0, 60"]
    found = [home["a.TAG"].hist(texts, "nMuon >= 1", weight="weight", threads=n).to_json() for n in (1, 2, 5)]
    histograms = [f["histograms"] for f in found]
    assert histograms[0] == histograms[1] == histograms[2]


def test_missing_and_nan_are_counted_and_not_filled(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    met = np.array([5, np.nan, 15, 25], np.float32)
    build(
        home,
        "a.TAG",
        rows(
            4,
            MET_pt=met,
            nMuon=np.array([0, 1, 1, 2], np.int32),
            Muon_pt=[np.full(n, 10, np.float32) for n in (0, 1, 1, 2)],
        ),
    )
    schema = Schema((*SCHEMA, Attribute("extra", "float32")), "more")
    build(home, "a.TAG", {**rows(3, 2), "extra": np.array([1, 2, 3], np.float32)}, schema=schema)
    found = home["a.TAG@1"].hist(["MET_pt: 2, 0, 20", "Muon.pt[0]: 2, 0, 20"])
    shown = {f.name: (f.entries, f.inside, f.missing, f.nan) for f in found.filled}
    assert shown == {"MET_pt": (3, 2, 0, 1), "Muon_pt_0": (3, 3, 1, 0)}
    both = home["a.TAG"].hist(["extra: 3, 0, 3"])  # the first part has no such column
    assert [(f.entries, f.inside, f.missing) for f in both.filled] == [(3, 2, 4)]


def test_what_is_no_number_or_of_different_objects_is_refused(home: Workspace) -> None:
    with pytest.raises(SchemaError, match="aod_guid is text"):
        home["a.TAG"].hist("aod_guid: 1,0,1")
    with pytest.raises(CutError, match="MET_pt has the unit GeV and cannot be shown in mm"):
        home["a.TAG"].hist("MET_pt: 1,0,1 mm")
    with pytest.raises(CutError, match="nMuon has no unit"):
        home["a.TAG"].hist("nMuon: 1,0,1 GeV")
    with pytest.raises(CutError, match="no histogram 'MET'"):
        home["a.TAG"].hist(["MET_pt: 1,0,1"])["MET"]


# -- files


def test_what_is_saved_reads_back(home: Workspace, tmp_path: Path) -> None:
    for weight in ("", "weight"):
        found = home["a.TAG"].hist(TEXTS, "nMuon >= 1", weight=weight)
        text, root = tmp_path / f"{weight}h.json", tmp_path / f"{weight}h.root"
        found.save(text)
        document = json.loads(text.read_text(), object_hook=uhi.object_hook)
        found.save(root)
        with uproot.open(root) as file:
            assert file.classnames(cycle=False) == {
                "MET_pt": "TH1D",
                "grid": "TH2D",
                "run_x_lumi_x_nMuon": "TH3D",
                "tagsel": "TObjString",
            }
            assert json.loads(str(file["tagsel"]))["ledger"] == found.ledger.to_json()
            for name in found:
                assert hist.Hist(document[name]) == found[name]
                assert (file[name].values(flow=True) == found[name].values(flow=True)).all()
                assert (file[name].variances(flow=True) == found[name].variances(flow=True)).all()
                for kept, made in zip(file[name].axes, found[name].axes, strict=True):
                    np.testing.assert_allclose(kept.edges(), made.edges, rtol=1e-15, atol=1e-14)


def test_figures_are_drawn_of_one_and_two_axes(home: Workspace, tmp_path: Path) -> None:
    found = home["a.TAG"].hist(["MET_pt: 10, 0, 100", "grid: MET_pt: 9, 0, 90 x nMuon: 4, 0, 4"], "nMuon >= 1")
    found.plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").read_bytes()[:4] == b"\x89PNG"
    found.plot(tmp_path / "h.svg")
    first = (tmp_path / "h.svg").read_bytes()
    found.plot(tmp_path / "h.svg", force=True)
    assert first == (tmp_path / "h.svg").read_bytes()
    nothing = home["a.TAG"].hist(["MET_pt: 3, 0, 9", "b: MET_pt: 2,0,1 x nMuon: 1,0,1"], "MET_pt < 0")
    nothing.plot(tmp_path / "empty.pdf")
    assert (tmp_path / "empty.pdf").read_bytes()[:4] == b"%PDF"
    with pytest.raises(TagselError, match="three axes"):
        home["a.TAG"].hist(["run: 1,0,1 x lumi: 1,0,1 x nMuon: 1,0,1"]).plot(tmp_path / "no.png")
    with pytest.raises(AccessError, match="a figure is one of"):
        found.plot(tmp_path / "h.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.pdf", "h.png", "h.svg"]


def test_the_verb_says_all_that_the_record_knows(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    what = ["MET_pt: 2, 0, 60", "nMuon: 1,0,4 x MET_pt: 1,0,60", "--cut", "nMuon >= 1"]
    asked = ["hist", "a.TAG", *what, "-w", str(home.folder)]
    assert run([*asked, "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    met = COLUMNS["MET_pt"][COLUMNS["nMuon"] >= 1]
    counts = [0, (met < 30).sum(), ((met >= 30) & (met < 60)).sum(), (met >= 60).sum()]
    assert lines[0] == "histogram,low,high,low 2,high 2,value,error"
    ends = ["-inf,0.0", "0.0,30.0", "30.0,60.0", "60.0,inf"]
    assert lines[1:5] == [f"MET_pt,{e},,,{n},{float(np.sqrt(n))}" for e, n in zip(ends, counts, strict=True)]
    assert len(lines) == 1 + 4 + 9
    assert run([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["histograms"]["MET_pt"]["values_with_flow"] == [int(n) for n in counts]
    assert document["ledger"]["accepted"] == len(met)
    assert run([*asked, "-o", "x.txt"]) == 2
    assert "saved as .root or .json" in capsys.readouterr().err


def test_bins_that_are_hardly_meant_in_the_unit_of_the_values_draw_a_warning(tmp_path: Path) -> None:
    """As a cut on them does; where the unit is written nothing is asked."""
    made = workspace(tmp_path)
    in_mev = Schema(tuple(Attribute("MET_pt", "float32", unit="MeV") if a.name == "MET_pt" else a for a in SCHEMA))
    build(made, "mev.TAG", rows(20), schema=in_mev)
    texts = "MET_pt: 5, 0, 100", "MET_pt: 5, 0, 0.1 GeV"
    asked = [histograms(made["mev.TAG"].query([]), [read_spec(text)])[1].warnings for text in texts]
    assert ["taken as MeV" in " ".join(said) for said in asked] == [True, False]
