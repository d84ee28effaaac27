"""Aggregates on whole arrays: from the values of all objects of a block to one value an event, in list order.

Invariant: sums run left to right, object by object, as a loop over the list would: the same bits as the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.expr.nodes import Node
from tagsel.expr.valueops import Checked, Scope, Value


def positions(counts: npt.NDArray[np.int64]) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """For k = 0, 1, …: the events with more than k objects, and where their object k lies in the flat array."""
    starts = np.cumsum(counts) - counts
    events = np.flatnonzero(counts > 0)
    found, k = [], 0
    while len(events):
        found.append((events, starts[events] + k))
        k += 1
        events = events[counts[events] > k]
    return found


def _true_counts(scope: Scope, body: Any) -> npt.NDArray[np.int64]:
    """How many objects of each event are true."""
    assert scope.counts is not None
    running = np.concatenate([[0], np.cumsum(np.broadcast_to(body, scope.size), dtype=np.int64)])
    ends = np.cumsum(scope.counts)
    return running[ends] - running[ends - scope.counts]


def _count(node: Node, scope: Scope, body: Any) -> Checked:
    return _true_counts(scope, body), None, None


def _any(node: Node, scope: Scope, body: Any) -> Checked:
    return _true_counts(scope, body) > 0, None, None


def _all(node: Node, scope: Scope, body: Any) -> Checked:
    return _true_counts(scope, body) == scope.counts, None, None


def _flat(scope: Scope, body: Value) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The body's value for each object, and whether it counts."""
    data = np.broadcast_to(body[0], scope.size)
    return data, np.ones(scope.size, np.bool_) if body[1] is None else ~body[1]


def _sum(node: Node, scope: Scope, body: Value) -> Checked:
    assert scope.counts is not None
    data, used = _flat(scope, body)
    whole = node.kind == "int"
    total = np.zeros(len(scope.counts), np.int64 if whole else np.float64)
    bad = np.zeros(len(total), np.bool_) if whole and node.raises else None
    for events, at in positions(scope.counts):
        before = total[events]
        after = before + data[at]
        total[events] = np.where(used[at], after, before)
        if bad is not None:
            bad[events] |= used[at] & (((before ^ after) & (data[at] ^ after)) < 0)
    return total, None, bad


def _extreme(better: Callable[[Any, Any], Any]) -> Callable[[Node, Scope, Value], Checked]:
    def reduce(node: Node, scope: Scope, body: Value) -> Checked:
        assert scope.counts is not None
        data, used = _flat(scope, body)
        used = used & (data == data)  # a NaN is skipped
        best = np.zeros(len(scope.counts), data.dtype)
        missing = np.ones(len(best), np.bool_)
        for events, at in positions(scope.counts):
            take = used[at] & (missing[events] | better(data[at], best[events]))
            best[events[take]] = data[at[take]]
            missing[events[take]] = False
        return best, missing, None

    return reduce


REDUCTIONS: Mapping[str, Callable[[Node, Scope, Any], Checked]] = {
    "count": _count,
    "any": _any,
    "all": _all,
    "sum": _sum,
    "min": _extreme(np.less),
    "max": _extreme(np.greater),
}
"""Every aggregate: (node, scope of the objects, body) -> (value, missing, where it overflows)."""
