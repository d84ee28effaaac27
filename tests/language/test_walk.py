"""The tree walk: the order of a plain recursion, at depths where a recursion would end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tagsel.language.traversal import fold, trampoline
from tagsel.language.tree import Node, walk

shapes = st.recursive(st.just(()), lambda below: st.lists(below, max_size=4).map(tuple), max_leaves=30)


def _tree(shape: tuple[Any, ...], counter: list[int]) -> Node:
    counter[0] += 1
    return Node("op", value=counter[0], args=tuple(_tree(s, counter) for s in shape))


def _recursive(node: Node, seen: list[int]) -> str:
    inner = "".join(_recursive(a, seen) for a in node.args)
    seen.append(node.value)
    return f"({node.value}{inner})"


@given(shapes)
def test_fold_is_the_recursion(shape: tuple[Any, ...]) -> None:
    tree = _tree(shape, [0])
    expected: list[int] = []
    text = _recursive(tree, expected)
    seen: list[int] = []

    def combine(node: Node, results: list[str]) -> str:
        seen.append(node.value)
        return f"({node.value}{''.join(results)})"

    assert fold(tree, combine) == text
    assert seen == expected


def test_fold_at_a_depth_where_recursion_ends() -> None:
    tree = Node("leaf")
    for _ in range(100_000):
        tree = Node("not", (tree,))
    assert fold(tree, lambda node, below: 1 + sum(below)) == 100_001
    assert sum(1 for _ in walk(tree)) == 100_001


def test_a_step_may_skip_and_may_hand_down() -> None:
    """`first(node, level)` looks at first arguments only, and knows how deep it is."""

    def first(node: Node, level: int) -> Generator[Any, Any, list[int]]:
        rest = (yield first(node.args[0], level + 1)) if node.args else []
        return [level, *rest]

    leaf = Node("leaf")
    tree = Node("or", (Node("or", (leaf, leaf)), Node("or", (Node("or", (leaf,)),))))
    assert trampoline(first(tree, 0)) == [0, 1, 2]
