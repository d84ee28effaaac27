"""Arithmetic and bits: kinds, units and the range of integer results, which says whether 64 bits may overflow.

Invariant: an integer node is marked `raises` unless its range proves that it cannot overflow or divide by zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from tagsel.language.compare import pattern
from tagsel.language.printer import canonical, compared_with_0
from tagsel.language.tree import Node
from tagsel.language.typed import (
    FULL,
    Over,
    Range,
    Typed,
    alike,
    as_f64,
    constant,
    fail,
    integer,
    make,
    number,
    settled,
    together,
    typed,
)
from tagsel.language.units import NUMBER, Unit

_SPANS: Mapping[str, Callable[[Range, Range], Range]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": lambda a, b: _hull([x * y for x, y in product(a, b)]),
}


def _hull(values: list[int]) -> Range:
    return min(values), max(values)


def binary(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    """`a op b` for add, sub, mul, div, mod."""
    over = together(at, (a, b))
    a, b = (p if p.kind == "literal" else number(p) for p in (a, b))
    if op in ("add", "sub", "mod"):
        a, b = alike(at, a, b)
        unit = a.unit or b.unit
    else:
        a, b, unit = _scaled(at, op, a, b)
    whole = all(p.kind == "int" or (p.kind == "literal" and p.exact.denominator == 1 and p.integer) for p in (a, b))
    if op == "mod":
        return _modulo(at, a, b, whole, unit, over)
    if whole and op != "div":
        a, b = (constant(p, "int", p.unit) if p.kind == "literal" else p for p in (a, b))
        return integer(at, op, (a, b), _SPANS[op](a.range, b.range), unit=unit, over=over)
    a, b = as_f64(a), as_f64(b)
    return typed(at, make(at, op, (a.node, b.node), None, "f64"), unit=unit, over=over)


def _scaled(at: Node, op: str, a: Typed, b: Typed) -> tuple[Typed, Typed, Unit | None]:
    """Factors of a product or quotient, like ones in one unit, and the unit of the result."""
    if a.unit is None and b.unit is None:
        return a, b, None
    if a.unit is not None and b.unit is not None and a.unit.same(b.unit):
        a, b = alike(at, a, b)
    return a, b, (a.unit or NUMBER).times(b.unit or NUMBER, 1 if op == "mul" else -1)


def _modulo(at: Node, a: Typed, b: Typed, whole: bool, unit: Unit | None, over: tuple[Over, ...]) -> Typed:
    if not whole:
        raise fail(at, "% takes whole numbers", "x - n * y, or event % 10")
    a, b = (constant(p, "int", p.unit) if p.kind == "literal" else p for p in (a, b))
    low, high = b.range
    if low == high == 0:
        raise fail(b.at, "% 0 has no answer")
    zero = low <= 0 <= high
    span = (min(0, low + 1), max(0, high - 1))
    result = integer(at, "mod", (a, b), span, unit=unit, raises=zero)
    return replace(result, over=over)


def negate(at: Node, a: Typed) -> Typed:
    """`-a`: a literal stays one, a float32 stays a float32."""
    if a.kind == "literal":
        return replace(a, at=at, exact=-a.exact)
    a = number(a)
    if a.kind == "int":
        return integer(at, "neg", (a,), (-a.range[1], -a.range[0]), unit=a.unit, over=a.over)
    return typed(at, make(at, "neg", (a.node,), None, a.kind), unit=a.unit, over=a.over)


def absolute(at: Node, a: Typed) -> Typed:
    """`abs(a)`: of a float32 a float32."""
    a = number(a)
    if a.kind == "int":
        low, high = a.range
        least = 0 if low <= 0 <= high else min(abs(low), abs(high))
        return integer(at, "abs", (a,), (least, max(abs(low), abs(high))), unit=a.unit, over=a.over)
    return typed(at, make(at, "abs", (a.node,), None, a.kind), unit=a.unit, over=a.over)


def pick(at: Node, which: str, a: Typed, b: Typed) -> Typed:
    """`min2`, `max2`: ints stay ints, two float32 (or one and a literal) stay float32, all else is float64."""
    over = together(at, (a, b))
    a, b = (p if p.kind == "literal" else number(p) for p in (a, b))
    a, b = alike(at, a, b)
    unit = a.unit or b.unit
    kind = _common_kind((a, b))
    a, b = (constant(p, kind, p.unit) if p.kind == "literal" else p for p in (a, b))
    if kind == "f64":
        a, b = as_f64(a), as_f64(b)
    node = make(at, "pick", (a.node, b.node), which, kind)
    span = max if which == "max2" else min
    both = (span(a.range[0], b.range[0]), span(a.range[1], b.range[1])) if kind == "int" else FULL
    return typed(at, node, unit=unit, over=over, span=both)


def _common_kind(pair: tuple[Typed, Typed]) -> str:
    """The kind that holds both: that of the values where they have one, float64 where a literal has a fraction."""
    kinds = {p.kind for p in pair if p.kind != "literal"} or {"int"}
    whole = all(p.integer for p in pair if p.kind == "literal")
    if len(kinds) > 1:
        return "f64"
    (kind,) = kinds
    return "f64" if kind == "int" and not whole else kind


# bits

SYMBOLS = {
    "bit_and": "`&`",
    "bit_or": "`|`",
    "bit_xor": "`^`",
    "shl": "`<<`",
    "shr": "`>>`",
    "bit_not": "`~`",
    "bit": "bit",
}


_TRUTHS = ("condition", "bool")


def _bitwise(at: Node, part: Typed, op: str, parts: Sequence[Typed] = ()) -> Typed:
    """An operand of a bit operator: an int, a word, or a literal; `parts` are all operands."""
    if part.kind in _TRUTHS:
        message = f"{SYMBOLS[op]} works on the bits of a word, and this is true or false"
        raise fail(at, message, canonical(_of_conditions(op, parts or [part])))
    part = part if part.kind == "literal" else settled(part)
    if part.kind not in ("int", "word") and not (part.kind == "literal" and part.integer and part.unit is None):
        raise fail(part.at, f"{SYMBOLS[op]} works on the bits of words and whole numbers")
    return part


def _of_conditions(op: str, parts: Sequence[Typed]) -> Node:
    """What a bit operator is meant to be where it stands beside what is true or false."""
    args = tuple(part.at if part.kind in _TRUTHS else compared_with_0(part.at, "!=") for part in parts)
    joined = {"bit_and": "and", "bit_or": "or", "bit_not": "not"}
    if op == "bit_xor":
        return Node("and", (Node("or", args), Node("not", (Node("and", args),))))
    return Node(joined[op], args) if op in joined else args[0]


def bits(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    """`&`, `|`, `^`: of two ints an int, of two words a word; a literal goes with either."""
    over = together(at, (a, b))
    a, b = (_bitwise(at, part, op, (a, b)) for part in (a, b))
    kinds = {p.kind for p in (a, b)} - {"literal"}
    if len(kinds) > 1:
        raise fail(at, "a 64-bit word beside a number that is no word", "mask each with a literal")
    if kinds == {"word"}:
        a, b = (pattern(p) if p.kind == "literal" else p for p in (a, b))
        return typed(at, make(at, op, (a.node, b.node), None, "word"), over=over)
    a, b = (constant(p, "int") if p.kind == "literal" else p for p in (a, b))
    return integer(at, op, (a, b), _bit_span(op, a.range, b.range), over=over)


def _bit_span(op: str, a: Range, b: Range) -> Range:
    if op == "bit_and" and (a[0] >= 0 or b[0] >= 0):
        return 0, min(r[1] for r in (a, b) if r[0] >= 0)
    if a[0] >= 0 and b[0] >= 0:
        return 0, (1 << max(a[1], b[1]).bit_length()) - 1
    return FULL


def invert_bits(at: Node, a: Typed) -> Typed:
    """`~a`: -a - 1 of an int, the other pattern of a word."""
    a = _bitwise(at, a, "bit_not")
    a = constant(a, "int") if a.kind == "literal" else a
    if a.kind == "word":
        return typed(at, make(at, "bit_not", (a.node,), None, "word"), over=a.over)
    return integer(at, "bit_not", (a,), (-a.range[1] - 1, -a.range[0] - 1), over=a.over)


def shift(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    """`<<`, `>>` by a literal of 0 to 63; `>>` of a word brings in zeros, of an int its sign."""
    a = _bitwise(at, a, op)
    n = int(b.exact)
    if b.kind != "literal" or not b.integer or not 0 <= n <= 63:
        raise fail(b.at, "a shift is by a number from 0 to 63")
    by = constant(b, "int")
    a = constant(a, "int") if a.kind == "literal" else a
    if a.kind == "word":
        return typed(at, make(at, op, (a.node, by.node), None, "word"), over=a.over)
    low, high = a.range
    span = (low << n, high << n) if op == "shl" else (low >> n, high >> n)
    return integer(at, op, (a, by), span, over=a.over)


def bit(at: Node, word: Typed, n: Typed) -> Typed:
    """`bit(word, n)`: whether bit n is set."""
    if n.kind != "literal" or not n.integer:
        raise fail(n.at, "a bit is a number from 0")
    word = _bitwise(at, word, "bit")
    word = constant(word, "int") if word.kind == "literal" else word
    most = 63 if word.kind == "word" else word.range[1].bit_length() - 1
    if not 0 <= n.exact <= most:
        raise fail(n.at, f"bit {n.exact} is not in a word of bits 0 to {most}")
    mask = replace(n, exact=type(n.exact)(1 << int(n.exact)))
    held = pattern(mask) if word.kind == "word" else constant(mask, "int")
    node = make(at, "bit_and", (word.node, held.node), None, word.kind)
    zero = make(at, "const", (), 0, word.kind)
    return typed(at, make(at, "cmp", (node, zero), "!="), over=word.over)
