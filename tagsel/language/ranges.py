"""Ranges of values by row group, and what arithmetic makes of them.

Invariant: each op's range holds every value that the op can give for arguments in its arguments' ranges, NaN and
missing told apart from them.

Kinds bool, int, word have int64 ends, the others float64 ends. Ends that cross (low > high) mean: no value but NaN.
Ends of floats are computed as rows are; where an end is not a number the range is widened to all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.kernels.integers import FUNCTIONS as EXACT
from tagsel.language.functions import Bounds, function, numpy_function
from tagsel.language.tree import INT_MAX, INT_MIN, Node

Bools = npt.NDArray[np.bool_]

REAL = ("f32", "f64")
"""Kinds of values with float64 ends."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a value op can be in each row group; all arrays `(groups,)`."""

    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    nan: Bools  # some value may be NaN
    missing: Bools  # some row's value may be missing
    all_missing: Bools  # every row's value is missing
    raises: Bools  # some row may have no answer

    def gone(self, mask: Bools) -> Range:
        """Missing in every row of the groups in `mask`."""
        missing, every = self.missing | mask, self.all_missing | mask
        return Range(self.low, self.high, self.nan, missing, every, self.raises)

    def perhaps(self, mask: Bools) -> Range:
        """Perhaps missing in the groups in `mask`."""
        return Range(self.low, self.high, self.nan, self.missing | mask, self.all_missing, self.raises)

    def surely(self, mask: Bools) -> Range:
        """Never missing in the groups in `mask`."""
        return Range(self.low, self.high, self.nan, self.missing & ~mask, self.all_missing, self.raises)

    def raising(self, mask: Bools) -> Range:
        """Perhaps without answer in the groups in `mask`."""
        return Range(self.low, self.high, self.nan, self.missing, self.all_missing, self.raises | mask)

    def without_nan(self, mask: Bools) -> Range:
        """Never NaN in the groups in `mask`."""
        return Range(self.low, self.high, self.nan & ~mask, self.missing, self.all_missing, self.raises)

    def between(self, low: Any, high: Any) -> Range:
        """The same with other ends."""
        return Range(low, high, self.nan, self.missing, self.all_missing, self.raises)

    def narrowed(self, mask: Bools, low: int, high: int) -> Range:
        """The same with the given ends in the groups in `mask`."""
        return self.between(np.where(mask, low, self.low), np.where(mask, high, self.high))

    def union(self, other: Range) -> Range:
        """What is in one or the other."""
        none_here, none_there = self.all_missing, other.all_missing
        low = np.where(none_there, self.low, np.minimum(self.low, other.low))
        high = np.where(none_there, self.high, np.maximum(self.high, other.high))
        return Range(
            np.where(none_here, other.low, low),
            np.where(none_here, other.high, high),
            self.nan | other.nan,
            self.missing | other.missing,
            self.all_missing & other.all_missing,
            self.raises | other.raises,
        )


def unknown(groups: int, kind: str, *, maybe_missing: bool = True) -> Range:
    """Any value of a kind."""
    no = np.zeros(groups, np.bool_)
    missing = ~no if maybe_missing else no
    if kind in REAL:
        return Range(np.full(groups, -np.inf), np.full(groups, np.inf), ~no, missing, no, no)
    ends = (0, 1) if kind == "bool" else (INT_MIN, INT_MAX)
    low, high = (np.full(groups, end, np.int64) for end in ends)
    return Range(low, high, no, missing, no, no)


def certain(groups: int, kind: str, value: Any) -> Range:
    """One value in every row."""
    no = np.zeros(groups, np.bool_)
    if value != value:  # NaN: crossed ends
        return Range(np.full(groups, np.inf), np.full(groups, -np.inf), ~no, no, no, no)
    ends = np.full(groups, value, np.float64 if kind in REAL else np.int64)
    return Range(ends, ends, no, no, no, no)


def _from(low: Any, high: Any, nan: Any, *args: Range) -> Range:
    """A range from its ends; an end that is no number becomes infinite; missing and raises come from the arguments."""
    missing, all_missing, raises = args[0].missing, args[0].all_missing, args[0].raises
    for a in args[1:]:
        missing, all_missing, raises = missing | a.missing, all_missing | a.all_missing, raises | a.raises
    if low.dtype.kind == "f":
        low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    return Range(low, high, nan, missing, all_missing, raises)


def _any_of(node: Node, *args: Range) -> Range:
    """Anything that the kind can hold; raises when the op may."""
    made = unknown(len(args[0].low), node.kind)
    made = _from(made.low, made.high, made.nan, *args)
    return made.raising(np.full(len(made.low), node.raises))


def _cast(node: Node, a: Range) -> Range:
    if node.kind == "int":
        return a
    return _from(a.low.astype(np.float64), a.high.astype(np.float64), a.nan, a)


def _whole(low: Any, high: Any, bad: Any, node: Node, *args: Range) -> Range:
    """A range of integers; where the op may overflow, any integer, and it raises."""
    no = np.zeros(len(low), np.bool_)
    made = _from(np.where(bad, INT_MIN, low), np.where(bad, INT_MAX, high), no, *args)
    return made.raising(bad) if node.raises else made


def _neg(node: Node, a: Range) -> Range:
    if node.kind != "int":
        return _from(-a.high, -a.low, a.nan, a)
    low, bad_low = EXACT["negative"](a.high)
    high, bad_high = EXACT["negative"](a.low)
    return _whole(low, high, bad_low | bad_high, node, a)


def _abs(node: Node, a: Range) -> Range:
    low = np.where(a.low > 0, a.low, np.where(a.high < 0, -a.high, 0))
    if node.kind != "int":
        return _from(low, np.maximum(np.abs(a.low), np.abs(a.high)), a.nan, a)
    bad = a.low == INT_MIN
    return _whole(low, np.maximum(np.abs(a.low), np.abs(a.high)), bad, node, a)


def _add(node: Node, a: Range, b: Range) -> Range:
    if node.kind == "int":
        low, bad_low = EXACT["add"](a.low, b.low)
        high, bad_high = EXACT["add"](a.high, b.high)
        return _whole(low, high, bad_low | bad_high, node, a, b)
    opposite = (a.high == np.inf) & (b.low == -np.inf) | (a.low == -np.inf) & (b.high == np.inf)
    return _from(a.low + b.low, a.high + b.high, a.nan | b.nan | opposite, a, b)


def _sub(node: Node, a: Range, b: Range) -> Range:
    if node.kind == "int":
        low, bad_low = EXACT["subtract"](a.low, b.high)
        high, bad_high = EXACT["subtract"](a.high, b.low)
        return _whole(low, high, bad_low | bad_high, node, a, b)
    alike = (a.high == np.inf) & (b.high == np.inf) | (a.low == -np.inf) & (b.low == -np.inf)
    return _from(a.low - b.high, a.high - b.low, a.nan | b.nan | alike, a, b)


def _corners(f: Callable[[Any, Any], Any], a: Range, b: Range) -> Any:
    """`f` at the four corners, `(4, groups)`."""
    return np.stack([f(x, y) for x, y in product((a.low, a.high), (b.low, b.high))])


def _mul(node: Node, a: Range, b: Range) -> Range:
    if node.kind == "int":
        pairs = [EXACT["multiply"](x, y) for x, y in product((a.low, a.high), (b.low, b.high))]
        ends, bad = np.stack([p[0] for p in pairs]), np.any([p[1] for p in pairs], axis=0)
        return _whole(ends.min(axis=0), ends.max(axis=0), bad, node, a, b)
    ends = _corners(np.multiply, a, b)
    ends = np.where(np.isnan(ends), 0.0, ends)  # 0 · inf: beside the NaN, 0 · x is 0
    nan = a.nan | b.nan | _holds(a, 0.0) & _infinite(b) | _holds(b, 0.0) & _infinite(a)
    return _crossed(_from(ends.min(axis=0), ends.max(axis=0), nan, a, b), a, b)


def _div(node: Node, a: Range, b: Range) -> Range:
    ends = _corners(np.true_divide, a, b)
    wide = _holds(b, 0.0) | np.isnan(ends).any(axis=0)
    low, high = np.where(wide, -np.inf, ends.min(axis=0)), np.where(wide, np.inf, ends.max(axis=0))
    nan = a.nan | b.nan | wide | _infinite(a) & _infinite(b)
    return _crossed(_from(low, high, nan, a, b), a, b)


def _holds(a: Range, value: float) -> Bools:
    """Whether `value` may be among the values."""
    return np.asarray((a.low <= value) & (value <= a.high), np.bool_)


def _infinite(a: Range) -> Bools:
    """Whether ±inf may be among the values."""
    return np.asarray((a.low == -np.inf) | (a.high == np.inf), np.bool_)


def _crossed(made: Range, *args: Range) -> Range:
    """All numbers where an argument has no value but NaN: its ends cross, and corners mean nothing."""
    odd = np.any([a.low > a.high for a in args], axis=0)
    return made.between(np.where(odd, -np.inf, made.low), np.where(odd, np.inf, made.high))


def _mod(node: Node, a: Range, b: Range) -> Range:
    """Between 0 and the divisor, by its sign."""
    low = np.where(b.low > 0, 0, np.minimum(b.low, -1) + 1)
    high = np.where(b.high < 0, 0, np.maximum(b.high, 1) - 1)
    made = _from(low, high, np.zeros(len(low), np.bool_), a, b)
    return made.raising((b.low <= 0) & (b.high >= 0))


def _bit_and(node: Node, a: Range, b: Range) -> Range:
    """No more than either argument that is not negative."""
    made = _any_of(node, a, b)
    low = np.where((a.low >= 0) | (b.low >= 0), 0, made.low)
    high = np.minimum(np.where(a.low >= 0, a.high, INT_MAX), np.where(b.low >= 0, b.high, INT_MAX))
    return made.between(low, high) if node.kind == "int" else made


def _pick(node: Node, a: Range, b: Range) -> Range:
    """min2, max2: where one may be NaN, the other stands alone."""
    least = node.value == "min2"
    near, far = (np.minimum, np.maximum) if least else (np.maximum, np.minimum)
    ends = ((a.low, a.high), (b.low, b.high)) if least else ((a.high, a.low), (b.high, b.low))
    outer = near(ends[0][0], ends[1][0])
    inner = near(ends[0][1], ends[1][1])
    inner = np.where(a.nan, far(inner, ends[1][1]), inner)
    inner = np.where(b.nan, far(inner, ends[0][1]), inner)
    low, high = (outer, inner) if least else (inner, outer)
    return _from(low, high, a.nan & b.nan, a, b)


def _call(node: Node, *args: Range) -> Range:
    """A monotone function at its ends, else the function's whole range; 8 ulp wider."""
    rule: Bounds | None = function(node.value).bounds
    if rule is None or len(args) != 1:
        return _any_of(node, *args)
    a = args[0]
    low, high = (np.full(len(a.low), end) for end in rule.range)
    start, stop = rule.domain
    if rule.trend:
        f = numpy_function(node.value)
        ends = [f(np.clip(x, start, stop)) for x in (a.low, a.high)]  # what lies outside gives NaN
        first, last = ends if rule.trend > 0 else ends[::-1]
        inside = a.low <= a.high
        low = np.where(inside & ~np.isnan(first), first, low)
        high = np.where(inside & ~np.isnan(last), last, high)
    for _ in range(8):
        low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    return _from(low, high, a.nan | (a.low < start) | (a.high > stop) | (a.low > a.high), a)


ARITHMETIC: Mapping[str, Callable[..., Range]] = {
    "cast": _cast,
    "neg": _neg,
    "abs": _abs,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "mod": _mod,
    "bit_and": _bit_and,
    "bit_or": _any_of,
    "bit_xor": _any_of,
    "bit_not": _any_of,
    "shl": _any_of,
    "shr": _any_of,
    "pick": _pick,
    "call": _call,
}
"""Each value op's range from those of its arguments: (node, *ranges) -> Range."""
