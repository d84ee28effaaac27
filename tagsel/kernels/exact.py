"""Exact sums of float64: the same result for any order and any grouping, rounded once, when it is asked for.

A finite double is a whole number of units of 2^-1127; sums of whole numbers are exact and associative. (The idea of
a fixed-point accumulator: U. Kulisch, W. Miranker, The arithmetic of the digital computer, SIAM Review 28, 1986.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_UNIT = 1127  # 2^-1074, the smallest double, with 53 bits below for the mantissa of `frexp`
_LOW = (1 << 26) - 1


@dataclass(frozen=True, slots=True)
class ExactSum:
    """A sum of doubles: `units` of 2^-1127, and `special`, 0.0 or what infinities and NaN add up to.

    >>> (ExactSum.of([1e16, 1.0]) + ExactSum.of(-1e16)).value
    1.0
    """

    units: int = 0
    special: float = 0.0

    @classmethod
    def of(cls, values: npt.ArrayLike) -> ExactSum:
        """The sum of numbers, any shape."""
        numbers = np.atleast_1d(np.asarray(values, np.float64)).ravel()
        finite = np.isfinite(numbers)
        if finite.all():
            return cls(_units(numbers))
        with np.errstate(invalid="ignore"):
            return cls(_units(numbers[finite]), float(numbers[~finite].sum()))

    @classmethod
    def whole(cls, n: int) -> ExactSum:
        """A whole number, exactly.

        >>> ExactSum.whole(3) == ExactSum.of([1.0, 2.0])
        True
        """
        return cls(n << _UNIT)

    def __add__(self, other: ExactSum) -> ExactSum:
        return ExactSum(self.units + other.units, self.special + other.special)

    @property
    def value(self) -> float:
        """The sum, rounded once to the nearest double; infinite where it is beyond float64."""
        if self.special:  # infinities and NaN are true
            return self.special
        try:
            return float(Fraction(self.units, 1 << _UNIT))
        except OverflowError:
            return math.inf if self.units > 0 else -math.inf


def _units(numbers: npt.NDArray[np.float64]) -> int:
    """Finite numbers as one whole number of units: mantissas are summed by exponent, in halves that fit int64."""
    if not len(numbers):
        return 0
    mantissa, exponent = np.frexp(numbers)
    whole = (mantissa * 2.0**53).astype(np.int64)
    order = np.argsort(exponent, kind="stable")
    exponent, whole = exponent[order], whole[order]
    starts = np.flatnonzero(np.r_[True, exponent[1:] != exponent[:-1]])
    high = np.add.reduceat(whole >> 26, starts).tolist()
    low = np.add.reduceat(whole & _LOW, starts).tolist()
    shifts = (exponent[starts] - 53 + _UNIT).tolist()
    return sum(((h << 26) + rest) << s for h, rest, s in zip(high, low, shifts, strict=True))
