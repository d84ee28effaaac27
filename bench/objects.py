"""Questions about lists of objects: two selections for every rival, and the ADL benchmark's queries 1 to 8.

The ADL queries (github.com/iris-hep/adl-benchmarks-index) fill histograms; RDataFrame and awkward answer them with the
functions of `rivals/physics.h` and `rivals/physics.py`, which compute in float64, as a physicist would write them who
wants equal answers everywhere. Bins have widths that are powers of two, so that no rounding moves a value on an edge.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.data import OBJECTS
from bench.questions import Question, select

BINS = (64, 0.0, 256.0)
JET, MUON, ELECTRON = "Jet_pt, Jet_eta, Jet_phi, Jet_mass", "Muon_pt, Muon_eta, Muon_phi", "Electron_pt, Electron_eta"
LEPTONS = (f"{MUON}, Muon_mass, Muon_charge", f"{ELECTRON}, Electron_phi, Electron_mass, Electron_charge")


EIGHT = """
let (a, b) = argmin(a, b in Muon: abs(mass(a, b) - 91.2 GeV) if a.charge != b.charge);
let (p, q) = argmin(p, q in Electron: abs(mass(p, q) - 91.2 GeV) if p.charge != q.charge);
let m = argmax(m in Muon: m.pt if !(m == a || m == b) || abs(mass(p, q) - 91.2 GeV) < abs(mass(a, b) - 91.2 GeV));
let e = argmax(e in Electron: e.pt if !(e == p || e == q) || abs(mass(a, b) - 91.2 GeV) <= abs(mass(p, q) - 91.2 GeV));
"""
"""The leading lepton beside the pair nearest to a Z: the muon `m`, or the electron `e`."""


def adl(number: int, what: str, *fills: str, cut: str = "true", **forms: str) -> Question:
    """A query of the ADL benchmark: our expressions and cut, and the conditions of the others, "cpp" and "awkward".

    Keys with `_value` are what is filled.
    """
    named: Mapping[str, str] = {key.replace("_", " "): form for key, form in forms.items()}
    return Question(f"adl{number}", what, ((cut, ""),), OBJECTS, fills=fills, bins=BINS, forms=named)


LISTS = (
    select(
        "muons",
        "two muons above 20 GeV in the barrel and end caps, of a list",
        "count(Muon.pt > 20 GeV && abs(Muon.eta) < 2.375) >= 2",
        data=OBJECTS,
        forms={
            "duckdb": "len(list_filter(list_zip(Muon_pt, Muon_eta), lambda x: x[1] > 20 AND abs(x[2]) < 2.375)) >= 2",
            "clickhouse": "arrayCount((p, e) -> p > 20 AND abs(e) < 2.375, Muon_pt, Muon_eta) >= 2",
            "polars": "(pl.col('Muon_pt').list.eval((pl.element() > 20).cast(pl.Int8))"
            " * pl.col('Muon_eta').list.eval((pl.element().abs() < 2.375).cast(pl.Int8))).list.sum() >= 2",
            "cpp": "Sum(Muon_pt > 20 && abs(Muon_eta) < 2.375) >= 2",
            "awkward": "ak.sum((Muon_pt > 20) & (abs(Muon_eta) < 2.375), axis=1) >= 2",
        },
    ),
    select(
        "dimuon",
        "mass window of the leading two muons of a list",
        "nMuon >= 2 && 66 GeV < sqrt(2 * Muon.pt[0] * Muon.pt[1] * (cosh(Muon.eta[0] - Muon.eta[1])"
        " - cos(Muon.phi[0] - Muon.phi[1]))) < 116 GeV",
        "nMuon >= 2 and 66 < sqrt(2 * double(Muon_pt[0]) * double(Muon_pt[1]) * (cosh(double(Muon_eta[0])"
        " - double(Muon_eta[1])) - cos(double(Muon_phi[0]) - double(Muon_phi[1])))) < 116",
        data=OBJECTS,
    ),
)

ADL = (
    adl(1, "missing energy of all events", "MET_pt", cpp_value="MET_pt", awkward_value="MET_pt"),
    adl(2, "pt of all jets", "Jet.pt", cpp_value="Jet_pt", awkward_value="Jet_pt"),
    adl(
        3,
        "pt of the jets with |η| < 1",
        "Jet.pt if abs(Jet.eta) < 1",
        cpp_value="Jet_pt[abs(Jet_eta) < 1]",
        awkward_value="Jet_pt[abs(Jet_eta) < 1]",
    ),
    adl(
        4,
        "missing energy, two jets above 40 GeV",
        "MET_pt",
        cut="count(Jet.pt > 40 GeV) >= 2",
        cpp="Sum(Jet_pt > 40) >= 2",
        cpp_value="MET_pt",
        awkward="ak.sum(Jet_pt > 40, axis=1) >= 2",
        awkward_value="MET_pt",
    ),
    adl(
        5,
        "missing energy, a muon pair of opposite charge, 60 to 120 GeV",
        "MET_pt",
        cut="any(a, b in Muon: a.charge != b.charge && 60 GeV < mass(a, b) < 120 GeV)",
        cpp=f"adl5({LEPTONS[0]})",
        cpp_value="MET_pt",
        awkward=f"adl5({LEPTONS[0]})",
        awkward_value="MET_pt",
    ),
    adl(
        6,
        "pt of the three jets whose mass is nearest to 172.5 GeV",
        "let (a, b, c) = argmin(a, b, c in Jet: abs(mass(a, b, c) - 172.5 GeV)); pt(a, b, c)",
        cut="nJet >= 3",
        cpp="nJet >= 3",
        cpp_value=f"adl6({JET})",
        awkward="nJet >= 3",
        awkward_value=f"adl6({JET})",
    ),
    adl(
        7,
        "sum of pt of the jets above 30 GeV that are far from leptons above 10 GeV",
        "sum(j in Jet: j.pt if j.pt > 30 GeV && !any(m in Muon: m.pt > 10 GeV && deltaR(j, m) < 0.4)"
        " && !any(e in Electron: e.pt > 10 GeV && deltaR(j, e) < 0.4))",
        cpp_value=f"adl7(Jet_pt, Jet_eta, Jet_phi, {MUON}, {ELECTRON}, Electron_phi)",
        awkward_value=f"adl7(Jet_pt, Jet_eta, Jet_phi, {MUON}, {ELECTRON}, Electron_phi)",
    ),
    adl(
        8,
        "transverse mass of missing energy and the lepton beside the pair nearest to a Z, of three or more",
        f"{EIGHT} mt(m, MET) if !(e.pt > m.pt)",
        f"{EIGHT} mt(e, MET) if e.pt > m.pt || !present(m)",
        cut="nMuon + nElectron >= 3 && (any(a, b in Muon: a.charge != b.charge)"
        " || any(a, b in Electron: a.charge != b.charge))",
        cpp="nMuon + nElectron >= 3 && adl8_pair(Muon_charge, Electron_charge)",
        cpp_value=f"adl8({', '.join(LEPTONS)}, MET_pt, MET_phi)",
        awkward="(nMuon + nElectron >= 3) & adl8_pair(Muon_charge, Electron_charge)",
        awkward_value=f"adl8({', '.join(LEPTONS)}, MET_pt, MET_phi)",
    ),
)
