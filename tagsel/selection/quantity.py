"""A number of each event, or of each object of an event, as histograms fill it.

Invariant: values of objects are flat, in list order, beside the row of each; what is missing is marked, never invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.interpreter import interpret_objects
from tagsel.errors import CutError, SchemaError
from tagsel.language import Block, Bound, Scope, bind_value
from tagsel.language.tree import Aggregate
from tagsel.language.units import attribute_unit
from tagsel.selection.scan import naming_the_event

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
