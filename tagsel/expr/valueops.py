"""What each op of a bound tree does on whole arrays: one table from op to NumPy.

Invariant: functions here are pure; what stands where a value is missing is never looked at.

A value is a pair (data, missing): `data` an array of the scope's size or a single value that holds for all of it,
`missing` None where nothing is missing, else a mask. Boolean ops give a bare mask. Ops that may have no answer
(overflow, `% 0`) give a third item: where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.expr.functions import numpy_function
from tagsel.expr.nodes import Aggregate, Block, LumiTable, Node
from tagsel.kernels.integers import FUNCTIONS as EXACT

Mask = npt.NDArray[np.bool_] | None
Value = tuple[Any, Mask]
Checked = tuple[Any, Mask, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """Where values live: the events of a block, or the objects of one collection.

    For objects, `owner` is each object's event, `(size,) int64`, and `counts` the objects of each event.
    """

    block: Block
    size: int
    owner: npt.NDArray[np.int64] | None = None
    counts: npt.NDArray[np.int64] | None = None

    def spread(self, value: Value) -> Value:
        """An event's value, repeated for each of its objects."""
        if self.owner is None:
            return value
        data, missing = value
        return (
            data[self.owner] if np.ndim(data) else data,
            None if missing is None else missing[self.owner],
        )

    def column(self, name: str) -> Any:
        """A column's array, 64-bit words as their signed pattern; None when the block lacks it."""
        array = self.block.columns.get(name)
        if array is not None and array.dtype == np.uint64:
            return array.view(np.int64)
        return array

    def nothing(self, kind: str) -> Value:
        """A value that is missing everywhere."""
        return ZEROS[kind], np.ones(self.size, np.bool_)


ZEROS: Mapping[str, Any] = {
    "bool": np.bool_(False),
    "int": np.int64(0),
    "f32": np.float32(0),
    "f64": np.float64(0),
    "word": np.int64(0),
    "str": "",
}
"""What stands for a missing value of each kind."""

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


def objects_of(block: Block, over: Aggregate) -> tuple[npt.NDArray[np.int64], Mask]:
    """The number of objects of each event `(rows,) int64`, and where it is missing."""
    counter = block.columns.get(over.counter)
    if counter is None:
        return np.zeros(block.rows, np.int64), np.ones(block.rows, np.bool_)
    return np.clip(counter.astype(np.int64), 0, over.slots or None), None


# leaves


def _const(node: Node, scope: Scope) -> Value:
    return (node.value if node.kind == "str" else TYPES[node.kind](node.value)), None


def _column(node: Node, scope: Scope) -> Value:
    array = scope.column(node.value)
    return scope.nothing(node.kind) if array is None else scope.spread((array, None))


def _slot(node: Node, scope: Scope) -> Value:
    column, counter, k = node.value
    array, counts = scope.column(column), scope.column(counter)
    if array is None or counts is None:
        return scope.nothing(node.kind)
    return scope.spread((array, counts <= k))


def _element(node: Node, scope: Scope) -> Value:
    column, counter, k = node.value
    array, counts = scope.column(column), scope.column(counter)
    if array is None or counts is None:
        return scope.nothing(node.kind)
    counts = np.maximum(counts.astype(np.int64), 0)
    there = counts > k
    at = np.cumsum(counts) - counts + k
    values = np.zeros(len(counts), array.dtype)
    values[there] = array[at[there]]
    return scope.spread((values, ~there))


def _member(node: Node, scope: Scope) -> Value:
    if isinstance(node.value, str):
        array = scope.column(node.value)
        return scope.nothing(node.kind) if array is None else (array, None)
    counts = scope.counts
    assert counts is not None  # bind puts members inside aggregates only
    columns = [scope.column(name) for name in node.value]
    there = [c for c in columns if c is not None]
    if not there:
        return scope.nothing(node.kind)
    used = np.arange(len(columns)) < counts[:, None]
    table = np.stack([np.zeros_like(there[0]) if c is None else c for c in columns], axis=1)
    gone = np.broadcast_to(np.array([c is None for c in columns]), used.shape)[used]
    return table[used], gone if len(there) < len(columns) else None


def _trigger(node: Node, scope: Scope) -> Value:
    block, bits = scope.block, node.value
    menu = block.columns.get(bits.menu)
    if menu is None:
        return scope.nothing("bool")
    fired = np.zeros(block.rows, np.bool_)
    missing = np.ones(block.rows, np.bool_)
    for menu_id, column, bit in bits.bits:
        word = block.columns.get(column)
        rows = menu == menu_id
        if word is None or not rows.any():
            continue
        fired |= rows & ((word & word.dtype.type(1 << bit)) != 0)
        missing &= ~rows
    return scope.spread((fired, missing if missing.any() else None))


# arithmetic


def _cast(node: Node, scope: Scope, a: Value) -> Value:
    return np.asarray(a[0]).astype(TYPES[node.kind]), a[1]


def _whole(data: Any) -> Any:
    """Integers as int64, so that nothing narrower wraps."""
    return np.asarray(data).astype(np.int64, copy=False)


def _missing(args: tuple[Value, ...]) -> Mask:
    """Missing where an operand is."""
    missing: Mask = None
    for _, gone in args:
        missing = either(missing, gone)
    return missing


def _arithmetic(name: str, plain: Callable[..., Any]) -> Callable[..., Value | Checked]:
    """An op that is exact on integers, `plain` on floats."""

    def op(node: Node, scope: Scope, *args: Value) -> Value | Checked:
        if node.kind == "int":
            return exact(node, scope, *args)
        return plain(*(data for data, _ in args)), _missing(args)

    exact = _exact(name)
    return op


def _exact(name: str, word: str = "") -> Callable[..., Value | Checked]:
    """An op of `kernels.integers`: `word` names the one for words where that is another."""

    def op(node: Node, scope: Scope, *args: Value) -> Value | Checked:
        function = EXACT[word if node.kind == "word" else name]
        value, wrong = function(*(data for data, _ in args))
        return value, _missing(args), (wrong if node.raises else None)

    return op


def _bits(function: Callable[..., Any]) -> Callable[..., Value]:
    """An op on the bits of ints and words."""

    def op(node: Node, scope: Scope, *args: Value) -> Value:
        return function(*(np.asarray(data).astype(np.int64, copy=False) for data, _ in args)), _missing(args)

    return op


def _call(node: Node, scope: Scope, *args: Value) -> Value:
    return numpy_function(node.value)(*(data for data, _ in args)), _missing(args)


def _pick(node: Node, scope: Scope, a: Value, b: Value) -> Value:
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


def _cmp(node: Node, scope: Scope, a: Value, b: Value) -> Any:
    x, y = a[0], b[0]
    if isinstance(x, np.int64) and np.ndim(y):
        x = int(x)  # a Python int is compared exactly with any integer array, without widening it
    elif isinstance(y, np.int64) and np.ndim(x):
        y = int(y)
    return present(np.asarray(COMPARE[node.value](x, y), np.bool_), a[1], b[1])


def _in(node: Node, scope: Scope, a: Value) -> Any:
    data = np.asarray(a[0])
    if node.args[0].kind == "str" or len(node.value) <= 4:
        found = np.zeros(data.shape, np.bool_)
        for value in node.value:
            found = found | np.asarray(data == value, np.bool_)
    else:
        found = np.isin(data, np.array(node.value, TYPES[node.args[0].kind]))
    return present(found, a[1])


def _in_lumi(node: Node, scope: Scope, run: Value, lumi: Value) -> Any:
    return present(in_ranges(node.value, np.asarray(run[0]).astype(np.int64), np.asarray(lumi[0]).astype(np.int64)), run[1], lumi[1])


def in_ranges(table: LumiTable, run: Any, lumi: Any) -> Any:
    """Whether each (run, lumi), int64 of any value, lies in one of the closed ranges of `table`."""
    if not len(table.run):
        return np.zeros(np.broadcast(run, lumi).shape, np.bool_)
    small = (run > -(2**31)) & (run < 2**31) & (lumi > -(2**31)) & (lumi < 2**31)
    key = np.where(small, run * 2**32 + lumi, 0)
    starts = table.run.astype(np.int64) * 2**32 + table.first
    at = np.maximum(np.searchsorted(starts, key, side="right") - 1, 0)
    return small & (run == table.run[at]) & (lumi >= table.first[at]) & (lumi <= table.last[at])


TESTS = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite}

OPS: Mapping[str, Callable[..., Any]] = {
    "const": _const,
    "column": _column,
    "element": _element,
    "slot": _slot,
    "member": _member,
    "trigger": _trigger,
    "cast": _cast,
    "neg": _arithmetic("negative", np.negative),
    "abs": _arithmetic("absolute", np.abs),
    "add": _arithmetic("add", np.add),
    "sub": _arithmetic("subtract", np.subtract),
    "mul": _arithmetic("multiply", np.multiply),
    "mod": _exact("modulo"),
    "div": lambda node, scope, a, b: (np.true_divide(a[0], b[0]), either(a[1], b[1])),
    "bit_and": _bits(np.bitwise_and),
    "bit_or": _bits(np.bitwise_or),
    "bit_xor": _bits(np.bitwise_xor),
    "bit_not": _bits(np.invert),
    "shl": _exact("shift_left", "shift_word_left"),
    "shr": _exact("shift_right", "shift_word_right"),
    "call": _call,
    "pick": _pick,
    "not": lambda node, scope, a: ~a,
    "cmp": _cmp,
    "in": _in,
    "in_lumi": _in_lumi,
    "truth": lambda node, scope, a: present(np.asarray(a[0], np.bool_), a[1]),
    "test": lambda node, scope, a: present(TESTS[node.value](a[0]), a[1]),
    "present": lambda node, scope, a: np.bool_(True) if a[1] is None else ~a[1],
}
"""Every op but `and`, `or` and `aggregate`, which the interpreter walks itself."""
