"""Momenta of combinations: of each object once, however many combinations it is in.

Invariant: the same operations in the same order as the function itself, element by element, so the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.space import Index, Mask, Space, Value, Variable
from tagsel.engine.sums import objects_of
from tagsel.kernels import physics
from tagsel.language.functions import FUNCTIONS
from tagsel.language.tree import Aggregate, Loop, Node

_TOGETHER = 1 << 13
"""Objects whose momenta are worked out together, so that what lies between stays in the processor's cache."""

Parts = tuple[npt.NDArray[np.float64], ...]


def variables_of(node: Node, space: Space) -> list[tuple[Variable, tuple[Node, ...]]] | None:
    """Each object of a call with its components as members of its list; None where that cannot be said."""
    objects = None if space.events is None else objects_of(node)
    return None if objects is None else [(space.variables[-1 - up], args) for up, args in objects]


def worth(objects: Sequence[tuple[Variable, tuple[Node, ...]]], space: Space, alive: Mask) -> bool:
    """Whether there are more momenta in the combinations asked for than objects, or the objects' are there."""
    asked = len(objects) * (space.size if alive is None else int(np.count_nonzero(alive)))
    new = {key(v.loop, args): v.loop for v, args in objects if key(v.loop, args) not in space.memo}
    return asked > sum(space.objects(list_of(loop)).size for loop in new.values())


def key(loop: Loop, args: tuple[Node, ...]) -> tuple[Any, ...]:
    """What a list's momenta are remembered by."""
    return "momenta", loop.counter, loop.slots, args


def list_of(loop: Loop) -> Aggregate:
    """The list that a variable runs over."""
    return Aggregate("", loop.collection, loop.counter, loop.slots)


def of_list(kernel: str, components: Sequence[Value], size: int) -> tuple[Parts, Mask]:
    """Momenta of all objects of a list, and where they are missing."""
    missing: Mask = None
    for _, gone in components:
        missing = gone if missing is None else missing if gone is None else missing | gone
    arrays = [np.broadcast_to(np.asarray(data, np.float64), size) for data, _ in components]
    begins = range(0, max(size, 1), _TOGETHER)
    momenta = []
    for at in begins:
        block = [array[at : at + _TOGETHER] for array in arrays]
        momenta.append(physics.SUMS[kernel][0](*block))
    return tuple(np.concatenate(parts) for parts in zip(*momenta, strict=True)), missing


def summed(node: Node, space: Space, alive: Mask, parts: Sequence[tuple[Variable, tuple[Parts, Mask]]]) -> Value:
    """The function of the sum of objects for each combination that is alive."""
    elements = np.arange(space.size) if alive is None else np.flatnonzero(np.broadcast_to(alive, space.size))
    total: Parts = ()
    missing: Mask = None
    for variable, (momentum, gone) in parts:
        at = _in_list(space, variable, elements)
        mine = tuple(part[at] for part in momentum)
        total = mine if not total else tuple(a + b for a, b in zip(total, mine, strict=True))
        if gone is not None:
            missing = gone[at] if missing is None else missing | gone[at]
    values = np.zeros(space.size)
    values[elements] = physics.SUMS[FUNCTIONS[node.value].kernel][1](*total)
    if missing is None:
        return values, None
    everywhere = np.zeros(space.size, np.bool_)
    everywhere[elements] = missing
    return values, everywhere


def _in_list(space: Space, variable: Variable, elements: Index) -> Index:
    """Places of a variable's objects among all objects of its list."""
    assert variable.place is not None  # combinations have places
    begin = ("begin", variable.loop.counter, variable.loop.slots)
    if begin not in space.memo:
        number = space.number(variable.loop)
        space.memo[begin] = np.cumsum(number) - number
    found: Index = space.memo[begin][space.owner()[elements]] + variable.place[elements]
    return found
