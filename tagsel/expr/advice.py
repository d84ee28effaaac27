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
    elif negated and node.op != "present":
        for name, guard in _needs(node, guards):
            found[f"not over {name}, which may be missing, is true where it is: put {guard} before it"] = None


def _learn(node: Node, guards: Guards) -> None:
    """What is known after a condition has passed."""
    if node.op == "present":
        for name, _, count in _missable(node.args[0]):
            guards[name] = max(guards.get(name, 0), count)
    if node.op == "cmp" and node.value in (">", ">=", "==") and node.args[0].op == "column":
        column, bound = node.args[0].value, node.args[1]
        if bound.op == "const" and bound.kind == "int":
            guards[column] = max(guards.get(column, 0), bound.value + (node.value == ">"))


def _needs(node: Node, guards: Guards) -> Iterator[tuple[str, str]]:
    for name, guard, count in _missable(node):
        if guards.get(name, 0) < count:
            yield (name if count == 1 and guard.startswith("present") else f"{name}", guard)


def _missable(node: Node) -> Iterator[tuple[str, str, int]]:
    """What an atom may miss: (what, the guard, how many objects it needs)."""
    for n in walk(node):
        if n.op in ("element", "slot"):
            _, counter, k = n.value
            yield counter, f"{counter} >= {k + 1}", k + 1
        elif n.op == "aggregate" and n.value.function in ("min", "max"):
            yield n.value.counter, f"{n.value.counter} >= 1", 1
        elif n.op == "trigger":
            yield n.value.name, f"present({n.value.name})", 1
