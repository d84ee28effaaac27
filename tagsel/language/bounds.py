"""Bounds: what min, max and NaN count of a row group say about a bound cut, before any row is read.

Invariant: NONE only if no row of the group can pass, ALL only if every row passes, and both only if no row that is
reached can overflow or take `% 0`; all else is SOME. `not` swaps NONE and ALL.

A value is a `Range` for each group. Arithmetic on its ends is done in the same format and rounding as on rows;
rounding keeps order, so ends bound the rows' values exactly. Elementary functions are good to 2 ulp but need not
keep order within that, so their ends are moved out by 8 ulp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tagsel.language.ranges import ARITHMETIC, REAL, Bools, Range, certain, unknown
from tagsel.language.traversal import fold
from tagsel.language.tree import INT_MAX, INT_MIN, Aggregate, Node

_FEW, _MANY = 100, 2**40
"""Of more objects than this all that is known of their combinations is that they are no more than, say, that."""

NONE, SOME, ALL = 0, 1, 2
"""Verdicts on a row group: skip it, look at each row, take it whole."""


class Zone(Protocol):
    """A column's statistics by row group, arrays `(groups,)`.

    `min`, `max`: of the values that are not NaN, in the column's dtype; they mean nothing where there is no such
    value. `nan_count`: int64, -1 = unknown. `values`: int64, rows of a scalar, flat length of a list.
    """

    @property
    def min(self) -> npt.NDArray[Any]: ...
    @property
    def max(self) -> npt.NDArray[Any]: ...
    @property
    def nan_count(self) -> npt.NDArray[np.int64]: ...
    @property
    def values(self) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A boolean op's verdict by group, and where a row that it reaches may raise."""

    verdict: npt.NDArray[np.int8]
    raises: Bools


@dataclass(frozen=True, slots=True)
class Zones:
    """What is known of a part: its zones, the columns that it lacks, its number of row groups."""

    zones: Mapping[str, Zone]
    absent: frozenset[str]
    groups: int

    def range(self, column: str, kind: str) -> Range:
        """The range of a column's stored values; missing everywhere when the part lacks it."""
        if column in self.absent:
            return unknown(self.groups, kind).gone(np.ones(self.groups, np.bool_))
        zone = self.zones.get(column)
        if zone is None or kind in ("str", "word"):
            return unknown(self.groups, kind, maybe_missing=zone is None)
        return _zone_range(zone, self.groups, kind)

    def combinations(self, over: Aggregate) -> Range:
        """The range of how many combinations of objects there are."""
        first = self.counts(over.counter, over.slots)
        if not over.more:
            return first
        low, high = np.ones(self.groups, np.int64), np.ones(self.groups, np.int64)
        missing, gone, within = first.missing, first.all_missing, 0
        for loop in over.loops:
            n = self.counts(loop.counter, loop.slots)
            missing, gone = missing | n.missing, gone | n.all_missing
            within = within + 1 if loop.after else 0
            low, high = (
                total * np.clip(np.minimum(end, _FEW) - within, 0, None) // (within + 1)
                for total, end in ((low, n.low), (high, n.high))
            )
            high = np.where(n.high > _FEW, _MANY, np.minimum(high, _MANY))
        return Range(low, high, first.nan, missing, gone, first.raises)

    def counts(self, counter: str, slots: int = 0) -> Range:
        """The range of a collection's number of objects."""
        n = self.range(counter, "int")
        low, high = (np.clip(x, 0, slots or None) for x in (n.low, n.high))
        return Range(low, high, n.nan, n.missing, n.all_missing, n.raises)


def bounds(
    node: Node, zones: Mapping[str, Zone], groups: int, absent: frozenset[str] = frozenset()
) -> npt.NDArray[np.int8]:
    """The verdict of the bound boolean tree `node` on each row group: `(groups,) int8` of NONE, SOME, ALL.

    `absent`: columns that the part lacks, missing in every row. A column in neither is unknown.
    """
    zone_maps = Zones(zones, absent, groups)
    with np.errstate(all="ignore"):
        result = fold(node, lambda part, args: RULES[part.op](part, zone_maps, args))
    assert isinstance(result, Verdict)
    return np.where(result.raises, np.int8(SOME), result.verdict)


def _zone_range(zone: Zone, groups: int, kind: str) -> Range:
    """The range that a zone gives; unknown where its ends are NaN."""
    if np.asarray(zone.min).dtype == np.uint64:  # only words, which have no order here
        return unknown(groups, kind, maybe_missing=False)
    no, real = np.zeros(groups, np.bool_), kind in REAL
    low, high = (np.asarray(end).astype(np.float64 if real else np.int64) for end in (zone.min, zone.max))
    if real:
        odd = np.isnan(low) | np.isnan(high)
        low, high = np.where(odd, -np.inf, low), np.where(odd, np.inf, high)
    nothing = zone.values == np.maximum(zone.nan_count, 0)  # no value but NaN: an empty range
    if nothing.any():
        ends = (np.inf, -np.inf) if real else (INT_MAX, INT_MIN)
        low, high = np.where(nothing, ends[0], low), np.where(nothing, ends[1], high)
    return Range(low, high, zone.nan_count != 0 if real else no, no, no, no)


# value ops: (node, zones, ranges of the arguments) -> Range


def _const(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    if node.kind == "str":
        return unknown(zone_maps.groups, "str", maybe_missing=False)
    return certain(zone_maps.groups, node.kind, node.value)


def _column(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    return zone_maps.range(node.value, node.kind)


def _indexed(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """`element`, `slot`: the range of all that is stored, missing by the counter."""
    column, counter, k = node.value
    values, n = zone_maps.range(column, node.kind), zone_maps.counts(counter)
    return values.gone(n.all_missing | (n.high <= k)).perhaps(n.missing | (n.low <= k))


def _at(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """The range of all that is stored, missing where the index may lie outside of the list."""
    (index,) = args
    values, n = zone_maps.range(node.value[0], node.kind), zone_maps.counts(node.value[1])
    never = n.all_missing | index.all_missing | (index.high < 0) | (index.low >= n.high)
    perhaps = n.missing | index.missing | (index.low < 0) | (index.high >= n.low)
    outcome = values.gone(never).perhaps(perhaps)
    return replace(outcome, raises=outcome.raises | index.raises)


def _member(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    if isinstance(node.value, str):
        return zone_maps.range(node.value, node.kind)
    ranges = [zone_maps.range(name, node.kind) for name in node.value]
    joined = ranges[0]
    for other in ranges[1:]:
        joined = joined.union(other)
    return joined


def _trigger(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """Decided where the group has one menu and that menu lacks the chain, or the word is constant or too small."""
    menu = zone_maps.range(node.value.menu, "int")
    outcome = unknown(zone_maps.groups, "bool", maybe_missing=True).gone(menu.all_missing)
    here = np.zeros(zone_maps.groups, np.bool_)
    for menu_id, column, bit in node.value.bits:
        within = (menu.low <= menu_id) & (menu_id <= menu.high)
        here |= within
        word = zone_maps.range(column, "int")
        only = within & (menu.low == menu.high) & ~menu.missing
        outcome = outcome.gone(only & word.all_missing)
        never = only & (word.low >= 0) & (word.high < 2**bit)
        always = only & (word.low == word.high) & (word.low >> bit & 1 == 1)
        outcome = outcome.narrowed(never, 0, 0).narrowed(always, 1, 1).surely(only & ~word.missing)
    return outcome.gone(~here)


def _outer(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """A member of an object further out."""
    return _member(replace(node, value=node.value[0]), zone_maps, args)


def _chosen(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """A member of an object that a `let` may not have found."""
    return _outer(node, zone_maps, args).perhaps(np.ones(zone_maps.groups, np.bool_))


def _given(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """The value where the condition may hold."""
    value, condition = args
    reached = condition.verdict != NONE
    outcome: Range = replace(value, raises=value.raises & reached | condition.raises)
    return outcome.gone(~reached).perhaps(condition.verdict != ALL)


def _either(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    """One of two values: of each what the condition may choose."""
    condition, yes, no = args
    reached = condition.verdict != NONE, condition.verdict != ALL
    sides = [
        replace(part, raises=part.raises & mask, missing=part.missing & mask).gone(~mask)
        for part, mask in zip((yes, no), reached, strict=True)
    ]
    outcome: Range = sides[0].union(sides[1])
    missing = (yes.missing & reached[0]) | (no.missing & reached[1])
    either: Range = replace(outcome, missing=missing, raises=outcome.raises | condition.raises)
    return either


def _let(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Any:
    """The rest's; the choice may raise, too."""
    choice, rest = args
    raises = choice.raises & (zone_maps.combinations(node.value).high > 0)
    return replace(rest, raises=rest.raises | raises)


def _aggregate(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Range:
    over = node.value
    n = zone_maps.combinations(over)
    body = args[0]
    outcome = AGGREGATES[over.function](node, n, body)
    return outcome.gone(n.all_missing).perhaps(n.missing).raising(body.raises & (n.high > 0))


def _tally(node: Node, n: Range, body: Verdict) -> Range:
    """count: from what surely passes to what may."""
    low = np.where(body.verdict == ALL, n.low, 0)
    high = np.where(body.verdict == NONE, 0, n.high)
    return unknown(len(low), "int", maybe_missing=False).between(low, high)


def _any(node: Node, n: Range, body: Verdict) -> Range:
    sure = (body.verdict == ALL) & (n.low >= 1)
    never = (body.verdict == NONE) | (n.high <= 0)
    return unknown(len(sure), "bool", maybe_missing=False).narrowed(sure, 1, 1).narrowed(never, 0, 0)


def _all(node: Node, n: Range, body: Verdict) -> Range:
    sure = (body.verdict == ALL) | (n.high <= 0)
    never = (body.verdict == NONE) & (n.low >= 1)
    return unknown(len(sure), "bool", maybe_missing=False).narrowed(never, 0, 0).narrowed(sure, 1, 1)


def _sum(node: Node, n: Range, body: Range) -> Range:
    """Between n times the ends; wider by the rounding of n additions."""
    fewest = np.where(body.missing, 0, n.low)
    if node.kind == "int":
        return _int_sum(fewest, n.high, body)
    low = np.where(body.low < 0, n.high * body.low, fewest * body.low)
    high = np.where(body.high > 0, n.high * body.high, fewest * body.high)
    slack = 1e-15 * np.maximum(n.high, 1).astype(np.float64)  # > 4 n 2^-53
    low, high = low - abs(low) * slack, high + abs(high) * slack
    none = n.high <= 0
    nan = body.nan | ~(np.isfinite(low) | np.isfinite(high)) | (body.low == -np.inf) & (body.high == np.inf)
    low = np.where(np.isnan(low), -np.inf, low)
    high = np.where(np.isnan(high), np.inf, high)
    outcome = unknown(len(low), "f64", maybe_missing=False)
    outcome = Range(
        np.minimum(low, high), np.maximum(low, high), nan, outcome.missing, outcome.all_missing, outcome.raises
    )
    return outcome.narrowed(none, 0, 0).without_nan(none)


def _int_sum(fewest: npt.NDArray[Any], most: npt.NDArray[Any], body: Range) -> Range:
    """Exact in wide floats' reach only: beyond 2^62 the sum may overflow and is unknown."""
    ends = [np.asarray(size, np.float64) * end for size, end in product((fewest, most), (body.low, body.high))]
    risky = np.max(np.abs(ends), axis=0) >= 2.0**62
    low = np.where(body.low < 0, most * body.low, fewest * body.low)
    high = np.where(body.high > 0, most * body.high, fewest * body.high)
    none = most <= 0
    outcome = unknown(len(low), "int", maybe_missing=False).between(
        np.where(risky, INT_MIN, low), np.where(risky, INT_MAX, high)
    )
    return outcome.narrowed(none, 0, 0).raising(risky & ~none)


def _extreme(node: Node, n: Range, body: Range) -> Range:
    """min, max: within the body's range; missing where there may be no object with a number."""
    outcome = body.without_nan(np.ones(len(body.low), np.bool_))
    return outcome.gone(n.high <= 0).perhaps((n.low <= 0) | body.nan)


AGGREGATES: Mapping[str, Callable[[Node, Range, Any], Range]] = {
    "count": _tally,
    "any": _any,
    "all": _all,
    "sum": _sum,
    "min": _extreme,
    "max": _extreme,
}


# boolean ops: -> Verdict


def _verdict(all_pass: Bools, none_pass: Bools, *args: Range) -> Verdict:
    """An atom's verdict: ALL needs every operand present; NONE holds where one is missing in every row."""
    raises = np.zeros(len(all_pass), np.bool_)
    for a in args:
        all_pass = all_pass & ~a.missing
        none_pass = none_pass | a.all_missing
        raises = raises | a.raises
    verdict = np.where(none_pass, np.int8(NONE), np.where(all_pass, np.int8(ALL), np.int8(SOME)))
    return Verdict(verdict, raises)


def _cmp(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    a, b = args
    op = node.value
    if op in (">", ">="):
        a, b = b, a
        op = {">": "<", ">=": "<="}[op]
    clean = ~a.nan & ~b.nan
    if op == "<":
        return _verdict(clean & (a.high < b.low), a.low >= b.high, a, b)
    if op == "<=":
        return _verdict(clean & (a.high <= b.low), a.low > b.high, a, b)
    apart = (a.high < b.low) | (b.high < a.low)
    same = (a.low == a.high) & (b.low == b.high) & (a.low == b.low) & clean
    return _verdict(same, apart, a, b) if op == "==" else _verdict(apart, same, a, b)


def _in(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    a = args[0]
    if node.args[0].kind in ("str", "word"):
        nothing = np.zeros(zone_maps.groups, np.bool_)
        return _verdict(nothing, nothing if node.value else ~nothing, a)
    values = np.sort(np.array([v for v in node.value if v == v], a.low.dtype))
    from_low = np.searchsorted(values, a.low, side="left")
    within = np.searchsorted(values, a.high, side="right") - from_low
    return _verdict((a.low == a.high) & (within > 0) & ~a.nan, within <= 0, a)


def _truth(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    return _verdict(args[0].low >= 1, args[0].high <= 0, args[0])


def _test(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    a = args[0]
    finite = (a.low > -np.inf) & (a.high < np.inf)
    infinite = (a.low == a.high) & np.isinf(a.low)
    only_nan = (a.low > a.high) & a.nan
    if node.value == "isnan":
        return _verdict(only_nan, ~a.nan, a)
    if node.value == "isinf":
        return _verdict(infinite & ~a.nan, finite | only_nan, a)
    return _verdict(finite & ~a.nan & (a.low <= a.high), infinite | only_nan, a)


def _present(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    a = args[0]
    return Verdict(np.where(a.all_missing, np.int8(NONE), np.where(a.missing, np.int8(SOME), np.int8(ALL))), a.raises)


def _fits(x: npt.NDArray[Any]) -> Any:
    """Whether the integers are inside the range of runs and luminosity blocks."""
    return (x > -(2**31)) & (x < 2**31)


def _in_lumi(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    """NONE without a range between the ends, ALL within one range of one run."""
    run, lumi = args
    table = node.value
    first = table.run.astype(np.int64) * 2**32 + table.first
    last = table.run.astype(np.int64) * 2**32 + table.last
    clip = np.clip([run.low, run.high, lumi.low, lumi.high], -(2**31) + 1, 2**31 - 1)
    low, high = clip[0] * 2**32 + clip[2], clip[1] * 2**32 + clip[3]
    one_run = run.low == run.high
    low = np.where(one_run, low, clip[0] * 2**32 - 2**31)
    high = np.where(one_run, high, clip[1] * 2**32 + 2**31)
    before = np.searchsorted(first, low, side="right") - 1  # the last range that begins at or before `low`
    holds = before >= 0
    reach = last[np.maximum(before, 0)] if len(last) else np.full(zone_maps.groups, INT_MIN)
    begins = np.searchsorted(first, high, side="right") - 1 > before
    small = _fits(lumi.low) & _fits(lumi.high) & _fits(run.low)
    inside = one_run & small & holds & (high <= reach)
    outside = ~begins & ~(holds & (reach >= low))
    return _verdict(inside, outside, run, lumi)


def _python(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    """Nothing is known of what a Python function answers."""
    return _verdict(np.zeros(zone_maps.groups, np.bool_), np.zeros(zone_maps.groups, np.bool_), *args)


def _chain(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    """and, or: a term counts, and raises, only where those before it leave it something to decide."""
    stop, pick = (NONE, np.minimum) if node.op == "and" else (ALL, np.maximum)
    verdict, raises = args[0].verdict, args[0].raises
    for term in args[1:]:
        raises = raises | (term.raises & (verdict != stop))
        verdict = pick(verdict, term.verdict)
    return Verdict(verdict, raises)


def _not(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    return Verdict((2 - args[0].verdict).astype(np.int8), args[0].raises)


def _if_else(node: Node, zone_maps: Zones, args: Sequence[Any]) -> Verdict:
    """One of two verdicts, or both at once where the condition may choose either."""
    condition, yes, no = args
    chosen = np.select((condition.verdict == ALL, condition.verdict == NONE), (yes.verdict, no.verdict), np.int8(SOME))
    verdict = np.where(yes.verdict == no.verdict, yes.verdict, chosen)
    raises = condition.raises | yes.raises & (condition.verdict != NONE) | no.raises & (condition.verdict != ALL)
    return Verdict(verdict, raises)


def _arithmetic(rule: Callable[..., Range]) -> Callable[[Node, Zones, Sequence[Any]], Range]:
    return lambda node, zone_maps, args: rule(node, *args)


RULES: Mapping[str, Callable[[Node, Zones, Sequence[Any]], Any]] = {
    "const": _const,
    "column": _column,
    "element": _indexed,
    "slot": _indexed,
    "at": _at,
    "member": _member,
    "outer": _outer,
    "chosen": _chosen,
    "given": _given,
    "either": _either,
    "let": _let,
    "let_value": _let,
    "trigger": _trigger,
    "aggregate": _aggregate,
    **{op: _arithmetic(rule) for op, rule in ARITHMETIC.items()},
    "and": _chain,
    "or": _chain,
    "not": _not,
    "if_else": _if_else,
    "cmp": _cmp,
    "in": _in,
    "truth": _truth,
    "test": _test,
    "present": _present,
    "in_lumi": _in_lumi,
    "python": _python,
    "same": lambda node, zone_maps, args: _verdict(
        np.zeros(zone_maps.groups, np.bool_), np.zeros(zone_maps.groups, np.bool_)
    ),
}
"""The rule of every op."""
