"""The text of a cut: what reads, how it is written canonically, what is refused and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagsel.errors import CutError
from tagsel.language import Node, canonical, parse
from tagsel.language.lalr import Unexpected
from tagsel.language.literals import MAX_LITERAL, Literal
from tagsel.language.parse import CONDITIONS, MAX_DEPTH, MAX_SUM, MAX_TERMS, MAX_TEXT, _Builder, _language
from tagsel.language.printer import write

CANONICAL = {
    # the examples of the language's page
    "nMuon>=2&&Muon.pt[0]>25GeV": "nMuon >= 2 && Muon.pt[0] > 25 GeV",
    "count(Muon.pt > 20 GeV && abs(Muon.eta) < 2.4) >= 2  and  66 GeV < mass(Muon[0], Muon[1]) < 116 GeV": (
        "count(Muon.pt > 20 GeV && abs(Muon.eta) < 2.4) >= 2 && 66 GeV < mass(Muon[0], Muon[1]) < 116 GeV"
    ),
    "any(a, b in Muon: a.charge != b.charge)": "any(a, b in Muon: a.charge != b.charge)",
    "any(e in Electron,m in Muon:deltaR(e,m)<0.4)": "any(e in Electron, m in Muon: deltaR(e, m) < 0.4)",
    "HLT_IsoMu24 or trigger('HLT_mu26')": 'HLT_IsoMu24 || trigger("HLT_mu26")',
    "run in (182787,183003,)": "run in (182787, 183003)",
    "run not in(-1)": "run not in (-1)",
    # words and signs
    "not a or b and c": "!a || b && c",
    "(a or b) and c": "(a || b) && c",
    "a && (b && c)": "a && b && c",
    "(a || b) || c": "a || b || c",
    "not a > 1": "!(a > 1)",
    "!(a)": "!a",
    "! a == b": "!a == b",
    "not not a": "!!a",
    # arithmetic
    "-2**2": "-2 ** 2",
    "(-2)**2": "(-2) ** 2",
    "2**3**4": "2 ** 3 ** 4",
    "(2**3)**4": "(2 ** 3) ** 4",
    "a-(b-c)-d": "a - (b - c) - d",
    "(a*b)/c%d": "a * b / c % d",
    "a*(b/c)": "a * (b / c)",
    "+a": "a",
    "-(-a)": "--a",
    "(w|1)&~(w^0x2)<<1": "(w | 1) & ~(w ^ 0x2) << 1",
    "a | b & c": "a | b & c",
    # literals
    "x > 0x1F": "x > 0x1F",
    "x > 0b101": "x > 0x5",
    "x > 1.50": "x > 1.5",
    "x > 2.": "x > 2.0",
    "x > .5e-7": "x > 5e-8",
    "x > 1e3": "x > 1000.0",
    "x > 1E+20": "x > 1e20",
    "x > 0.0e7": "x > 0.0",
    "x > 1.25e-5": "x > 0.0000125",
    "x > 123456789012345678901234567890": "x > 123456789012345678901234567890",
    "s == 'a\"b'": "s == 'a\"b'",
    "true": "true",
    # objects that are chosen, values that are there on a condition
    "let (a,b)=argmin(a,b in Muon: mass(a,b)); a.pt>1&&b.pt>2": (
        "let (a, b) = argmin(a, b in Muon: mass(a, b)); a.pt > 1 && b.pt > 2"
    ),
    "let (m) = argmax(m in Muon: m.pt); let n = argmin(n in Jet: n.pt); m.pt > n.pt": (
        "let m = argmax(m in Muon: m.pt); let n = argmin(n in Jet: n.pt); m.pt > n.pt"
    ),
    "(let m = argmax(m in Muon: (m.pt)); m.pt > 1) && x": "(let m = argmax(m in Muon: m.pt); m.pt > 1) && x",
    "any(j in Jet: let m = argmin(m in Muon: deltaR(j, m)); m.pt > 1)": (
        "any(j in Jet: let m = argmin(m in Muon: deltaR(j, m)); m.pt > 1)"
    ),
    "(x if a and b) > 2": "(x if a && b) > 2",
    "sum(j.pt+1 if j.pt>1||x)": "sum(j.pt + 1 if j.pt > 1 || x)",
    "x if (a)": "x if a",
    "((x if a) if b)": "(x if a) if b",
    "letter > 1 && iffy > 2": "letter > 1 && iffy > 2",
    # names
    "Muon[0].pt > 1": "Muon.pt[0] > 1",
    "@z_peak.v2 && x": "@z_peak.v2 && x",
    "android > 1 and order < notes": "android > 1 && order < notes",
}


@pytest.mark.parametrize(("text", "expected"), CANONICAL.items())
def test_canonical(text: str, expected: str) -> None:
    assert canonical(parse(text)) == expected
    assert parse(expected) == parse(text)
    assert canonical(parse(expected)) == expected


def test_tree_of_a_chain() -> None:
    tree = parse("1 < x <= 2.5 GeV")
    assert (tree.op, tree.value) == ("chain", ("<", "<="))
    assert [a.value for a in tree.args] == [
        Literal(1, True),
        "x",
        Literal(Decimal("2.5"), False, "GeV"),
    ]


def test_places_span_what_they_name() -> None:
    text = "nMuon >= 2 && (Muon.pt[0] + 1) * 2 > abs( x )"
    tree = parse(text)
    assert [text[a.pos : a.pos + a.length] for a in tree.args] == ["nMuon >= 2", "(Muon.pt[0] + 1) * 2 > abs( x )"]
    product = tree.args[1].args[0]
    assert [text[a.pos : a.pos + a.length] for a in product.args] == ["(Muon.pt[0] + 1)", "2"]


@pytest.mark.parametrize("text", CANONICAL)
def test_written_places_are_those_of_the_canonical_text(text: str) -> None:
    """`write` gives the places that parsing the canonical text gives, but for parentheses, which it may skip."""
    written, tree = write(parse(text))
    stack = [(tree, parse(written))]
    while stack:
        mine, theirs = stack.pop()
        assert (mine.pos, mine.length) == (theirs.pos, theirs.length), written
        stack += zip(mine.args, theirs.args, strict=True)


# what is refused: text, the place's text, a piece of the message, a piece of the hint

REFUSED = [
    ("", "", "empty", "true"),
    ("  \n", "", "empty", "true"),
    ("a = 1", "=", "'='", "=="),
    ("a === 1", "=", "'='", "=="),
    ("a > 1 & b < 2", "&", "bit operator", "a > 1 && b < 2"),
    ("a > 1 | b < 2", "|", "bit operator", "a > 1 || b < 2"),
    ("(a > 1) & (b < 2)", "&", "bit operator", "a > 1 && b < 2"),
    ("w & 4 == 4", "&", "bit operator", "(w & 4) == 4"),
    ("4 == w & 4", "&", "bit operator", "4 == (w & 4)"),
    ("!a & b", "&", "bit operator", "!a && b"),
    ("a AND b", "AND", "no place", "and, in lower case"),
    ("a > 5 OR b", "OR", "no place", "or, in lower case"),
    ("a > 5 OR", "OR", "no unit", "or, in lower case"),
    ("NOT a", "NOT", "no place", "not, in lower case"),
    ("a &&", "&", "too soon", ""),
    ("(a > 1", "1", "too soon; expected a closing", ""),
    ("a > 1)", ")", "no place", ""),
    ("a b", "b", "no place", "&&"),
    ("a > ", ">", "too soon", ""),
    ("a ! b", "!", "no place", ""),
    ("x > 25 Gev", "Gev", "no unit 'Gev'", "GeV"),
    ("x > (25) GeV", "GeV", "no place", "a unit follows its number"),
    ('s == "abc', '"', "not part", "quote"),
    ("s == “abc”", "“", "not part", "plain quotes"),
    ("x ≥ 2", "≥", "not part", ">="),
    ("a ? b", "b", "too soon", ""),
    ("x^2 > 9", "^", "a power is written **", "x ** 2 > 9"),
    ("a + x^2 > 9 && name == '^2'", "^", "a power is written **", "a + x ** 2 > 9 && name == '^2'"),
    ("9 < x ^ 2", "^", "a power is written **", "9 < x ** 2"),
    ("(n^2) > 3", "^", "a power is written **", "(n ** 2) > 3"),
    ("(a > 1) ^ (b > 2)", "^", "bit operator", "(a > 1 || b > 2) && !(a > 1 && b > 2)"),
    ("a; b", ";", "no place", "&&"),
    ("a # b", "#", "not part", "comments"),
    ("x > 007", "007", "does not start with 0", "7"),
    ("a < b > c", ">", "one way", "a < b && b > c"),
    ("a != b != c", "!=", "one way", "a != b && b != c"),
    ("x in Muon", "x in Muon", "quantifier", "in (1, 2)"),
    ("Muon.pt[-1] > 2", "-1", "whole number", "Muon.pt[0]"),
    ("Muon.pt[1.0] > 2", "1.0", "whole number", "Muon.pt[0]"),
    ("Muon.pt[0][1] > 2", "[", "no place", "follows a name"),
    ("Muon.pt[9999999999] > 2", "9999999999", "no event", ""),
    ("any(m: m.pt > 2)", "m", "no collection", "m in Muon"),
    ("any(m.x in Muon: 1)", "m.x in Muon", "variables", ""),
    ("+(a > 1)", "+", "no sign", ""),
    ("a = b", "=", "no place", "== compares"),
    ("a == = b", "=", "no place", "=="),
    ("let (a, b) = argmin(a, b in Muon: x)", ")", "too soon", ""),
    ("let a = count(a in Muon: x); y", "count(a in Muon: x)", "let names what argmin or argmax choose", "argmax("),
    ("let a = x; y", "x", "let names what argmin or argmax choose", "argmax("),
    ("let a.b = argmin(a in Muon: x); y", "a.b", "names of objects", ""),
    ("let (a, a) = argmin(a, b in Muon: x); y", "(", "each its own", "let (a, b)"),
    ("let a = argmin(a, b in Muon: x); y", "a", "names 1 objects, and argmin chooses 2", "let (a, b) = …"),
    ("let __a = argmin(a in Muon: x); y", "__a", "not a name", ""),
    ("x if y if z", "if", "no place", ""),
    ("x If y", "If", "no place", "if, in lower case"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), REFUSED)
def test_refused_with_place_and_hint(text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(CutError) as caught:
        parse(text)
    error = caught.value
    assert error.cut == text
    assert text[error.position : error.position + len(place)] == place
    assert message in error.message
    assert hint in error.hint
    if place:
        assert "^" * len(place) in str(error)


FAULT_20 = [
    ("__import__('os')", 0),
    ("__import__('os').system('true')", 16),
    ("x.__class__ > 1", 0),
    ("nMuon > __builtins__", 8),
    ("Muon.__dict__[0] > 1", 0),
    ("any(m in __x__: m.pt > 1)", 9),
    ("(lambda: 0)()", 7),
    ("[x for x in Muon]", 0),
    ("x if y else z", 7),
    ("open(x)(y)", 7),
    ("a.b().c", 3 + 2),
    ("eval`x`", 4),
    ("x := 2", 2),
    ("{x}", 0),
    ("x\\y", 1),
]


@pytest.mark.parametrize(("text", "place"), FAULT_20)
def test_fault_20_names_and_calls_outside_the_grammar(text: str, place: int) -> None:
    with pytest.raises(CutError) as caught:
        parse(text)
    assert caught.value.position == place


@pytest.mark.parametrize("text", ["x > $(touch /tmp/x)", "x; rm -rf /", "`id`", "x > 1 | sh", "$HOME > 1", "x && $IFS"])
def test_fault_29_shell_text_is_not_a_cut(text: str) -> None:
    with pytest.raises(CutError) as caught:
        parse(text)
    assert caught.value.cut == text


def _nested(mark: str, n: int) -> str:
    return mark * n + "x" + ")" * n * (mark == "(")


@pytest.mark.parametrize(
    "text",
    [
        _nested("(", 100_000),
        _nested("!", 100_000),
        _nested("-", 100_000),
        "not " * 100_000 + "x",
        "abs(" * 100_000,
        "**".join(["x"] * 5_000) + " > 1",
        "x[" * 100_000,
    ],
    ids=["parentheses", "!", "minus", "not", "calls", "powers", "brackets"],
)
def test_fault_21_nesting_is_limited(text: str) -> None:
    with pytest.raises(CutError, match=f"more than {MAX_DEPTH} levels"):
        parse(text)


def test_fault_21_a_long_sum_is_limited_as_such() -> None:
    with pytest.raises(CutError, match=f"more than {MAX_SUM} terms in one sum"):
        parse(" + ".join(["x"] * 20_000) + " > 1")
    assert parse(" + ".join(["x"] * MAX_SUM) + " > 1").op == "chain"


def test_fault_21_nesting_up_to_the_limit_reads() -> None:
    assert parse(_nested("(", MAX_DEPTH)).op == "name"
    assert parse(_nested("!", MAX_DEPTH - 1)).op == "not"


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (" && ".join(["x > 1"] * 100_000), f"{MAX_TERMS:,}"),
        (" or ".join(["x"] * (MAX_TERMS + 1)), f"{MAX_TERMS:,}"),
        ("x > " + "1" * 10_000, f"{MAX_LITERAL}"),
        ("x > 0x" + "F" * 10_000, f"{MAX_LITERAL}"),
        ("x > 1." + "0" * 10_000, f"{MAX_LITERAL}"),
        ("x > 1" + " " * MAX_TEXT, f"{MAX_TEXT:,}"),
    ],
    ids=["terms", "or", "digits", "hexadecimal", "zeros", "text"],
)
def test_fault_21_sizes_are_limited_and_say_so(text: str, limit: str) -> None:
    with pytest.raises(CutError, match=f"the limit is {limit}"):
        parse(text)


@pytest.mark.parametrize("number", ["1e999", "1e-999", "1e9999999999", "2e308", "1e-400", "9" * 96 + "e300"])
def test_fault_21_numbers_outside_float64(number: str) -> None:
    with pytest.raises(CutError, match="does not fit a 64-bit float"):
        parse(f"x > {number}")


def test_fault_21_ten_thousand_terms_read_and_write() -> None:
    text = " && ".join(f"Muon.pt[{i % 3}] > {i}" for i in range(10_000))
    tree = parse(text)
    assert len(tree.args) == 10_000
    assert canonical(tree) == text


WORDS = [
    "nMuon",
    "Muon.pt",
    "Muon",
    "x",
    "HLT_mu10",
    "m",
    "in",
    "not",
    "and",
    "or",
    "true",
    "(",
    ")",
    "(",
    ")",
    "[0]",
    "[",
    "]",
    ",",
    ":",
    "&&",
    "||",
    "!",
    "~",
    "-",
    "+",
    "*",
    "/",
    "%",
    "**",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "<",
    "<=",
    "==",
    "!=",
    "=",
    "1",
    "2.5",
    "25 GeV",
    "0xFF",
    '"s"',
    "@a",
    "count(",
    "any(",
    "abs(",
    "__x__",
    "let",
    "\n",
    "é",
    "#",
]

soup = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(st.one_of(soup, st.text(max_size=40), st.text(alphabet="xnM.pt[]()<>=!&|+-*/%^~0123456789eE \"'@", max_size=30)))
@example("\x00")
@example("x > \ud800")
@example("\u2028")
def test_fault_21_any_text_reads_or_is_a_cut_error(text: str) -> None:
    try:
        tree = parse(text)
    except CutError as error:
        assert error.cut == text
        assert 0 <= error.position <= len(text)
        str(error)
    else:
        assert parse(canonical(tree)) == tree


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> Node:
    """Syntax trees built from the ops, not from text."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(
            st.sampled_from(
                [
                    Node("name", value="x"),
                    Node("name", value="Muon.pt"),
                    Node("number", value=Literal(2, True)),
                    Node("number", value=Literal(Decimal("0.125"), False, "GeV")),
                    Node("boolean", value=True),
                    Node("string", value="a b"),
                    Node("reference", value="z"),
                    Node("index", (Node("name", value="m.pt"),), 1),
                ]
            )
        )
    below = trees(depth=depth - 1)
    op = draw(st.sampled_from([*_SHAPES]))
    return _SHAPES[op](op, draw(below), draw(below), draw(below))


def _in_bits(node: Node) -> Node:
    """A number as a pattern of bits: beside `^` a decimal number is refused."""
    return replace(node, value=Literal(5, True, pattern=True)) if node.op == "number" else node


def _conditions_apart(op: str, a: Node, b: Node, c: Node) -> Node:
    """Bit operators refuse conditions beside them."""
    return Node(op, (a, b)) if not {a.op, b.op} & CONDITIONS else Node("add", (a, b))


def _flat(op: str, *args: Node) -> Node:
    return Node(op, tuple(p for a in args for p in (a.args if a.op == op else (a,))))


_SHAPES = {
    "and": lambda op, a, b, c: _flat(op, a, b),
    "or": lambda op, a, b, c: _flat(op, a, b, c),
    "not": lambda op, a, b, c: Node(op, (a,)),
    "neg": lambda op, a, b, c: Node(op, (a,)),
    "bit_not": lambda op, a, b, c: Node(op, (a,)),
    "chain": lambda op, a, b, c: Node(op, (a, b, c), ("<", "<=")),
    "member": lambda op, a, b, c: Node(op, (a, b)),
    "outsider": lambda op, a, b, c: Node(op, (a, b, c)),
    "call": lambda op, a, b, c: Node(op, (a, b), "f"),
    "quantifier": lambda op, a, b, c: Node(op, (a,), ("any", ((("m", "n"), "Muon"),))),
    **{op: lambda op, a, b, c: Node(op, (a, b)) for op in ("add", "sub", "mul", "div", "mod", "pow", "shl", "shr")},
    **dict.fromkeys(("bit_and", "bit_or"), _conditions_apart),
    "bit_xor": lambda op, a, b, c: _conditions_apart(op, _in_bits(a), _in_bits(b), c),
    "choice": lambda op, a, b, c: Node(op, (a, b, c)),
}


@given(trees())
def test_parsing_the_canonical_text_gives_the_tree(tree: Node) -> None:
    text, placed = write(tree)
    assert placed == tree
    assert parse(text) == tree


# tables


def test_the_parser_s_tables_are_those_of_the_grammar() -> None:
    """`python -m tagsel.language.grammar` writes them anew."""
    from importlib.resources import files

    from tagsel.language import grammar

    assert files("tagsel.language").joinpath("grammar.json").read_text(encoding="utf-8") == grammar.text()


PIECES = (
    "a",
    "Muon.pt",
    "and",
    "or",
    "not",
    "in",
    "true",
    "false",
    "1",
    "0x1f",
    "2.5e3",
    "GeV",
    "&&",
    "||",
    "!",
    "<",
    "<=",
    "==",
    "!=",
    "<<",
    ">>",
    "|",
    "^",
    "&",
    "~",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    ".pt",
    "@cut",
    '"text"',
    "'",
    " ",
    "\n",
    "§",
    "count(",
    "inn",
    "android",
    "a > 1",
    "(b)",
    "x in (1, 2)",
    "any(m in Muon: ",
)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(["", " "]))
def test_the_tables_parse_as_lark_does(pieces: list[str], between: str) -> None:
    """The same tree, or no tree for the same token at the same place, with the same tokens expected."""
    text = between.join(pieces)
    assert _outcome(_language().parse, text) == _outcome(_lark().parse, text)


@cache
def _lark() -> Any:
    from tagsel.language.grammar import language

    return language(_Builder())


def _outcome(parse: Callable[[str], Any], text: str) -> Any:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        return parse(text)
    except Unexpected as error:
        if error.token is None:
            return error.position
        return error.token.type, str(error.token), error.token and error.position, error.expected
    except UnexpectedCharacters as error:
        return error.pos_in_stream
    except UnexpectedToken as error:
        return error.token.type, str(error.token), error.token and error.token.start_pos, frozenset(error.expected)
    except CutError as error:
        return error.message, error.position
