"""What a call binds to: one binder for each form of function in the table.

Invariant: the number of arguments is checked from the function's row before a binder sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from tagsel.errors import CutError
from tagsel.language import arithmetic, names, quantifiers
from tagsel.language.functions import CutFunction, function
from tagsel.language.python_function import DTYPES, known
from tagsel.language.scope import Scope
from tagsel.language.tree import Node, walk
from tagsel.language.typed import (
    WORDS,
    Over,
    Typed,
    alike,
    as_f64,
    fail,
    in_unit,
    make,
    number,
    settled,
    together,
    typed,
)
from tagsel.language.units import NUMBER, RADIAN, Unit


@dataclass(frozen=True, slots=True)
class Call:
    """A call as its binder sees it."""

    scope: Scope
    at: Node
    row: CutFunction
    args: Sequence[Typed]


def call(scope: Scope, at: Node, args: Sequence[Typed]) -> Typed:
    """The meaning of `function(args)`."""
    try:
        row = function(at.value)
    except CutError as error:
        if "." in at.value or scope.schema.find(at.value):
            hint = _size(scope, at.value) or "an object's value is Muon.pt[0]"
            raise fail(at, f"{at.value} is not a function", hint) from None
        raise fail(at, error.message, error.hint, function=at.value) from None
    if not row.fewest <= len(args) <= row.most:
        raise fail(at, f"{row.name} takes {_count(row)}, {len(args)} given: {row.signature}", _other(row, len(args)))
    return _FORMS[row.form](Call(scope, at, row, args))


def _count(row: CutFunction) -> str:
    number_of = f"{row.fewest}" if row.fewest == row.most else f"{row.fewest} to {row.most}"
    return f"{number_of} argument{'s' if number_of != '1' else ''}"


def _other(row: CutFunction, given: int) -> str:
    if row.name not in ("min", "max") or given < 3:
        return ""
    return f"two at a time: {row.name}(a, {row.name}(b, c))"


# numbers


def _elementary(c: Call) -> Typed:
    over = together(c.at, c.args)
    args = [p if p.kind == "literal" else number(p) for p in c.args]
    if c.row.argument == "angle":
        args = [_angle(p) for p in args]
    if c.row.argument == "same":
        args = list(alike(c.at, *args))
    unit = _unit(c.row, args)
    return _made(c, [as_f64(p) for p in args], unit, over)


def _made(c: Call, args: Sequence[Typed], unit: Unit | None, over: tuple[Over, ...]) -> Typed:
    node = make(c.at, "call", [p.node for p in args], c.row.name, "f64")
    return typed(c.at, node, unit=unit, over=over)


def _angle(part: Typed) -> Typed:
    """An angle in radians."""
    if part.unit is None or part.unit == NUMBER:
        return part
    if not part.unit.same(RADIAN):
        raise fail(part.at, f"{part.unit.describe()} stands where an angle is needed")
    return in_unit(part, RADIAN)


def _unit(row: CutFunction, args: Sequence[Typed]) -> Unit | None:
    unit = args[0].unit
    if row.result == "rad":
        return RADIAN
    if row.result == "same":
        return unit or args[-1].unit
    if unit is None:
        return None
    if row.name == "pow":
        n = args[1].exact
        whole = args[1].kind == "literal" and n.denominator == 1 and abs(n) <= 8
        return unit.power(int(n)) if whole else None
    if row.result == "root" and all(i % 2 == 0 for i in unit.dims):
        return unit.root()
    return None


def power(scope: Scope, at: Node, a: Typed, b: Typed) -> Typed:
    """`a ** b`, which is pow(a, b)."""
    return _elementary(Call(scope, at, function("pow"), (a, b)))


def _aggregate(c: Call) -> Typed:
    return quantifiers.short(c.at, c.row, c.args[0])


def _choice(c: Call) -> Typed:
    raise fail(c.at, f"{c.row.name} chooses objects, which need names", f"let m = {c.row.name}(m in Muon: m.pt); …")


def _same(c: Call) -> Typed:
    return arithmetic.absolute(c.at, c.args[0])


def _pick(c: Call) -> Typed:
    return arithmetic.pick(c.at, c.row.name, *c.args)


def _bit(c: Call) -> Typed:
    return arithmetic.bit(c.at, *c.args)


def _test(c: Call) -> Typed:
    part = number(c.args[0])
    if part.kind == "int":
        raise fail(c.at, "a whole number is always finite", "present(x) asks whether there is one")
    return typed(c.at, make(c.at, "test", (part.node,), c.row.name), over=part.over)


# events


def _present(c: Call) -> Typed:
    (part,) = c.args
    if part.kind == "object":
        part = names.component(c.scope, c.at, part, "pt")
    chains = [n for n in walk(part.node) if n.op == "trigger" and n.value.pattern]
    if chains:
        return typed(c.at, _any_of(c.at, "present", chains))
    part = settled(part)
    return typed(c.at, make(c.at, "present", (part.node,)), over=part.over)


def _size(scope: Scope, name: str) -> str:
    """What `Muon_pt.size()` and `Muon.size()` are in our words; "" for what is no list."""
    base = name.removesuffix(".size")
    attribute = scope.schema.find(base)
    collection = attribute.collection if attribute is not None and attribute.is_list else base
    return f"count({collection})" if base != name and scope.collection(collection) is not None else ""


def _text(c: Call) -> str:
    (part,) = c.args
    if part.at.op != "string":
        raise fail(part.at, f"{c.row.name} takes a text in quotes", c.row.signature)
    text: str = part.at.value
    return text


def _trigger(c: Call) -> Typed:
    name = _text(c)
    chain = c.scope.chain(name)
    if chain is None and ("*" in name or "?" in name):
        return _versions(c, name)
    if chain is None and not c.scope.menus:
        raise fail(c.args[0].at, "the dataset has no trigger menu", name=name)
    if chain is None:
        raise fail(c.args[0].at, f"no trigger menu has a chain {name!r}", c.scope.hint(name), name=name)
    return typed(c.at, make(c.at, "trigger", (), chain), span=(0, 1))


def _versions(c: Call, pattern: str) -> Typed:
    """`trigger("HLT_Mu50_v*")`: whether any chain that matches has fired; a chain that the menu lacks has not."""
    chains = c.scope.versions(pattern)
    if not c.scope.menus:
        raise fail(c.args[0].at, "the dataset has no trigger menu", name=pattern)
    if not chains:
        raise fail(
            c.args[0].at,
            f"no trigger menu has a chain that matches {pattern!r}",
            c.scope.hint(pattern.strip("*?")),
            name=pattern,
        )
    return typed(c.at, _any_of(c.at, "truth", [make(c.at, "trigger", (), chain) for chain in chains]))


def _any_of(at: Node, op: str, chains: Sequence[Node]) -> Node:
    """Whether `op` holds of any of some chains."""
    atoms = [make(at, op, (chain,)) for chain in chains]
    return atoms[0] if len(atoms) == 1 else make(at, "or", atoms)


def _in_lumi(c: Call) -> Typed:
    text = _text(c)
    try:
        table = c.scope.lumi(text)
    except CutError as error:
        raise fail(c.args[0].at, error.message, error.hint) from None
    ids = [make(c.at, "column", (), c.scope.schema[name].column, "int") for name in ("run", "lumi")]
    return typed(c.at, make(c.at, "in_lumi", ids, table))


def _python(c: Call) -> Typed:
    try:
        function = known(_text(c))
        parts = [settled(names.name(c.scope, replace(c.at, op="name", value=p))) for p in function.parameters]
        for name, part in zip(function.parameters, parts, strict=True):
            if part.over or part.kind not in DTYPES:
                what = "a list" if part.over is not None else WORDS.get(part.kind, part.kind)
                hint = "an attribute with one number an event; tagsel datasets extend makes one of a list"
                raise CutError(f"{function.place} takes {name}, which is {what}", hint=hint)
        function.check([p.kind for p in parts])
    except CutError as error:
        raise fail(c.at, error.message, error.hint) from None
    return typed(c.at, make(c.at, "python", [p.node for p in parts], function))


# objects


def _all_components(c: Call) -> list[Typed]:
    """The components of all arguments of a call, in order."""
    return list(chain.from_iterable(_components(c, arg) for arg in c.args))


def _object(c: Call) -> Typed:
    """A call of the members of objects, in the order of the row's `takes`, in one unit of energy."""
    parts = _all_components(c)
    over = together(c.at, parts)
    unit = parts[0].unit if c.row.takes[0] == "pt" else None
    like = [_like(p, unit) for p in parts]
    result = {"pt": unit, "rad": RADIAN}.get(c.row.result)
    return _made(c, [as_f64(p) for p in like], result, over)


def _components(c: Call, arg: Typed) -> list[Typed]:
    if arg.kind == "object":
        return [names.component(c.scope, c.at, arg, member) for member in c.row.takes]
    if c.row.takes == ("phi",):
        return [arg if arg.kind == "literal" else number(arg)]
    example = f"{c.row.name}({', '.join(('Muon[0]', 'Muon[1]')[: min(2, c.row.most)])})"
    raise fail(arg.at, f"{c.row.name} takes objects", example)


def _like(part: Typed, unit: Unit | None) -> Typed:
    """Energies in the first pt's unit, angles in radians."""
    if part.unit is None or part.unit == unit:
        return part
    if unit is not None and part.unit.same(unit):
        return in_unit(part, unit)
    return _angle(part)


def _difference(c: Call) -> Typed:
    a, b = _all_components(c)
    return arithmetic.binary(c.at, "sub", as_f64(a), as_f64(b))


_FORMS: Mapping[str, Callable[[Call], Typed]] = {
    "elementary": _elementary,
    "object": _object,
    "difference": _difference,
    "aggregate": _aggregate,
    "choice": _choice,
    "same": _same,
    "pick": _pick,
    "bit": _bit,
    "test": _test,
    "present": _present,
    "trigger": _trigger,
    "in_lumi": _in_lumi,
    "python": _python,
}
"""The binder of each form of function."""
