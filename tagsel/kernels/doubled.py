"""Exact sums and products of two floats, numbers of double length, and the few bit operations.

This is the alphabet in which `trigonometric`, `exponential` and `physics` are written. A function there is
one text that runs on NumPy arrays as it stands and is compiled by numba for one number (`jit`): it uses + − ×
÷ √, comparisons, bits, and what this file offers; where a choice is to be made it calls `select` or `branch`,
which `jit` replaces by an if. Each step rounds as IEEE 754 says and none may be fused or reordered, so both
give the same bits on any machine.

Sources: D. E. Knuth, TAOCP 2, 4.2.2 (`two_sum`); T. J. Dekker, Numer. Math. 18 (1971) 224 (splitting,
products, quotients, roots). Invariant: a number of double length (high, low) has |low| ≤ ulp(high) / 2 unless
said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Floats: TypeAlias = Any
"""float64: an array of any shape under NumPy, one number under numba; no type of Python's says so."""
Ints: TypeAlias = Any
"""int64, likewise."""
Bools: TypeAlias = Any
"""bool, likewise."""
Pair: TypeAlias = tuple[Floats, Floats]
"""A number of double length: (high, low)."""

_SPLITTER = 134217729.0  # 2^27 + 1
_ROUNDER = 6755399441055744.0  # 1.5 · 2^52: adding it rounds to an integer, seen in the low bits
_ROUNDER_BITS = int(np.float64(_ROUNDER).view(np.int64))
_BIAS, _FRACTION_BITS = 1023, 52


def select(condition: Bools, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`; both are computed."""
    return np.where(condition, yes, no)


def branch(condition: Bools, rare: Callable[..., Any], common: Callable[..., Any], x: Floats) -> Any:
    """The tuple `rare(x)` where the condition holds, else `common(x)`; `rare` computed only there."""
    result = common(x)
    if not condition.any():
        return result
    exceptions = rare(x[condition])
    for all_values, some_values in zip(result, exceptions, strict=True):
        all_values[condition] = some_values
    return result


def bits_of(x: Floats) -> Ints:
    """The bit patterns of floats."""
    return x.view(np.int64)


def float_of(bits: Ints) -> Floats:
    """The floats that have these bit patterns."""
    return bits.view(np.float64)


def two_sum(a: Any, b: Any) -> Pair:
    """a + b exactly, as (rounded sum, error)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def quick_two_sum(a: Any, b: Any) -> Pair:
    """a + b exactly, for |a| ≥ |b| or a = 0."""
    s = a + b
    return s, b - (s - a)


def two_product(a: Any, b: Any) -> Pair:
    """a × b exactly, as (rounded product, error); |a|, |b| < 2^995, and the product far above 2^-1022."""
    p = a * b
    t = a * _SPLITTER
    a_high = t - (t - a)
    a_low = a - a_high
    t = b * _SPLITTER
    b_high = t - (t - b)
    b_low = b - b_high
    return p, a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)


def add(a: Any, a_low: Any, b: Any, b_low: Any) -> Pair:
    """The sum of two numbers of double length, to about 2^-104 of the larger term."""
    s, e = two_sum(a, b)
    return quick_two_sum(s, e + (a_low + b_low))


def multiply(a: Any, a_low: Any, b: Any, b_low: Any) -> Pair:
    """The product of two numbers of double length, to about 2^-102."""
    p, e = two_product(a, b)
    return quick_two_sum(p, e + (a * b_low + a_low * b))


def divide(a: Any, a_low: Any, b: Any, b_low: Any) -> Pair:
    """The quotient of two numbers of double length, to about 2^-102."""
    q = a / b
    p, e = two_product(q, b)
    return quick_two_sum(q, ((((a - p) - e) + a_low) - q * b_low) / b)


def root(a: Any, a_low: Any) -> Pair:
    """The square root of a number of double length ≥ 0, to about 2^-102; of zero it is zero."""
    s = np.sqrt(a)
    p, e = two_product(s, s)
    return quick_two_sum(s, (((a - p) - e) + a_low) / select(s > 0.0, s + s, 1.0))


def horner(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    """The polynomial Σ coefficients[-1-i] x^i: the coefficient of the highest power comes first."""
    value = x * coefficients[0]
    for c in coefficients[1:-1]:
        value = (value + c) * x
    return value + coefficients[-1]


def halves(x: Floats, even: tuple[float, ...], odd: tuple[float, ...]) -> Floats:
    """The polynomial of x with these coefficients of even and of odd powers, as in `horner`: two sums that a processor
    works out side by side."""
    z = x * x
    return horner(z, even) + x * horner(z, odd)


def nearest(x: Floats) -> tuple[Floats, Ints]:
    """The integer nearest to x (ties to even) as float and as int64, for |x| < 2^51."""
    t = x + _ROUNDER
    return t - _ROUNDER, bits_of(t) - _ROUNDER_BITS


def power_of_two(k: Ints) -> Floats:
    """2^k for -1022 ≤ k ≤ 1023."""
    return float_of((k + _BIAS) << _FRACTION_BITS)


def scale(x: Floats, k: Ints) -> Floats:
    """x · 2^k for |k| ≤ 2044, in two steps so that results below 2^-1022 and above 2^1024 come out right."""
    half = k >> 1
    return x * power_of_two(half) * power_of_two(k - half)
