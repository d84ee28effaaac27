"""The block interpreter: the meaning of a bound cut on plain NumPy arrays, without compilation.

Invariant: `interpret` gives each row the verdict that the oracle in tests gives it, and raises for the first
row that the oracle raises for.

`and` and `or` stop when no row is left that the next term could change. Inside an aggregate, values are of
*objects* (all objects of the block, flat, in list order); what belongs to the event is repeated for each of
its objects. The first row with an overflow or `% 0` is found as if row by row: rows that a term does not reach
do not count, and of several rows the lowest is named.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import CutError
from tagsel.expr.nodes import Block, Node
from tagsel.expr.reductions import REDUCTIONS
from tagsel.expr.valueops import OPS, Mask, Space, Value, call, either
from tagsel.expr.walk import trampoline


def interpret(node: Node, block: Block, alive: Mask = None) -> npt.NDArray[np.bool_]:
    """Which rows of `block` pass the bound boolean tree `node`: `(rows,) bool`.

    `alive`, `(rows,) bool`: rows outside it are not asked for; their answer is false, their errors do not
    count. Raises CutError with the field `row` (0-based in the block) at the first row that overflows or takes
    `% 0`.

    >>> n, two = Node("column", value="n", kind="int"), Node("const", value=2, kind="int")
    >>> interpret(Node("cmp", (n, two), ">=", "bool"), Block(3, {"n": np.array([1, 2, 3], np.int32)}))
    array([False,  True,  True])
    """
    passed = np.broadcast_to(_run(node, block, alive), block.rows)
    return passed.copy() if alive is None else passed & alive


def interpret_value(
    node: Node, block: Block, alive: Mask = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The value of a bound value tree in each row, and whether it is missing: `(rows,)`, `(rows,) bool`.

    What stands where a value is missing, and outside `alive`, means nothing. Raises like `interpret`.

    >>> block = Block(2, {"n": np.array([1, 2])})
    >>> values, missing = interpret_value(Node("column", value="n", kind="int"), block)
    >>> values.tolist(), missing.tolist()
    ([1, 2], [False, False])
    """
    result = _run(node, block, alive)
    data, missing = result if isinstance(result, tuple) else (result, None)
    full = np.broadcast_to(np.asarray(data), block.rows)
    gone = np.zeros(block.rows, np.bool_) if missing is None else np.broadcast_to(missing, block.rows)
    return full.copy(), gone.copy()


class _Errors:
    """The first row that has no answer, and the node that has none there."""

    __slots__ = ("node", "row")

    def __init__(self) -> None:
        self.row, self.node = -1, Node("")

    def note(self, node: Node, bad: Any, missing: Mask, space: Space, alive: Mask) -> None:
        """Note the lowest row of `space` where `node` is `bad`, not missing, and reached."""
        if missing is not None:
            bad = bad & ~missing
        if alive is not None:
            bad = bad & alive
        if not np.any(bad):
            return
        first = int(np.broadcast_to(bad, space.size).argmax()) if space.size else -1
        if first < 0:
            return
        row = first if space.counts is None else int(space.owner()[first])
        if self.row < 0 or row < self.row:
            self.row, self.node = row, node


def _run(node: Node, block: Block, alive: Mask) -> Any:
    """The result of `node` over the events of `block`; raises the first row's error."""
    errors = _Errors()
    with np.errstate(all="ignore"):
        result = trampoline(_evaluate(node, Space(block, block.rows, {}), alive, errors))
    if errors.row < 0:
        return result
    zero = errors.node.op == "mod"
    raise CutError(
        f"the cut {'takes % 0' if zero else 'overflows 64-bit integers'} at row {errors.row}",
        position=errors.node.pos,
        length=errors.node.length,
        hint="put a guard before it (… != 0 && …)" if zero else "compute with a float (1.0 * …)",
        row=errors.row,
    )


def _evaluate(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Any]:
    """A node's result in `space`: bools, or a Value; yields the evaluations of its arguments."""
    if node.op in ("and", "or"):
        result = yield _chain(node, space, alive, errors)
        return result
    if node.op == "aggregate":
        result = yield _aggregate(node, space, alive, errors)
        return result
    args = []
    for arg in node.args:
        args.append((yield _evaluate(arg, space, alive, errors)))
    if node.op == "call":
        return call(node, space, alive, args)
    result = OPS[node.op](node, space, *args)
    if isinstance(result, tuple) and len(result) == 3:
        data, missing, bad = result
        if bad is not None:
            errors.note(node, bad, missing, space, alive)
        return data, missing
    return result


def _chain(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Any]:
    """`and`, `or`: left to right, for the rows that the next term can still change, until there is none."""
    conjunction = node.op == "and"
    so_far = yield _evaluate(node.args[0], space, alive, errors)
    for arg in node.args[1:]:
        still = so_far if conjunction else ~so_far
        if alive is not None:
            still = still & alive
        if not still.any():
            break
        term = yield _evaluate(arg, space, still, errors)
        so_far = so_far & term if conjunction else so_far | term
    return so_far


def _aggregate(node: Node, outer: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value]:
    """An aggregate: its body for every object, then reduced by event.

    Inside the body of another one (`outer` is of objects) it is the event's, reached where an object reaches it.
    """
    rows = outer.block.rows
    if outer.counts is not None:
        reached = outer.owner() if alive is None else outer.owner()[np.broadcast_to(alive, outer.size)]
        alive = np.bincount(reached, minlength=rows) > 0
    inner, no_counter = outer.objects(node.value)
    body_alive = None if alive is None else np.broadcast_to(alive, rows)[inner.owner()]
    body = yield _evaluate(node.args[0], inner, body_alive, errors)
    data, missing, bad = REDUCTIONS[node.value.function](node, inner, body)
    if bad is not None:
        errors.note(node, bad, None, Space(outer.block, rows, {}), alive)
    return outer.spread((data, either(missing, no_counter)))
