"""Yields: numbers of events with sums of weights and of squared weights, selected and generated.

Invariant: sums are exact until they are shown, so neither threads, nor row groups, nor parts change them. A sum over
files of which one keeps no record is unknown, never the sum of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import cast

import numpy as np
import numpy.typing as npt

from tagsel.engine.interpreter import interpret_value
from tagsel.engine.scan import naming_the_event
from tagsel.errors import CutError
from tagsel.kernels.exact import ExactSum
from tagsel.language import Block
from tagsel.selection.query import BoundInput
from tagsel.store import Source

Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]
NOTHING = ExactSum()


@dataclass(frozen=True, slots=True)
class Yield:
    """A number of events with the exact sum of their weights and of squared weights.

    >>> Yield.of([0.5, -1.0])
    Yield(n=2, sumw=-0.5, sumw2=1.25)
    """

    n: int = 0
    weights: ExactSum = NOTHING
    squares: ExactSum = NOTHING

    @classmethod
    def of(cls, weights: npt.ArrayLike) -> Yield:
        """Events with these weights; each square is rounded, their sum is not."""
        numbers = np.asarray(weights, np.float64)
        with np.errstate(over="ignore"):
            return cls(len(numbers), ExactSum.of(numbers), ExactSum.of(numbers * numbers))

    @classmethod
    def unweighted(cls, n: int) -> Yield:
        """`n` events of weight 1."""
        return cls(n, ExactSum.whole(n), ExactSum.whole(n))

    @property
    def sumw(self) -> float:
        """Sum of weights."""
        return self.weights.value

    @property
    def sumw2(self) -> float:
        """Sum of squared weights."""
        return self.squares.value

    def __add__(self, other: Yield) -> Yield:
        return Yield(self.n + other.n, self.weights + other.weights, self.squares + other.squares)

    def __repr__(self) -> str:
        return f"Yield(n={self.n}, sumw={self.sumw!r}, sumw2={self.sumw2!r})"

    def to_json(self) -> dict[str, float]:
        """`{n, sumw, sumw2}`."""
        return {"n": self.n, "sumw": self.sumw, "sumw2": self.sumw2}


def weights_of(bound: BoundInput, block: Block, counted: Mask) -> Weights | None:
    """The rows' weights, float64, of the rows that count; CutError when one has none, or it overflows."""
    if bound.weight is None:
        return None
    with naming_the_event(bound.weight, block):
        values, missing = interpret_value(bound.weight.node, block, counted)
    if (missing & counted).any():
        raise CutError(
            f"weight {bound.weight.text} is missing for {int((missing & counted).sum()):,} events",
            cut=bound.weight.text,
            hint="weights must be there for every event that counts",
        )
    return values.astype(np.float64)


def weigh(mask: Mask, weights: Weights | None) -> Yield:
    """The events of a mask; weight 1 where there are no weights."""
    return Yield.unweighted(int(np.count_nonzero(mask))) if weights is None else Yield.of(weights[mask])


def total(yields: Iterable[Yield]) -> Yield:
    """The sum of several."""
    return reduce(add, yields, Yield())


GENERATED = ("genEventCount", "sumw", "sumw2")
"""Numbers of a simulated file: generated events, sum of their weights, sum of the squares."""


def totals(sources: Sequence[Source]) -> dict[str, object]:
    """Files, processed luminosity blocks, and the generator's sums over all files; None where a file has none."""
    sums = generated_sums(sources) or (None, None, None)
    return {
        "files": len(sources),
        "processed_lumi_blocks": _processed_lumi_blocks(sources),
        **dict(zip(GENERATED, sums, strict=True)),
    }


def _processed_lumi_blocks(sources: Sequence[Source]) -> int | None:
    """How many luminosity blocks were processed; None where a file keeps no list of them."""
    if not sources:
        return None
    blocks: set[tuple[int, int]] = set()
    for source in sources:
        processed = source.bookkeeping.get("processed")
        if processed is None:
            return None
        if isinstance(processed, list):
            blocks.update((int(run), int(lumi)) for run, lumi in processed)
    return len(blocks)


def generated_sums(sources: Sequence[Source]) -> tuple[int, float, float] | None:
    """(events, sum of weights, sum of squared weights) over all files; None where a file keeps no record of them."""
    if not sources:
        return None
    sums: list[float] = [0] * len(GENERATED)
    for source in sources:
        for at, key in enumerate(GENERATED):
            value = source.bookkeeping.get(key)
            if value is None:
                return None
            sums[at] += cast(float, value)
    events, sumw, sumw2 = sums
    return int(events), sumw, sumw2
