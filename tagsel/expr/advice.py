"""Warnings about `not` over what may be missing, and the guard that would help.

Invariant: a warning changes nothing; the cut means what it says.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from tagsel.expr.nodes import Node, walk
from tagsel.expr.walk import trampoline

Guards = dict[str, int]
"""By counter column: how many objects there are for sure; by a node's text: 1 where it is present for sure."""


def guards_missing(node: Node) -> list[str]:
    """A warning for each `not` over an atom that is false where something is missing, and then true by the `not`.

    What stands to the left, joined by `and`, is taken into account: `nMuon >= 2 && !(Muon.pt[1] > 20)` is fine.
    """
    found: dict[str, None] = {}
    trampoline(_visit(node, {}, False, found))
    return list(found)


def _visit(node: Node, guards: Guards, negated: bool, found: dict[str, None]) -> Generator[Any, Any, None]:
    if node.op == "and":
        known = dict(guards)
        for arg in node.args:
            yield _visit(arg, known, negated, found)
            if not negated:
                _learn(arg, known)
    elif node.op in ("or", "not"):
        for arg in node.args:
            yield _visit(arg, guards, negated != (node.op == "not"), found)
    elif node.op == "let":
        yield _visit(node.args[1], guards, negated, found)
    elif negated and node.op != "present":
        for name, guard in _needs(node, guards):
            found[f"not is true where {name} is missing; if that is not meant, put {guard} && before it"] = None


def _learn(node: Node, guards: Guards) -> None:
    """What is known after a condition has passed."""
    if node.op == "present":
        for n in walk(node):
            if n.op in ("element", "slot"):
                guards[n.value[1]] = max(guards.get(n.value[1], 0), n.value[2] + 1)
            elif n.op == "trigger":
                guards[n.value.name] = 1
    if node.op == "cmp" and node.value in (">", ">=", "==") and node.args[0].op == "column":
        column, bound = node.args[0].value, node.args[1]
        if bound.op == "const" and bound.kind == "int":
            guards[column] = max(guards.get(column, 0), bound.value + (node.value == ">"))


def _needs(node: Node, guards: Guards) -> Iterator[tuple[str, str]]:
    """What an atom may miss for all that is known, and the guard against it."""
    for n in walk(node):
        if n.op in ("element", "slot"):
            column, counter, k = n.value
            name = f"{column}[{k}]" if n.op == "element" else column
            yield from _unless(guards, counter, k + 1, name, f"{counter} >= {k + 1}")
        elif n.op == "aggregate" and n.value.function in ("min", "max"):
            counter = n.value.counter
            name = f"{n.value.function} over {n.value.collection}"
            yield from _unless(guards, counter, 1, name, f"{counter} >= 1")
        elif n.op == "trigger":
            yield from _unless(guards, n.value.name, 1, n.value.name, f"present({n.value.name})")


def _unless(guards: Guards, key: str, count: int, name: str, guard: str) -> Iterator[tuple[str, str]]:
    if guards.get(key, 0) < count:
        yield name, guard
