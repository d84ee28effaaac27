"""The syntax tree made plain before it is bound: chains in pairs, variables by their collection.

Invariant: what comes out means what went in, and has no `chain` of more than two and no unresolved variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tagsel.errors import CutError
from tagsel.expr.nodes import Node
from tagsel.expr.walk import fold

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
        collections = {v: collection for names, collection in node.value[1] for v in names}
        args = (fold(args[0], lambda n, below: _variable(n, below, collections)),)
    if node.op == "and":
        args = [part for arg in args for part in (arg.args if arg.op == "and" else (arg,))]
    return _same(node, args)


def _same(node: Node, args: Sequence[Node], op: str = "", value: object = None) -> Node:
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
    """Refuse a tree of more than `MAX_NODES`, parts that occur twice counted twice, in time that does not."""
    sizes: dict[int, int] = {}
    stack = [(tree, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in sizes:
            continue
        if ready:
            sizes[id(node)] = 1 + sum(sizes[id(a)] for a in node.args)
            continue
        stack.append((node, True))
        stack.extend((a, False) for a in node.args)
    if sizes[id(tree)] > MAX_NODES:
        raise CutError(
            f"a cut of {sizes[id(tree)]:,} nodes once written out; the limit is {MAX_NODES:,}",
            position=tree.pos,
            length=tree.length,
            hint="chains of comparisons inside each other double at each level",
        )
