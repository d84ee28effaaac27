"""The numbers that the elementary functions need, worked out from series in exact integers.

A constant is kept as value · 2^BITS, right but for its last 16 bits, so any number of its leading bits can be
cut off. No digit here is copied from a table, and tests compare the results with mpmath. Invariant: only
Python integers are computed with, and the one rounding to float64 is Python's int / int, which rounds
correctly.
"""

from __future__ import annotations

BITS = 1400
"""Fraction bits kept: enough for 2/π behind the largest float64 exponent."""

ONE = 1 << BITS


def _odd_series(numerator: int, denominator: int, sign: int) -> int:
    """Σ sign^j t^(2j+1) / (2j+1) with t = numerator / denominator: atanh t for sign 1, atan t for sign -1."""
    power = (ONE * numerator) // denominator
    total, j = 0, 0
    while power:
        term = power // (2 * j + 1)
        total += term if sign > 0 or j % 2 == 0 else -term
        power = power * numerator**2 // denominator**2
        j += 1
    return total


def _arctangents(steps: int) -> list[int]:
    """atan(i / steps), i = 0 … steps, from atan a − atan b = atan((a − b) / (1 + a b))."""
    total = [0]
    for i in range(1, steps + 1):
        total.append(total[-1] + _odd_series(steps, steps * steps + i * (i - 1), -1))
    return total


def leading(value: int, widths: tuple[int, ...]) -> tuple[float, ...]:
    """Cut a constant into floats: `widths[i]` significant bits each by truncation, and the rest, rounded.

    The sum of the floats is the constant to about 53 bits beyond the last width.

    >>> leading(PI, (33,))[0].hex()
    '0x1.921fb54400000p+1'
    """
    pieces = []
    for width in widths:
        low = max(0, value.bit_length() - width)
        top = (value >> low) << low
        pieces.append(top / ONE)
        value -= top
    return (*pieces, value / ONE)


PI = 4 * (4 * _odd_series(1, 5, -1) - _odd_series(1, 239, -1))  # Machin 1706
LN2 = 18 * _odd_series(1, 26, 1) - 2 * _odd_series(1, 4801, 1) + 8 * _odd_series(1, 8749, 1)
LN10 = 3 * LN2 + 2 * _odd_series(1, 9, 1)  # 10 = 8 · 5/4, and ln((1 + t) / (1 − t)) = 2 atanh t
ATAN_STEPS = 8
ATANS = _arctangents(ATAN_STEPS)
TWO_OVER_PI = (ONE * ONE * 2) // PI
ONE_OVER_LN10 = (ONE * ONE) // LN10
ONE_OVER_LN2 = (ONE * ONE) // LN2
