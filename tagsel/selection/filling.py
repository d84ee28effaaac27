"""Fills the bins of a histogram: the values of accepted events, or of their objects, on each axis.

A compiled loop fills columns from where they lie, and numbers that were measured first in the rows that pass. NumPy
fills what is left. Values of objects are flat, in list order, beside the row of each; what is missing is marked.

Invariant: both ways give the same bins, sums and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.bitmap_cache import MASKS
from tagsel.engine.bitmaps import Words, words_at
from tagsel.engine.compiled_scan import How
from tagsel.engine.interpreter import interpret_objects
from tagsel.engine.measure import Measure, Measured
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import naming_the_event
from tagsel.engine.steps import able
from tagsel.errors import CutError, SchemaError, StoreError
from tagsel.kernels import filling, kernel_cache
from tagsel.kernels.layouts import AXIS, FILLING_JOB, Table
from tagsel.kernels.memory import address_of
from tagsel.language import Block, Bound, Scope, bind_value
from tagsel.language.tree import Aggregate
from tagsel.language.units import attribute_unit
from tagsel.selection.binning import Axis, Spec
from tagsel.selection.run import Prepared, by_steps
from tagsel.selection.yields import Weights

Array = npt.NDArray[Any]

WIDTHS = {"f4": 4, "f8": 8, "i4": -4, "i8": -8, "b1": -1}
"""Columns that the kernel reads, by NumPy's type, as it is told of them."""

A_VALUE = 2e-8
"""Seconds that the kernel spares for a row, about."""


@dataclass(frozen=True)
class Fill:
    """A histogram bound to one input: a quantity and a factor to its unit for each axis."""

    spec: Spec
    quantities: tuple[Quantity, ...]
    factors: tuple[Fraction, ...]

    @cached_property
    def measures(self) -> tuple[Measure | None, ...]:
        """The quantities as machine code; None for those that do not fit."""
        return tuple(Measure.of(q.bound.node) for q in self.quantities)


@dataclass(frozen=True)
class Sums:
    """Flat sums of one histogram, and how many entries were missing, NaN, filled, and filled between the edges.

    `squares` is None where every weight is 1.
    """

    sums: Array
    squares: Array | None
    entries: npt.NDArray[np.int64]

    def __add__(self, other: Sums) -> Sums:
        squares = None if self.squares is None or other.squares is None else self.squares + other.squares
        return Sums(self.sums + other.sums, squares, self.entries + other.entries)


@dataclass(frozen=True, eq=False)
class Marked:
    """The accepted rows of row groups that have some: a bit a row, by input, part and row group."""

    places: Mapping[tuple[int, str, int], int]
    held: object

    def of(self, unit: Unit) -> Words:
        """The bits of a row group, in words."""
        place = self.places.get((unit.source, unit.part.name, unit.group))
        if place is None:
            return np.zeros(-(-unit.rows // 64), np.uint64)
        return words_at(place, unit.rows)


def marked(prepared: Prepared) -> Marked | None:
    """The accepted rows by compiled steps; None where the scan must judge them."""
    query, plan = prepared.query, prepared.plan
    if plan.tier != "kernel" or not able(b.cut for b in plan.inputs) or not at_hand(prepared)(filling.fill_bins):
        return None
    try:
        found = by_steps(prepared, How(True, query.threads, MASKS if query.remember else None))
    except StoreError:  # the scan tells of it
        return None
    if found is None:
        return None
    places = {}
    for index, (one, bound) in enumerate(zip(found, prepared.inputs, strict=True)):
        frame, taken = bound.input.snapshot.frame, one.taken
        assert taken is not None  # a listing was asked for
        for group, place in zip(taken.groups.tolist(), taken.addresses.tolist(), strict=True):
            places[index, frame.part(group).name, int(frame.group_of[group])] = place
    return Marked(places, found)


def at_hand(prepared: Prepared) -> Callable[..., bool]:
    """Whether kernels are at hand, or worth compiling for the rows of a query."""
    if prepared.query.tier == "kernel":
        return lambda *sources: True
    return partial(kernel_cache.at_hand, spares=prepared.read * A_VALUE)


def filled_directly(
    fill: Fill, block: Block, bits: Words, weights: Weights | None, known: Known, at_hand: Callable[..., bool]
) -> Sums | None:
    """The sums of a histogram over the rows whose bits are set; None where the interpreter must fill it.

    `known` keeps values that several histograms show; `at_hand` says whether kernels are, or are worth compiling.
    """
    of_objects = any(q.objects for q in fill.quantities)
    found = (_objects if of_objects else _events)(fill, block, _Measuring(block, bits, known, at_hand))
    if found is None:
        return None
    columns, counter, there, gone = found
    axes = [_axis(*of) for of in zip(fill.spec.axes, columns, fill.factors, strict=True)]
    size = prod(axis.bins + 2 for axis in fill.spec.axes)
    sums = np.zeros(size, np.int64 if weights is None else np.float64)
    squares = None if weights is None else np.zeros(size)
    table, entries = np.concatenate([axis for axis, _ in axes]), np.zeros(filling.ENTRIES, np.int64)
    weight = None if weights is None else np.ascontiguousarray(weights, np.float64)
    there = bits if there is None else there
    job = FILLING_JOB.filled(
        bits=address_of(there),
        axes=address_of(table),
        axis_count=len(axes),
        weights=_address_or_none(weight),
        sums=address_of(sums),
        squares=_address_or_none(squares),
        entries=address_of(entries),
        counter=_address_or_none(counter),
        counter_width=0 if counter is None else counter.itemsize,
        rows=block.rows,
        gone=_address_or_none(gone),
    )
    kernel_cache.function(filling.fill_bins)(address_of(job), 0, 0, len(there))
    *entered, missing = entries.tolist()
    missing += 0 if there is bits else int(np.bitwise_count(bits & ~there).sum())
    return Sums(sums, squares, np.array([missing, *entered], np.int64))


Known = dict[str, Measured | None]
"""Numbers of the rows of a row group that are filled, by what they are."""

Found = tuple[list[Array], Array | None, Words | None, Array | None]
"""Columns to fill from; what counts the objects that they are of, if they are; rows that lack no value (None: all);
which objects lack one (None: none)."""


@dataclass(frozen=True)
class _Measuring:
    """What measures a quantity of a row group, once for all histograms that show it."""

    block: Block
    bits: Words
    known: Known
    at_hand: Callable[..., bool]

    def __call__(self, quantity: Quantity, measure: Measure | None) -> Measured | None:
        name = quantity.bound.fingerprint
        if name not in self.known:
            self.known[name] = measure(self.block, self.bits, self.at_hand) if measure else None
        return self.known[name]


def _events(fill: Fill, block: Block, measured: _Measuring) -> Found | None:
    """Values of events: columns as they are, others measured."""
    columns, there = [], None
    for quantity, measure in zip(fill.quantities, fill.measures, strict=True):
        column = _column(quantity, block)
        if column is None:
            found = measured(quantity, measure)
            if found is None:
                return None
            column = found.values
            there = found.there if there is None else there & found.there
        columns.append(column)
    return columns, None, there, None


def _objects(fill: Fill, block: Block, measured: _Measuring) -> Found | None:
    """Values of the objects of one list; None where a histogram is not of such alone."""
    counter = _counter(fill.quantities, block)
    if counter is None:
        return None
    total = int(np.maximum(counter, 0).sum(dtype=np.int64))
    columns, gone = [], None
    for quantity, measure in zip(fill.quantities, fill.measures, strict=True):
        column = _column(quantity, block)
        if column is None:
            found = measured(quantity, measure)
            if found is None:
                return None
            column = found.values
            if found.gone is not None:
                gone = found.gone if gone is None else gone | found.gone
        if column.size < total:  # the scan tells of it
            return None
        columns.append(column)
    return columns, counter, None, gone


def _column(quantity: Quantity, block: Block) -> Array | None:
    """The column that a quantity is, where the row group has it and the kernel reads it."""
    node = quantity.bound.node
    if quantity.objects is not None:
        node = node.args[0]
    plain = node.op == ("column" if quantity.objects is None else "member") and isinstance(node.value, str)
    if not plain or node.value not in block.columns:
        return None
    column = block.columns[node.value]
    return np.ascontiguousarray(column) if column.dtype.str[1:] in WIDTHS else None


def _counter(quantities: Sequence[Quantity], block: Block) -> Array | None:
    """What counts the objects whose values all axes are; None where they are of something else."""
    names = {None if q.objects is None else q.objects.counter for q in quantities}
    name = names.pop()
    if names or name is None or name not in block.columns or any(q.objects and q.objects.slots for q in quantities):
        return None
    counter = block.columns[name]
    return np.ascontiguousarray(counter) if counter.dtype.str[1:] in ("i4", "i8") else None


def _address_or_none(array: Array | None) -> int:
    """Where an array begins; 0 where there is none."""
    return 0 if array is None else address_of(array)


def _axis(axis: Axis, column: Array, factor: Fraction) -> tuple[Table, object]:
    """What the kernel is told of an axis, and what that points to."""
    edges = np.array([-np.inf, *axis.edges, np.inf])
    times, over = (float(factor), 1.0) if factor > 1 else (1.0, float(1 / factor))
    record = AXIS.filled(
        column=address_of(column),
        width=WIDTHS[column.dtype.str[1:]],
        times=times,
        over=over,
        edges=address_of(edges),
        bins=axis.bins,
        equal=bool(axis.bins_a_unit),
        low=edges[1],
        bins_a_unit=axis.bins_a_unit,
    )
    return record, (column, edges)


Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

NUMBERS = ("int", "f32", "f64", "bool")


@dataclass(frozen=True)
class Quantity:
    """An expression bound to one input: a value an event, or one for each of its `objects`."""

    bound: Bound
    objects: Aggregate | None = None

    @property
    def text(self) -> str:
        """Canonical."""
        return self.bound.text

    @property
    def unit(self) -> str:
        """The unit of the values, or ""."""
        return self.bound.unit


def bind_quantity(expression: str, scope: Scope) -> Quantity:
    """The expression bound to a scope; CutError for what cannot be meant, SchemaError for what is no number."""
    bound = bind_value(expression, scope, lists=True)
    if bound.node.kind not in NUMBERS:
        raise SchemaError(
            f"{bound.text} is {'text' if bound.node.kind == 'str' else 'a word of bits'}, a number was expected",
            hint="count it with a cut for each value",
        )
    return Quantity(bound, bound.node.value if bound.node.op == "objects" else None)


def unit_factor(quantity: Quantity, unit: str) -> Fraction:
    """What the values are multiplied by to be in `unit`; CutError where they cannot be."""
    if not unit or unit == quantity.unit:
        return Fraction(1)
    target, own = attribute_unit(unit), attribute_unit(quantity.unit)
    if target is None or own is None or not own.same(target):
        has = f"has the unit {quantity.unit}" if quantity.unit else "has no unit"
        raise CutError(f"{quantity.text} {has} and cannot be shown in {unit}", hint="bins without a unit")
    return own.factor(target)


def in_unit(values: npt.NDArray[np.float64], factor: Fraction) -> npt.NDArray[np.float64]:
    """The values in another unit, rounded as the cut language does: divided where the factor is below 1."""
    if factor == 1:
        return values
    return values * float(factor) if factor > 1 else values / float(1 / factor)


def values_of(quantity: Quantity, block: Block, mask: Mask) -> tuple[Values, Mask, Rows]:
    """The values of the events of a mask, or of their objects, flat; which are missing; and the row of each."""
    with naming_the_event(quantity.bound, block):
        return interpret_objects(quantity.bound.node, block, mask)
