"""A number of each event, or of each object of an event, as histograms fill it.

Invariant: values of objects are flat, in list order, beside the number of objects of each event; what is missing is
marked, never invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import CutError, SchemaError
from tagsel.expr import Block, Bound, Scope, bind_value
from tagsel.expr.interpret import interpret_value
from tagsel.expr.units import attribute_unit
from tagsel.schema import Attribute
from tagsel.selection.scan import naming_the_event

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]

NUMBERS = ("int", "f32", "f64", "bool")


@dataclass(frozen=True)
class Quantity:
    """An expression bound to one input: a value an event, or one an object of the collection counted by `counter`."""

    text: str
    unit: str
    bound: Bound | None
    attribute: Attribute | None = None

    @property
    def counter(self) -> str:
        """The column with the number of objects; "" for a value of the event."""
        return self.attribute.counter if self.attribute is not None else ""

    @property
    def collection(self) -> str:
        """The collection of the objects; "" for a value of the event."""
        return self.attribute.collection if self.attribute is not None else ""

    @property
    def key(self) -> str:
        """Equal for what has equal values."""
        return self.bound.fingerprint if self.bound is not None else self.text


def bind_quantity(expression: str, scope: Scope) -> Quantity:
    """The expression bound to a scope; CutError for what cannot be meant, SchemaError for what is no number."""
    attribute = scope.schema.find(expression)
    if attribute is not None and attribute.is_list and attribute.type not in ("string", "bits64"):
        return Quantity(attribute.name, attribute.unit, None, attribute)
    bound = bind_value(expression, scope)
    if bound.node.kind not in NUMBERS:
        raise SchemaError(
            f"{bound.text} is {'text' if bound.node.kind == 'str' else 'a word of bits'}, a number was expected",
            hint="count it with a cut for each value",
        )
    return Quantity(bound.text, bound.unit, bound)


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


def values_of(quantity: Quantity, block: Block, mask: Mask) -> tuple[Values, Mask]:
    """The values, and which of them are missing: of all events of the block, or of all their objects, flat."""
    if quantity.bound is not None:
        with naming_the_event(quantity.bound, block):
            return interpret_value(quantity.bound.node, block, mask)
    assert quantity.attribute is not None
    objects = int(lengths(quantity.counter, block).sum())
    if quantity.attribute.column not in block.columns:
        return np.zeros(objects), np.ones(objects, bool)
    return block.columns[quantity.attribute.column], np.zeros(objects, bool)


def lengths(counter: str, block: Block) -> npt.NDArray[np.int64]:
    """The number of objects of each event, `(rows,) int64`; none where the part has no such column."""
    if counter not in block.columns:
        return np.zeros(block.rows, np.int64)
    return np.maximum(block.columns[counter].astype(np.int64), 0)
