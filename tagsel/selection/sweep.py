"""A cut with a moving threshold: the events for each value of it, in one pass.

Invariant: each point is the count of its own cut. Where only the constant of one comparison moves, its left side is
evaluated once and sorted into the thresholds; any other sweep is done as regions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.interpreter import interpret_value
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import Mask, fate_of, judge, naming_the_event
from tagsel.errors import CutError
from tagsel.events import Ledger
from tagsel.language import Block, Bound, Node, conjuncts, fingerprint
from tagsel.language.bounds import ALL
from tagsel.language.tree import INT_MAX, INT_MIN
from tagsel.selection.fold import folded
from tagsel.selection.query import BoundInput, Query, bind_query, canonical_cut
from tagsel.selection.question import Outcome, question
from tagsel.selection.regions import queries, regions
from tagsel.selection.run import Count, Prepared, Progress, finish, of_count, prepare
from tagsel.selection.yields import Yield, weights_of
from tagsel.store import watched

MOST_POINTS = 10_000
_PLACE = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class Point:
    """One value of the threshold: its cut, and the events that pass."""

    value: str
    cut: str
    passing: Yield
    ledger: Ledger


@dataclass(frozen=True, repr=False)
class Sweep:
    """Points in the order of the values; `loosest` is the count of the point with the most events."""

    points: tuple[Point, ...]
    loosest: Count
    weight: str = ""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, at: int) -> Point:
        return self.points[at]

    def table(self) -> Table:
        """A row a value: events, their share of those that count, and with a weight its sum and error."""
        columns: tuple[str, ...] = ("value", "events", "of start")
        if self.weight:
            columns += ("sum of weights", "error")
        rows = []
        for point in self.points:
            passing = point.passing
            start = point.ledger.accepted + point.ledger.rejected
            row: tuple[object, ...] = (point.value, passing.n, round(passing.n / start, 6) if start else None)
            if self.weight:
                row += (passing.sumw, passing.sumw2**0.5)
            rows.append(row)
        return Table(columns, tuple(rows))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        points = []
        for point in self.points:
            ledger = point.ledger.to_json()
            points.append({"value": point.value, "cut": point.cut, **point.passing.to_json(), "ledger": ledger})
        loosest = self.loosest.to_json()
        scan = {key: loosest[key] for key in loosest if key in ("read", "warnings", "losses", "work")}
        return {"points": points, "weight": self.weight, **scan}


def _outcome(answer: Sweep) -> Outcome:
    """The log entry of a sweep: how many events each value leaves."""
    counts = "; ".join(f"{point.value}: {point.passing.n}" for point in answer.points)
    return replace(of_count(answer.loosest), subject=counts)


@question("sweep", _outcome)
@watched
def sweep(query: Query, cut: str, values: Sequence[str], *, progress: Progress = None) -> Sweep:
    """The events that pass `cut` with each of `values` in the place of `{x}`, and all cuts of the query.

    CutError for a cut without such a place, for no value, and where a value makes no cut.
    """
    if not _PLACE.search(cut):
        raise CutError("a sweep needs a place for the value", cut=cut, hint="MET_pt > {x}")
    if len(set(_PLACE.findall(cut))) > 1:
        raise CutError("a sweep moves one value: the places have several names", cut=cut, hint="the same {x} in each")
    if not 1 <= len(values) <= MOST_POINTS:
        raise CutError(f"{len(values):,} values for a sweep", cut=cut, hint=f"1 to {MOST_POINTS:,}")
    cuts = {value: _PLACE.sub(value.replace("\\", r"\\"), cut) for value in values}
    of_values = queries(query, cuts)
    several = [bind_query(of_value) for of_value in of_values]
    moving = _moving(several)
    if moving is None:
        counts = regions(query, cuts, progress=progress).values()
        yields = [count.weighted or Yield.unweighted(count.accepted) for count in counts]
        loosest = max(counts, key=lambda count: count.accepted)
    else:
        yields, loosest = _digitised(prepare(of_values[moving.loosest]), moving, progress)
    start = loosest.ledger.accepted + loosest.ledger.rejected
    points = {}
    for value, bound, passing in zip(cuts, several, yields, strict=True):
        ledger = replace(loosest.ledger, accepted=passing.n, rejected=start - passing.n)
        ledger.check(loosest.read)
        points[value] = Point(value, canonical_cut(bound), passing, ledger)
    return Sweep(tuple(points[value] for value in values), loosest, query.weight)


@dataclass(frozen=True)
class _Moving:
    """The one comparison that moves: its place among the conjuncts, its rule, its thresholds, and the loosest one."""

    at: int
    rule: _Rule
    thresholds: npt.NDArray[Any]
    loosest: int


@dataclass(frozen=True)
class _Rule:
    """How many of the rising thresholds a value passes, and whether these are the first of them or the last."""

    passed: Callable[[Any, Any], Any]
    first: bool


_RULES = {
    ">": _Rule(lambda limits, x: np.searchsorted(limits, x, side="left"), True),
    ">=": _Rule(lambda limits, x: np.searchsorted(limits, x, side="right"), True),
    "<": _Rule(lambda limits, x: len(limits) - np.searchsorted(limits, x, side="right"), False),
    "<=": _Rule(lambda limits, x: len(limits) - np.searchsorted(limits, x, side="left"), False),
}
"""A value passes the thresholds below it (>), at or below it (>=), above it (<), at or above it (<=)."""

_DTYPES = {"int": np.int64, "f32": np.float32, "f64": np.float64}


def _moving(several: Sequence[tuple[BoundInput, ...]]) -> _Moving | None:
    """The comparison that moves, if only its constant does, alike in every input; None where more moves."""
    by_input = set()
    for of_input in zip(*several, strict=True):
        by_input.add(_moving_in([bound.cut for bound in of_input]))
    if len(by_input) != 1:
        return None
    (comparison,) = by_input
    if comparison is None:
        return None
    at, op, kind, constants = comparison
    limits = np.array(constants, _DTYPES[kind])
    loosest = int(np.argmin(limits) if _RULES[op].first else np.argmax(limits))
    return _Moving(at, _RULES[op], limits, loosest)


def _moving_in(cuts: Sequence[Bound]) -> tuple[int, str, str, tuple[float, ...]] | None:
    """(place, comparison, kind, constants) of the comparison that differs between the cuts."""
    split = [conjuncts(cut) for cut in cuts]
    if len({len(parts) for parts in split}) != 1:
        return None
    places = []
    for at, same in enumerate(zip(*split, strict=True)):
        if len({conjunct.fingerprint for conjunct in same}) > 1:
            places.append(at)
    if len(places) > 1:
        return None
    place = places[0] if places else len(split[0]) - 1
    nodes = [_whole(parts[place].node) for parts in split]
    if not all(map(_is_threshold, nodes)):
        return None
    if len({(node.value, fingerprint(node.args[0])) for node in nodes}) != 1:
        return None
    return place, nodes[0].value, nodes[0].args[0].kind, tuple(node.args[1].value for node in nodes)


def _is_threshold(node: Node) -> bool:
    return node.op == "cmp" and node.value in _RULES and node.args[1].op == "const" and node.args[0].kind in _DTYPES


def _whole(node: Node) -> Node:
    """`> 2` of integers as `>= 3`, `< 2` as `<= 1`: a fraction among the values is written so, too."""
    if node.op != "cmp" or node.args[1].op != "const" or node.args[1].kind != "int":
        return node
    value, limit = node.value, node.args[1]
    if value == ">" and limit.value < INT_MAX:
        return replace(node, value=">=", args=(node.args[0], replace(limit, value=limit.value + 1)))
    if value == "<" and limit.value > INT_MIN:
        return replace(node, value="<=", args=(node.args[0], replace(limit, value=limit.value - 1)))
    return node


def _digitised(loosest: Prepared, moving: _Moving, progress: Progress) -> tuple[list[Yield], Count]:
    """The yield of every threshold, and the count of the loosest: rows are those that pass the loosest."""
    started = time.perf_counter()
    order = np.argsort(moving.thresholds, kind="stable")
    limits = moving.thresholds[order]
    parts = [conjuncts(b.cut) for b in loosest.inputs]

    def work(unit: Unit, block: Block, alive: Mask | None) -> tuple[Yield, ...]:
        mask = np.ones(unit.rows, bool) if alive is None else alive
        passes = np.zeros(0, np.int64)
        for at, conjunct in enumerate(parts[unit.source]):
            if at == moving.at:
                passes = _passes(conjunct, block, mask, limits, moving.rule)
                mask = passes > 0
            elif unit.verdict != ALL:
                mask = judge(conjunct, block, mask)
        weights = weights_of(loosest.inputs[unit.source], block, mask)
        return _grouped(passes[mask], None if weights is None else weights[mask], len(limits))

    nothing = (Yield(),) * (len(limits) + 1)
    exactly, tallies = folded(loosest, work, lambda a, b: tuple(map(add, a, b)), nothing, progress=progress)
    passing = list(exactly)
    for k in range(len(limits) - 1, -1, -1):  # who passes k + 1 thresholds passes k of them
        passing[k] = passing[k] + passing[k + 1]
    by_threshold: list[Yield] = [Yield()] * len(limits)
    for rank, which in enumerate(order.tolist()):
        by_threshold[which] = passing[rank + 1 if moving.rule.first else len(limits) - rank]
    return by_threshold, finish(loosest, fate_of(tallies), passing[1], started)


def _passes(conjunct: Bound, block: Block, mask: Mask, limits: npt.NDArray[Any], rule: _Rule) -> npt.NDArray[np.int64]:
    """How many thresholds each row of the mask passes; 0 elsewhere, and where the value is missing or NaN."""
    with naming_the_event(conjunct, block):
        values, missing = interpret_value(conjunct.node.args[0], block, mask)
    is_number = mask & ~missing & (values == values)
    passes = np.zeros(len(mask), np.int64)
    passes[is_number] = rule.passed(limits, values[is_number].astype(limits.dtype, copy=False))
    return passes


def _grouped(passes: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None, most: int) -> tuple[Yield, ...]:
    """The yield of the rows that pass 0, 1, … `most` thresholds."""
    counts = np.bincount(passes, minlength=most + 1)
    if weights is None:
        return tuple(map(Yield.unweighted, counts.tolist()))
    ends = np.cumsum(counts)[:-1]
    return tuple(map(Yield.of, np.split(weights[np.argsort(passes, kind="stable")], ends)))
