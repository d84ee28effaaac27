"""Named cuts: what stands for `@name`.

Invariant: after `expand` no `@name` is left, and the tree has no more than `MAX_EXPANDED` nodes from named cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tagsel.errors import CutError
from tagsel.language.parse import flat, parse
from tagsel.language.traversal import fold
from tagsel.language.tree import Node, walk

MAX_EXPANDED = 200_000
"""Most nodes that named cuts may bring into one cut."""

MAX_NESTED = 20
"""How deep named cuts may name each other."""


def expand(node: Node, named: Callable[[str], str]) -> Node:
    """The tree with every `@name` replaced by the cut that `named(name)` gives, `@names` in those too.

    The nodes of a named cut take the place of its `@name`, so that a caret points into the text at hand.

    >>> expand(parse("@pair && MET_pt > 50"), {"pair": "nMuon >= 2 && Muon.charge[0] != Muon.charge[1]"}.get).op
    'and'
    """
    return _Expansion(named).of(node, ())


class _Expansion:
    """One expansion: reads each named cut once, and counts what it brings in."""

    def __init__(self, named: Callable[[str], str]) -> None:
        self.named = named
        self.done: dict[str, Node] = {}
        self.brought = 0

    def of(self, node: Node, inside: tuple[str, ...]) -> Node:
        """The tree, expanded; `inside` are the names being expanded."""

        def replace(n: Node, args: Sequence[Node]) -> Node:
            if n.op == "reference":
                return self.placed(n, inside)
            return n if all(a is b for a, b in zip(n.args, args, strict=True)) else _rebuilt(n, args)

        return fold(node, replace)

    def placed(self, reference: Node, inside: tuple[str, ...]) -> Node:
        """What a reference stands for, errors in it and nodes of it at its place."""
        try:
            tree = self.opened(reference, inside)
        except CutError as error:
            raise _at(reference, error.message, error.hint) from None
        return fold(tree, lambda n, args: _placed(n, args, reference))

    def opened(self, reference: Node, inside: tuple[str, ...]) -> Node:
        """What a reference stands for."""
        name, names = reference.value, (*inside, reference.value)
        if name in inside:
            raise _at(reference, f"named cuts run in a circle: {' → '.join(f'@{n}' for n in names)}")
        if len(names) > MAX_NESTED:
            raise _at(reference, f"named cuts name each other more than {MAX_NESTED} deep")
        if name not in self.done:
            self.done[name] = self.of(self.read(reference), names)
        self.brought += sum(1 for _ in walk(self.done[name]))
        if self.brought > MAX_EXPANDED:
            raise _at(reference, f"named cuts bring in more than {MAX_EXPANDED:,} nodes")
        return self.done[name]

    def read(self, reference: Node) -> Node:
        """The syntax tree of a named cut."""
        try:
            text = self.named(reference.value)
            return parse(text)
        except CutError as error:
            message = f"in @{reference.value}: {error.message}" if error.cut else error.message
            raise _at(reference, message, error.hint) from None


def _at(reference: Node, message: str, hint: str = "") -> CutError:
    return CutError(message, position=reference.pos, length=reference.length, hint=hint, name=reference.value)


def _placed(node: Node, args: Sequence[Node], place: Node) -> Node:
    return Node(node.op, tuple(args), node.value, pos=place.pos, length=place.length)


def _rebuilt(node: Node, args: Sequence[Node]) -> Node:
    """The node with other args; a nested `and` or `or` is flattened, as parse does."""
    joined = flat(node.op, args) if node.op in ("and", "or") else tuple(args)
    return Node(node.op, joined, node.value, pos=node.pos, length=node.length)
