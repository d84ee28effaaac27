"""Events with weights: numbers of events, sums of weights and of squared weights.

Invariant: a sum over a row group, and over row groups, is rounded once, so that their order does not show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.errors import CutError
from tagsel.expr import Block
from tagsel.expr.interpret import interpret_value
from tagsel.selection.query import BoundInput

Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Yield:
    """A number of events with the sum of their weights and of squared weights."""

    n: int = 0
    sumw: float = 0.0
    sumw2: float = 0.0

    def __add__(self, other: Yield) -> Yield:
        return Yield(self.n + other.n, self.sumw + other.sumw, self.sumw2 + other.sumw2)

    def to_json(self) -> dict[str, float]:
        """`{n, sumw, sumw2}`."""
        return {"n": self.n, "sumw": self.sumw, "sumw2": self.sumw2}


def weights_of(bound: BoundInput, block: Block, counted: Mask) -> Weights | None:
    """The rows' weights, float64; CutError when a row that counts has none."""
    if bound.weight is None:
        return None
    values, missing = interpret_value(bound.weight.node, block)
    if missing is not None and (missing & counted).any():
        raise CutError(
            f"weight {bound.weight.text} is missing for {int((missing & counted).sum()):,} events",
            cut=bound.weight.text,
            hint="weights must be there for every event that counts",
        )
    return values.astype(np.float64)


def weigh(mask: Mask, weights: Weights | None) -> Yield:
    """The events of a mask; weight 1 where there are no weights."""
    n = int(np.count_nonzero(mask))
    if weights is None:
        return Yield(n, float(n), float(n))
    passing = weights[mask]
    return Yield(n, math.fsum(passing), math.fsum(passing * passing))


def total(yields: Iterable[Yield]) -> Yield:
    """Sums over row groups; exactly rounded, so that their number and order do not show."""
    found = list(yields)
    return Yield(sum(y.n for y in found), math.fsum(y.sumw for y in found), math.fsum(y.sumw2 for y in found))
