"""The syntax tree made plain before it is bound: chains in pairs, variables by their collection.

Invariant: what comes out means what went in, and has no `chain` of more than two and no unresolved variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from tagsel.errors import CutError
from tagsel.expr.nodes import Node, walk
from tagsel.expr.parse import flat
from tagsel.expr.walk import fold

LATER = "combinations of several objects (nested quantifiers, argmin, argmax, let) are not built yet"

MAX_NODES = 1_000_000
"""Most nodes of a cut once its chains are written out."""


def desugar(tree: Node) -> Node:
    """`66 < x < 116` as two comparisons, and `m.pt` in `any(m in Muon: …)` as a member of Muon."""
    plain = fold(tree, _plain)
    check_size(plain)
    return plain


def _plain(node: Node, args: Sequence[Node]) -> Node:
    if node.op == "chain" and len(node.value) > 1:
        return _pairs(node, args)
    if node.op == "quantifier":
        _check_variables(node)
        collections = {v: collection for names, collection in node.value[1] for v in names}
        args = (fold(args[0], lambda n, below: _variable(n, below, collections)),)
    return _same(node, flat("and", args) if node.op == "and" else args)


def _check_variables(node: Node) -> None:
    """One variable over one collection; the tree has room for more."""
    function, groups = node.value
    if function in ("argmin", "argmax") or len(groups) != 1 or len(groups[0][0]) != 1:
        raise CutError(LATER, position=node.pos, length=node.length, hint="one variable: any(m in Muon: m.pt > 20 GeV)")


def _same(node: Node, args: Sequence[Node], op: str = "", value: object = None) -> Node:
    if not op and all(a is b for a, b in zip(node.args, args, strict=False)) and len(args) == len(node.args):
        return node
    return Node(op or node.op, tuple(args), value if op else node.value, pos=node.pos, length=node.length)


def _pairs(node: Node, args: Sequence[Node]) -> Node:
    """Each comparison of a chain, at its own place; `and` joins them."""
    pairs = []
    for i, mark in enumerate(node.value):
        a, b = args[i], args[i + 1]
        pairs.append(Node("chain", (a, b), (mark,), pos=a.pos, length=b.pos + b.length - a.pos))
    return _same(node, pairs, "and")


def _variable(node: Node, args: Sequence[Node], collections: Mapping[str, str]) -> Node:
    """A name that is a variable, or a member of one, as `variable`: (variable, collection, member)."""
    if node.op == "name":
        symbol, _, member = node.value.partition(".")
        if symbol in collections:
            return _same(node, (), "variable", (symbol, collections[symbol], member))
    if node.op == "index" and args[0].op == "variable":
        raise CutError(f"{args[0].value[0]} is one object: it has no index", position=node.pos, length=node.length,
                       hint=f"{args[0].value[0]}.pt")  # fmt: skip
    return _same(node, args)


def check_size(tree: Node) -> None:
    """Refuse a tree of more than `MAX_NODES`, parts that occur twice counted twice."""
    if sum(1 for _ in islice(walk(tree), MAX_NODES + 1)) > MAX_NODES:
        raise CutError(
            f"a cut of more than {MAX_NODES:,} nodes once written out",
            position=tree.pos,
            length=tree.length,
            hint="chains of comparisons inside each other double at each level",
        )
