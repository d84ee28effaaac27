"""Comparisons: which kind two values are compared in, and what a literal becomes beside each kind.

Invariant: integers are compared as integers, exactly: a fraction beside an integer is turned into the whole number
that gives the same answers, never the integer into a float.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from tagsel.language.printer import canonical
from tagsel.language.tree import INT_MAX, INT_MIN, Node
from tagsel.language.typed import Typed, alike, as_f64, constant, fail, make, number, settled, together, typed
from tagsel.language.units import UNITS, Unit

Warn = Callable[[Node, str], None]

MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

_WHOLE: Mapping[str, Callable[[Fraction], tuple[str, int]]] = {
    ">": lambda v: (">=", math.floor(v) + 1),
    ">=": lambda v: (">=", math.ceil(v)),
    "<": lambda v: ("<=", math.ceil(v) - 1),
    "<=": lambda v: ("<=", math.floor(v)),
}
"""The comparison with a whole number that says the same as one with a fraction."""

_SMALL, _LARGE = 1000, 14_000
"""Bare energies below this in MeV, or above it in GeV, look like the other unit (beams have 6800 GeV each)."""


def compare(at: Node, op: str, a: Typed, b: Typed, warn: Warn) -> Typed:
    """`a op b`, typed. A literal goes to the right, so that `66 < m` and `m > 66` are one cut."""
    over = together(at, (a, b))
    if a.kind == "literal" and b.kind != "literal":
        a, b, op = b, a, MIRRORED[op]
    if a.kind == b.kind == "object" and op in ("==", "!="):
        return replace(_objects(at, op, a, b), over=over)
    for part in (a, b):
        if part.kind == "condition":
            raise fail(part.at, f"a condition stands beside {op}, where a value is needed", _instead(at, op, part))
    a, b = (a if a.kind == "literal" else settled(a)), (b if b.kind == "literal" else settled(b))
    for kind, rule in _RULES:
        if kind in (a.kind, b.kind):
            return replace(rule(at, op, a, b, warn), over=over)
    return replace(_floats(at, op, a, b), over=over)


def _objects(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    """Whether two variables are one object of their collection; by name, until variables have numbers."""
    names = [over.variable for over in (*a.over, *b.over)]
    if len(names) < 2 or not all(names):
        raise fail(at, "only objects with names are compared: any(a in Muon, b in Muon: a != b && …)", "a.pt == b.pt")
    if a.collection != b.collection:
        raise fail(at, f"{names[0]} is of {a.collection}, {names[1]} of {b.collection}: they are never the same")
    return typed(at, make(at, "same", (), (op, *names)))


def _instead(at: Node, op: str, condition: Typed) -> str:
    """What to write where a condition is compared: `!a > 2` is `(!a) > 2`, as in C."""
    if condition.at.op == "not" and at.op == "chain" and at.args[0] is condition.at:
        inner = Node("chain", (condition.at.args[0], at.args[1]), at.value)
        return canonical(Node("not", (inner,)))
    return "(a && b) || (!a && !b) is a == b of conditions" if op in ("==", "!=") else ""


def _cmp(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    return typed(at, make(at, "cmp", (a.node, b.node), op))


def _only_equality(at: Node, op: str, what: str) -> None:
    if op not in ("==", "!="):
        hint = "bit(word, n) tests a bit" if "word" in what else ""
        raise fail(at, f"{what} can be compared with == and != only", hint)


def _texts(at: Node, op: str, a: Typed, b: Typed, warn: Warn) -> Typed:
    if a.kind != b.kind:
        raise fail(at, "a text is compared with what is not a text", _of_one_kind(op, a, b))
    _only_equality(at, op, "texts")
    return _cmp(at, op, a, b)


def _of_one_kind(op: str, a: Typed, b: Typed) -> str:
    """The comparison of a text with a value as it may be meant: with the number in the quotes, or with quotes.

    "" where the text is no number, or where no side is written out.
    """
    left, right = (canonical(part.at) for part in (a, b))
    for side in (a, b):
        other = b if side is a else a
        if side.at.op == "string" and _reads_as(side.at.value, other.kind):
            unquoted = canonical(side.at)[1:-1]
            return f"{unquoted} {op} {right}" if side is a else f"{left} {op} {unquoted}"
    if b.at.op == "number" and op in ("==", "!="):
        return f'{left} {op} "{right}"'
    return ""


def _set_of_one_kind(a: Typed, items: Sequence[Typed]) -> str:
    """`event in ('1', '2')` as `event in (1, 2)`, and the other way round; "" where an item cannot be so written."""
    texts = [canonical(item.at) for item in items]
    if a.kind == "str":
        quoted = [text if item.at.op == "string" else f'"{text}"' for item, text in zip(items, texts, strict=True)]
        return f"{canonical(a.at)} in ({', '.join(quoted)})"
    if any(item.at.op == "string" and not _reads_as(item.at.value, a.kind) for item in items):
        return ""
    values = [text[1:-1] if item.at.op == "string" else text for item, text in zip(items, texts, strict=True)]
    return f"{canonical(a.at)} in ({', '.join(values)})"


def _reads_as(text: str, kind: str) -> bool:
    """Whether a text is a value of another kind in quotes."""
    if kind == "bool":
        return text in ("true", "false")
    return re.fullmatch(r"\d+(\.\d*)?", text) is not None


def _words(at: Node, op: str, a: Typed, b: Typed, warn: Warn) -> Typed:
    _only_equality(at, op, "64-bit words")
    if b.kind == "literal":
        return _cmp(at, op, a, pattern(b))
    if a.kind != b.kind:
        raise fail(at, "a 64-bit word is compared with a number that is no word", "mask it first: (word & 0xFF) != 0")
    return _cmp(at, op, a, b)


def pattern(part: Typed) -> Typed:
    """A literal as a 64-bit pattern, held as the signed integer with the same bits."""
    if part.exact.denominator != 1 or not 0 <= part.exact < 2**64 or part.unit is not None:
        raise fail(part.at, f"{part.exact} is not a pattern of 64 bits", "0 to 0xFFFF_FFFF_FFFF_FFFF".replace("_", ""))
    value = int(part.exact)
    return typed(part.at, make(part.at, "const", (), value - 2**64 if value >= 2**63 else value, "word"))


def _bools(at: Node, op: str, a: Typed, b: Typed, warn: Warn) -> Typed:
    if a.kind == b.kind:
        _only_equality(at, op, "true and false")
        return _cmp(at, op, a, b)
    a, b = (p if p.kind == "literal" else number(p) for p in (a, b))
    return compare(at, op, a, b, warn)


def _literals(at: Node, op: str, a: Typed, b: Typed, warn: Warn) -> Typed:
    a, b = alike(at, a, b)
    if b.kind == "literal" and a.kind != "literal":
        if a.unit is not None and b.unit is None:
            _looks_wrong(a, b, warn)
        if a.signed and op not in ("==", "!="):
            name = canonical(a.at)
            warn(a.at, f"{name} carries the charge as its sign, so negative ones are small: abs({name})")
        if a.kind == "int":
            return whole(at, op, a, b)
        return _cmp(at, op, a, constant(b, a.kind, a.unit))
    kind = "int" if a.integer and b.integer else "f64"
    return _cmp(at, op, constant(a, kind, a.unit), constant(b, kind, b.unit))


def _looks_wrong(a: Typed, b: Typed, warn: Warn) -> None:
    if said := doubt(b.exact, a.unit):
        warn(b.at, said)


def doubt(size: Fraction, unit: Unit | None) -> str:
    """What to ask where a bare number is hardly meant in the unit of what it is compared with; "" where it may be.

    >>> doubt(Fraction(25), UNITS["MeV"])
    '25 is taken as MeV, the unit of what it is compared with: write 25 GeV or 25 MeV'
    """
    size = abs(size)
    small, large = unit == UNITS["MeV"] and 0 < size < _SMALL, unit == UNITS["GeV"] and size > _LARGE
    if not small and not large:
        return ""
    taken, other = ("MeV", "GeV") if small else ("GeV", "MeV")
    text = _shown(size)
    return f"{text} is taken as {taken}, the unit of what it is compared with: write {text} {other} or {text} {taken}"


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):g}"


def whole(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    """An integer against a literal: exact, whatever the literal is."""
    exact = b.exact
    if b.integer and not INT_MIN <= exact <= INT_MAX:
        raise fail(b.at, f"{int(exact)} does not fit a 64-bit integer", f"{INT_MIN} to {INT_MAX}")
    if op in _WHOLE and exact.denominator != 1:
        op, value = _WHOLE[op](exact)
    elif exact.denominator != 1:
        return _decided(at, op == "!=", a)
    else:
        value = int(exact)
    if not INT_MIN <= value <= INT_MAX:
        below = op in ("<", "<=") if value > 0 else op in (">", ">=")
        return _decided(at, op == "!=" or below, a)
    return _cmp(at, op, a, constant(replace(b, exact=Fraction(value)), "int", a.unit))


def _decided(at: Node, verdict: bool, a: Typed) -> Typed:
    """A comparison that is true (or false) of every number: true where there is one."""
    if verdict:
        return typed(at, make(at, "present", (a.node,)))
    return typed(at, make(at, "truth", (make(at, "const", (), False),)))


def _floats(at: Node, op: str, a: Typed, b: Typed) -> Typed:
    """Two values of kinds int, f32, f64, none a literal."""
    a, b = alike(at, a, b)
    if a.kind != b.kind:
        a, b = as_f64(a), as_f64(b)
    return _cmp(at, op, a, b)


_RULES: Sequence[tuple[str, Callable[[Node, str, Typed, Typed, Warn], Typed]]] = (
    ("str", _texts),
    ("word", _words),
    ("bool", _bools),
    ("literal", _literals),
)
"""The rule of the first kind that either side has."""


def member(at: Node, a: Typed, items: Sequence[Typed], warn: Warn) -> Typed:
    """`a in (…)`: constants of the kind of `a`; those that it can never equal are left out."""
    if a.kind == "literal":
        a = settled(a)
    values: list[object] = []
    for item in items:
        if item.kind != "literal" and item.at.op not in ("string", "boolean"):
            raise fail(item.at, "in (…) takes numbers and texts", "join comparisons with ||")
        if (item.kind == "str") != (a.kind == "str"):
            raise fail(at, "a text is compared with what is not a text", _set_of_one_kind(a, items))
        equal = compare(at, "==", a, item, warn).node
        if equal.op == "cmp" and equal.args[1].op == "const":
            values.append(equal.args[1].value)
            left = equal.args[0]
    if not values:
        return _decided(at, False, a)
    if len(values) == 2 and a.kind in ("f32", "f64"):
        low, high = (canonical(item.at) for item in items)
        what = canonical(Node("chain", (items[0].at, a.at, items[1].at), ("<", "<")))
        warn(at, f"in ({low}, {high}) is a set of two numbers, not an interval: {what}")
    over = together(at, (a, *items))
    unique = tuple(dict.fromkeys(values))
    return typed(at, make(at, "in", (left,), unique), over=over)
