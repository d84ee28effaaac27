"""Cuts in the words of ROOT: the same meaning, or refused with a cut that is accepted."""

from __future__ import annotations

import math
import re

import numpy as np
import oracle as slow
import pytest
from tag_schema import MENUS, SCHEMA, lumi

from tagsel.engine.codegen import emit
from tagsel.engine.interpreter import interpret
from tagsel.engine.sql import to_sql
from tagsel.errors import CutError
from tagsel.language import Scope, bind
from tagsel.language.parse import MAX_SUM
from tagsel.language.tree import Block, walk
from tagsel.schema import Attribute, Menu, Schema

SCOPE = Scope(SCHEMA, MENUS, lumi)

SAME = {
    "TMath::Abs(x) > 1": "abs(x) > 1",
    "fabs(x) > 1": "abs(x) > 1",
    "std::fabs(x) > 1": "abs(x) > 1",
    "TMath::Power(x, 2) > 1": "pow(x, 2) > 1",
    "TMath::Sqrt(std::exp(x)) > 1": "sqrt(exp(x)) > 1",
    "TMath::Nint(x) == 2": "rint(x) == 2",
    "min(x, 3) > 1 && max(x, y) < 2": "min2(x, 3) > 1 && max2(x, y) < 2",
    "TMath::Min(x, y) > std::max(x, y)": "min2(x, y) > max2(x, y)",
    "TMath::Pi() > MET_phi": "pi > MET_phi",
    "M_PI > MET_phi": "3.141592653589793 > MET_phi",
}


@pytest.mark.parametrize(("text", "ours"), SAME.items())
def test_the_words_of_root_are_ours(text: str, ours: str) -> None:
    assert bind(text, SCOPE).fingerprint == bind(ours, SCOPE).fingerprint


HINTS = {
    "MET_pt^2 > 900": "MET_pt ** 2 > 900",
    "MET_pt^2": None,
    "(i^2) > 3": "(i ** 2) > 3",
    "i^2 > 3 && j > 1": "i ** 2 > 3 && j > 1",
    "(i > 1) ^ (j > 2)": "(i > 1 || j > 2) && !(i > 1 && j > 2)",
    "!nMuon": "nMuon == 0",
    "!nMuon && i > 2": "nMuon == 0",
    "!nMuon >= 2": "!(nMuon >= 2)",
    "!x > 2 && i > 1": "!(x > 2)",
    "any(m in Muon: !m.pt > 3 GeV)": "!(m.pt > 3 GeV)",
    '!name == "a"': '!(name == "a")',
    "!i in (1, 2)": "!(i in (1, 2))",
    "(!i + 1) > 1": "(i == 0 ? 1 : 0)",
    "2 * !x > 1": "(x == 0 ? 1 : 0)",
    "!Muon": "count(Muon) == 0",
    "!word": "word == 0",
    "!name": 'name != "…"',
    "!(bits & 4)": "(bits & 4) == 0",
    "!bits & 4": "(bits & 4) == 0",
    "(!bits & 0xff) != 0xff": "~bits & 0xFF",
    "(!word & 4) != 0": "~word & 4",
    "!bits & 4 == 4": "(~bits & 4) == 4",
    "!bits | 4 == 4": "(~bits | 4) == 4",
    "bits & 4 != 4": "(bits & 4) != 4",
    "(!bits | 4) == 4": "~bits | 4",
    "~flag": "!flag",
    "bits & flag": "bits != 0 && flag",
    "bits | flag": "bits != 0 || flag",
    "flag ^ flag": "(flag || flag) && !(flag && flag)",
    "bit(flag, 0)": "flag",
    "flag ? x > 1 : x": "x != 0",
    "nMuon": "nMuon != 0",
    "i + j": "i + j != 0",
    "name": 'name == "…"',
    "word": "word != 0",
    "MET > 30 GeV": "MET.pt",
    "Muon > 30 GeV": "Muon.pt[0]",
    "any(m in Muon: m > 30 GeV)": "m.pt",
    "Sum$(Muon_pt) > 30": "sum(Muon_pt) > 30",
    "Sum$(Muon_pt > 30 && Muon_eta < 2) > 1": "count(Muon_pt > 30 && Muon_eta < 2) > 1",
    "Max$(Muon_pt) > 30 && Min$(Jet_pt) > 20000": "max(Muon_pt) > 30 && min(Jet_pt) > 20000",
    "MaxIf$(Muon_pt, abs(Muon_eta) < 2) > 30": "max(Muon_pt if abs(Muon_eta) < 2) > 30",
    "Alt$(Muon_pt[1], 0) > 20": "(present(Muon_pt[1]) ? Muon_pt[1] : 0) > 20",
    "Length$(Muon_pt) > 1": "count(Muon) > 1",
    "i > 1 & j < 2": "i > 1 && j < 2",
    "bits & 4 == 4": "(bits & 4) == 4",
    "1 < x > 2": "1 < x && x > 2",
    "Muon.pt > 20 GeV": "any(Muon.pt > 20 GeV)",
    "MET_phi < TMath::TwoPi()": "2 * pi",
    "i == '1'": "i == 1",
    "'1' != i": "1 != i",
    "name == 1": 'name == "1"',
    "2.5 == name": 'name == "2.5"',
    "flag == 'true'": "flag == true",
    "i in ('1', 2)": "i in (1, 2)",
    'name in (1, "b")': 'name in ("1", "b")',
    "any(m in Muon: m.pt == '20')": "m.pt == 20",
    "Muon_pt@.size() > 1": "count(Muon) > 1",
    "flag && Jet.pt@.size() > 1 && Muon@.size() == 2": "flag && count(Jet) > 1 && count(Muon) == 2",
    "Muon_pt.size() > 1": "count(Muon)",
    "Muon.size() > 1": "count(Muon)",
    "HLT_*": 'trigger("HLT_*")',
    "HLT_*_Mu && x > 1": None,
    "(HLT_* || L1_?) && x > 1": 'trigger("HLT_*")',
    "x > 1 && HLT_a*": 'trigger("HLT_a*")',
    "!HLT_?": 'trigger("HLT_?")',
    "HLT_b*_v? || x > 1": None,
}
"""Cuts that are refused, and the text of the hint that is to be taken."""


@pytest.mark.parametrize(("text", "ours"), HINTS.items())
def test_a_hint_is_itself_accepted(text: str, ours: str | None) -> None:
    """The suggestion, put where the caret is if it is no cut by itself, must bind: no hint leads in a circle."""
    with pytest.raises(CutError) as caught:
        bind(text, SCOPE)
    error = caught.value
    if ours is None:
        assert error.hint
        return
    assert ours in error.hint, error.hint
    suggestion = ours.replace("…", "a")
    try:
        bind(suggestion, SCOPE)
    except CutError:
        end = error.position + error.length
        bind(text[: error.position] + suggestion + re.sub(r"^\(\)", "", text[end:]), SCOPE)


GLOBS = {
    "HLT_*": "HLT_a || HLT_b",
    "HLT_* && x > 1": "(HLT_a || HLT_b) && x > 1",
    "x > 1 && !HLT_a*": "x > 1 && !HLT_a",
    "(L1_?) || x > 1": "L1_c || x > 1",
    "word in (1, 2) && HLT_?*": "word in (1, 2) && (HLT_a || HLT_b)",
}
"""Cuts with a glob of chains of `MENUS`, and what is meant."""


@pytest.mark.parametrize(("text", "meant"), GLOBS.items())
def test_a_glob_of_chains_is_refused_with_the_function_that_takes_it(text: str, meant: str) -> None:
    with pytest.raises(CutError, match="is a glob of trigger chains") as caught:
        bind(text, SCOPE)
    error = caught.value
    assert text[error.position : error.position + error.length] == error.hint[len('trigger("') : -len('")')]
    taken_up = bind(text[: error.position] + error.hint + text[error.position + error.length :], SCOPE)
    rows = 8
    decisions = {  # by menu: HLT_a is bit 0 of trigger_0, or 5 of trigger_1; HLT_b bit 31 or 3; L1_c bit 63 or 7
        "menu": np.array([list(MENUS)[i % len(MENUS)] for i in range(rows)], np.int64),
        "trigger_0": np.array([0, 1, 8, 128, 2**31, 32, 136, 255], np.uint32),
        "trigger_1": np.array([2**63, 32, 0, 1, 0, 32, 0, 5], np.uint64),
        "x": np.linspace(0, 2, rows).astype(np.float32),
        "word": np.arange(rows, dtype=np.uint32),
    }
    answers = [interpret(one.node, Block(rows, decisions)).tolist() for one in (taken_up, bind(meant, SCOPE))]
    assert answers[0] == answers[1] and len(set(answers[0])) == 2


def test_a_glob_that_matches_nothing_or_has_no_menu_is_said_to() -> None:
    for text in ("HLT_IsoMu*", "HLT_IsoMu24_v*", "HLT_IsoMu* && MET_pt > 50", "HLT_IsoMu24_v? && x > 1", "HLT_I*_v2"):
        with pytest.raises(CutError, match="no trigger menu has a chain that matches 'HLT_I"):
            bind(text, SCOPE)
        with pytest.raises(CutError, match="the dataset has no trigger menu") as caught:
            bind(text, Scope(SCHEMA))
        assert not caught.value.hint
    with pytest.raises(CutError, match="no attribute is called 'x_mu'") as caught:
        bind("x_mu", Scope(SCHEMA))
    assert "menu" not in caught.value.message
    for text in ('trigger("HLT_a*")', 'trigger("HLT_a")', "HLT_a && x > 1", "L1_mu"):
        with pytest.raises(CutError, match="the dataset has no trigger menu"):
            bind(text, Scope(SCHEMA))


def test_what_is_no_glob_keeps_its_own_error() -> None:
    """A product, a choice, a text in quotes, and another fault before the glob."""
    products = ("HLT_a * name > 1", "HLT_a*name > 1", "x_* > 1", "MET_pt*")
    for text in (*products, "HLT_a? x : word :", 'name == "HLT_a*" &&', "x >> && HLT_*"):
        with pytest.raises(CutError) as caught:
            bind(text, SCOPE)
        assert "glob" not in caught.value.message and "menu" not in caught.value.message, text


@pytest.mark.parametrize("product", ["HLT_Mu50*nMuon > 2", "x > 1 && HLT_Mu50**i > 2", "HLT_aa*nMuon*Muon.pt[0] > 2"])
def test_a_product_with_a_chain_that_no_menu_has_is_no_glob(product: str) -> None:
    """`*nMuon` multiplies, as `HLT_a*nMuon` does; `HLT_*Muon` and `HLT_IsoMu*x9` are globs."""
    chain = re.search(r"HLT_\w+", product)
    assert chain
    with pytest.raises(CutError) as caught:
        bind(product, SCOPE)
    error = caught.value
    assert error.message == f"no attribute and no trigger chain is called {chain.group()!r}"
    assert "HLT_a" in error.hint
    for glob in ("HLT_*Muon", "HLT_IsoMu*x9"):
        with pytest.raises(CutError, match="no trigger menu has a chain that matches"):
            bind(glob, SCOPE)


@pytest.mark.parametrize("cut", ["!(nMuon > 1) & 1", "!(x > 1 && i > 1) | 1", "!!i & 1", "1 & !i", "!(x > 1) & 1 == 0"])
def test_a_condition_beside_a_number_is_given_no_form_that_is_refused(cut: str) -> None:
    """No bit of a condition is meant, and no number is a condition: the hint says what joins conditions."""
    with pytest.raises(CutError, match="is a bit operator, and a condition stands beside it") as caught:
        bind(cut, SCOPE)
    assert caught.value.hint == "conditions are joined with && and ||"


REFUSED = "refused: "

BROKEN = [
    *(text for text, ours in HINTS.items() if ours),
    "Jet.ptt[0] > 3",
    "coun(Muon.pt > 3) > 0",
    "L1_d",
    "nMuo > 1",
    "Muon.pt[0] > 25 gev",
    "flag AND x > 1",
    "x > 1 OR flag",
    "NOT flag",
    "007 < x",
    "(Tau.n) <= 2",
    "count(a, b : a.pt > b.pt) > 1",
    "any(Muon.ptt > 2)",
    "deltar(Muon[0], Jet[0]) > 1",
    "x > 1 | flag",
    "flag & x > 1",
    "let m = argmax(m in Muon: m.ptt); m.pt > 3",
    "HLT_aa || HLT_b",
    "1 < x > 2 && flag",
    "abs(Muon.eta) < 2",
    "i ^ 2 == 4 || flag",
    "mass(Muon[0], Muon[1]) > 60 && Muon.pt > 20",
]
"""Cuts that are refused with a hint."""


def readings(text: str, error: CutError) -> list[str]:
    """What a user may type who follows a hint: each of its pieces as the whole cut, or for what is marked."""
    meant = error.hint.removeprefix("did you mean ").removesuffix("?").removesuffix(", in lower case")
    pieces = [meant, *re.split(r", or | or |: |; |, in lower case| takes ", meant)]
    pieces += [piece.rpartition(" is ")[2] for piece in pieces]
    words = set(re.findall(r"\w+", text))
    before, after = text[: error.position], text[error.position + error.length :]
    marked = text[error.position : error.position + error.length]
    typed = []
    for piece in dict.fromkeys(pieces):
        if words & set(re.findall(r"\w+", piece)):
            typed.append(piece)
        typed.append(f"{before}{piece}{after.removeprefix('()')}")
        typed.append(f"{before}{re.sub(r'^[a-zA-Z_0-9]+', piece, marked)}{after}")
    return [one for one in typed if one != text]


def follow(text: str, steps: int = 3) -> str:
    """The cut that binds after at most so many hints; the first error where there is none."""
    try:
        bind(text, SCOPE)
    except CutError as error:
        if not error.hint or not steps:
            return f"{REFUSED}{text}: {error.message}; try: {error.hint}"
        ends = [follow(one, steps - 1) for one in readings(text, error)]
        return next((end for end in ends if not end.startswith(REFUSED)), f"{REFUSED}{text}: {error.hint}")
    return text


@pytest.mark.parametrize("text", BROKEN)
def test_every_hint_leads_to_a_cut_that_binds(text: str) -> None:
    """A user who follows the hint, and the next one, has a cut within three; none leads in a circle or nowhere."""
    with pytest.raises(CutError):
        bind(text, SCOPE)
    end = follow(text)
    assert not end.startswith(REFUSED), end
    bind(end, SCOPE)


def taken(text: str) -> str:
    """The cut that binds where the first suggestion of each hint, of three at most, takes the place that is marked."""
    for _ in range(3):
        try:
            bind(text, SCOPE)
        except CutError as error:
            suggestion = re.split(", or | takes ", error.hint.removeprefix("compare it: "))[0]
            text = text[: error.position] + suggestion + text[error.position + error.length :]
    return text


MEANT = {
    "!i > 2": lambda i, bits: not i > 2,
    "2 < !i": lambda i, bits: i <= 2,
    "!i in (1, 2)": lambda i, bits: i not in (1, 2),
    "!i": lambda i, bits: i == 0,
    "!!i": lambda i, bits: i != 0,
    "!i && bits > 4": lambda i, bits: i == 0 and bits > 4,
    "!i + 1 > 1": lambda i, bits: (i == 0) + 1 > 1,
    "-!i < 0": lambda i, bits: -(i == 0) < 0,
    "!bits & 4": lambda i, bits: (bits & 4) == 0,
    "!(bits & 6)": lambda i, bits: (bits & 6) == 0,
    "!bits & 6 != 6": lambda i, bits: (~bits & 6) != 6,
    "(!bits & 6) != 6": lambda i, bits: (~bits & 6) != 6,
    "(!bits | 3) == -5": lambda i, bits: (~bits | 3) == -5,
    "!(i > 1) ? bits > 4 : i": lambda i, bits: bits > 4 if i <= 1 else i != 0,
}
"""Cuts that are refused for a `!`, and in Python what is meant."""


@pytest.mark.parametrize("text", MEANT)
def test_who_follows_a_hint_has_the_cut_that_was_meant(text: str) -> None:
    values = [(i, bits) for i in range(5) for bits in range(9)]
    columns = {"i": np.array([i for i, _ in values], np.int32), "bits": np.array([b for _, b in values], np.uint32)}
    with pytest.raises(CutError):
        bind(text, SCOPE)
    end = taken(text)
    truth = [MEANT[text](*pair) for pair in values]
    assert interpret(bind(end, SCOPE).node, Block(len(values), columns)).tolist() == truth, end
    assert len(set(truth)) == 2


def test_words_in_lower_case_are_not_asked_to_be_so() -> None:
    for text in ("x in in (1, 2)", "flag and or x > 1", "x < not flag"):
        with pytest.raises(CutError) as caught:
            bind(text, SCOPE)
        assert "lower case" not in caught.value.hint


def met_scope() -> Scope:
    """PHYSLITE's MET: terms with mpx, mpy and sumet, and no pt; and a vertex, which has no momentum at all."""
    terms = [Attribute(f"MET.{m}", "float64", "MeV", is_list=True, counter="nMET") for m in ("mpx", "mpy", "sumet")]
    vertex = [Attribute(f"PV.{m}", "float32", "mm", is_list=True, counter="nPV") for m in "xyz"]
    jets = Attribute("Jet.pt", "float32", "GeV", is_list=True, counter="nJet")
    counters = [Attribute(name, "int32", role="counter") for name in ("nMET", "nPV", "nJet")]
    return Scope(Schema((*counters, *terms, *vertex, jets)))


COMPUTED = {
    "MET > 30 GeV": "hypot(MET.mpx[0], MET.mpy[0])",
    "MET[0] > 30 GeV": "hypot(MET[0].mpx, MET[0].mpy)",
    "MET.pt > 30 GeV": "hypot(MET.mpx[0], MET.mpy[0])",
    "MET.phi > 1": "atan2(MET.mpy[0], MET.mpx[0])",
    "any(m in MET: m.pt > 30 GeV)": "hypot(m.mpx, m.mpy)",
    "any(m in MET: m > 30 GeV)": "hypot(m.mpx, m.mpy)",
}


@pytest.mark.parametrize(("text", "ours"), COMPUTED.items())
def test_the_pt_of_an_object_kept_by_components_is_computed(text: str, ours: str) -> None:
    """Terms of (3, 4), (30, 40) and (0, 50) GeV, and none; the hint says what the terms have, and names no other
    collection."""
    scope = met_scope()
    with pytest.raises(CutError) as caught:
        bind(text, scope)
    error = caught.value
    assert error.hint.startswith("it has mpx, mpy, sumet; ") and "Jet" not in error.hint
    assert error.hint.rpartition(": ")[2] == ours
    cut = bind(text[: error.position] + ours + text[error.position + error.length :], scope)
    terms = [(3e3, 4e3), (30e3, 40e3), (0.0, 50e3)]
    columns = {"nMET": np.array([1, 1, 1, 0], np.int32), "MET_mpx": np.array([x for x, _ in terms])}
    answers = interpret(cut.node, Block(4, {**columns, "MET_mpy": np.array([y for _, y in terms])})).tolist()
    wanted = [math.atan2(y, x) > 1 if "phi" in text else math.hypot(x, y) > 30e3 for x, y in terms]
    assert answers == [*wanted, False] and len(set(wanted)) == 2


def test_an_object_without_a_momentum_says_what_it_has() -> None:
    for text in ("PV > 3", "PV[0] > 3", "PV.pt[0] > 3", "any(v in PV: v.pt > 3)", "any(v in PV: v > 3)"):
        with pytest.raises(CutError) as caught:
            bind(text, met_scope())
        assert caught.value.hint == "it has x, y, z", text


def test_a_comparison_that_cannot_be_meant_has_no_form_to_try() -> None:
    """A text that is no number, against a number; a text column against a number column."""
    for text in ("i == 'one'", "name == i", "i in ('1', 'two')"):
        with pytest.raises(CutError, match="a text is compared with what is not a text") as caught:
            bind(text, SCOPE)
        assert not caught.value.hint


def test_a_named_cut_of_other_datasets_is_said_to_be_one() -> None:
    scope = Scope(SCHEMA, MENUS, lumi, lambda name: "NLooseMuon >= 2")
    with pytest.raises(CutError, match="@pair is a cut for datasets that have NLooseMuon"):
        bind("@pair", scope)


# c ? a : b

CHOICES = [
    "i > 1 ? x > 2 : y > 2",
    "(i > 1 ? x : y) > 2",
    "(flag ? i : j) == 2",
    "(flag ? x : 2.5) >= 2.5",
    "(Muon.pt[1] > 2 ? Muon.pt[1] : MET_pt) > 2",
    "!(Muon.pt[1] > 2 ? flag : i > 1)",
    "(i > 0 ? 10 % i : 5) > 2",
    "i > 2 ? 1 : i > 1 ? j : 0) > 0".replace("i > 2", "(i > 2", 1),
    "any(m in Muon: m.eta > 0 ? m.pt > 2 : m.pt > 5)",
    "sum(Muon.pt > 2 ? Muon.pt : 0) > 4",
]


@pytest.mark.parametrize("text", CHOICES)
def test_a_choice_is_what_the_oracle_says(text: str) -> None:
    """Twelve rows; an event with one muon has no Muon.pt[1]; `10 % i` is reached where i > 0 only."""
    rows = 12
    counts = np.arange(rows) % 3
    muons = int(counts.sum())
    columns = {
        "i": (np.arange(rows) % 4).astype(np.int32),
        "j": np.arange(rows, dtype=np.int64) - 3,
        "x": np.linspace(0, 5, rows).astype(np.float32),
        "y": np.linspace(5, 0, rows),
        "flag": np.arange(rows) % 2 == 0,
        "MET_pt": np.linspace(1, 4, rows).astype(np.float32),
        "nMuon": counts.astype(np.int32),
        "Muon_pt": np.arange(1, muons + 1, dtype=np.float32),
        "Muon_eta": (np.arange(muons) % 2 * 2 - 1).astype(np.float32),
    }
    ends = np.cumsum(counts)
    bound = bind(text, SCOPE)
    assert bind(bound.text, SCOPE).fingerprint == bound.fingerprint
    truth = []
    for at in range(rows):
        row = {name: values[at].item() for name, values in columns.items() if not name.startswith("Muon_")}
        row |= {n: columns[n][ends[at] - counts[at] : ends[at]].tolist() for n in ("Muon_pt", "Muon_eta")}
        truth.append(slow.oracle(bound.node, row))
    assert interpret(bound.node, Block(rows, columns)).tolist() == truth
    assert any(truth) and not all(truth)


def test_the_condition_of_a_choice_is_worked_out_once() -> None:
    """In each engine: written out twice, a condition of 14 nested choices would have 2^14 first comparisons."""
    text = "x > 1.5"
    for level in range(14):
        text = f"({text} ? i > {level} : y > {level})"
    node = bind(text, SCOPE).node
    compared = [n for n in walk(node) if n.op == "cmp"]
    assert len(compared) == 1 + 2 * 14
    assert to_sql(node).count("1.5") == 1
    loops = 2  # one over all rows, one over those that are left
    assert emit(node, {"x": "f4", "i": "i4", "y": "f8"}).text.count(" > ") == loops * len(compared)


def test_a_choice_of_two_kinds_is_refused() -> None:
    with pytest.raises(CutError, match="both sides of"):
        bind("flag ? x > 1 : x", SCOPE)
    assert not bind("Muon.pt[1] > 2 ? flag : i > 1", SCOPE).warnings  # nobody wrote a `not`


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("!(mass(Muon[0], Muon[1]) > 60 GeV)", "where Muon[1] is missing; if that is not meant, put nMuon >= 2 &&"),
        (
            "!(Muon.pt[2] > 3 && mass(Muon[0], Jet[1]) > 60 GeV)",
            "where Muon_pt[2] or Jet[1] is missing; if that is not meant, put nMuon >= 3 && nJet >= 2 &&",
        ),
        ("!(flag ? Muon.pt[0] > 1 : x > 1)", "where Muon_pt[0] is missing; if that is not meant, put nMuon >= 1 &&"),
    ],
)
def test_a_not_draws_one_warning_however_many_values_it_may_miss(text: str, warning: str) -> None:
    (only,) = bind(text, SCOPE).warnings
    assert warning in only
    guard = only.rpartition("put ")[2].removesuffix(" before it")
    assert not bind(f"{guard} {text}", SCOPE).warnings


def test_what_chooses_a_side_guards_it() -> None:
    assert not bind("!(nMuon > 0 ? Muon.pt[0] > 1 : x > 1)", SCOPE).warnings


# triggers


def test_a_pattern_takes_any_version_and_no_twin() -> None:
    menus = {
        m.id: m
        for m in (
            Menu({"HLT_Mu50_v11": ("trigger_0", 0), "HLT_Mu5_v1": ("trigger_0", 1)}),
            Menu({"HLT_Mu50_v12": ("trigger_0", 0), "HLT_Mu5_v1": ("trigger_0", 1)}),
        )
    }
    scope = Scope(SCHEMA, menus)
    bound = bind('trigger("HLT_Mu50_v*")', scope)
    assert bound.triggers == ("HLT_Mu50_v*",)
    first, second = menus
    rows = [(first, 1), (first, 2), (second, 1), (second, 2), (0, 1)]  # menu, word: bit 0 is Mu50, bit 1 is Mu5
    block = Block(
        5,
        {
            "menu": np.array([m for m, _ in rows]),
            "trigger_0": np.array([w for _, w in rows], np.uint32),
        },
    )
    assert interpret(bound.node, block).tolist() == [True, False, True, False, False]
    assert interpret(bind('present(trigger("HLT_Mu50_v*"))', scope).node, block).tolist() == [True] * 4 + [False]
    assert bind('!trigger("HLT_Mu50_v*")', scope).warnings
    assert not bind('present(trigger("HLT_Mu50_v*")) && !trigger("HLT_Mu50_v*")', scope).warnings
    with pytest.raises(CutError, match="matches 'HLT_Mu9_v"):
        bind('trigger("HLT_Mu9_v*")', scope)
    with pytest.raises(CutError, match=re.escape('trigger("HLT_Mu50_v*")')):
        bind("HLT_Mu50", scope)


# numbers


@pytest.mark.parametrize("text", ["mass(Muon[0], Muon[1]) in (60, 120)", "x in (1, 2)", "2 * y in (1, 2)"])
def test_a_computed_number_in_a_set_of_two_warns(text: str) -> None:
    (warning,) = bind(text, SCOPE).warnings
    interval = warning.rpartition("interval: ")[2]
    assert "a set of two numbers, not an interval" in warning and bind(interval, SCOPE)


@pytest.mark.parametrize("text", ["run in (1, 2)", "nMuon in (1, 2)", "x in (1, 2, 3)", "i + 1 in (1, 2)"])
def test_a_set_that_is_meant_does_not_warn(text: str) -> None:
    assert not bind(text, SCOPE).warnings


@pytest.mark.parametrize("count", [201, MAX_SUM])
def test_a_flat_sum_is_not_nested(count: int) -> None:
    bound = bind(" + ".join(["i"] * count) + f" == {count}", SCOPE)
    assert interpret(bound.node, Block(2, {"i": np.array([1, 2], np.int32)})).tolist() == [True, False]
    assert hash(bound.node) == hash(bind(bound.text, SCOPE).node)
    with pytest.raises(CutError, match=f"more than {MAX_SUM} terms"):
        bind(" + ".join(["i"] * (MAX_SUM + 1)) + " > 1", SCOPE)


def test_pi_is_pi() -> None:
    block = Block(3, {"y": np.array([math.pi, math.nextafter(math.pi, 0), 3.0])})
    assert interpret(bind("y >= pi", SCOPE).node, block).tolist() == [True, False, False]
