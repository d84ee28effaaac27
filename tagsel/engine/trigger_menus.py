"""Trigger chains where a row group has one menu, as the zones say: then a chain is one bit of one word.

So neither the column of menus is read nor each row's menu looked up, and the test runs in vectors. Invariant: a step
means the same for the rows of such a row group; where anything else is asked of a chain, the step stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tagsel.engine.steps import print_of
from tagsel.language import Node
from tagsel.language.traversal import fold
from tagsel.language.tree import TriggerBits, walk, walk_all
from tagsel.store import Frame

Ints = npt.NDArray[np.int64]


def by_menu(
    steps: Sequence[Node], frame: Frame, columns: frozenset[str], groups: Ints
) -> Iterator[tuple[Sequence[Node], Ints]]:
    """The steps for each menu, and the row groups that have it, of parts with these columns; as they are for row groups
    of several menus."""
    menus = {n.value.menu for n in walk_all(steps) if n.op == "trigger"}
    if len(menus) != 1 or not menus <= columns or not len(groups):
        yield steps, groups
        return
    zone = frame.zone(next(iter(menus)), groups)
    assert zone is not None  # menus are numbers
    single = zone.min == zone.max
    for menu in np.unique(zone.min[single]).tolist():
        yield [_remembered(frame, step, menu) for step in steps], groups[single & (zone.min == menu)]
    if not single.all():
        yield steps, groups[~single]


def _remembered(frame: Frame, step: Node, menu: int) -> Node:
    """The step for a menu, the same tree again for the same one."""
    if not any(n.op == "trigger" for n in walk(step)):
        return step
    return frame.memo.get_or_create("menu-steps", (print_of(step), menu), lambda: for_menu(step, menu, frame.type))


def for_menu(step: Node, menu: int, type_of: Callable[[str], str]) -> Node:
    """The step with each chain as its bit in the menu; the step itself where something else is asked of a chain.

    `type_of` gives NumPy's type of a column ("u4").
    """

    def combine(node: Node, args: Sequence[Node]) -> Node:
        if node.op in ("truth", "present") and args[0].op == "trigger":
            return _decision(node, args[0].value, menu, type_of)
        return replace(node, args=tuple(args))

    rewritten = fold(step, combine)
    return step if any(n.op == "trigger" for n in walk(rewritten)) else rewritten


def _decision(node: Node, chain: TriggerBits, menu: int, type_of: Callable[[str], str]) -> Node:
    """Whether the chain fired, or is present, in rows of the menu; false, as what is missing is, where it lacks it."""
    place = next(((word, bit) for number, word, bit in chain.bits if number == menu), None)
    if place is None:
        return replace(node, op="truth", args=(Node("const", (), False, "bool"),), value=None)
    word, bit = place
    kind = "word" if type_of(word) == "u8" else "int"
    column = Node("column", (), word, kind)
    if node.op == "present":
        return replace(node, args=(column,))
    mask = 1 << bit
    pattern = Node("const", (), mask - 2**64 if mask >= 2**63 else mask, kind)
    return replace(
        node, op="cmp", args=(Node("bit_and", (column, pattern), None, kind), Node("const", (), 0, kind)), value="!="
    )
