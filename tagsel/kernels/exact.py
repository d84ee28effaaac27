"""Exact sums of float64: the same result for any order and any grouping, rounded once, when it is asked for.

A finite double is a whole number of units of 2^-1127; sums of whole numbers are exact and associative. (The idea of
a fixed-point accumulator: U. Kulisch, W. Miranker, The arithmetic of the digital computer, SIAM Review 28, 1986.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

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
            return cls(_units(numbers)[0])
        with np.errstate(invalid="ignore"):
            return cls(_units(numbers[finite])[0], float(numbers[~finite].sum()))

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


def of_mantissas(table: npt.NDArray[np.int64], first: int) -> ExactSum:
    """The sum of normal doubles whose mantissas were added up by exponent: (n, 2) int64, in units of 2^26 and of 1,
    the exponents (biased, as a double has them) being `first` and on.

    >>> one = np.array([[1 << 26, 0]])  # the mantissa of 1.0 is 2^52
    >>> of_mantissas(one, 1023).value
    1.0
    """
    there = np.flatnonzero(table.any(axis=1))
    parts = zip(there.tolist(), table[there].tolist(), strict=True)
    return ExactSum(sum(((high << 26) + low) << shift for shift, (high, low) in parts) << (first - 1075 + _UNIT))


def sums(numbers: npt.NDArray[np.float64], groups: npt.NDArray[Any], count: int) -> list[ExactSum]:
    """The sum of the numbers of each group: (n,) float64, (n,) int64 in 0 … count - 1.

    >>> [s.value for s in sums(np.array([1e16, 1.0, 2.0]), np.array([0, 0, 1]), 2)]
    [1e+16, 2.0]
    >>> sums(np.array([1e16, 1.0, -1e16]), np.zeros(3, np.int64), 1)[0].value
    1.0
    """
    finite = np.isfinite(numbers)
    if not finite.all():
        return [ExactSum.of(numbers[groups == k]) for k in range(count)]
    return [ExactSum(units) for units in _units(numbers, groups, count)]


_AT_ONCE, _MOST = 1 << 14, 1 << 24
"""Numbers looked at together, which stay in the cache; and those whose halves of mantissas sum up to less than 2^53."""


def _units(numbers: npt.NDArray[np.float64], groups: npt.NDArray[Any] | None = None, count: int = 1) -> list[int]:
    """Finite numbers as whole numbers of units, by group: mantissas are summed by exponent, in exact halves."""
    sums = [0] * count
    for start in range(0, len(numbers), _MOST):
        bits = np.ascontiguousarray(numbers[start : start + _MOST]).view(np.int64)
        mine = None if groups is None else groups[start : start + _MOST]
        for group, units in _by_exponent(bits, mine, count):
            sums[group] += units
    return sums


def _by_exponent(bits: npt.NDArray[np.int64], groups: npt.NDArray[Any] | None, count: int) -> Iterator[tuple[int, int]]:
    """(group, units) of the numbers with these bits, one for each group and exponent."""
    size = np.abs(bits.view(np.float64))
    least, most = (max(int(end.view(np.int64)) >> 52, 1) for end in (size.min(), size.max()))
    width = most - least + 1
    high, low = np.zeros(count * width), np.zeros(count * width)
    for start in range(0, len(bits), _AT_ONCE):
        part = bits[start : start + _AT_ONCE]
        exponent = (part >> 52) & 0x7FF
        mantissa = (part & ((1 << 52) - 1)) | ((exponent > 0).astype(np.int64) << 52)
        signed = np.where(part < 0, -mantissa, mantissa)
        key = np.maximum(exponent, 1) - least  # of subnormal numbers, too, the unit is 2^-1074
        if groups is not None:
            key += groups[start : start + _AT_ONCE].astype(np.int64) * width
        high += np.bincount(key, signed >> 26, count * width)
        low += np.bincount(key, signed & _LOW, count * width)
    for at in np.flatnonzero((high != 0) | (low != 0)).tolist():
        group, shift = divmod(at, width)
        yield group, ((int(high[at]) << 26) + int(low[at])) << (shift + least - 1075 + _UNIT)
