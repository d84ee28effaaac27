"""Histograms filled in the scan that selects: every row group's accepted events go straight into the bins.

Invariant: a value stands in the bin whose edges enclose it (low <= value < high), exactly; what is missing or NaN is
counted and not filled. Sums are taken in the order of rows, so they do not depend on threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.bitmaps import as_mask
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import Mask
from tagsel.errors import CutError
from tagsel.language import Block
from tagsel.language.compare import doubt
from tagsel.language.units import attribute_unit
from tagsel.selection import filling
from tagsel.selection.binning import Axis, Spec
from tagsel.selection.filling import Fill, Sums, bind_quantity, filled_directly, in_unit, marked, unit_factor, values_of
from tagsel.selection.fold import folded
from tagsel.selection.partial_result import Fate
from tagsel.selection.query import BoundInput, Query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Count, Progress, finish, of_count, passed, prepare
from tagsel.selection.yields import Weights, Yield, weigh, weights_of
from tagsel.store import watched

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FilledAxis:
    """An axis with the canonical text of what it shows, and its unit."""

    text: str
    unit: str
    edges: npt.NDArray[np.float64]
    regular: bool

    @property
    def label(self) -> str:
        """`MET_pt [GeV]`."""
        return f"{self.text} [{self.unit}]" if self.unit else self.text


@dataclass(frozen=True)
class Filled:
    """A histogram: sums and sums of squares of weights, (bins + 2) an axis, first underflow, last overflow.

    `entries` (events, or objects of a list) were filled, `inside` of them between the edges; `missing`, `nan` were not.
    """

    name: str
    axes: tuple[FilledAxis, ...]
    values: Array
    variances: Array
    entries: int
    inside: int
    missing: int
    nan: int
    over: str = ""  # the collection whose objects were filled; "": events

    def said(self) -> str:
        """Entries, and those that no bin between the edges shows: `1,606 entries, 1,181 outside, 2 NaN`."""
        outside = self.entries - self.inside
        others = ((outside, "outside"), (self.missing, "missing"), (self.nan, "NaN"))
        return ", ".join([f"{self.entries:,} entries", *(f"{n:,} {word}" for n, word in others if n)])

    def to_json(self) -> dict[str, Any]:
        """Axes, and nested lists of the bins' contents, without and with those below and above the edges."""
        inside = (slice(1, -1),) * len(self.axes)
        return {
            "axes": [{"expression": a.text, "unit": a.unit, "edges": a.edges.tolist()} for a in self.axes],
            "values": self.values[inside].tolist(),
            "variances": self.variances[inside].tolist(),
            "values_with_flow": self.values.tolist(),
            "variances_with_flow": self.variances.tolist(),
            "over": self.over or "events",
            "entries": self.entries,
            "inside": self.inside,
            "missing": self.missing,
            "nan": self.nan,
        }

    def table(self, axes: int = 0) -> Table:
        """A row a bin: its edges on each axis (of `axes` axes, where tables of several histograms are joined)."""
        more = max(axes, len(self.axes)) - len(self.axes)
        edges = [[-np.inf, *a.edges.tolist(), np.inf] for a in self.axes]
        names = ("", " 2", " 3")
        columns = [f"{end}{n}" for n in names[: max(axes, len(self.axes))] for end in ("low", "high")]
        rows = []
        for at in product(*(range(len(e) - 1) for e in edges)):
            ends = [x for e, k in zip(edges, at, strict=True) for x in (e[k], e[k + 1])]
            sums = (self.values[at].item(), float(np.sqrt(self.variances[at])))
            rows.append((self.name, *ends, *([None] * (2 * more)), *sums))
        return Table(("histogram", *columns, "value", "error"), tuple(rows))


def _outcome(answer: tuple[tuple[Filled, ...], Count]) -> Outcome:
    """What the log of questions keeps of histograms."""
    filled, count = answer
    return replace(of_count(count), subject="; ".join(one.name for one in filled))


@question("hist", _outcome)
@watched
def histograms(query: Query, specs: Sequence[Spec], *, progress: Progress = None) -> tuple[tuple[Filled, ...], Count]:
    """Every histogram of the accepted events, in one scan, each column read once; and the ledger of all rows.

    CutError for expressions that cannot be bound, SchemaError for what is no number: before data is read.
    """
    started = time.perf_counter()
    prepared = prepare(query)
    bound = [[_bind(spec, b) for spec in specs] for b in prepared.inputs]
    quick, at_hand = marked(prepared), filling.at_hand(prepared)
    doubts = dict.fromkeys(said for one in bound for fill in one for said in _doubts(fill))
    prepared = replace(prepared, warnings=(*prepared.warnings, *doubts))

    def work(unit: Unit, block: Block, alive: Mask | None) -> tuple[Yield, list[Sums]]:
        bits = None if quick is None else quick.of(unit)
        mask = passed(prepared, unit, block, alive) if bits is None else as_mask(bits, unit.rows)
        weights = weights_of(prepared.inputs[unit.source], block, mask)
        measured: filling.Known = {}
        known: Known = {}
        filled = []
        for one in bound[unit.source]:
            direct = None if bits is None else filled_directly(one, block, bits, weights, measured, at_hand)
            filled.append(direct or _fill(one, block, mask, weights, known))
        return weigh(mask, weights), filled

    shapes = [tuple(a.bins + 2 for a in spec.axes) for spec in specs]
    nothing = Yield(), [_nothing(shape, bool(query.weight)) for shape in shapes]
    size = sum(16 * prod(shape) for shape in shapes)
    (passing, sums), tallies = folded(prepared, work, _added, nothing, size=size, progress=progress)
    described = bound[0] if bound else [Fill(s, (), ()) for s in specs]
    filled = tuple(_finished(s, h, shape) for s, h, shape in zip(sums, described, shapes, strict=True))
    return filled, finish(prepared, Fate.of_tallies(tallies), passing, started)


def _bind(spec: Spec, source: BoundInput) -> Fill:
    quantities = tuple(bind_quantity(a.expression, source.scope) for a in spec.axes)
    if len({q.objects for q in quantities if q.objects}) > 1:
        names = ", ".join(q.text for q in quantities if q.objects)
        raise CutError(
            f"{names} are of different objects: there is no one value of each for an entry",
            hint="one collection a histogram, or a value of the event: max(…), Muon.pt[0]",
        )
    factors = tuple(unit_factor(q, a.unit) for q, a in zip(quantities, spec.axes, strict=True))
    return Fill(spec, quantities, factors)


def _doubts(fill: Fill) -> list[str]:
    """What to ask of axes without a unit whose last edge is hardly meant in the unit of their values."""
    bare = [(axis, q.unit) for axis, q in zip(fill.spec.axes, fill.quantities, strict=True) if not axis.unit and q.unit]
    asked = [doubt(Fraction(max(map(abs, axis.edges))), attribute_unit(unit)) for axis, unit in bare]
    return [said for said in asked if said]


def _finished(sums: Sums, bound: Fill, shape: tuple[int, ...]) -> Filled:
    """The finished histogram."""
    axes = []
    for k, axis in enumerate(bound.spec.axes):
        text, unit = axis.expression, axis.unit
        if bound.quantities:
            text, unit = bound.quantities[k].text, axis.unit or bound.quantities[k].unit
        axes.append(FilledAxis(text, unit, np.array(axis.edges), axis.regular))
    over = next((q.objects.collection for q in bound.quantities if q.objects), "")
    squares = sums.sums if sums.squares is None else sums.squares
    missing, nan, entries, inside = sums.entries.tolist()
    return Filled(
        bound.spec.name,
        tuple(axes),
        sums.sums.reshape(shape),
        squares.reshape(shape),
        entries,
        inside,
        missing,
        nan,
        over,
    )


def _nothing(shape: tuple[int, ...], weighted: bool) -> Sums:
    kind = np.float64 if weighted else np.int64
    return Sums(np.zeros(prod(shape), kind), np.zeros(prod(shape)) if weighted else None, np.zeros(4, np.int64))


def _added(a: tuple[Yield, list[Sums]], b: tuple[Yield, list[Sums]]) -> tuple[Yield, list[Sums]]:
    return a[0] + b[0], [x + y for x, y in zip(a[1], b[1], strict=True)]


Known = dict[str, tuple[Array, Mask, npt.NDArray[np.int64]]]
"""Values of a row group that several histograms show, by what they are."""


def _fill(bound: Fill, block: Block, mask: Mask, weights: Weights | None, known: Known) -> Sums:
    """The sums of one histogram over the events of a mask."""
    numbers, rows, missing = _entries(bound, block, mask, known)
    clean = np.logical_and.reduce([x == x for x in numbers])
    nan = len(clean) - int(np.count_nonzero(clean))
    if nan:
        numbers, rows = [x[clean] for x in numbers], rows[clean]
    axes = bound.spec.axes
    place = [locate(x, axis) for x, axis in zip(numbers, axes, strict=True)]
    inside = np.logical_and.reduce([(p >= 1) & (p <= axis.bins) for p, axis in zip(place, axes, strict=True)])
    shape = tuple(axis.bins + 2 for axis in axes)
    flat, size = np.ravel_multi_index(tuple(place), shape), prod(shape)
    entries = np.array([missing, nan, len(rows), np.count_nonzero(inside)], np.int64)
    if weights is None:
        return Sums(np.bincount(flat, minlength=size), None, entries)
    weight = weights[rows]
    return Sums(np.bincount(flat, weight, size), np.bincount(flat, weight * weight, size), entries)


def _entries(
    bound: Fill, block: Block, mask: Mask, known: Known
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.int64], int]:
    """What an event, or each of its objects, has on every axis, the row of each entry, and how many lack a value."""
    found = []
    for quantity in bound.quantities:
        if quantity.bound.fingerprint not in known:
            known[quantity.bound.fingerprint] = values_of(quantity, block, mask)
        found.append(known[quantity.bound.fingerprint])
    per_object = [rows for q, (_, _, rows) in zip(bound.quantities, found, strict=True) if q.objects]
    rows = per_object[0] if per_object else np.flatnonzero(mask)
    place = np.cumsum(mask) - 1  # of a row among those of the mask
    gone, columns = np.zeros(len(rows), bool), []
    for quantity, (values, missing, _) in zip(bound.quantities, found, strict=True):
        if per_object and not quantity.objects:
            values, missing = values[place[rows]], missing[place[rows]]
        gone |= missing
        columns.append(values)
    numbers = [in_unit(v[~gone].astype(np.float64), factor) for v, factor in zip(columns, bound.factors, strict=True)]
    return numbers, rows[~gone], int(np.count_nonzero(gone))


def locate(values: npt.NDArray[np.float64], axis: Axis) -> npt.NDArray[np.int64]:
    """The bin of each value, none NaN: 0 below the edges, 1 … bins, bins + 1 at or above the last edge.

    Bins of equal width are found by arithmetic, and put right by their edges where rounding missed by one.
    """
    edges, a_unit = np.array(axis.edges), axis.bins_a_unit
    if not a_unit:
        return np.searchsorted(edges, values, side="right").astype(np.int64)
    low, bins = edges[0], axis.bins
    with np.errstate(over="ignore", invalid="ignore"):
        guess = np.clip((values - low) * a_unit, -1, bins)
    found = np.floor(guess).astype(np.int64) + 1
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    found -= values < bounds[found]
    found += (values >= bounds[found + 1]) & (found <= bins)
    return np.asarray(found)
