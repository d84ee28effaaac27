"""Objects and their combinations: what aggregates, quantifiers, `let` and `if` bind to.

Invariant: a variable belongs to one quantifier or `let`, the innermost around it that has its name; after `numbered`
variables have numbers, and so two cuts that differ in the names of their objects bind to equal trees.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from tagsel.errors import CutError
from tagsel.language.functions import CutFunction, function
from tagsel.language.traversal import trampoline
from tagsel.language.tree import INT_MAX, LOOPING_OPS, Aggregate, Loop, Node, walk
from tagsel.language.typed import (
    MOST_OBJECTS,
    Over,
    Typed,
    as_condition,
    as_f64,
    fail,
    integer,
    make,
    number,
    settled,
    together,
    typed,
    unless_null,
)

Runs = Sequence[tuple[Over, bool]]
"""The variables of a quantifier: what each runs over, and whether it begins after the one before it."""


def short(at: Node, row: CutFunction, body: Typed) -> Typed:
    """`F(body)`: over the objects of the one list in the body."""
    lists = [over for over in body.over if not over.variable]
    if not lists:
        raise fail(body.at, f"{row.name}(…) runs over objects, and there is no list in it", row.signature)
    return _bound(at, row, body, [(lists[0], False)])


def quantifier(at: Node, body: Typed) -> Typed:
    """`F(a, b in Coll, c in Other: body)`."""
    name, groups = at.value
    row = _runner(at, name)
    found = {over.variable: over for over in body.over}
    if "" in found:
        symbol = groups[0][0][0]
        hint = f"{symbol}.pt, or an index: {found[''].collection}.…[0]"
        raise fail(at, f"{found[''].collection} is a list beside the object {symbol}", hint)
    runs: list[tuple[Over, bool]] = []
    for symbols, _ in groups:
        for k, symbol in enumerate(symbols):
            if symbol not in found:
                raise fail(at, f"{symbol} does not occur in it", f"{symbol}.pt is a value of an object")
            if k and found[symbol].slots != runs[-1][0].slots:
                raise _unlike(at, found[symbol], runs[-1][0].slots)
            runs.append((found[symbol], k > 0))
    return _bound(at, row, body, runs)


def _runner(at: Node, name: str) -> CutFunction:
    """The row of a function that stands before `v in Coll:`."""
    try:
        row = function(name)
    except CutError as error:
        raise fail(at, error.message, error.hint, function=name) from None
    if row.form not in ("aggregate", "choice"):
        raise fail(at, f"{name} does not run over objects", "count, any, all, sum, min, max, argmin, argmax do")
    return row


def _unlike(at: Node, over: Over, slots: int) -> CutError:
    message = f"members of {over.collection} that are used here have {over.slots} and {slots} slots"
    return fail(at, message, "members with as many slots as each other")


def _runs(function_name: str, runs: Runs) -> Aggregate:
    loops = [Loop(over.collection, over.counter, over.slots, after) for over, after in runs]
    first, names = loops[0], tuple(over.variable for over, _ in runs)
    return Aggregate(function_name, first.collection, first.counter, first.slots, tuple(loops[1:]), names)


def _bound(at: Node, row: CutFunction, body: Typed, runs: Runs) -> Typed:
    """The aggregate; what its body varies over beside its own objects, it varies over, too."""
    own = [over for over, _ in runs]
    free = tuple(over for over in body.over if over not in own)
    if body.kind == "object" and len(runs) == 1:
        return replace(_count_all(at, row, body, runs), over=free)
    if row.name in ("count", "any", "all"):
        condition = as_condition(body)
        most = min(_most(runs), INT_MAX) if row.name == "count" else 1
        return _result(at, row, runs, condition, "int" if row.name == "count" else "bool", (0, most), free)
    if body.kind == "condition":
        raise fail(body.at, f"{row.name}(…) takes a value, and this is a condition", "count(…)")
    value = number(body)
    if row.form == "choice":
        return Typed(at, make(at, "choice", (value.node,), _runs(row.name, runs), value.kind), "chosen", over=free)
    if row.name != "sum":
        return _result(at, row, runs, value, value.kind, value.range, free)
    if value.kind != "int":
        return _result(at, row, runs, as_f64(value), "f64", (0, 1), free)
    low, high = (end * _most(runs) for end in value.range)
    total = integer(
        at, "aggregate", (value,), (min(0, low), max(0, high)), value=_runs("sum", runs), unit=value.unit, over=free
    )
    return _unless_null(total, runs)


def _most(runs: Runs) -> int:
    """How many combinations there are at most."""
    return prod(over.slots or MOST_OBJECTS for over, _ in runs)


def _result(
    at: Node, row: CutFunction, runs: Runs, body: Typed, kind: str, span: tuple[int, int], free: tuple[Over, ...]
) -> Typed:
    node = make(at, "aggregate", (body.node,), _runs(row.name, runs), kind)
    unit = body.unit if row.name in ("min", "max", "sum") else None
    return _unless_null(typed(at, node, unit=unit, span=span, over=free), runs)


def _unless_null(part: Typed, runs: Runs) -> Typed:
    """An aggregate that is missing where the counter of one of its collections is null."""
    for null in dict.fromkeys(over.null for over, _ in runs if over.null):
        part = unless_null(part, make(part.at, "column", (), null))
    return part


def _count_all(at: Node, row: CutFunction, body: Typed, runs: Runs) -> Typed:
    """`count(Muon)`: the counter itself of a list; of slots no more than there are."""
    if row.name != "count":
        raise fail(body.at, f"{body.collection} is an object, not a value", f"{row.name}({body.collection}.pt …)")
    over = runs[0][0]
    if not over.slots:
        node = make(at, "column", (), over.counter, "int")
        return _unless_null(typed(at, node, span=(-(2**31), 2**31 - 1)), runs)
    every = make(at, "truth", (make(at, "const", (), True),))
    return _result(at, row, runs, typed(at, every), "int", (0, over.slots), ())


def let(at: Node, choice: Typed, rest: Typed) -> Typed:
    """`let names = argmin(…); rest`: the rest, with the chosen objects."""
    loops: tuple[Loop, ...] = choice.node.value.loops
    for over in rest.over:
        if over.variable in at.value and over.slots != loops[at.value.index(over.variable)].slots:
            raise _unlike(at, over, loops[at.value.index(over.variable)].slots)
    rest = rest if rest.kind == "condition" else settled(rest)
    free = replace(rest, over=tuple(over for over in rest.over if over.variable not in at.value))
    value = replace(choice.node.value, names=at.value)
    op = "let" if rest.kind == "condition" else "let_value"
    node = make(at, op, (choice.node, rest.node), value, rest.node.kind)
    return replace(free, at=at, node=node, over=together(at, (choice, free)))


def given(at: Node, value: Typed, condition: Typed) -> Typed:
    """`value if condition`: missing where the condition is false."""
    value, condition = settled(value), as_condition(condition)
    node = make(at, "given", (value.node, condition.node), None, value.kind)
    return replace(value, at=at, node=node, over=together(at, (value, condition)))


def objects(value: Typed) -> Typed:
    """A value of each object of one list as the root of a tree."""
    runs = [(over, False) for over in value.over]
    node = make(value.at, "objects", (value.node,), _runs("objects", runs), value.node.kind)
    return replace(value, node=node, over=())


# from names to numbers

Names = tuple[tuple[str, bool], ...]
"""The variables around a node, the innermost last: the name ("" of a list), and whether a `let` chose its object."""


def numbered(node: Node) -> Node:
    """The bound tree with variables by number, as `nodes` describes."""
    named = any(n.op in ("outer", "same", "let", "let_value") for n in walk(node))
    return trampoline(_numbered(node, ())) if named else node


def _numbered(node: Node, around: Names) -> Generator[Any, Any, Node]:
    if node.op in ("member", "outer"):
        return _member(node, around)
    if node.op == "same":
        mark, *names = node.value
        return replace(node, value=(mark, *(_number(name, around)[0] for name in names)))
    inner = around
    if node.op in LOOPING_OPS or node.op == "choice":
        inner = (*around, *((name, node.op in ("let", "let_value")) for name in node.value.names))
    args = []
    for arg in node.args:
        args.append((yield _numbered(arg, around if arg.op == "choice" else inner)))
    if node.op == "choice":
        body: Node = args[0]
        return body
    changed = any(new is not old for new, old in zip(args, node.args, strict=True))
    return replace(node, args=tuple(args)) if changed else node


def _member(node: Node, around: Names) -> Node:
    """The member of the object whose name it has."""
    stored, name = (node.value, "") if node.op == "member" else node.value
    up, chosen = _number(name, around)
    if chosen:
        return replace(node, op="chosen", value=(stored, up))
    return replace(node, op="outer", value=(stored, up)) if up else replace(node, op="member", value=stored)


def _number(name: str, around: Names) -> tuple[int, bool]:
    """The number of a variable, and whether a `let` chose its object."""
    for up, (variable, chosen) in enumerate(reversed(around)):
        if variable == name:
            return up, chosen
    raise AssertionError(f"{name!r} belongs to no quantifier")
