"""The syntax tree made plain before it is bound: chains in pairs, variables by their collection.

Invariant: what comes out means what went in, and has no `chain` of more than two and no unresolved variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from tagsel.errors import CutError
from tagsel.language.parse import flat
from tagsel.language.traversal import fold
from tagsel.language.tree import Node, object_names, walk

MOST_VARIABLES = 8
"""Most names of objects at one place of a cut."""

MAX_NODES = 1_000_000
"""Most nodes of a cut once its chains are written out."""


def desugar(tree: Node) -> Node:
    """`66 < x < 116` as two comparisons, and `m.pt` in `any(m in Muon: …)` as a member of Muon."""
    fold(tree, _count_variables)
    plain = fold(tree, _plain)
    check_size(plain)
    return plain


def _plain(node: Node, args: Sequence[Node]) -> Node:
    if node.op == "chain" and len(node.value) > 1:
        return _pairs(node, args)
    if node.op == "quantifier":
        args = (_named(args[0], node, object_names(node)),)
    if node.op == "let":
        args = (args[0], _named(args[1], node.args[0], node.value))
    return _same(node, flat("and", args) if node.op == "and" else args)


def _count_variables(node: Node, below: Sequence[int]) -> int:
    """How many names of objects there are at most at one place in the node."""
    most = max(below, default=0)
    if node.op == "quantifier":
        names = object_names(node)
        twice = next((v for v in names if names.count(v) > 1), "")
        if twice:
            raise CutError(
                f"{twice} stands for two objects",
                position=node.pos,
                length=node.length,
                hint="each object has a name of its own",
            )
        most += len(names)
    elif node.op == "let":
        most = max(below[0], below[1] + len(node.value))
    if most > MOST_VARIABLES:
        raise CutError(
            f"more than {MOST_VARIABLES} names of objects at one place",
            position=node.pos,
            length=node.length,
            hint="a cut of fewer objects",
        )
    return most


def _named(body: Node, quantifier: Node, names: Sequence[str]) -> Node:
    """The body, in which `names` are the quantifier's objects."""
    over: list[str] = []
    for group, collection in quantifier.value[1]:
        over += [collection] * len(group)
    collections = dict(zip(names, over, strict=True))
    return fold(body, lambda n, below: _variable(n, below, collections))


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
    if node.op in ("index", "at") and args[0].op == "variable":
        raise CutError(
            f"{args[0].value[0]} is one object: it has no index",
            position=node.pos,
            length=node.length,
            hint=f"{args[0].value[0]}.pt",
        )
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
