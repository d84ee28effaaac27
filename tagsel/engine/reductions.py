"""Aggregates on whole arrays: from the values of all objects of a block to one value an event.

Invariant: the work is `kernels.segments`', in list order: the same bits as a loop over each list gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tagsel.engine.operations import Checked
from tagsel.engine.space import Space, Value
from tagsel.kernels import segments
from tagsel.language.tree import Node


def _verdicts(reduce: Callable[..., Any]) -> Callable[[Node, Space, Any], Checked]:
    """An aggregate of verdicts, one an object."""

    def op(node: Node, space: Space, body: Any) -> Checked:
        return reduce(np.broadcast_to(body, space.size), space.counts), None, None

    return op


def _sum(node: Node, space: Space, body: Value) -> Checked:
    assert space.counts is not None  # an aggregate's space is of objects
    data = np.broadcast_to(body[0], space.size)
    if node.kind == "int":
        total, wrong = segments.total_of_integers(data, space.counts, body[1])
        return total, None, wrong if node.raises else None
    return segments.total(data, space.counts, body[1]), None, None


def _extreme(reduce: Callable[..., Any]) -> Callable[[Node, Space, Value], Checked]:
    def op(node: Node, space: Space, body: Value) -> Checked:
        values, missing = reduce(np.broadcast_to(body[0], space.size), space.counts, body[1])
        return values, missing, None

    return op


REDUCTIONS: Mapping[str, Callable[[Node, Space, Any], Checked]] = {
    "count": _verdicts(segments.count),
    "any": _verdicts(segments.any_true),
    "all": _verdicts(segments.all_true),
    "sum": _sum,
    "min": _extreme(segments.smallest),
    "max": _extreme(segments.largest),
}
"""Every aggregate: (node, space of the objects, body) -> (value, missing, where it overflows)."""

CHOOSE: Mapping[str, Callable[..., Any]] = {
    "argmin": segments.index_of_smallest,
    "argmax": segments.index_of_largest,
}
"""Every choice: (values, counts, skip) -> (which of each event's, where there is none)."""
