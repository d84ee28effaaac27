"""Fills the bins of histograms with the values of accepted events, or of their objects, one row group at a time.

A compiled loop fills columns from where they lie, and numbers that are measured first in the rows that pass. NumPy
fills the rest. Values of objects are flat, in list order, beside the row of each; missing values are marked.

Invariant: both ways give the same bins, sums and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.bitmaps import Words
from tagsel.engine.interpreter import interpret_objects
from tagsel.engine.measure import Measure, Measured
from tagsel.engine.scan import naming_the_event
from tagsel.errors import CutError, SchemaError
from tagsel.kernels import filling, kernel_cache
from tagsel.kernels.layouts import AXIS, FILLING_JOB, Table
from tagsel.kernels.memory import address_of
from tagsel.language import Block, Bound, Scope, bind_value
from tagsel.language.tree import Aggregate
from tagsel.language.units import attribute_unit
from tagsel.selection.binning import Axis, Spec
from tagsel.selection.query import BoundInput
from tagsel.selection.run import Prepared
from tagsel.selection.yields import Weights

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NUMBERS = ("int", "f32", "f64", "bool")
"""Kinds of values that can be filled."""

WIDTHS = {"f4": 4, "f8": 8, "i4": -4, "i8": -8, "b1": -1}
"""NumPy types of columns that the kernel reads, with the code of each in its layout."""

A_VALUE = 2e-8
"""Seconds that the kernel spares for a row, about."""


# -- quantities: what an axis shows


@dataclass(frozen=True)
class Quantity:
    """An expression bound to one input: a value an event, or one for each of its `objects`."""

    bound: Bound
    objects: Aggregate | None = None

    @property
    def text(self) -> str:
        """The canonical text."""
        return self.bound.text

    @property
    def unit(self) -> str:
        """The unit of the values, or ""."""
        return self.bound.unit


def bind_quantity(expression: str, scope: Scope) -> Quantity:
    """The expression bound to a scope.

    Raises
    ------
    CutError
        The expression means nothing in this scope.
    SchemaError
        Its values are not numbers.
    """
    bound = bind_value(expression, scope, lists=True)
    if bound.node.kind not in NUMBERS:
        kind = "text" if bound.node.kind == "str" else "a word of bits"
        raise SchemaError(f"{bound.text} is {kind}, a number was expected", hint="count it with a cut for each value")
    return Quantity(bound, bound.node.value if bound.node.op == "objects" else None)


def unit_factor(quantity: Quantity, unit: str) -> Fraction:
    """The factor that converts the values to `unit`; CutError where they have another dimension."""
    if not unit or unit == quantity.unit:
        return Fraction(1)
    target, own = attribute_unit(unit), attribute_unit(quantity.unit)
    if target is None or own is None or not own.same(target):
        has = f"has the unit {quantity.unit}" if quantity.unit else "has no unit"
        raise CutError(f"{quantity.text} {has} and cannot be shown in {unit}", hint="bins without a unit")
    return own.factor(target)


def in_unit(values: Floats, factor: Fraction) -> Floats:
    """The values in another unit, rounded as the cut language does: divided where the factor is below 1."""
    if factor == 1:
        return values
    return values * float(factor) if factor > 1 else values / float(1 / factor)


def values_of(quantity: Quantity, block: Block, mask: Mask) -> tuple[Array, Mask, Ints]:
    """The values of the events of a mask, or of their objects, flat; which are missing; and the row of each."""
    with naming_the_event(quantity.bound, block):
        return interpret_objects(quantity.bound.node, block, mask)


# -- a histogram bound to an input, and its sums


@dataclass(frozen=True)
class Fill:
    """A histogram bound to one input: a quantity and a factor to its unit for each axis."""

    spec: Spec
    quantities: tuple[Quantity, ...]
    factors: tuple[Fraction, ...]

    @cached_property
    def measures(self) -> tuple[Measure | None, ...]:
        """The quantities as machine code; None for those that do not fit."""
        return tuple(Measure.of(quantity.bound.node) for quantity in self.quantities)

    @property
    def of_objects(self) -> bool:
        """Whether each object of an event is an entry."""
        return any(quantity.objects for quantity in self.quantities)


def bind_fill(spec: Spec, source: BoundInput) -> Fill:
    """A histogram bound to an input; CutError where its axes show objects of different collections."""
    quantities = tuple(bind_quantity(axis.expression, source.scope) for axis in spec.axes)
    of_objects = [quantity for quantity in quantities if quantity.objects]
    if len({quantity.objects for quantity in of_objects}) > 1:
        names = ", ".join(quantity.text for quantity in of_objects)
        raise CutError(
            f"{names} are of different objects: there is no one value of each for an entry",
            hint="one collection a histogram, or a value of the event: max(…), Muon.pt[0]",
        )
    factors = []
    for quantity, axis in zip(quantities, spec.axes, strict=True):
        factors.append(unit_factor(quantity, axis.unit))
    return Fill(spec, quantities, tuple(factors))


@dataclass(frozen=True)
class Sums:
    """Flat sums of one histogram, and how many entries were missing, NaN, filled, and filled between the edges.

    `squares` is None where every weight is 1.
    """

    sums: Array
    squares: Array | None
    entries: Ints

    @classmethod
    def empty(cls, spec: Spec, weighted: bool) -> Sums:
        """The sums of no entries."""
        size = prod(spec.shape)
        if weighted:
            return cls(np.zeros(size), np.zeros(size), np.zeros(4, np.int64))
        return cls(np.zeros(size, np.int64), None, np.zeros(4, np.int64))

    def __add__(self, other: Sums) -> Sums:
        squares = None if self.squares is None or other.squares is None else self.squares + other.squares
        return Sums(self.sums + other.sums, squares, self.entries + other.entries)


def loops_at_hand(prepared: Prepared) -> Callable[..., bool]:
    """Whether kernels are at hand, or worth compiling for the rows of a query."""
    if prepared.query.tier == "kernel":
        return lambda *sources: True
    return partial(kernel_cache.at_hand, spares=prepared.read * A_VALUE)


# -- filling


@dataclass(frozen=True, eq=False)
class Filler:
    """Fills histograms with the rows of a mask in one row group; a value that several show is evaluated once.

    `bits` is the mask as words, None where compiled loops cannot fill.
    """

    block: Block
    mask: Mask
    bits: Words | None
    weights: Weights | None
    at_hand: Callable[..., bool]
    _measured: dict[str, Measured | None] = field(default_factory=dict)
    _values: dict[str, tuple[Array, Mask, Ints]] = field(default_factory=dict)

    def sums(self, fill: Fill) -> Sums:
        """The sums of one histogram: by the compiled loop where its columns allow, else by NumPy."""
        if self.bits is not None:
            columns = self._columns_of_objects(fill) if fill.of_objects else self._columns_of_events(fill, self.bits)
            if columns is not None:
                return self._filled_by_kernel(fill, columns, self.bits)
        return self._filled_by_numpy(fill)

    def _columns_of_events(self, fill: Fill, bits: Words) -> _Columns | None:
        """Columns of events, as they are or measured; None where NumPy must fill."""
        columns, there = [], bits
        for quantity, measure in zip(fill.quantities, fill.measures, strict=True):
            column = _stored_column(quantity, self.block)
            if column is None:
                measured = self._measure(quantity, measure)
                if measured is None:
                    return None
                column = measured.values
                there = there & measured.there
            columns.append(column)
        return _Columns(columns, there)

    def _columns_of_objects(self, fill: Fill) -> _Columns | None:
        """Columns of the objects of one list; None where an axis shows something else, or NumPy must fill."""
        counter = _counter(fill.quantities, self.block)
        if counter is None or self.bits is None:
            return None
        objects = int(np.maximum(counter, 0).sum(dtype=np.int64))
        columns, gone = [], None
        for quantity, measure in zip(fill.quantities, fill.measures, strict=True):
            column = _stored_column(quantity, self.block)
            if column is None:
                measured = self._measure(quantity, measure)
                if measured is None:
                    return None
                column = measured.values
                if measured.gone is not None:
                    gone = measured.gone if gone is None else gone | measured.gone
            if column.size < objects:  # NumPy's way raises the error
                return None
            columns.append(column)
        return _Columns(columns, self.bits, counter, gone)

    def _measure(self, quantity: Quantity, measure: Measure | None) -> Measured | None:
        """A quantity by machine code, once for all histograms; None where it does not fit."""
        name = quantity.bound.fingerprint
        if name not in self._measured:
            assert self.bits is not None
            self._measured[name] = measure(self.block, self.bits, self.at_hand) if measure else None
        return self._measured[name]

    def _filled_by_kernel(self, fill: Fill, columns: _Columns, bits: Words) -> Sums:
        """The sums by the compiled loop."""
        spec, weights = fill.spec, self.weights
        sums = Sums.empty(spec, weights is not None)
        axes = [_axis(*of_axis) for of_axis in zip(spec.axes, columns.columns, fill.factors, strict=True)]
        table = np.concatenate([record for record, _ in axes])
        entries = np.zeros(filling.ENTRIES, np.int64)
        weight = None if weights is None else np.ascontiguousarray(weights, np.float64)
        there, counter = columns.there, columns.counter
        job = FILLING_JOB.filled(
            bits=address_of(there),
            axes=address_of(table),
            axis_count=len(axes),
            weights=_address_or_none(weight),
            sums=address_of(sums.sums),
            squares=_address_or_none(sums.squares),
            entries=address_of(entries),
            counter=_address_or_none(counter),
            counter_width=0 if counter is None else counter.itemsize,
            rows=self.block.rows,
            gone=_address_or_none(columns.gone),
        )
        kernel_cache.function(filling.fill_bins)(address_of(job), 0, 0, len(there))
        *filled, missing = entries.tolist()
        if there is not bits:
            missing += int(np.bitwise_count(bits & ~there).sum())
        return Sums(sums.sums, sums.squares, np.array([missing, *filled], np.int64))

    def _filled_by_numpy(self, fill: Fill) -> Sums:
        """The sums by NumPy, from the interpreter's values."""
        numbers, rows, missing = self._entries(fill)
        is_number = np.logical_and.reduce([values == values for values in numbers])
        nan = len(is_number) - int(np.count_nonzero(is_number))
        if nan:
            numbers, rows = [values[is_number] for values in numbers], rows[is_number]
        bins, inside = [], np.ones(len(rows), np.bool_)
        for values, axis in zip(numbers, fill.spec.axes, strict=True):
            of_axis = locate(values, axis)
            inside &= (of_axis >= 1) & (of_axis <= axis.bins)
            bins.append(of_axis)
        shape = fill.spec.shape
        flat, size = np.ravel_multi_index(tuple(bins), shape), prod(shape)
        entries = np.array([missing, nan, len(rows), np.count_nonzero(inside)], np.int64)
        if self.weights is None:
            return Sums(np.bincount(flat, minlength=size), None, entries)
        weight = self.weights[rows]
        return Sums(np.bincount(flat, weight, size), np.bincount(flat, weight * weight, size), entries)

    def _entries(self, fill: Fill) -> tuple[list[Floats], Ints, int]:
        """The values of the entries on every axis, the row of each entry, and how many entries lack a value."""
        evaluated = [self._evaluate(quantity) for quantity in fill.quantities]
        rows = np.flatnonzero(self.mask)
        for quantity, (_, _, rows_of_objects) in zip(fill.quantities, evaluated, strict=True):
            if quantity.objects:
                rows = rows_of_objects
                break
        place = np.cumsum(self.mask) - 1  # of a row among those of the mask
        gone, columns = np.zeros(len(rows), bool), []
        for quantity, (values, missing, _) in zip(fill.quantities, evaluated, strict=True):
            if fill.of_objects and not quantity.objects:  # a value of the event, for each of its objects
                values, missing = values[place[rows]], missing[place[rows]]
            gone |= missing
            columns.append(values)
        numbers = []
        for values, factor in zip(columns, fill.factors, strict=True):
            numbers.append(in_unit(values[~gone].astype(np.float64), factor))
        return numbers, rows[~gone], int(np.count_nonzero(gone))

    def _evaluate(self, quantity: Quantity) -> tuple[Array, Mask, Ints]:
        """`values_of` a quantity, once for all histograms."""
        name = quantity.bound.fingerprint
        if name not in self._values:
            self._values[name] = values_of(quantity, self.block, self.mask)
        return self._values[name]


def locate(values: Floats, axis: Axis) -> Ints:
    """The bin of each value, none NaN: 0 below the edges, 1 … bins, bins + 1 at or above the last edge.

    Bins of equal width are guessed by arithmetic, and put right by their edges where rounding missed by one.
    """
    edges, a_unit = np.array(axis.edges), axis.bins_a_unit
    if not a_unit:
        return np.searchsorted(edges, values, side="right").astype(np.int64)
    low, bins = edges[0], axis.bins
    with np.errstate(over="ignore", invalid="ignore"):
        guess = np.clip((values - low) * a_unit, -1, bins)
    bin_numbers = np.floor(guess).astype(np.int64) + 1
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    bin_numbers -= values < bounds[bin_numbers]
    bin_numbers += (values >= bounds[bin_numbers + 1]) & (bin_numbers <= bins)
    return np.asarray(bin_numbers)


# -- columns that the kernel reads


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of all axes; `there`: the rows that lack no value, as bits.

    Of objects, `counter` has their number in each row, and `gone` marks those that lack a value (None: none).
    """

    columns: Sequence[Array]
    there: Words
    counter: Array | None = None
    gone: Array | None = None


def _stored_column(quantity: Quantity, block: Block) -> Array | None:
    """The column that a quantity is, where the row group has it and the kernel reads its type; else None."""
    node, op = quantity.bound.node, "column"
    if quantity.objects is not None:
        node, op = node.args[0], "member"
    if node.op != op or not isinstance(node.value, str) or node.value not in block.columns:
        return None
    column = block.columns[node.value]
    return np.ascontiguousarray(column) if column.dtype.str[1:] in WIDTHS else None


def _counter(quantities: Sequence[Quantity], block: Block) -> Array | None:
    """The counter of the objects whose values all axes are; None where an axis shows something else."""
    names = set()
    for quantity in quantities:
        if quantity.objects is None or quantity.objects.slots:
            return None
        names.add(quantity.objects.counter)
    name = names.pop()
    if names or name is None or name not in block.columns:
        return None
    counter = block.columns[name]
    return np.ascontiguousarray(counter) if counter.dtype.str[1:] in ("i4", "i8") else None


def _address_or_none(array: Array | None) -> int:
    """Where an array begins; 0 where there is none."""
    return 0 if array is None else address_of(array)


def _axis(axis: Axis, column: Array, factor: Fraction) -> tuple[Table, object]:
    """The kernel's record of an axis, and the arrays that it points to."""
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
