"""Histograms filled in the scan that selects: every row group's accepted events go straight into the bins.

Invariant: a value is in the bin whose edges enclose it (low <= value < high), exactly; missing values and NaN are
counted and not filled. Sums are taken in the order of rows, so they do not depend on threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.bitmaps import Words, as_mask
from tagsel.engine.evaluate import fold_passing, total_fate
from tagsel.engine.row_groups import Unit
from tagsel.kernels.filling import fill_bins
from tagsel.language import Block
from tagsel.language.compare import doubt
from tagsel.language.units import attribute_unit
from tagsel.selection.binning import Spec
from tagsel.selection.filling import Fill, Filler, Sums, bind_fill, loops_at_hand
from tagsel.selection.query import BoundInput, Query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Count, Progress, evaluated, finish, how_of, of_count, prepare
from tagsel.selection.yields import Yield, weigh, weights_of
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

    def summary(self) -> str:
        """Entries, and those that no bin between the edges shows: `1,606 entries, 1,181 outside, 2 NaN`."""
        words = [f"{self.entries:,} entries"]
        others = {"outside": self.entries - self.inside, "missing": self.missing, "NaN": self.nan}
        words += [f"{number:,} {word}" for word, number in others.items() if number]
        return ", ".join(words)

    def to_json(self) -> dict[str, object]:
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
        axes = max(axes, len(self.axes))
        columns = []
        for number in ("", " 2", " 3")[:axes]:
            columns += [f"low{number}", f"high{number}"]
        edges = [[-np.inf, *axis.edges.tolist(), np.inf] for axis in self.axes]
        blank = [None] * (2 * (axes - len(self.axes)))
        rows = []
        for at in np.ndindex(self.values.shape):
            limits = []
            for of_axis, bin_number in zip(edges, at, strict=True):
                limits += of_axis[bin_number : bin_number + 2]
            sums = (self.values[at].item(), float(np.sqrt(self.variances[at])))
            rows.append((self.name, *limits, *blank, *sums))
        return Table(("histogram", *columns, "value", "error"), tuple(rows))


def _outcome(answer: tuple[tuple[Filled, ...], Count]) -> Outcome:
    """The log entry of histograms."""
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
    fills = _bind(specs, prepared.inputs)
    doubts = dict.fromkeys(chain.from_iterable(map(_doubts, chain.from_iterable(fills))))
    prepared = replace(prepared, warnings=(*prepared.warnings, *doubts))
    how, at_hand = how_of(prepared, listing=True, progress=progress), loops_at_hand(prepared)
    compiled = how.tier == "kernel" and at_hand(fill_bins)

    def work(unit: Unit, block: Block, bits: Words) -> tuple[Yield, list[Sums]]:
        mask = as_mask(bits, unit.rows)
        weights = weights_of(prepared.inputs[unit.source], block, mask)
        filler = Filler(block, mask, bits if compiled else None, weights, at_hand)
        return weigh(mask, weights), [filler.sums(fill) for fill in fills[unit.source]]

    empty = [Sums.empty(spec, bool(query.weight)) for spec in specs]
    size = sum(16 * len(sums.sums) for sums in empty)
    nothing = Yield(), empty
    (passing, totals), evaluation = fold_passing(evaluated(prepared, how), work, _added, nothing, how, size=size)
    described = fills[0] if fills else [Fill(spec, (), ()) for spec in specs]
    histograms = tuple(_histogram(sums, fill) for sums, fill in zip(totals, described, strict=True))
    return histograms, finish(prepared, total_fate(evaluation), passing, started)


def _bind(specs: Sequence[Spec], inputs: Sequence[BoundInput]) -> list[list[Fill]]:
    """Every histogram bound to each input."""
    fills: list[list[Fill]] = []
    for source in inputs:
        fills.append([bind_fill(spec, source) for spec in specs])
    return fills


def _doubts(fill: Fill) -> list[str]:
    """Warnings for axes without a unit whose last edge is hardly meant in the unit of their values."""
    warnings = []
    for axis, quantity in zip(fill.spec.axes, fill.quantities, strict=True):
        if quantity.unit and not axis.unit:
            largest = Fraction(max(map(abs, axis.edges)))
            warnings.append(doubt(largest, attribute_unit(quantity.unit)))
    return [warning for warning in warnings if warning]


def _histogram(sums: Sums, fill: Fill) -> Filled:
    """The finished histogram."""
    axes = []
    for at, axis in enumerate(fill.spec.axes):
        text, unit = axis.expression, axis.unit
        if fill.quantities:
            text, unit = fill.quantities[at].text, axis.unit or fill.quantities[at].unit
        axes.append(FilledAxis(text, unit, np.array(axis.edges), axis.regular))
    over = next((quantity.objects.collection for quantity in fill.quantities if quantity.objects), "")
    squares = sums.sums if sums.squares is None else sums.squares
    missing, nan, entries, inside = sums.entries.tolist()
    return Filled(
        fill.spec.name,
        tuple(axes),
        sums.sums.reshape(fill.spec.shape),
        squares.reshape(fill.spec.shape),
        entries,
        inside,
        missing,
        nan,
        over,
    )


def _added(a: tuple[Yield, list[Sums]], b: tuple[Yield, list[Sums]]) -> tuple[Yield, list[Sums]]:
    """The yields and sums of both."""
    return a[0] + b[0], [x + y for x, y in zip(a[1], b[1], strict=True)]
