"""Calls of functions of a sum over objects, such as `mass(a, b)`: the objects apart, as members of their lists."""

from __future__ import annotations

from dataclasses import replace

from tagsel.kernels.physics import SUMS
from tagsel.language.functions import FUNCTIONS
from tagsel.language.tree import Node, walk_all

Object = tuple[int, tuple[Node, ...]]
"""The number of a variable, counted from the innermost, and its components as members of its list."""


def objects_of(node: Node) -> list[Object] | None:
    """Each object of a call; None where it is no function of a sum, or an object is more than a variable's members."""
    row = FUNCTIONS[node.value]
    if row.kernel not in SUMS:
        return None
    objects = []
    for at in range(0, len(node.args), len(row.takes)):
        args = node.args[at : at + len(row.takes)]
        ups = {_up(n) for n in walk_all(args) if n.op not in ("cast", "abs", "mul", "div", "const")}
        if len(ups) != 1 or -1 in ups or any(arg.raises for arg in args):
            return None
        objects.append((ups.pop(), tuple(_as_members(arg) for arg in args)))
    return objects


def _up(node: Node) -> int:
    """The number of the variable of a member; -1 for anything else."""
    return 0 if node.op == "member" else node.value[1] if node.op == "outer" else -1


def _as_members(node: Node) -> Node:
    if node.op == "outer":
        return replace(node, op="member", value=node.value[0])
    return replace(node, args=tuple(_as_members(arg) for arg in node.args)) if node.args else node
