"""The suite: what is asked. A question is a row: our cut, the same in the common language of `plain`, and its kind.

Cuts have thresholds that float32 holds exactly, and a rival that would compute in float32 what we compute in float64
is told to widen (`double`), so that all answers are equal, event by event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from generator import MENUS, menu_id  # beside the sample; bench.data says where

from bench.data import TAG


@dataclass(frozen=True)
class Question:
    """One row of the table.

    `steps` are (our cut, the common condition): an event is asked for that passes all. With a `weight` the answer is
    the cutflow of the steps instead; with `fills`, expressions, one histogram of them in `bins` (number, low, high).
    With `regions` each step is a selection of its own, and their counts are asked for, in one pass where one can.
    `forms` are conditions in dialects that `plain` cannot render ("duckdb", "polars", "clickhouse", "cpp",
    "awkward"). `good` asks for good luminosity blocks too.
    """

    name: str
    what: str
    steps: tuple[tuple[str, str], ...]
    data: str = TAG
    weight: str = ""
    good: bool = False
    regions: bool = False
    fills: tuple[str, ...] = ()
    bins: tuple[int, float, float] = (1, 0.0, 1.0)
    forms: Mapping[str, str] = field(default_factory=dict)

    @property
    def condition(self) -> str:
        """All steps in the common language, "" where only `forms` say it."""
        return " and ".join(f"({plain})" for _, plain in self.steps if plain)

    @property
    def sums(self) -> bool:
        """Whether sums are asked for, and no events."""
        return bool(self.weight) or self.regions

    def ways(self, steps: Sequence[Any], both: Callable[[Sequence[Any]], Any]) -> list[Any]:
        """What is summed over: each region; of a cutflow each step alone, in sequence, and all but it."""
        if self.regions:
            return list(steps)
        places = range(len(steps))
        rest = (both([*steps[:k], *steps[k + 1 :]]) for k in places)
        return [*steps, *(both(steps[: k + 1]) for k in places), *rest]


def select(name: str, what: str, cut: str, plain: str = "", **more: object) -> Question:
    """A question of one step."""
    return Question(name, what, ((cut, plain),), **more)  # type: ignore[arg-type]


def fired(chain: str) -> str:
    """A chain's decision in the common language: the bit that each row's menu gives it."""
    places = [(menu_id(bits), *bits[chain]) for bits in MENUS.values() if chain in bits]
    return "(" + " or ".join(f"(menu == {i} and bit({word}, {bit}))" for i, word, bit in places) + ")"


MASS2 = """2 * double(LooseMuonPt1) * double(LooseMuonPt2)
    * (cosh(double(LooseMuonEta1) - double(LooseMuonEta2)) - cos(double(LooseMuonPhi1) - double(LooseMuonPhi2)))"""
"""Square of the mass of a pair, massless, in MeV², of slots whose pt has the sign of the charge."""

PAIR = "NLooseMuon >= 2 and LooseMuonPt1 * LooseMuonPt2 < 0"


def window(low: int, high: int) -> str:
    """A mass window in GeV for the leading pair of opposite sign, in the common language."""
    return f"{PAIR} and {-((high * 1000) ** 2)} < {MASS2} and {MASS2} < {-((low * 1000) ** 2)}".replace("\n", " ")


def _twenty() -> tuple[str, str]:
    """A cut of twenty terms as analyses grow them, and the same in the common language."""
    slots = [(k, 40 - 5 * k) for k in (1, 2, 3, 4)]
    ours = ["NVtx >= 1", "NTrk >= 3", "abs(VtxZ) < 128 mm", "NJet >= 1", "abs(JetPt1) > 10 GeV", "abs(JetEta1) < 2"]
    plain = ["NVtx >= 1", "NTrk >= 3", "abs(VtxZ) < 128", "NJet >= 1", "abs(JetPt1) > 10000", "abs(JetEta1) < 2"]
    for k, low in slots:
        ours.append(f"(NLooseElectron < {k} || abs(LooseElectronPt{k}) < {low} GeV)")
        plain.append(f"(NLooseElectron < {k} or abs(LooseElectronPt{k}) < {low}000)")
        ours.append(f"(NLooseMuon < {k} || abs(LooseMuonEta{k}) < 2.25)")
        plain.append(f"(NLooseMuon < {k} or abs(LooseMuonEta{k}) < 2.25)")
    ours += [
        "JetSumET > 12 GeV",
        "CellMissingET < 24 GeV",
        "CellMissingETPhi > -3",
        "NLoosePhoton <= 2",
        "RandomNumber < 0.75",
        "EventTime > 1259000000",
    ]
    plain += [
        "JetSumET > 12000",
        "CellMissingET < 24000",
        "CellMissingETPhi > -3",
        "NLoosePhoton <= 2",
        "RandomNumber < 0.75",
        "EventTime > 1259000000",
    ]
    assert len(ours) == len(plain) == 20
    return " && ".join(ours), " and ".join(plain)


CUTFLOW = (
    ("NVtx >= 1", "NVtx >= 1"),
    ("abs(VtxZ) < 100 mm", "abs(VtxZ) < 100"),
    ("NTrk >= 5", "NTrk >= 5"),
    ("NLooseMuon >= 1", "NLooseMuon >= 1"),
    ("abs(LooseMuonPt1) > 4 GeV", "NLooseMuon >= 1 and abs(LooseMuonPt1) > 4000"),
    ("abs(LooseMuonEta1) < 2", "NLooseMuon >= 1 and abs(LooseMuonEta1) < 2"),
    ("NJet <= 2", "NJet <= 2"),
    ("CellMissingET < 12 GeV", "CellMissingET < 12000"),
)

TAGS = (
    select("Q1", "one quantity, few pass", "CellMissingET > 46 GeV", "CellMissingET > 46000"),
    select(
        "Q2",
        "two muons, six columns",
        "NLooseMuon >= 2 && abs(LooseMuonPt1) > 4 GeV && abs(LooseMuonPt2) > 2.5 GeV && abs(LooseMuonEta1) < 2"
        " && abs(LooseMuonEta2) < 2 && NVtx >= 1",
        "NLooseMuon >= 2 and abs(LooseMuonPt1) > 4000 and abs(LooseMuonPt2) > 2500 and abs(LooseMuonEta1) < 2"
        " and abs(LooseMuonEta2) < 2 and NVtx >= 1",
    ),
    select(
        "Q3",
        "a trigger bit, run and block ranges, a jet",
        "bit(EFPassedTrigMask0, 5) && run >= 141001 && run <= 141002 && lumi > 20 && lumi <= 220 && NJet >= 1"
        " && JetPt1 > 12 GeV",
        "bit(EFPassedTrigMask0, 5) and run >= 141001 and run <= 141002 and lumi > 20 and lumi <= 220 and NJet >= 1"
        " and JetPt1 > 12000",
    ),
    select(
        "Q4",
        "mass window of two muons, cosh and cos",
        "NLooseMuon >= 2 && LooseMuonPt1 * LooseMuonPt2 < 0 &&"
        " 66 GeV < sqrt(-2 * LooseMuonPt1 * LooseMuonPt2 * (cosh(LooseMuonEta1 - LooseMuonEta2)"
        " - cos(LooseMuonPhi1 - LooseMuonPhi2))) < 116 GeV",
        window(66, 116),
    ),
    select(
        "Q5",
        "a trigger or counts or a sum, a tenth pass",
        "bit(EFPassedTrigMask0, 33) || NJet >= 3 || NLooseElectron >= 2 || JetSumET > 40 GeV",
        "bit(EFPassedTrigMask0, 33) or NJet >= 3 or NLooseElectron >= 2 or JetSumET > 40000",
    ),
    select("trigger", "a trigger by name, menus by run, 500 good ranges", "EF_mu4", fired("EF_mu4"), good=True),
    select("twenty", "a cut of twenty terms", *_twenty()),
    select(
        "none",
        "nothing passes",
        "CellMissingET > 20 GeV && CellMissingET + JetSumET < 20 GeV",
        "CellMissingET > 20000 and CellMissingET + JetSumET < 20000",
    ),
    select("all", "every event passes", "NTrk >= 0 && CellMissingET >= 0 GeV", "NTrk >= 0 and CellMissingET >= 0"),
    Question("cutflow", "eight steps, weighted: alone, in sequence, all but it", CUTFLOW, weight="RandomNumber"),
)
