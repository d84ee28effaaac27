"""Warnings about `not` over what may be missing, and the guard that would help.

Invariant: a warning changes nothing; the cut means what it says.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any

from tagsel.language.traversal import trampoline
from tagsel.language.tree import Node, walk

_COLLECTION = re.compile(r"([A-Za-z0-9]+)[._]\w+\[")
"""The collection of an element, by the name of its column: Muon of `Muon_pt[1]`."""

NULL = "null"
"""The value of a `not` that nobody wrote: it stands before the bitmap of an attribute's nulls."""

Guards = dict[str, int]
"""By counter column: how many objects there are for sure; by a node's text: 1 where it is present for sure."""

Needs = dict[str, tuple[dict[str, None], str, int]]
"""By what a guard is about (a counter, a chain): the values that it guards, the guard, how many objects it asks for."""


def guards_missing(node: Node) -> list[str]:
    """A warning for each `not` over atoms that are false where something is missing, and then true by the `not`.

    What stands to the left, joined by `and`, is taken into account: `nMuon >= 2 && !(Muon.pt[1] > 20)` is fine.
    """
    warnings: dict[str, None] = {}
    trampoline(_visit(node, {}, False, None, warnings))
    return list(warnings)


def _visit(
    node: Node, guards: Guards, negated: bool, needs: Needs | None, warnings: dict[str, None]
) -> Generator[Any, Any, None]:
    """Go through the conditions below a node; `needs` collects what the atoms below the outermost `not` may miss."""
    if node.op == "and":
        known = dict(guards)
        for arg in node.args:
            yield _visit(arg, known, negated, needs, warnings)
            if not negated:
                _learn(arg, known)
    elif node.op == "not" and needs is None:
        collected: Needs = {}
        yield _visit(node.args[0], guards, not negated, collected, warnings)
        if collected:
            warnings[_warning(collected)] = None
    elif node.op in ("or", "not"):
        for arg in node.args:
            yield _visit(arg, guards, negated != (node.op == "not"), needs, warnings)
    elif node.op == "if_else":  # `!(c ? a : b)` is `c ? !a : !b`
        condition, yes, no = node.args
        known = dict(guards)
        yield _visit(condition, guards, False, needs, warnings)
        _learn(condition, known)
        yield _visit(yes, known, negated, needs, warnings)
        yield _visit(no, guards, negated, needs, warnings)
    elif node.op == "let":
        yield _visit(node.args[1], guards, negated, needs, warnings)
    elif negated and needs is not None and node.op != "present":
        _collect(node, guards, needs)


def _warning(needs: Needs) -> str:
    """One sentence for one `not`, however many values it may miss."""
    names = [_all_of(list(values), count) for values, _, count in needs.values()]
    guard = " && ".join(text for _, text, _ in needs.values())
    return f"not is true where {' or '.join(names)} is missing; if that is not meant, put {guard} && before it"


def _all_of(values: list[str], count: int) -> str:
    """What stands for several values of one collection: the object, where they are its members."""
    if len(values) > 1:
        collections = {_COLLECTION.match(value) for value in values}
        names = {found.group(1) for found in collections if found}
        if len(names) == 1 and None not in collections:
            return f"{names.pop()}[{count - 1}]"
    return " or ".join(values)


def _collect(node: Node, guards: Guards, needs: Needs) -> None:
    """Add what an atom may miss for all that is known."""
    for key, value, guard, count in _missing_values(node):
        if guards.get(key, 0) >= count:
            continue
        values, _, most = needs.get(key, ({}, "", 0))
        if count > most:
            needs[key] = {value: None}, guard, count
        elif count == most:
            values[value] = None


def _learn(node: Node, guards: Guards) -> None:
    """What is known after a condition has passed."""
    if node.op == "present":
        for inner in walk(node):
            _learn_present(inner, guards)
    if node.op == "or" and all(arg.op == "present" and arg.args[0].op == "trigger" for arg in node.args):
        patterns = {arg.args[0].value.asked for arg in node.args}
        guards.update(dict.fromkeys(patterns, 1) if len(patterns) == 1 else {})
    if node.op == "cmp" and node.value in (">", ">=", "==") and node.args[0].op == "column":
        column, bound = node.args[0].value, node.args[1]
        if bound.op == "const" and bound.kind == "int":
            guards[column] = max(guards.get(column, 0), bound.value + (node.value == ">"))


def _learn_present(node: Node, guards: Guards) -> None:
    """What is known once a value is present."""
    if node.op in ("element", "slot"):
        _, counter, place = node.value
        guards[counter] = max(guards.get(counter, 0), place + 1)
    elif node.op == "trigger":
        guards[node.value.asked] = 1
    elif node.op == "at" or is_nullable(node):
        guards[_name_of(node)] = 1


def _missing_values(node: Node) -> Iterator[tuple[str, str, str, int]]:
    """What an atom may miss: what a guard is about, the value's name, the guard, how many objects it asks for."""
    for n in _outside_indices(node):
        if n.op in ("element", "slot"):
            column, counter, k = n.value
            name = f"{column}[{k}]" if n.op == "element" else column
            yield counter, name, f"{counter} >= {k + 1}", k + 1
        elif n.op == "aggregate" and n.value.function in ("min", "max"):
            counter = n.value.counter
            yield counter, f"{n.value.function} over {n.value.collection}", f"{counter} >= 1", 1
        elif n.op == "trigger":
            name = n.value.asked
            chain = f'trigger("{name}")' if n.value.pattern else name
            yield name, name, f"present({chain})", 1
        elif n.op == "at" or (is_nullable(n) and n.args[0].op in ("column", "element", "slot")):
            name = _name_of(n)
            yield name, name, f"present({name})", 1


def _outside_indices(node: Node) -> Iterator[Node]:
    """The nodes of an atom; not those of an index, whose guard is that of the value at it."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        if top.op != "at":
            stack.extend(reversed(top.args))


def is_nullable(node: Node) -> bool:
    """Whether a node is a value that is missing where a bitmap says so."""
    return node.op == "given" and node.args[1].value == NULL


def _name_of(node: Node) -> str:
    """The name of a nullable value, or of one at an index: `MET_pt`, `Muon_pt[0]`, `Jet_pt[…]`."""
    stored = node if node.op == "at" else node.args[0]
    if stored.op == "at":
        return f"{stored.value[0]}[…]"
    if stored.op == "column":
        return str(stored.value)
    if stored.op in ("element", "slot"):
        return f"{stored.value[0]}[{stored.value[2]}]" if stored.op == "element" else str(stored.value[0])
    return ""
