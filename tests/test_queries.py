"""The named cuts and metadata queries: each gives the answer that it states, which is counted apart here.

The oracle reads the sample's files with pyarrow and NumPy only; it knows nothing of tagsel but the files in `queries/`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import struct
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import CutError, TagselError

ROOT = Path(__file__).resolve().parent.parent
QUERIES = ROOT / "queries"
FILES = ROOT / "data" / "sample" / "files"
STREAMS = ("physics_MinBias", "physics_Muon")
CUTS: dict[str, dict[str, Any]] = {
    name: entry
    for path in ("events", "muons")
    for name, entry in tomllib.loads((QUERIES / f"{path}.toml").read_text()).items()
}
ADL = tomllib.loads((QUERIES / "adl.toml").read_text())  # tested in test_adl.py
SQL = {path.stem: path.read_text() for path in sorted(QUERIES.glob("*.sql"))}
MUON_MASS = 105.6583755  # MeV, PDG

Columns = Mapping[str, np.ndarray]


# -- what the sample holds, read without tagsel


def rows_of(stream: str) -> dict[str, np.ndarray]:
    """A stream's rows, in the order of its files."""
    tables = [pq.read_table(path) for path in sorted(FILES.glob(f"*.{stream}.TAG.*.parquet"))]
    names = [n for n in tables[0].column_names if not n.endswith("_ref")]
    return {n: np.concatenate([t[n].to_numpy() for t in tables]) for n in names}


@functools.cache
def events() -> Columns:
    """Each event of the two streams once: the first row of each (run, event)."""
    streams = [rows_of(s) for s in STREAMS]
    both = {n: np.concatenate([s[n] for s in streams]) for n in streams[0]}
    ids = list(zip(both["RunNumber"].tolist(), both["EventNumber"].tolist(), strict=True))
    seen: set[tuple[int, int]] = set()
    first = np.array([not (i in seen or seen.add(i)) for i in ids])  # type: ignore[func-returns-value]
    return {n: v[first] for n, v in both.items()}


@functools.cache
def chain(name: str) -> np.ndarray:
    """A chain's decision for each event, by the bits of the event's menu; False where the menu lacks it."""
    found = events()
    passed = np.zeros(found["menu"].size, bool)
    for key, menu in json.loads((FILES / "menus.json").read_text()).items():
        if name in menu["bits"]:
            word, bit = menu["bits"][name]
            fired = found[word].astype(np.uint64) >> np.uint64(bit) & np.uint64(1)
            passed |= (found["menu"] == int(key)) & fired.astype(bool)
    return passed


def slot(name: str, number: int, attribute: str) -> np.ndarray:
    """Values of one slot, float64; NaN where the event has fewer objects."""
    found = events()
    counter = found["NJet" if name == "Jet" else f"N{name}"]
    return np.where(counter >= number, found[f"{name}{attribute}{number}"].astype(float), np.nan)


def passing(name: str, slots: int, pt: float, eta: float) -> np.ndarray:
    """Objects of more than `pt` MeV within `eta`, counted in each event."""
    chosen = [
        (np.abs(slot(name, k, "Pt")) > pt) & (np.abs(slot(name, k, "Eta")) < np.float32(eta))
        for k in range(1, slots + 1)
    ]
    return np.sum(chosen, axis=0)


def opposite() -> np.ndarray:
    return slot("LooseMuon", 1, "Pt") * slot("LooseMuon", 2, "Pt") < 0


def dimuon_mass() -> np.ndarray:
    """Mass of the two leading muons in GeV, from four-vectors."""
    total = np.zeros((4, events()["menu"].size))
    for k in (1, 2):
        pt, eta, phi = (slot("LooseMuon", k, q) for q in ("Pt", "Eta", "Phi"))
        p = np.array([np.abs(pt) * np.cos(phi), np.abs(pt) * np.sin(phi), np.abs(pt) * np.sinh(eta)])
        total += [np.sqrt((p**2).sum(axis=0) + MUON_MASS**2), *p]
    return np.sqrt(total[0] ** 2 - (total[1:] ** 2).sum(axis=0)) / 1000


def transverse_mass() -> np.ndarray:
    found = events()
    angle = slot("LooseMuon", 1, "Phi") - found["CellMissingETPhi"].astype(float)
    product = np.abs(slot("LooseMuon", 1, "Pt")) * found["CellMissingET"].astype(float)
    return np.sqrt(2 * product * (1 - np.cos(angle)))


def folded(angle: np.ndarray) -> np.ndarray:
    return np.abs((angle + np.pi) % (2 * np.pi) - np.pi)


def vertex() -> np.ndarray:
    return (events()["NVtx"] >= 1) & (np.abs(events()["VtxZ"]) < 100)


def lar_clean() -> np.ndarray:
    return events()["LArFlags"] & np.uint32(0x80000001) == 0


ORACLE: dict[str, Callable[[], np.ndarray]] = {
    "good_muons": lambda: passing("LooseMuon", 4, 4000, 2.4) >= 1,
    "dimuon": lambda: passing("LooseMuon", 4, 4000, 2.4) >= 2,
    "opposite_sign": opposite,
    "jpsi": lambda: opposite() & (dimuon_mass() > 2.9) & (dimuon_mass() < 3.3),
    "z_to_mumu": lambda: opposite() & (dimuon_mass() > 66) & (dimuon_mass() < 116),
    "muon_trigger": lambda: chain("EF_mu4"),
    "hard_muon_trigger": lambda: chain("EF_mu10"),
    "high_mt": lambda: transverse_mass() > 40_000,
    "vertex": vertex,
    "lar_clean": lar_clean,
    "clean": lambda: vertex() & lar_clean(),
    "minimum_bias": lambda: chain("EF_mbMbts_2") & (events()["NTrk"] >= 4),
    "met": lambda: events()["CellMissingET"] > 20_000,
    "dijet": lambda: passing("Jet", 6, 20_000, 2.4) >= 2,
    "back_to_back": lambda: folded(slot("Jet", 1, "Phi") - slot("Jet", 2, "Phi")) > 2.8,
    "photon": lambda: passing("LoosePhoton", 2, 10_000, 2.37) >= 1,
}


# -- named cuts


def test_there_are_at_least_ten_cuts_and_five_metadata_queries() -> None:
    assert len(CUTS) >= 10
    assert len(SQL) >= 5
    assert set(ORACLE) == set(CUTS)


@pytest.mark.parametrize("name", CUTS)
def test_a_named_cut_accepts_what_it_states(name: str, sample_home: Path) -> None:
    entry = CUTS[name]
    assert int(ORACLE[name]().sum()) == entry["expected"], "counted apart"
    counted = Workspace(sample_home)[entry["dataset"]].count(f"@{name}")
    assert counted.accepted == entry["expected"]
    assert counted.read == 18_006 + 4_517  # rows of the two streams, docs/start/sample.md
    assert 0 < entry["expected"] < events()["menu"].size, "a cut that shows something"


def test_a_named_cut_stands_inside_a_larger_one(sample_home: Path) -> None:
    met = events()["CellMissingET"] > 10_000
    expected = int((ORACLE["good_muons"]() & met & ~ORACLE["z_to_mumu"]()).sum())
    cut = "@good_muons && CellMissingET > 10 GeV && !@z_to_mumu"
    assert Workspace(sample_home)["data09_900GeV.*"].count(cut).accepted == expected > 0


def test_an_unknown_name_says_which_are_near(sample_home: Path) -> None:
    with pytest.raises(CutError, match=r"no named cut @good_muon") as error:
        Workspace(sample_home)["data09_900GeV.*"].count("NTrk > 1 && @good_muon")
    assert "good_muons" in error.value.hint


def test_a_workspace_has_names_of_its_own_and_they_come_first(tmp_path: Path, sample_home: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    (home.folder / "queries").mkdir()
    (home.folder / "queries" / "mine.toml").write_text('[met]\ncut = "CellMissingET > 1 TeV"\n')
    (home.folder / "queries" / "none.sql").write_text("-- nothing\nyear = 1900\n")
    assert home.home.named_cut("met") == "CellMissingET > 1 TeV"
    assert Workspace(sample_home).home.named_cut("met") == "CellMissingET > 20 GeV"
    assert home.datasets.find("@none").names() == []


# -- metadata queries


def stated(name: str) -> list[list[Any]]:
    """The rows that a query's comments state: a JSON list a line."""
    mark = "-- expected: "
    return [json.loads(line[len(mark) :]) for line in SQL[name].splitlines() if line.startswith(mark)]


def counted_places() -> list[list[Any]]:
    """Files that the rows point to and that the file catalog has a path for, and the TAG files."""
    catalog = ElementTree.parse(FILES / "PoolFileCatalog.xml").getroot()
    with_path = {f.get("ID") for f in catalog if f.find("physical/pfn") is not None}
    rows: list[list[Any]] = []
    for stream in STREAMS:
        paths = sorted(FILES.glob(f"*.{stream}.TAG.*.parquet"))
        tokens = [t for p in paths for t in pq.read_table(p, columns=["StreamAOD_ref"])["StreamAOD_ref"].to_pylist()]
        aods = {t.partition("[DB=")[2][:36] for t in tokens}
        assert aods <= with_path
        name = f"data09_900GeV.{stream}.TAG"
        rows += [[name, "AOD", len(aods), "HOME", len(aods)], [name, "TAG", len(paths), None, 0]]
    return rows


def counted_runs() -> list[list[Any]]:
    streams = [rows_of(s) for s in STREAMS]
    rows = []
    for number in np.unique(streams[0]["RunNumber"]).tolist():
        here = [s["LumiBlockN"][s["RunNumber"] == number] for s in streams]
        rows.append([number, 2, sum(h.size for h in here), max(np.unique(h).size for h in here)])
    return rows


def counted_blocks() -> list[list[Any]]:
    rows = []
    for stream in STREAMS:
        processed = 0
        for path in sorted(FILES.glob(f"*.{stream}.TAG.*.parquet")):
            processed += len(json.loads(pq.read_schema(path).metadata[b"tagsel.processed"]))
        found = rows_of(stream)
        blocks = set(zip(found["RunNumber"].tolist(), found["LumiBlockN"].tolist(), strict=True))
        rows.append([f"data09_900GeV.{stream}.TAG", processed, len(blocks)])
    return rows


def counted_overlap() -> list[list[Any]]:
    ids = [set(zip(s["RunNumber"].tolist(), s["EventNumber"].tolist(), strict=True)) for s in map(rows_of, STREAMS)]
    return [[len(ids[0] & ids[1])]]


def counted_menus() -> list[list[Any]]:
    found = rows_of("physics_Muon")
    pairs = list(zip(found["RunNumber"].tolist(), found["menu"].tolist(), strict=True))
    return [[run, menu, pairs.count((run, menu))] for run, menu in sorted(set(pairs))]


COUNTED: dict[str, Callable[[], list[list[Any]]]] = {
    "trigger_2_of_2009": lambda: [["data09_900GeV.physics_Muon.TAG"]],  # as the fixture ingests it
    "places": counted_places,
    "runs": counted_runs,
    "processed_blocks": counted_blocks,
    "stream_overlap": counted_overlap,
    "menus_of_runs": counted_menus,
    "summary": lambda: [["TAG", 2009, 2, 18_006 + 4_517, 3]],  # docs/start/sample.md
}


@pytest.mark.parametrize("name", SQL)
def test_a_named_metadata_query_answers_what_it_states(
    name: str, sample_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tagsel datasets @name`, whether it is a SELECT or a condition."""
    assert stated(name) == COUNTED[name](), "counted apart"
    assert run(["datasets", f"@{name}", "--json", "-w", str(sample_home)]) == 0
    document = json.loads(capsys.readouterr().out)
    if "rows" in document:
        found = [list(row.values()) for row in document["rows"]]
    else:
        found = [[row["name"]] for row in document["datasets"]]
    assert found == stated(name)


def test_feature_12_tag_datasets_with_trigger_2_of_2009_is_one_line(sample_home: Path) -> None:
    found = Workspace(sample_home).datasets.find("type = 'TAG' and year = 2009 and trigger = 2 and version = '1.0.0'")
    assert found.names() == ["data09_900GeV.physics_Muon.TAG"]


def test_a_select_is_no_condition_and_the_other_way_round(sample_home: Path) -> None:
    home = Workspace(sample_home)
    assert home.sql("@stream_overlap").to_pylist() == [{"events": 514}]
    with pytest.raises(TagselError, match="is a SELECT, not a condition") as error:
        home.datasets.find("@stream_overlap")
    assert "--sql @stream_overlap" in error.value.hint
    with pytest.raises(TagselError, match="is a condition on datasets, not a SELECT"):
        home.sql("@trigger_2_of_2009")
    with pytest.raises(TagselError, match="no named metadata query @summery") as error:
        home.sql("@summery")
    assert "summary" in error.value.hint


def test_every_named_query_is_listed_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["queries", "--json"]) == 0
    listed = {q["name"]: q for q in json.loads(capsys.readouterr().out)["queries"]}
    assert set(listed) == {*CUTS, *ADL, *SQL}
    assert {name: q["fill"] for name, q in listed.items() if q["fill"]} == {
        name: entry["fill"].strip() for name, entry in ADL.items() if "fill" in entry
    }
    assert all(q["description"] and q["kind"] in ("cut", "sql", "condition") for q in listed.values())


# -- the numbers that README.md and docs/start/tour.md show


def good() -> np.ndarray:
    """Events in the sample's good-run list, block by block."""
    found = events()
    passed = np.zeros(found["menu"].size, bool)
    for collection in ElementTree.parse(FILES / "good_runs.xml").getroot().iter("LumiBlockCollection"):
        run = int(collection.findtext("Run") or "")
        for span in collection.iter("LBRange"):
            inside = (found["LumiBlockN"] >= int(span.get("Start", ""))) & (
                found["LumiBlockN"] <= int(span.get("End", ""))
            )
            passed |= (found["RunNumber"] == run) & inside
    return passed


def test_numbers_of_the_tour() -> None:
    mu4, pair, mass = chain("EF_mu4"), opposite(), (dimuon_mass() > 66) & (dimuon_mass() < 116)
    counted = {
        "two muons of 4 GeV": passing("LooseMuon", 4, 4000, np.inf) >= 2,
        "good": good(),
        "mu4": good() & mu4,
        "pair": good() & pair,
        "mu4 and pair": good() & mu4 & pair,
        "mass": good() & mass,
        "all but mu4": good() & pair & mass,
        "all but pair": good() & mu4 & mass,
        "z": good() & mu4 & pair & mass,
    }
    shown = (762, 18_790, 3_851, 1_401, 1_235, 377, 375, 374, 372)
    assert {name: int(mask.sum()) for name, mask in counted.items()} == dict(zip(counted, shown, strict=True))
    assert 22_523 - events()["menu"].size == 523


def test_the_digest_of_the_tour() -> None:
    """As docs/reference/event-lists.md says: 21 bytes, then run and event of each, in order."""
    z = good() & chain("EF_mu4") & ORACLE["z_to_mumu"]()
    ids = sorted(zip(events()["RunNumber"][z].tolist(), events()["EventNumber"][z].tolist(), strict=True))
    content = b"tagsel.events.1 data\n" + b"".join(struct.pack("<iq", *pair) for pair in ids)
    shown = "f64693b058b40416a74b02e582738929a3a7d4be8984a0bcaef1ba51c54efd68"
    assert hashlib.sha256(content).hexdigest() == shown
    assert all(shown in (ROOT / page).read_text() for page in ("README.md", "docs/start/tour.md"))


def test_masses_of_the_tour_from_the_aods() -> None:
    """Of the 372 events, 369 have a mass between 80 and 100 GeV, with masses of muons neglected as zmass.py does."""
    import uproot

    z = good() & chain("EF_mu4") & ORACLE["z_to_mumu"]()
    wanted = set(zip(events()["RunNumber"][z].tolist(), events()["EventNumber"][z].tolist(), strict=True))
    masses: dict[tuple[int, int], float] = {}
    for path in sorted(FILES.glob("*.AOD.*.root")):
        with uproot.open(path) as file:
            branches = file["Events"].arrays(["run", "event", "Muon_pt", "Muon_eta", "Muon_phi"]).to_list()
        for row in branches:
            if (row["run"], row["event"]) in wanted:
                (pt, pt2), (eta, eta2), (phi, phi2) = (row[f"Muon_{q}"][:2] for q in ("pt", "eta", "phi"))
                squared = 2 * pt * pt2 * (math.cosh(eta - eta2) - math.cos(phi - phi2))
                masses[row["run"], row["event"]] = math.sqrt(squared)
    assert len(masses) == 372
    assert sum(80 < m < 100 for m in masses.values()) == 369
