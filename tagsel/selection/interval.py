"""Intervals for a fraction that was seen in a sample of blocks of rows.

Invariant: they are never narrower than those of independent rows, and widen by how differently blocks answer.

Clopper–Pearson limits of an effective sample, as survey statistics have them for clustered samples: E. L. Korn, B. I.
Graubard, Confidence intervals for proportions with small expected number of positive counts estimated from survey data,
Survey Methodology 24 (1998) 193.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isinf, lgamma, log, log1p

CONFIDENCE = 0.95


def interval(fraction: float, variance: float, rows: int, blocks: int, freedom: float) -> tuple[float, float]:
    """The 95 % limits of a fraction seen in `rows` rows of `blocks` blocks, with its variance and degrees of freedom.

    Where no row, or every row, passed, blocks do not say how alike their rows are: each counts as one observation.
    """
    tail = (1 - CONFIDENCE) / 2
    size = float(blocks)
    if 0 < fraction < 1:
        size = float(rows)
        if variance > 0:
            widening = (student(1 - tail, rows - 1) / student(1 - tail, max(1.0, freedom))) ** 2
            size = min(size, fraction * (1 - fraction) / variance * widening)
    passed = fraction * size
    low = beta_quantile(tail, passed, size - passed + 1) if fraction > 0 else 0.0
    high = beta_quantile(1 - tail, passed + 1, size - passed) if fraction < 1 else 1.0
    return low, high


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x in [0, 1] at which a beta distribution has reached a probability; `a`, `b` positive."""
    return _bisect(lambda x: beta_integral(a, b, x), probability, 0.0, 1.0)


def student(probability: float, freedom: float) -> float:
    """The quantile of Student's t above 0 (probability above 1/2), by the beta integral.

    >>> round(student(0.975, 10), 4)
    2.2281
    """
    inside = 2 * probability - 1
    x = _bisect(lambda y: beta_integral(0.5, freedom / 2, y), inside, 0.0, 1.0)
    return float((freedom * x / (1 - x)) ** 0.5) if x < 1 else 1e300


def beta_integral(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    >>> round(beta_integral(1, 3, 0.5), 12)  # 1 - 0.5^3
    0.875
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_integral(b, a, 1 - x)
    front = lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)
    return exp(front) / a * _continued(a, b, x)


def _continued(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 5000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d, tiny)
            c = _not_zero(1 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def _not_zero(x: float, tiny: float) -> float:
    return x if abs(x) > tiny and not isinf(x) else tiny


def _bisect(rising: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a rising function reaches a level, to 2^-45."""
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return (low + high) / 2
