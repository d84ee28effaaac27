"""The answers that were computed apart for the published files, through the command line, one test an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagsel.cli.main import run

Real = Callable[[str], Path]
Tagsel = Callable[..., Any]

pytestmark = pytest.mark.real

DATASETS = {
    "data18.DoubleMuon.TAG": "nano_dimuon.root",
    "data18.DoubleMuonR.TAG": "nano_dimuon_rntuple.root",
    "mc.dy.TAG": "nano_dy.root",
    "mc.dyR.TAG": "nano_dy_rntuple.root",
    "mc.tt.TAG": "nano_tt_v12.root",
    "mc.tt2015.TAG": "nanoAOD_2015_CMS_Open_Data_ttbar.root",
    "physlite.TAG": "uproot-issue-951.root",
    "example.TAG": "PHYSLITE_example.root",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, real: Real) -> Path:
    """One workspace with every file of `DATASETS`."""
    folder = tmp_path_factory.mktemp("real") / "W"
    assert run(["init", str(folder)]) == 0
    for dataset, name in DATASETS.items():
        assert run(["ingest", str(real(name)), "--dataset", dataset, "-w", str(folder)]) == 0
    return folder


@pytest.fixture
def tagsel(home: Path, capsys: pytest.CaptureFixture[str]) -> Tagsel:
    """Run a verb with --json; its document, after the exit code was checked."""

    def call(verb: str, *arguments: str, code: int = 0, where: bool = True) -> Any:
        capsys.readouterr()
        place = ["-w", str(home)] if where else []
        got = run([*verb.split(), *arguments, *place, "--json"])
        out = capsys.readouterr().out
        assert got == code, out
        return json.loads(out)

    return call


def check(tagsel: Tagsel, dataset: str, answers: dict[str, int], read: int) -> None:
    for cut, accepted in answers.items():
        document = tagsel("count", dataset, cut)
        assert (document["accepted"], document["read"]) == (accepted, read), cut
        assert sum(document["ledger"].values()) == read


@pytest.mark.parametrize("dataset", ["data18.DoubleMuon.TAG", "data18.DoubleMuonR.TAG"])
def test_answer_1_dimuon(tagsel: Tagsel, dataset: str, tmp_path: Path) -> None:
    check(
        tagsel,
        dataset,
        {"count(Muon.pt > 10) >= 2": 17, "nMuon >= 2": 33, "HLT_IsoMu24": 4, "MET_pt > 50": 13},
        40,
    )
    out = tmp_path / "dimuon.events"
    assert tagsel("select", dataset, "count(Muon.pt > 10) >= 2", "-o", str(out))["accepted"] == 17
    events = [e["event"] for e in tagsel("lists export", str(out), where=False)["list"]]
    assert sum(events) == 3364367842
    assert events[:3] == [197818706, 197762836, 197870551]


def test_answer_2_pairs(tagsel: Tagsel) -> None:
    opposite = "Muon.charge[0] != Muon.charge[1]"
    check(
        tagsel,
        "data18.DoubleMuon.TAG",
        {opposite: 22, f"{opposite} && 60 GeV < mass(Muon[0], Muon[1]) < 120 GeV": 6},
        40,
    )


@pytest.mark.parametrize("dataset", ["mc.dy.TAG", "mc.dyR.TAG"])
def test_answer_3_dy_and_its_weights(tagsel: Tagsel, dataset: str) -> None:
    check(tagsel, dataset, {"count(Electron.pt > 20) >= 1": 12, "genWeight < 0": 9, "HLT_IsoMu24": 6}, 40)
    flow = tagsel("cutflow", dataset, "true", "--weight", "genWeight")
    assert flow["cuts"][0]["alone"]["sumw"] == 578762.435546875


def test_answer_3_generated_events(tagsel: Tagsel) -> None:
    generated = tagsel("cutflow", "mc.dy.TAG", "nElectron >= 1")["generated"]
    assert generated["n"] == 850098
    assert generated["sumw"] == pytest.approx(1.5167e10, rel=1e-4)


def test_answer_4_tt(tagsel: Tagsel) -> None:
    answers = {
        "count(Jet.pt > 30 && abs(Jet.eta) < 2.5) >= 4": 187,
        "MET_pt > 100": 50,
        "count(Muon.pt > 20 && abs(Muon.eta) < 2.4) >= 1": 76,
        "HLT_PFHT1050": 4,
    }
    check(tagsel, "mc.tt.TAG", answers, 200)


def test_answer_5_open_data_2015(tagsel: Tagsel) -> None:
    check(tagsel, "mc.tt2015.TAG", {"MET_pt > 50": 39, "HLT_IsoMu20": 33, "HLT_IsoMu27": 26}, 200)


def test_answer_6_physlite_with_its_tag(tagsel: Tagsel, tmp_path: Path) -> None:
    answers = {
        "LumiBlockN == 8": 10,
        "BunchId < 1000": 17,
        "EventWeight < 0": 1,
        "count(Electron.pt > 20000 MeV) >= 1": 18,
        "count(Electron.pt > 20 GeV) >= 1": 18,
        "count(Jet.pt > 25000 MeV) >= 4": 41,
        "HLT_mu26_ivarmedium_L1MU14FCH": 9,
        "HLT_e26_lhtight_ivarloose_L1EM22VHI": 13,
    }
    check(tagsel, "physlite.TAG", answers, 50)
    out = tmp_path / "all.events"
    tagsel("select", "physlite.TAG", "true", "-o", str(out))
    assert sum(e["event"] for e in tagsel("lists export", str(out), where=False)["list"]) == 192480297


def test_answer_7_physlite_without_a_tag(tagsel: Tagsel) -> None:
    answers = {
        "count(Electron.pt > 20000 MeV) >= 1": 77,
        "count(Jet.pt > 50 GeV) >= 2": 69,
        "50 <= lumiBlock && lumiBlock <= 60": 15,
        "run == 300000": 100,
    }
    check(tagsel, "example.TAG", answers, 100)


def test_answer_8_good_run_lists(tagsel: Tagsel, real: Real) -> None:
    a, b = str(real("grlA.xml")), str(real("grlB.xml"))
    blocks = {
        ("show", a): 54311,
        ("show", b): 62919,
        ("intersect", a, b): 54112,
        ("union", a, b): 63118,
        ("minus", a, b): 199,
        ("minus", b, a): 8807,
    }
    for (verb, *files), expected in blocks.items():
        assert tagsel(f"lumi {verb}", *files, where=False)["luminosity_blocks"] == expected


def test_answer_9_certified_luminosity(tagsel: Tagsel, real: Real) -> None:
    legacy = str(real("Cert_314472-325175_13TeV_Legacy2018_Collisions18_JSON.txt"))
    other = str(real("Cert_294927-306462_13TeV_EOY2017ReReco_Collisions17_JSON.txt"))
    ranges = [tuple(r) for r in tagsel("lumi show", legacy, where=False)["ranges"]]
    assert (315267, 1, 244) in ranges and (315642, 1, 92) in ranges
    assert tagsel("count", "data18.DoubleMuon.TAG", "true", "--lumi", legacy)["accepted"] == 40
    nothing = tagsel("count", "data18.DoubleMuon.TAG", "true", "--lumi", other)
    assert (nothing["accepted"], nothing["ledger"]["masked"]) == (0, 40)
    assert any("no run in common" in w for w in nothing["warnings"])
    listed = [r for r in tagsel("lumi show", other, where=False)["ranges"] if r[0] in (315267, 315642)]
    assert listed == []


def test_answer_9_the_published_event_list(tagsel: Tagsel, real: Real) -> None:
    from tagsel import read_events, read_lumi

    events = read_events(real("bmm5RunLumiEventListFile.txt"))
    good = read_lumi(real("Cert_314472-325175_13TeV_Legacy2018_Collisions18_JSON.txt"))
    assert len(events) == 15
    assert int(good.contains(events.run, events.lumi).sum()) == 15


def test_feature_53_a_guid_skips_the_look_up(tagsel: Tagsel, home: Path, tmp_path: Path) -> None:
    from tagsel import Workspace

    ws = Workspace(home)
    by_tag = ws["data18.DoubleMuon.TAG"].pick(["315267:197818706", "315267:197762836"]).events
    guid = by_tag.guids[0]
    mixed = [f"315267:197818706:{guid}", "315267:197762836", f"315267:5:{guid}", "315267:6"]
    document = tagsel("pick", "data18.DoubleMuon.TAG", *mixed, "-o", str(tmp_path / "p.events"), code=3)
    assert document["digest"] == by_tag.digest
    assert [m["event"] for m in document["misses"]] == [6, 5]
    assert [tuple(e) for e in ws.lists[tmp_path / "p.events"]] == [tuple(e) for e in by_tag]


def test_a_skim_and_a_jobs_output_of_simulation_stay_simulation(tagsel: Tagsel, home: Path, tmp_path: Path) -> None:
    """Slimmed to muons, neither file has a branch left that tells simulation from data."""
    out, script = tmp_path / "dy.events", tmp_path / "job.py"
    script.write_text('branches = ["Muon_*"]\ndef process(events):\n    return events\n')
    assert tagsel("select", "mc.dy.TAG", "nMuon >= 1", "-o", str(out))["accepted"] > 0
    for suffix in ("root", "parquet"):
        skimmed = tmp_path / f"dy.{suffix}"
        tagsel("skim", str(out), "-o", str(skimmed), "--branches", "Muon_*")
        assert tagsel("ingest", str(skimmed), "--dataset", f"skim.{suffix}.TAG")["simulation"] is True
    tagsel("submit", str(out), "--run", str(script), "--output", "job.dy.EVENTS")
    assert tagsel("datasets show", "job.dy.EVENTS")["simulation"] is True
