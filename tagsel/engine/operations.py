"""What each op of a bound tree does on whole arrays: one table from op to NumPy.

Invariant: what stands where a value is missing is never looked at.

A value is a pair (data, missing): `data` an array of the space's size, or a single value that holds for all of
it; `missing` None where nothing is missing, else a mask. Boolean ops give a bare mask. Ops that may have no
answer (overflow, `% 0`) give a third item: where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.space import Mask, Space, Value, Variable
from tagsel.kernels import segments
from tagsel.kernels.integers import FUNCTIONS as EXACT
from tagsel.language.functions import numpy_function
from tagsel.language.python_function import DTYPES
from tagsel.language.tree import LumiTable, Node

Checked = tuple[Any, Mask, Any]

TYPES: Mapping[str, Any] = {
    "bool": np.bool_,
    "int": np.int64,
    "f32": np.float32,
    "f64": np.float64,
    "word": np.int64,
}


def either(a: Mask, b: Mask) -> Mask:
    """Missing where one of two is missing."""
    if a is None or b is None:
        return b if a is None else a
    return a | b


def present(mask: Any, *missing: Mask) -> Any:
    """`mask`, false where anything is missing."""
    for gone in missing:
        if gone is not None:
            mask = mask & ~gone
    return mask


# leaves


def _const(node: Node, space: Space) -> Value:
    return (node.value if node.kind == "str" else TYPES[node.kind](node.value)), None


def _column(node: Node, space: Space) -> Value:
    array = space.column(node.value)
    return space.nothing(node.kind) if array is None else space.spread((array, None))


def _slot(node: Node, space: Space) -> Value:
    column, counter, k = node.value
    array, counts = space.column(column), space.column(counter)
    if array is None or counts is None:
        return space.nothing(node.kind)
    return space.spread((array, counts <= k))


def _element(node: Node, space: Space) -> Value:
    column, counter, k = node.value
    array, counts = space.column(column), space.column(counter)
    if array is None or counts is None:
        return space.nothing(node.kind)
    return space.spread(segments.element(array, counts, k, space.starts(counter)))


def _at(node: Node, space: Space, index: Value) -> Value:
    """The element of each event's list at a place of its own."""
    column, counter = node.value
    array, counts = space.column(column), space.column(counter)
    if array is None or counts is None:
        return space.nothing(node.kind)
    places, gone = np.broadcast_to(_whole(index[0]), space.size), index[1]
    events = space.owner()
    missing = (places < 0) | (places >= counts[events])
    if gone is not None:
        missing = missing | gone
    there = np.flatnonzero(~missing)
    values = np.zeros(space.size, array.dtype)
    values[there] = array[space.starts(counter)[events[there]] + places[there]]
    return values, missing


def _member(node: Node, space: Space) -> Value:
    return _of(space.variables[-1], node.value, node.kind, space)


def _outer(node: Node, space: Space) -> Value:
    stored, up = node.value
    return _of(space.variables[-1 - up], stored, node.kind, space)


def _of(variable: Variable, stored: str | tuple[str, ...], kind: str, space: Space) -> Value:
    """A member of a variable's objects."""
    if variable.place is None:
        return _of_list(stored, kind, space)
    if not space.size:
        return space.nothing(kind)
    if variable.loop.counter not in space.block.columns:
        return space.nothing(kind)
    there = slice(None) if variable.gone is None else np.flatnonzero(~variable.gone)
    events, places = space.owner()[there], variable.place[there]
    if isinstance(stored, str):
        array = space.column(stored)
        if array is None:
            return space.nothing(kind)
        values, gone = array[space.starts(variable.loop.counter)[events] + places], None
    else:
        columns = [space.column(name) for name in stored]
        values, gone = _of_slots(columns, events, places)
        if values is None:
            return space.nothing(kind)
    if variable.gone is None:
        return values, gone
    full, missing = np.zeros(space.size, values.dtype), variable.gone.copy()
    full[there] = values
    if gone is not None:
        missing[there] = gone
    return full, missing


def _of_slots(columns: Sequence[Any], events: Any, places: Any) -> Value:
    """Slots at given places of given events; no data where no slot is there."""
    there = [c for c in columns if c is not None]
    if not there:
        return None, None
    values, gone = np.zeros(len(events), there[0].dtype), np.zeros(len(events), np.bool_)
    for k, column in enumerate(columns):
        at = np.flatnonzero(places == k)
        if column is None:
            gone[at] = True
        else:
            values[at] = column[events[at]]
    return values, (gone if len(there) < len(columns) else None)


def _of_list(stored: str | tuple[str, ...], kind: str, space: Space) -> Value:
    """A member of all objects of a list."""
    if isinstance(stored, str):
        array = space.column(stored)
        if array is None or not space.size:  # without its counter a list has no objects
            return space.nothing(kind)
        return array, None
    assert space.counts is not None  # bind puts members inside aggregates only
    columns = [space.column(name) for name in stored]
    there = [c for c in columns if c is not None]
    if not there:
        return space.nothing(kind)
    filled = [np.zeros_like(there[0]) if c is None else c for c in columns]
    values, _ = segments.join_slots(filled, space.counts)
    if len(there) == len(columns):
        return values, None
    gone, _ = segments.join_slots([np.full(len(space.counts), c is None) for c in columns], space.counts)
    return values, gone


def _trigger(node: Node, space: Space) -> Value:
    block, bits = space.block, node.value
    menu = block.columns.get(bits.menu)
    if menu is None:
        return space.nothing("bool")
    fired = np.zeros(block.rows, np.bool_)
    missing = np.ones(block.rows, np.bool_)
    for menu_id, column, bit in bits.bits:
        word = block.columns.get(column)
        rows = menu == menu_id
        if word is None or not rows.any():
            continue
        fired |= rows & ((word & word.dtype.type(1 << bit)) != 0)
        missing &= ~rows
    return space.spread((fired, missing if missing.any() else None))


# arithmetic


def _cast(node: Node, space: Space, a: Value) -> Value:
    return np.asarray(a[0]).astype(TYPES[node.kind]), a[1]


def _whole(data: Any) -> Any:
    """Integers as int64, so that nothing narrower wraps."""
    return np.asarray(data).astype(np.int64, copy=False)


def _missing(args: Sequence[Value]) -> Mask:
    """Missing where an operand is."""
    missing: Mask = None
    for _, gone in args:
        missing = either(missing, gone)
    return missing


def _arithmetic(name: str, plain: Callable[..., Any]) -> Callable[..., Value | Checked]:
    """An op that is exact on integers, `plain` on floats."""

    def op(node: Node, space: Space, *args: Value) -> Value | Checked:
        if node.kind == "int":
            return exact(node, space, *args)
        return plain(*(data for data, _ in args)), _missing(args)

    exact = _exact(name)
    return op


def _exact(name: str, word: str = "") -> Callable[..., Value | Checked]:
    """An op of `kernels.integers`: `word` names the one for words where that is another."""

    def op(node: Node, space: Space, *args: Value) -> Value | Checked:
        function = EXACT[word if node.kind == "word" else name]
        value, wrong = function(*(data for data, _ in args))
        return value, _missing(args), (wrong if node.raises else None)

    return op


def _bits(function: Callable[..., Any]) -> Callable[..., Value]:
    """An op on the bits of ints and words."""

    def op(node: Node, space: Space, *args: Value) -> Value:
        return function(*(np.asarray(data).astype(np.int64, copy=False) for data, _ in args)), _missing(args)

    return op


def call(node: Node, space: Space, alive: Mask, args: Sequence[Value]) -> Value:
    """A function of the language, worked out only where it is asked for and nothing is missing: it is dear."""
    function, missing = numpy_function(node.value), _missing(args)
    data = [part for part, _ in args]
    wanted = alive if missing is None else ~missing if alive is None else alive & ~missing
    if wanted is None or all(np.ndim(part) == 0 for part in data):
        return function(*data), missing
    at = np.flatnonzero(np.broadcast_to(wanted, space.size))
    values = np.zeros(space.size)
    values[at] = function(*(part[at] if np.ndim(part) else part for part in data))
    return values, missing


def _pick(node: Node, space: Space, a: Value, b: Value) -> Value:
    """Of equals (0.0 and -0.0, two NaN) the first."""
    x, y = a[0], b[0]
    second = (y < x) if node.value == "min2" else (y > x)
    if node.kind != "int":
        second = second | (x != x)
    return np.where(second, y, x), either(a[1], b[1])


# boolean ops

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


def _cmp(node: Node, space: Space, a: Value, b: Value) -> Any:
    x, y = a[0], b[0]
    if isinstance(x, np.int64) and np.ndim(y):
        x = int(x)  # a Python int is compared exactly with any integer array, without widening it
    elif isinstance(y, np.int64) and np.ndim(x):
        y = int(y)
    return present(np.asarray(COMPARE[node.value](x, y), np.bool_), a[1], b[1])


def _in(node: Node, space: Space, a: Value) -> Any:
    data = np.asarray(a[0])
    if node.args[0].kind == "str" or len(node.value) <= 4:
        found = np.zeros(data.shape, np.bool_)
        for value in node.value:
            found = found | np.asarray(data == value, np.bool_)
    else:
        found = np.isin(data, np.array(node.value, TYPES[node.args[0].kind]))
    return present(found, a[1])


def _same(node: Node, space: Space) -> Any:
    mark, *numbers = node.value
    a, b = (space.variables[-1 - up] for up in numbers)
    return present(COMPARE[mark](space.places(a), space.places(b)), a.gone, b.gone)


def _in_lumi(node: Node, space: Space, run: Value, lumi: Value) -> Any:
    wide = (np.asarray(part[0]).astype(np.int64) for part in (run, lumi))
    return present(in_ranges(node.value, *wide), run[1], lumi[1])


def in_ranges(table: LumiTable, run: Any, lumi: Any) -> Any:
    """Whether each (run, lumi), int64 of any value, lies in one of the closed ranges of `table`."""
    if not len(table.run):
        return np.zeros(np.broadcast(run, lumi).shape, np.bool_)
    small = (run > -(2**31)) & (run < 2**31) & (lumi > -(2**31)) & (lumi < 2**31)
    key = np.where(small, run * 2**32 + lumi, 0)
    starts = table.run.astype(np.int64) * 2**32 + table.first
    at = np.maximum(np.searchsorted(starts, key, side="right") - 1, 0)
    return small & (run == table.run[at]) & (lumi >= table.first[at]) & (lumi <= table.last[at])


def _python(node: Node, space: Space, *args: Value) -> Any:
    """A Python function's answer; false where a value that it takes is missing (whatever is given it there)."""
    arrays: list[npt.NDArray[Any]] = []
    for (data, _), arg in zip(args, node.args, strict=True):
        full: npt.NDArray[Any] = np.broadcast_to(data, space.size)
        array = np.require(full, DTYPES[arg.kind], ["C", "ALIGNED"]).view()
        array.flags.writeable = False
        arrays.append(array)
    columns: Any = space.block.columns
    where = f"part {columns.part.path}, row group {columns.group}" if hasattr(columns, "part") else "a block"
    return present(node.value(arrays, space.size, where), *(missing for _, missing in args))


TESTS = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite}

OPS: Mapping[str, Callable[..., Any]] = {
    "const": _const,
    "column": _column,
    "element": _element,
    "slot": _slot,
    "at": _at,
    "member": _member,
    "outer": _outer,
    "chosen": _outer,
    "trigger": _trigger,
    "cast": _cast,
    "neg": _arithmetic("negative", np.negative),
    "abs": _arithmetic("absolute", np.abs),
    "add": _arithmetic("add", np.add),
    "sub": _arithmetic("subtract", np.subtract),
    "mul": _arithmetic("multiply", np.multiply),
    "mod": _exact("modulo"),
    "div": lambda node, space, a, b: (np.true_divide(a[0], b[0]), either(a[1], b[1])),
    "bit_and": _bits(np.bitwise_and),
    "bit_or": _bits(np.bitwise_or),
    "bit_xor": _bits(np.bitwise_xor),
    "bit_not": _bits(np.invert),
    "shl": _exact("shift_left", "shift_word_left"),
    "shr": _exact("shift_right", "shift_word_right"),
    "pick": _pick,
    "not": lambda node, space, a: ~a,
    "cmp": _cmp,
    "in": _in,
    "in_lumi": _in_lumi,
    "same": _same,
    "python": _python,
    "truth": lambda node, space, a: present(np.asarray(a[0], np.bool_), a[1]),
    "test": lambda node, space, a: present(TESTS[node.value](a[0]), a[1]),
    "present": lambda node, space, a: np.bool_(True) if a[1] is None else ~a[1],
}
"""Every op but `call`, which must know the rows in question, and those that `interpret` walks in its own way."""
