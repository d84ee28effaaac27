"""What binding knows of a piece of a cut: its node, unit, range, and the objects that it varies over.

Invariant: a `Typed` is never wrong about its kind: code that needs another kind calls `as_int`, `as_f64`,
`as_condition`, `settled`, which convert explicitly or raise `CutError` at the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tagsel.errors import CutError
from tagsel.language.literals import to_f32, to_f64
from tagsel.language.printer import canonical, compared_with_0
from tagsel.language.tree import BOOLEAN_OPS, INT_MAX, INT_MIN, Node, object_names
from tagsel.language.units import Unit
from tagsel.language.warnings import NULL

MOST_OBJECTS = 2**31 - 1
"""Counters are int32."""

Range = tuple[int, int]
FULL: Range = (INT_MIN, INT_MAX)
RANGES: dict[str, Range] = {
    "bool": (0, 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": FULL,
    "bits32": (0, 2**32 - 1),
}
"""What a column of each integer type can hold."""

KINDS = {
    "bool": "bool",
    "int32": "int",
    "int64": "int",
    "float32": "f32",
    "float64": "f64",
    "bits32": "int",
    "bits64": "word",
    "string": "str",
}
"""The kind of each attribute type."""

WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "f32": "a number",
    "f64": "a number",
    "word": "a 64-bit word",
    "str": "a text",
    "literal": "a number",
}
"""Kinds in words."""


@dataclass(frozen=True, slots=True)
class Over:
    """Objects that a value varies over: those of a list, `count(Muon.pt > 20)`, or of a variable, `m in Muon`."""

    collection: str
    counter: str
    slots: int = 0
    variable: str = ""
    null: str = ""  # the column that is true where the counter is null


@dataclass(frozen=True, slots=True)
class Typed:
    """A bound piece of a cut.

    `at` is its syntax node. `kind` is the node's, "condition" for a boolean op, "literal" for a number whose type is
    still open (`exact` holds it), "object" for `Muon[0]`, `Muon` or `MET` (`index` -1: not indexed), "chosen" for what
    argmin and argmax give. `members`: those of an object, where they are not the usual ones. `over`: all that it varies
    over, each variable once. `signed`: a momentum that is stored with the sign of the charge.
    """

    at: Node
    node: Node
    kind: str
    unit: Unit | None = None
    over: tuple[Over, ...] = ()
    range: Range = FULL
    exact: Fraction = Fraction(0)
    integer: bool = False
    collection: str = ""
    index: int = -1
    signed: bool = False
    members: tuple[str, ...] = ()


def fail(at: Node, message: str, hint: str = "", **fields: Any) -> CutError:
    """A CutError at the place of a node."""
    return CutError(message, position=at.pos, length=at.length, hint=hint, **fields)


def make(
    at: Node, op: str, args: Sequence[Node] = (), value: Any = None, kind: str = "bool", raises: bool = False
) -> Node:
    """A bound node at the place of a syntax node; `raises` comes up from its args."""
    return Node(op, tuple(args), value, kind, raises or any(a.raises for a in args), at.pos, at.length)


def typed(at: Node, node: Node, *, unit: Unit | None = None, over: tuple[Over, ...] = (), span: Range = FULL) -> Typed:
    """The `Typed` of a bound node."""
    kind = "condition" if node.op in BOOLEAN_OPS else node.kind
    return Typed(at, node, kind, unit, over, span)


def unless_null(part: Typed, null: Node) -> Typed:
    """A value that is missing where `null`, a value of kind bool, is true; `null` itself may be missing."""
    truth = make(part.at, "truth", (null,))
    node = make(part.at, "given", (part.node, make(part.at, "not", (truth,), NULL)), None, part.node.kind)
    return replace(part, node=node)


def integer(
    at: Node,
    op: str,
    args: Sequence[Typed],
    span: Range,
    *,
    value: Any = None,
    unit: Unit | None = None,
    over: tuple[Over, ...] = (),
    raises: bool = False,
) -> Typed:
    """An integer operation whose exact result lies in `span`; past 64 bits it `raises`, and the range is cut."""
    raises = raises or span[0] < INT_MIN or span[1] > INT_MAX
    node = make(at, op, [a.node for a in args], value, "int", raises)
    cut = (max(INT_MIN, min(span[0], INT_MAX)), min(INT_MAX, max(span[1], INT_MIN)))
    return typed(at, node, unit=unit, over=over, span=cut)


def together(at: Node, parts: Sequence[Typed]) -> tuple[Over, ...]:
    """The objects that several values vary over: any variables, but no two lists."""
    found: dict[str, Over] = {}
    for part in parts:
        for over in part.over:
            if found.setdefault(over.variable, over) != over:
                raise _two_objects(at, found[over.variable], over)
    return tuple(found.values())


def _two_objects(at: Node, a: Over, b: Over) -> CutError:
    if a.collection == b.collection:
        return fail(at, f"members of {a.collection} have {a.slots} and {b.slots} slots", "index them: x[0]")
    hint = f"any(a in {a.collection}, b in {b.collection}: …) combines them; {b.collection}.pt[0] is of the leading one"
    return fail(at, f"{a.collection} and {b.collection} are two lists", hint)


def constant(part: Typed, kind: str, unit: Unit | None = None) -> Typed:
    """A literal as a constant of `kind`, in `unit`, rounded once."""
    exact = part.exact
    if part.unit is not None and unit is not None:
        exact *= part.unit.factor(unit)
    value: Any
    if kind == "int":
        if exact.denominator != 1 or not INT_MIN <= exact <= INT_MAX:
            raise fail(part.at, f"{exact} does not fit a 64-bit integer")
        value = int(exact)
        node = make(part.at, "const", (), value, "int")
        return typed(part.at, node, unit=unit or part.unit, span=(value, value))
    try:
        value = to_f32(exact) if kind == "f32" else to_f64(exact)
    except OverflowError:
        raise fail(part.at, "the number does not fit a 64-bit float") from None
    return typed(part.at, make(part.at, "const", (), value, kind), unit=unit or part.unit)


def settled(part: Typed) -> Typed:
    """A value with a kind: a literal becomes an int or a float64; conditions and objects are refused."""
    if part.kind == "literal":
        return constant(part, "int" if part.integer else "f64")
    if part.kind == "condition":
        raise fail(
            part.at,
            "a condition stands where a number is needed",
            "join conditions with && and ||; count(…) counts objects",
        )
    if part.kind == "chosen":
        raise chosen_alone(part)
    if part.kind == "object":
        name = canonical(part.at)
        a_list = part.index < 0 and any(not over.variable for over in part.over)
        raise fail(part.at, f"{name} is an object, not a number", members_hint(name, part.members, "pt", a_list))
    return part


FROM_COMPONENTS = {"pt": ("hypot", "mpx", "mpy"), "phi": ("atan2", "mpy", "mpx")}
"""What is worked out from the components of an object that keeps no pt and phi, as the terms of ATLAS's MET."""


def members_hint(name: str, members: Sequence[str], member: str, a_list: bool) -> str:
    """What to write for a member of an object: the member, the function that gives it, or the members that there are.

    >>> members_hint("MET", ("mpx", "mpy", "sumet"), "pt", True)
    'it has mpx, mpy, sumet; pt of one of them: hypot(MET.mpx[0], MET.mpy[0])'
    """
    first = "[0]" if a_list else ""
    if member in members or not members:
        return f"a member of it: {name}.{member}{first}"
    listed = f"it has {', '.join(members)}"
    function, *components = FROM_COMPONENTS.get(member, ("",))
    if not function or not set(components) <= set(members):
        return listed
    values = ", ".join(f"{name}.{component}{first}" for component in components)
    return f"{listed}; {member} of {'one of them' if a_list else 'it'}: {function}({values})"


def chosen_alone(part: Typed) -> CutError:
    """The error for an argmin whose objects have no names."""
    text = canonical(part.at)
    names = object_names(part.at)
    shown = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return fail(part.at, f"{part.at.value[0]} chooses objects, and let names them", f"let {shown} = {text}; …")


def number(part: Typed) -> Typed:
    """A value of kind int, f32 or f64; true and false become 1 and 0."""
    part = settled(part)
    if part.kind == "bool":
        node = make(part.at, "cast", (part.node,), None, "int")
        return typed(part.at, node, over=part.over, span=(0, 1))
    if part.kind == "word":
        raise fail(
            part.at, "a 64-bit word allows bit operators, bit tests, == and != only", "bit(word, n), or word & mask"
        )
    if part.kind == "str":
        raise fail(part.at, "a text stands where a number is needed")
    return part


def as_f64(part: Typed) -> Typed:
    """A value as float64."""
    if part.kind == "literal":
        return constant(part, "f64", part.unit)
    part = number(part)
    if part.kind == "f64":
        return part
    return typed(part.at, make(part.at, "cast", (part.node,), None, "f64"), unit=part.unit, over=part.over)


def in_unit(part: Typed, unit: Unit) -> Typed:
    """A value with a unit in another one of the same kind: literals exactly, others in float64."""
    assert part.unit is not None
    if part.kind == "literal":
        exact = part.exact * part.unit.factor(unit)
        return replace(part, exact=exact, unit=unit, integer=part.integer and exact.denominator == 1)
    factor = part.unit.factor(unit)
    if factor == 1:
        return replace(part, unit=unit)
    wide = as_f64(part)
    op, size = ("mul", factor) if factor > 1 else ("div", 1 / factor)
    node = make(part.at, op, (wide.node, make(part.at, "const", (), to_f64(size), "f64")), None, "f64")
    return typed(part.at, node, unit=unit, over=part.over)


def alike(at: Node, a: Typed, b: Typed) -> tuple[Typed, Typed]:
    """Two values in one unit, so that they may be added or compared; CutError for energy against length."""
    if a.unit is None or b.unit is None:
        for part, other in ((a, b), (b, a)):
            if part.unit is not None and part.kind == "literal" and other.unit is None and other.kind != "literal":
                message = f"{_words(other)} has no unit, the number has: {part.unit.symbol}"
                raise fail(part.at, message, "a bare number")
        return a, b
    if not a.unit.same(b.unit):
        raise fail(at, f"{a.unit.describe()} against {b.unit.describe()}", "bring both to one unit")
    if a.kind == "literal" and b.kind != "literal":
        return in_unit(a, b.unit), b
    if b.kind == "literal" or a.unit.scale <= b.unit.scale:
        return a, in_unit(b, a.unit)
    return in_unit(a, b.unit), b


def _words(part: Typed) -> str:
    return part.at.value if part.at.op == "name" else "the other side"


def as_condition(part: Typed) -> Typed:
    """A condition: a boolean op, or the truth of a value of kind bool."""
    if part.kind == "condition":
        return part
    if part.kind == "bool":
        return typed(part.at, make(part.at, "truth", (part.node,)), over=part.over)
    if part.kind == "chosen":
        raise chosen_alone(part)
    if part.kind == "object":
        raise fail(part.at, f"{part.collection} is an object, not a condition", f"count({part.collection}) >= 1")
    raise fail(part.at, f"{WORDS[part.kind]} stands where a condition is needed", truth_hint(part))


def truth_hint(part: Typed) -> str:
    """The condition to write for a value that is none."""
    subject = canonical(part.at)
    fixes = {"literal": "true, or false", "word": f"{subject} != 0, or bit({subject}, 0)", "str": f'{subject} == "…"'}
    return fixes.get(part.kind, f"compare it: {canonical(compared_with_0(part.at, '!='))}")


def untruth_hint(part: Typed) -> str:
    """The condition to write for `!` of a value that is none."""
    subject = canonical(part.at)
    fixes = {
        "literal": "true, or false",
        "word": f"{subject} == 0, or !bit({subject}, 0)",
        "str": f'{subject} != "…"',
        "object": f"count({part.collection}) == 0",
    }
    return fixes.get(part.kind, canonical(compared_with_0(part.at, "==")))
