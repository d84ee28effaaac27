"""The block interpreter: the meaning of a bound cut on plain NumPy arrays, without compilation.

Invariant: `interpret` gives each row the verdict that the oracle in tests gives it, and raises for the first
row that the oracle raises for.

`and` and `or` stop when no row is left that the next term could change. Inside an aggregate, values are of
*objects* (all objects of the block, flat, in list order); what belongs to the event is repeated for each of
its objects. The first row with an overflow or `% 0` is found as if row by row: rows that a term does not reach
do not count, and of several rows the lowest is named.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine import momenta
from tagsel.engine.operations import OPS, TYPES, call, either
from tagsel.engine.reductions import CHOOSE, REDUCTIONS
from tagsel.engine.space import ZEROS, Mask, Space, Value
from tagsel.errors import CutError
from tagsel.language.functions import FUNCTIONS
from tagsel.language.traversal import trampoline
from tagsel.language.tree import Block, Node, free_variables


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


def interpret_value(node: Node, block: Block, alive: Mask = None) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
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


def interpret_objects(
    node: Node, block: Block, alive: Mask = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """The values of a tree with the root `objects` in the rows alive: `(n,)`, missing `(n,) bool`, rows `(n,) int64`.

    One for each object, in order; rows ascend. Of any other value tree one for each row. Raises like `interpret`.

    >>> from tagsel.language.tree import Aggregate
    >>> pt = Node("objects", (Node("member", value="pt", kind="f32"),), Aggregate("objects", "Muon", "n"), "f32")
    >>> block = Block(2, {"n": np.array([2, 1]), "pt": np.array([9, 5, 7], np.float32)})
    >>> [part.tolist() for part in interpret_objects(pt, block, np.array([True, False]))]
    [[9.0, 5.0], [False, False], [0, 0]]
    """
    space, inside = Space(block, block.rows, {}), alive
    if node.op == "objects":
        space, node = space.objects(node.value), node.args[0]
        inside = None if alive is None else alive[space.owner()]
    result = _run(node, block, inside, space)
    data, missing = result if isinstance(result, tuple) else (result, None)
    kept = slice(None) if inside is None else inside
    full = np.broadcast_to(np.asarray(data), space.size)[kept]
    gone = np.zeros(space.size, np.bool_) if missing is None else np.broadcast_to(missing, space.size)
    return full.copy(), gone[kept].copy(), space.owner()[kept]


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
        row = space.event(first)
        if self.row < 0 or row < self.row:
            self.row, self.node = row, node


def _run(node: Node, block: Block, alive: Mask, space: Space | None = None) -> Any:
    """The result of `node` over the events of `block`, or a space of it; raises the first row's error."""
    errors = _Errors()
    with np.errstate(all="ignore"):
        result = trampoline(_evaluate(node, space or Space(block, block.rows, {}), alive, errors))
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
    if node.op in WALKED:
        result = yield WALKED[node.op](node, space, alive, errors)
        return result
    if node.op == "call":
        found = space.known(node, alive)
        if found is None:
            found = yield _call(node, space, alive, errors)
            space.last[:] = [(node, alive, found)]
        return found
    args = []
    for arg in node.args:
        args.append((yield _evaluate(arg, space, alive, errors)))
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


def _call(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value]:
    """A function of the language."""
    value: Value | None = yield _by_objects(node, space, alive, errors)
    if value is None:
        args = []
        for arg in node.args:
            args.append((yield _evaluate(arg, space, alive, errors)))
        value = call(node, space, alive, args)
    return value


def _by_objects(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value | None]:
    """A function of a sum of objects, of which each is worked out once; None where that does not help."""
    objects = momenta.variables_of(node, space)
    if not objects or not momenta.worth(objects, space, alive):
        return None
    for variable, args in objects:
        key, flat = momenta.key(variable.loop, args), space.objects(momenta.list_of(variable.loop))
        if key not in space.memo:
            components = []
            for arg in args:
                components.append((yield _evaluate(arg, flat, None, errors)))
            space.memo[key] = momenta.of_list(FUNCTIONS[node.value].kernel, components, flat.size)
    parts = [(variable, space.memo[momenta.key(variable.loop, args)]) for variable, args in objects]
    return momenta.summed(node, space, alive, parts)


def _given(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value]:
    """A value where its condition is true, which comes first."""
    value, condition = node.args
    true = np.broadcast_to((yield _evaluate(condition, space, alive, errors)), space.size)
    data, missing = yield _evaluate(value, space, true if alive is None else true & alive, errors)
    return data, either(missing, ~true)


def _either(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value]:
    """One of two values, each worked out only where the condition chooses it."""
    condition, yes, no = node.args
    true = np.broadcast_to((yield _evaluate(condition, space, alive, errors)), space.size)
    a, a_missing = yield _evaluate(yes, space, true if alive is None else true & alive, errors)
    b, b_missing = yield _evaluate(no, space, ~true if alive is None else ~true & alive, errors)
    missing = None
    if a_missing is not None or b_missing is not None:
        gone = [False if part is None else part for part in (a_missing, b_missing)]
        missing = np.where(true, *gone)
    return np.where(true, a, b), missing


def _if_else(node: Node, space: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Any]:
    """One of two conditions, each judged only where the first chooses it."""
    condition, yes, no = node.args
    true = np.broadcast_to((yield _evaluate(condition, space, alive, errors)), space.size)
    a = yield _evaluate(yes, space, true if alive is None else true & alive, errors)
    b = yield _evaluate(no, space, ~true if alive is None else ~true & alive, errors)
    return np.where(true, a, b)


def _aggregate(node: Node, outer: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value]:
    """An aggregate: its body for every object or combination, then reduced.

    One that has no variable of those around it is the event's, reached where an element of the event reaches it.
    """
    if outer.variables and not free_variables(node):
        alive = _events_of(outer, alive)
        value: Value = yield _aggregate(node, outer.around(), alive, errors)
        return outer.spread(value)
    if outer.variables or node.value.more:
        combined: Value = yield _combined(node, outer, alive, errors)
        return combined
    inner = outer.objects(node.value)
    body_alive = None if alive is None else np.broadcast_to(alive, outer.size)[inner.owner()]
    body = yield _evaluate(node.args[0], inner, body_alive, errors)
    data, missing, bad = REDUCTIONS[node.value.function](node, inner, body)
    if bad is not None:
        errors.note(node, bad, None, outer, alive)
    return data, either(missing, outer.lacking(node.value))


def _events_of(space: Space, alive: Mask) -> Mask:
    """The events that have an element which is alive."""
    if space.counts is None and space.events is None:
        return alive
    reached = space.owner() if alive is None else space.owner()[np.broadcast_to(alive, space.size)]
    return np.bincount(reached, minlength=space.block.rows) > 0


def _combined(node: Node, outer: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Value]:
    """An aggregate over the combinations of each element that is alive, some elements at a time."""
    nothing = {"all": True}.get(node.value.function, ZEROS[node.kind])
    data = np.full(outer.size, nothing, TYPES[node.kind])
    missing = np.full(outer.size, node.value.function in ("min", "max"))
    wrong = np.zeros(outer.size, np.bool_)
    for elements, inner in outer.combinations(node.value, alive):
        body = yield _evaluate(node.args[0], inner, None, errors)
        data[elements], gone, bad = REDUCTIONS[node.value.function](node, inner, body)
        missing[elements] = False if gone is None else gone
        if bad is not None:
            wrong[elements] = bad
    errors.note(node, wrong, None, outer, alive)
    return data, either(missing if missing.any() else None, outer.lacking(node.value))


def _let(node: Node, outer: Space, alive: Mask, errors: _Errors) -> Generator[Any, Any, Any]:
    """The rest of a `let`, in the same space with the chosen objects."""
    body, rest = node.args
    loops = node.value.loops
    places = [np.zeros(outer.size, np.int64) for _ in loops]
    gone = np.ones(outer.size, np.bool_)
    for elements, inner in outer.combinations(node.value, alive):
        values, skip = yield _evaluate(body, inner, None, errors)
        counts = np.zeros(0, np.int64) if inner.counts is None else inner.counts
        which, none = CHOOSE[node.value.function](np.broadcast_to(values, inner.size), counts, skip)
        found = np.flatnonzero(~none)
        at = (np.cumsum(counts) - counts + which)[found]
        gone[elements] = none
        for place, variable in zip(places, inner.variables[-len(loops) :], strict=True):
            assert variable.place is not None  # combinations have places
            place[elements[found]] = variable.place[at]
    result = yield _evaluate(rest, outer.with_chosen(loops, places, gone), alive, errors)
    return result


WALKED: Mapping[str, Callable[[Node, Space, Mask, _Errors], Generator[Any, Any, Any]]] = {
    "and": _chain,
    "or": _chain,
    "given": _given,
    "either": _either,
    "if_else": _if_else,
    "aggregate": _aggregate,
    "let": _let,
    "let_value": _let,
}
"""Ops that say which elements their args are worked out for."""
