"""Kinds, units, integer ranges and warnings: what a number is beside what, shown on values where values tell."""

from __future__ import annotations

import operator
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.engine.interpreter import interpret
from tagsel.errors import CutError
from tagsel.language import Block, Node, Scope, bind, bind_value
from tagsel.language.tree import INT_MAX, INT_MIN
from tagsel.schema import Attribute, Schema

OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

SIMPLE = Scope(
    Schema(
        (
            Attribute("i", "int32"),
            Attribute("j", "int64"),
            Attribute("f", "float32", unit="MeV"),
            Attribute("d", "float64"),
            Attribute("w", "bits64"),
            Attribute("b", "bits32"),
            Attribute("t", "int64", unit="ns"),
        )
    )
)


def value(text: str, scope: Scope) -> Node:
    return bind_value(text, scope).node


def verdict(text: str, **columns: np.generic) -> bool:
    """The verdict on one row."""
    arrays = {name: np.array([v]) for name, v in columns.items()}
    return bool(interpret(bind(text, SIMPLE).node, Block(1, arrays))[0])


# kinds


@pytest.mark.parametrize(
    ("text", "op", "kind"),
    [
        ("MET_pt", "column", "f32"),
        ("-MET_pt", "neg", "f32"),
        ("abs(Muon.pt[0])", "abs", "f32"),
        ("max(Muon.pt)", "aggregate", "f32"),
        ("-max(abs(Muon.eta))", "neg", "f32"),
        ("min2(MET_pt, Muon.pt[0])", "pick", "f32"),
        ("max2(MET_pt, 20)", "pick", "f32"),
        ("MET_pt + 1", "add", "f64"),
        ("MET_pt * MET_pt", "mul", "f64"),
        ("sum(Muon.pt)", "aggregate", "f64"),
        ("min2(MET_pt, x)", "pick", "f64"),
        ("min2(nMuon, MET_phi)", "pick", "f64"),
        ("min2(nMuon, 1.5)", "pick", "f64"),
        ("min2(nMuon, 2)", "pick", "int"),
        ("sqrt(x)", "call", "f64"),
        ("x ** 2", "call", "f64"),
        ("nMuon + 1", "add", "int"),
        ("nMuon + 1.0", "add", "f64"),
        ("nMuon / 2", "div", "f64"),
        ("run % 3", "mod", "int"),
        ("flag + 1", "add", "int"),
        ("HLT_mu10 * 2", "mul", "int"),
        ("-nMuon", "neg", "int"),
        ("word0 & 3", "bit_and", "int"),
        ("word1 & 3", "bit_and", "word"),
        ("~word1", "bit_not", "word"),
        ("word1 >> 3", "shr", "word"),
        ("word0 << 3", "shl", "int"),
        ("nMuon | 1", "bit_or", "int"),
    ],
)
def test_kinds(scope: Scope, text: str, op: str, kind: str) -> None:
    node = value(text, scope)
    assert (node.op, node.kind) == (op, kind)


def test_a_literal_is_rounded_to_what_it_stands_beside(scope: Scope) -> None:
    assert bind("MET_pt > 0.1", scope).node.args[1] == Node("const", value=float(np.float32(0.1)), kind="f32")
    assert bind("x > 0.1", scope).node.args[1] == Node("const", value=0.1, kind="f64")
    assert bind("MET_pt + 0 > 0.1", scope).node.args[1] == Node("const", value=0.1, kind="f64")
    assert bind("nMuon > 2.0", scope).node == bind("nMuon > 2", scope).node
    assert bind("MET_pt in (0.1, 0.1)", scope).node.value == (float(np.float32(0.1)),)


def test_literals_go_right(scope: Scope) -> None:
    assert bind("66 < MET_pt", scope).node == bind("MET_pt > 66", scope).node
    assert bind("2 <= nMuon < 4", scope).node == bind("nMuon >= 2 && nMuon < 4", scope).node


def test_a_stored_tenth_is_found() -> None:
    assert verdict("f == 0.1", f=np.float32(0.1))
    assert not verdict("f + 0 == 0.1", f=np.float32(0.1))  # in float64 the two differ


decimals = st.decimals(-(10**20), 10**20, places=3)
near = st.sampled_from([2**53, 2**53 + 1, 2**62, INT_MAX, INT_MIN, 0, -1]).flatmap(
    lambda n: st.integers(-2, 2).map(lambda k: max(INT_MIN, min(INT_MAX, n + k)))
)


@given(
    st.sampled_from([*OPERATORS]),
    st.one_of(near, st.integers(INT_MIN, INT_MAX)),
    st.one_of(near.map(Decimal), decimals),
)
def test_integers_are_compared_exactly_with_any_literal(op: str, j: int, literal: Decimal) -> None:
    """The oracle is Python's own exact comparison of fractions; the literal is written with a fraction."""
    text = f"{literal:f}"
    text = text if "." in text else f"{text}.0"
    expected = OPERATORS[op](Fraction(j), Fraction(literal))
    assert verdict(f"j {op} {text}", j=np.int64(j)) == expected
    assert verdict(f"{text} {op} j", j=np.int64(j)) == OPERATORS[op](Fraction(literal), Fraction(j))


@given(st.integers(INT_MIN, INT_MAX), st.lists(st.one_of(near, st.integers(-5, 5)), min_size=1, max_size=4))
def test_in_is_exact(j: int, items: list[int]) -> None:
    text = ", ".join([*map(str, items), "0.5"])
    assert verdict(f"j in ({text})", j=np.int64(j)) == (j in items)
    assert verdict(f"j not in ({text})", j=np.int64(j)) == (j not in items)


def test_fault_07_event_numbers_above_two_to_the_53() -> None:
    assert verdict("j == 9007199254740993", j=np.int64(2**53 + 1))
    assert not verdict("j == 9007199254740993", j=np.int64(2**53))
    assert not verdict("j == 9007199254740993", j=np.int64(2**53 + 2))


@pytest.mark.parametrize(
    "text", ["j > 9223372036854775808", "j == -9223372036854775809", "j in (1, 99999999999999999999)"]
)
def test_fault_07_literals_past_64_bits(text: str) -> None:
    with pytest.raises(CutError, match="does not fit a 64-bit integer"):
        bind(text, SIMPLE)
    assert bind("j == -9223372036854775808", SIMPLE).node.args[1].value == INT_MIN


# words


def test_words_are_patterns() -> None:
    top = np.uint64(2**63 + 1)
    assert verdict("w == 0x8000000000000001", w=top)
    assert verdict("bit(w, 63) && bit(w, 0) && !bit(w, 1)", w=top)
    assert verdict("(w & 0xF000000000000000) != 0", w=top)
    assert verdict("w >> 63 == 1", w=top)
    assert verdict("w in (1, 0x8000000000000001)", w=top)


def test_words_of_32_bits_are_whole_numbers_without_a_sign() -> None:
    assert verdict("b > 4000000000", b=np.uint32(2**32 - 1))
    assert verdict("bit(b, 31)", b=np.uint32(2**31))


WORDS = [
    ("w > 3", "== and != only"),
    ("w + 1 == 2", "bit operators"),
    ("w == -1", "not a pattern"),
    ("w == 1.5", "not a pattern"),
    ("w == 0x10000000000000000", "not a pattern"),
    ("w == j", "no word"),
    ("(w & j) == 1", "no word"),
    ("-w == 1", "bit operators"),
    ("bit(w, 64)", "bits 0 to 63"),
    ("bit(b, 32)", "bits 0 to 31"),
    ("bit(i, 31)", "bits 0 to 30"),
    ("bit(w, i)", "number"),
    ("w << 64 == 1", "0 to 63"),
    ("i << j > 1", "0 to 63"),
    ("(d & 1) == 1", "words and whole numbers"),
    ("(i & 1.5) == 1", "words and whole numbers"),
    ("abs(w) == 1", "bit operators"),
    ("sqrt(w) > 1", "bit operators"),
]


@pytest.mark.parametrize(("text", "message"), WORDS)
def test_words_allow_bits_only(text: str, message: str) -> None:
    with pytest.raises(CutError, match=message):
        bind(text, SIMPLE)


# what may overflow


@pytest.mark.parametrize(
    ("text", "raises"),
    [
        ("i + i", False),
        ("i * i", False),
        ("i * i * i", True),
        ("i - 1", False),
        ("-i", False),
        ("abs(i)", False),
        ("j + 1", True),
        ("-j", True),
        ("abs(j)", True),
        ("j % 10", False),
        ("j % i", True),
        ("i % (abs(i) + 1)", False),
        ("j % 10 + 1", False),
        ("b * b", True),
        ("(b & 0xFFFF) * (b & 0xFFFF)", False),
        ("b << 31", False),
        ("b << 32", True),
        ("j >> 3", False),
        ("j & 0xFF", False),
        ("(j & 0xFF) + 1", False),
        ("(j | 1) + 1", True),
        ("~i + 1", False),
        ("j * 0", False),
        ("d + j", False),
        ("j / 0", False),
        ("min2(i, 5) + j % 5", False),
        ("9223372036854775807 + 1", True),
    ],
)
def test_ranges_decide_what_may_raise(text: str, raises: bool) -> None:
    """int32 is at most 2**31, so a product of two is below 2**62, and of three is not; int64 has no room at all."""
    assert value(text, SIMPLE).raises == raises
    assert bind(f"i > 0 && ({text}) > 0", SIMPLE).node.raises == raises


def test_sums_of_objects_may_overflow_by_their_kind(scope: Scope) -> None:
    """2**31 objects of an int32 stay below 2**62; of an int64 they need not."""
    assert not value("sum(Muon.charge)", scope).raises
    assert value("sum(Muon.big)", scope).raises
    assert value("sum(Muon.charge * Muon.charge)", scope).raises
    assert not value("sum(LooseMuon.n * LooseMuon.n / 1)", scope).raises


def test_a_modulo_by_a_literal_zero_is_refused() -> None:
    with pytest.raises(CutError, match="% 0"):
        bind("i % 0 == 1", SIMPLE)
    with pytest.raises(CutError, match="whole numbers"):
        bind("d % 2 == 1", SIMPLE)


# units


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("ht > 25 GeV", 25000.0),
        ("ht > 0.1 GeV", 100.0),
        ("ht > 25", 25.0),
        ("MET_pt > 25000 MeV", 25.0),
        ("MET_pt > 0.02 TeV", 20.0),
        ("vertex_z > 1 cm", 10.0),
        ("vertex_z < 0.1 m", 100.0),
        ("ht in (1 GeV)", None),
    ],
)
def test_literals_are_scaled_exactly(scope: Scope, text: str, constant: float | None) -> None:
    node = bind(text, scope).node
    got = node.args[1].value if constant is not None else node.value
    assert got == (constant if constant is not None else (1000.0,))


def test_scaling_is_done_before_rounding(scope: Scope) -> None:
    """1.005 GeV is 1005 MeV, not 1.005 * 1000 = 1004.9999999999999 in binary."""
    assert 1.005 * 1000 != 1005
    assert bind("ht + 0 > 1.005 GeV", scope).node.args[1].value == 1005.0
    assert bind("time > 1.5 us", scope).node == bind("time > 1500", scope).node
    assert bind("time > 0.0015 us", scope).node == bind("time >= 2", scope).node  # 1.5 ns, of whole numbers


def test_attributes_in_two_units_meet_in_the_finer_one(scope: Scope) -> None:
    node = bind("MET_pt > ht", scope).node
    left, right = node.args
    assert left.op == "mul" and left.args[1].value == 1000.0
    assert right == Node("cast", (Node("column", value="ht", kind="f32"),), kind="f64")
    assert bind_value("ht + MET_pt", scope).unit == "MeV"


def test_units_of_results(scope: Scope) -> None:
    ok = [
        "MET_pt * 2 > 5 GeV",
        "MET_pt / ht > 2",
        "sqrt(MET_pt ** 2 + ht ** 2) > 5 GeV",
        "MET_pt / vertex_z > 2",
        "hypot(MET_pt, ht) > 5 GeV",
        "atan2(MET_pt, ht) > 1 rad",
        "abs(MET_pt - ht) < 5 GeV",
        "max(Muon.pt) > 5 GeV",
        "min2(MET_pt, ht) > 5 MeV",
        "x * MET_pt > 5 GeV",
        "log(MET_pt) > 2",
        "cos(MET_phi) > 0",
        "cos(x) > 0",
        "sum(Muon.pt) / MET_pt > 2",
        "acos(x) > 30 deg",
        "mass(Muon[0], Muon[1]) > 60 GeV",
        "rate > 5",
        "MET_phi > 30 deg",
        "-MET_pt > -5 GeV",
        "ht - 5 GeV > 2 GeV",
        "Muon.pt[0] ** 2 / MET_pt > 1 GeV",
    ]
    for text in ok:
        assert bind(text, scope).node.kind == "bool", text


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("vertex_z > 25 GeV", "vertex_z > 25 GeV", "mm (length) against GeV (energy)"),
        ("MET_pt + vertex_z > 1", "MET_pt + vertex_z", "GeV (energy) against mm (length)"),
        ("time == 5 m", "time == 5 m", "ns (time) against m (length)"),
        ("MET_pt / ht > 2 GeV", "MET_pt / ht > 2 GeV", "a pure number against GeV"),
        ("MET_pt * MET_pt > 2 GeV", "MET_pt * MET_pt > 2 GeV", "GeV*GeV against GeV"),
        ("min2(MET_pt, vertex_z) > 1", "min2(MET_pt, vertex_z)", "against"),
        ("hypot(MET_pt, time) > 1", "hypot(MET_pt, time)", "against"),
        ("cos(MET_pt) > 0", "MET_pt", "an angle is needed"),
        ("deltaPhi(MET_pt, MET_phi) > 0", "MET_pt", "an angle is needed"),
        ("nMuon > 2 GeV", "2 GeV", "nMuon has no unit"),
        ("rate > 2 GeV", "2 GeV", "rate has no unit"),
        ("MET_pt in (1, 2 mm)", "MET_pt in (1, 2 mm)", "against"),
        ("1 GeV < 2 mm", "1 GeV < 2 mm", "against"),
    ],
)
def test_units_that_do_not_fit(scope: Scope, text: str, place: str, message: str) -> None:
    with pytest.raises(CutError) as caught:
        bind(text, scope)
    assert message in caught.value.message
    assert text[caught.value.position : caught.value.position + caught.value.length] == place


def test_degrees_become_radians(scope: Scope) -> None:
    assert bind("MET_phi > 180 deg", scope).node.args[1].value == float(np.float32(np.pi))
    node = value("cos(tilt)", scope)
    assert [node.args[0].op, node.args[0].args[1].kind] == ["div", "f64"]


# warnings


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("ht > 25", "write 25 GeV or 25 MeV"),
        ("any(Jet.pt > 0.5)", "write 0.5 GeV or 0.5 MeV"),
        ("10 < ht < 20", "10 is taken as MeV"),
        ("MET_pt > 25000", "write 25000 MeV or 25000 GeV"),
        ("!(Muon.pt[1] > 20)", "put nMuon >= 2 &&"),
        ("!(LooseMuonPt3 == 20000)", "put NLooseMuon >= 3 &&"),
        ("nMuon >= 1 && !(Muon.pt[1] > 20)", "put nMuon >= 2 &&"),
        ("!(max(Muon.pt) > 20)", "put nMuon >= 1 &&"),
        ("!HLT_e20", "put present(HLT_e20) &&"),
        ("flag || !HLT_e20", "present(HLT_e20)"),
        ("!(HLT_e20 && nMuon > 2)", "present(HLT_e20)"),
        ("LooseMuon.pt[0] > 20 GeV", "abs(LooseMuon.pt[0])"),
        ("any(LooseMuon.pt > 20 GeV)", "abs(LooseMuon.pt)"),
    ],
)
def test_warnings(scope: Scope, text: str, piece: str) -> None:
    (warning, *_) = bind(text, scope).warnings
    assert piece in warning


@pytest.mark.parametrize(
    "text",
    [
        "ht > 25 MeV",
        "ht > 25000",
        "ht > 0",
        "MET_pt > 25",
        "nMuon >= 2 && !(Muon.pt[1] > 20)",
        "!flag",
        "!(run == 2)",
        "nMuon > 1 && !(Muon.pt[1] > 20)",
        "present(Muon[1]) && !(Muon.pt[1] > 20)",
        "!!(Muon.pt[1] > 20)",
        "present(HLT_e20) && !HLT_e20",
        "!present(HLT_e20)",
        "!(count(Muon.pt > 2) > 1)",
        "!any(Muon.pt > 2)",
        "abs(LooseMuon.pt[0]) > 20 GeV",
        "mass(LooseMuon[0], LooseMuon[1]) > 20 GeV",
        "Muon.pt[1] != 20",
    ],
)
def test_no_warning_without_a_reason(scope: Scope, text: str) -> None:
    assert bind(text, scope).warnings == ()


# conditions and values


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("nMuon", "nMuon", "nMuon != 0"),
        ("!nMuon", "!nMuon", "nMuon == 0"),
        ("word0 & 4", "word0 & 4", "compare"),
        ("word1", "word1", "bit(word1, 0)"),
        ("stream", "stream", "=="),
        ("25 GeV", "25 GeV", "true"),
        ("flag & HLT_mu10", "flag & HLT_mu10", "flag && HLT_mu10"),
        ("flag | HLT_mu10", "flag | HLT_mu10", "flag || HLT_mu10"),
        ("~flag", "~flag", "!flag"),
        ("(nMuon > 1) + 1 > 1", "(nMuon > 1)", "count"),
        ("!HLT_mu10 == true", "!HLT_mu10", "!(HLT_mu10 == true)"),
        ("(nMuon > 1) == flag", "(nMuon > 1)", "(a && b) || (!a && !b)"),
        ('stream > "a"', 'stream > "a"', ""),
        ("stream == 1", "stream == 1", '"'),
        ('nMuon in ("a")', 'nMuon in ("a")', ""),
        ('nMuon in ("2")', 'nMuon in ("2")', "nMuon in (2)"),
        ("nMuon in (run)", "run", "||"),
        ("flag > true", "flag > true", ""),
        ("isnan(nMuon)", "isnan(nMuon)", "present"),
        ('sqrt("a") > 1', '"a"', ""),
    ],
)
def test_conditions_and_values_are_not_mixed(scope: Scope, text: str, place: str, hint: str) -> None:
    with pytest.raises(CutError) as caught:
        bind(text, scope)
    error = caught.value
    assert hint in error.hint
    assert text[error.position : error.position + error.length] == place


def test_true_is_every_event(scope: Scope) -> None:
    assert bind("true", scope).node == Node("truth", (Node("const", value=True, kind="bool"),), kind="bool")
    assert bind("true", scope).columns == frozenset()


def test_not_in_is_an_atom(scope: Scope) -> None:
    """As `!=`, it is false where something is missing."""
    node = bind("Muon.charge[0] not in (1, -1)", scope).node
    assert [n.op for n in node.args] == ["present", "not"]
    block = Block(2, {"nMuon": np.array([0, 1], np.int32), "Muon_charge": np.array([3], np.int32)})
    assert interpret(node, block).tolist() == [False, True]
    assert interpret(bind("Muon.charge[0] != 1", scope).node, block).tolist() == [False, True]
