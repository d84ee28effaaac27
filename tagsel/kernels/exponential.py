"""exp, log, powers and the hyperbolic functions, in steps that NumPy and numba share (see `doubled`).

x = k ln 2 + r and x = 2^k (1 + f) reduce the arguments; Taylor series do the rest: e^r − 1 for |r| ≤ ln(2)/2,
and log(1 + f) = 2 atanh(s), s = f/(2 + f), |s| ≤ 0.172. Where an error would grow (pow, log10, differences of
exponentials) numbers of double length carry it. Invariant: |error| ≤ 2 ulp, special cases as in C99 annex F.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from tagsel.kernels import constants
from tagsel.kernels.doubled import (
    Bools,
    Floats,
    Ints,
    Pair,
    add,
    bits_of,
    branch,
    divide,
    float_of,
    halves,
    horner,
    multiply,
    nearest,
    power_of_two,
    quick_two_sum,
    root,
    scale,
    select,
    two_product,
    two_sum,
)

_LN2, _LN2_LOW = constants.leading(constants.LN2, (38,))  # k · 38 bits is exact for |k| < 2^15
_ONE_OVER_LN2 = constants.ONE_OVER_LN2 / constants.ONE
_ONE_OVER_LN10, _ONE_OVER_LN10_LOW = constants.leading(constants.ONE_OVER_LN10, (53,))
_BITS, _BITS_LOW = constants.leading(constants.ONE_OVER_LN2, (53,))
_EXP_EVEN = tuple(1 / factorial(n) for n in range(14, 1, -2))
_EXP_ODD = tuple(1 / factorial(n) for n in range(13, 1, -2))
_SINH = tuple(1 / factorial(n) for n in range(21, 1, -2))
_LOG = tuple(2 / (2 * n + 1) for n in range(10, 0, -1))
_LOG_TAIL = tuple(2 / (2 * n + 1) for n in range(11, 2, -1))
_THIRD, _THIRD_LOW = constants.leading(2 * constants.ONE // 3, (53,))
_FIFTH, _FIFTH_LOW = constants.leading(2 * constants.ONE // 5, (53,))
_ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
_SMALLEST_NORMAL = 2.0**-1022
_ENDLESS = 800.0  # exp of it overflows, exp of its negative vanishes


def _exp_core(x: Floats, x_low: Any) -> tuple[Ints, Floats, Floats]:
    """k and e^r − 1 in double length (to about 2^-57), where x = k ln 2 + r; NaN if x is."""
    x = select(x > _ENDLESS, _ENDLESS, select(x < -_ENDLESS, -_ENDLESS, x))
    f, k = nearest(x * _ONE_OVER_LN2)
    k = select(x == x, k, 0)
    r, c = two_sum(x - f * _LN2, x_low - f * _LN2_LOW)
    e, e_low = quick_two_sum(r, r * r * halves(r, _EXP_EVEN, _EXP_ODD) + (c + c * r))
    return k, e, e_low


def exp(x: Floats) -> Floats:
    """e to the x."""
    k, e, e_low = _exp_core(x, 0.0)
    one, low = quick_two_sum(1.0, e)
    return scale(one + (low + e_low), k)


def _expm1_core(x: Floats) -> Pair:
    """e^x − 1 in double length, for |x| ≤ 700."""
    k, e, e_low = _exp_core(x, 0.0)
    t = power_of_two(k)
    high, low = two_sum(t, -1.0)
    high, more = two_sum(high, t * e)
    return quick_two_sum(high, (low + more) + t * e_low)


def expm1(x: Floats) -> Floats:
    """e to the x, minus one, exact near zero too."""
    high, _ = _expm1_core(select(np.abs(x) < 60.0, x, 0.0))
    far = select(x < 0.0, -1.0, exp(x))
    return select(np.abs(x) < 60.0, select(np.abs(x) < 2.0**-54, x, high), far)


def _split(x: Floats) -> tuple[Floats, Floats]:
    """(k, m) with x = 2^k m and √½ ≤ m < √2, for 0 < x < inf."""
    small = x < _SMALLEST_NORMAL
    bits = bits_of(select(small, x * 2.0**54, x))
    k = (bits - _ROOT_HALF_BITS) >> 52
    return np.float64(k) - select(small, 54.0, 0.0), float_of(bits - (k << 52))


def _log_core(k: Floats, f: Floats, c: Any) -> Floats:
    """k ln 2 + log(1 + f) + c, for 1 + f between √½ and √2 and a small c."""
    s = f / (2.0 + f)
    z = s * s
    half = 0.5 * f * f
    return k * _LN2 - ((half - (s * (half + z * horner(z, _LOG)) + (k * _LN2_LOW + c))) - f)


def _log_special(x: Floats, value: Floats) -> Floats:
    """`value`, but the logarithm of zero, infinity, NaN and negative numbers."""
    special = select(x == 0.0, -np.inf, select(x < 0.0, np.nan, x))
    return select((x > 0.0) & (x < np.inf), value, special)


def log(x: Floats) -> Floats:
    """Natural logarithm; -inf of zero, NaN of negative numbers."""
    k, m = _split(select((x > 0.0) & (x < np.inf), x, 1.0))
    return _log_special(x, _log_core(k, m - 1.0, 0.0))


def _log1p_core(a: Floats, a_low: Any) -> Floats:
    """log(1 + a), for a number of double length -1 < a < 2^60."""
    u, u_low = two_sum(1.0, a)
    k, m = _split(u)
    f, low = two_sum(m - 1.0, scale(u_low + a_low, -nearest(k)[1]))
    return _log_core(k, f, low / (1.0 + f))


def log1p(x: Floats) -> Floats:
    """log(1 + x), exact near zero too."""
    inside = (x > -1.0) & (x < 2.0**60)
    near = _log1p_core(select(inside, x, 0.0), 0.0)
    return select(inside, select(np.abs(x) < 2.0**-54, x, near), log(1.0 + x))


def _log_long(x: Floats) -> Pair:
    """log(x) in double length (to about 2^-68), for 0 < x < inf."""
    k, m = _split(x)
    f = m - 1.0
    d, d_low = two_sum(2.0, f)
    s, s_low = divide(f, 0.0, d, d_low)
    z, z_low = multiply(s, s_low, s, s_low)
    t, t_low = add(_FIFTH, _FIFTH_LOW, z * horner(z, _LOG_TAIL), 0.0)
    t, t_low = multiply(z, z_low, t, t_low)
    t, t_low = add(_THIRD, _THIRD_LOW, t, t_low)
    t, t_low = multiply(z, z_low, t, t_low)
    t, t_low = add(2.0, 0.0, t, t_low)
    t, t_low = multiply(s, s_low, t, t_low)
    high, low = two_sum(k * _LN2, k * _LN2_LOW)
    return add(high, low, t, t_low)


def log10(x: Floats) -> Floats:
    """Decimal logarithm; -inf of zero, NaN of negative numbers."""
    high, low = _log_long(select((x > 0.0) & (x < np.inf), x, 1.0))
    return _log_special(x, multiply(high, low, _ONE_OVER_LN10, _ONE_OVER_LN10_LOW)[0])


def log2(x: Floats) -> Floats:
    """Logarithm to base 2; -inf of zero, NaN of negative numbers."""
    high, low = _log_long(select((x > 0.0) & (x < np.inf), x, 1.0))
    return _log_special(x, multiply(high, low, _BITS, _BITS_LOW)[0])


def _odd(y: Floats) -> Bools:
    """Whether y is an odd integer."""
    half = 0.5 * y
    return (np.abs(y) < 2.0**53) & (np.floor(y) == y) & (np.floor(half) != half)


def pow(x: Floats, y: Floats) -> Floats:  # noqa: A001
    """x to the y; NaN for x < 0 unless y is an integer; anything to the 0 and 1 to anything are 1."""
    ax = np.abs(x)
    ordinary = (ax > 0.0) & (ax < np.inf)
    e = select(y > 2.0**70, 2.0**70, select(y < -(2.0**70), -(2.0**70), y))
    high, low = _log_long(select(ordinary, ax, 1.0))
    p, p_low = multiply(e, 0.0, high, low)
    k, one, one_low = _exp_core(p, select(np.abs(p) < _ENDLESS, p_low, 0.0))
    one, low = quick_two_sum(1.0, one)
    value = scale(one + (low + one_low), k)
    value = select(ordinary, value, select((ax == 0.0) == (y > 0.0), 0.0, np.inf))
    negative = np.copysign(1.0, x) < 0.0
    value = select(negative & _odd(y), -value, value)
    value = select((x < 0.0) & ordinary & (np.floor(y) != y), np.nan, value)
    value = select((x == x) & (y == y), value, np.nan)
    return select((x == 1.0) | (y == 0.0), 1.0, value)


def hypot(x: Floats, y: Floats) -> Floats:
    """√(x² + y²) without overflow or underflow on the way; inf if either is infinite, even beside NaN."""
    ax, ay = np.abs(x), np.abs(y)
    larger = select(ax > ay, ax, ay)
    huge, tiny = larger > 2.0**500, larger < 2.0**-400
    down = select(huge, 2.0**-600, select(tiny, 2.0**600, 1.0))
    up = select(huge, 2.0**600, select(tiny, 2.0**-600, 1.0))
    x2, x2_low = two_product(ax * down, ax * down)
    y2, y2_low = two_product(ay * down, ay * down)
    value = root(*add(x2, x2_low, y2, y2_low))[0] * up
    return select((ax == np.inf) | (ay == np.inf), np.inf, value)


def _halved_exp(x: Floats) -> Floats:
    """e^x / 2, without overflow on the way, for x > 0."""
    k, e, e_low = _exp_core(x, 0.0)
    one, low = quick_two_sum(1.0, e)
    return scale(one + (low + e_low), k - 1)


def _sinh_cosh(ax: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """2 sinh and 2 cosh of 0 ≤ ax ≤ 60, both in double length."""
    m, m_low = _expm1_core(ax)
    e, e_low = add(m, m_low, 1.0, 0.0)
    q, q_low = divide(m, m_low, e, e_low)  # 1 − e^-x
    s, s_low = add(m, m_low, q, q_low)
    c, c_low = add(e, e_low, 1.0, 0.0)
    c, c_low = add(c, c_low, -q, -q_low)
    return s, s_low, c, c_low


def _sinh_small(ax: Floats) -> tuple[Floats]:
    """sinh of 0 ≤ ax ≤ 1, by its series."""
    z = ax * ax
    return (ax + ax * (z * horner(z, _SINH)),)


def _sinh_large(ax: Floats) -> tuple[Floats]:
    """sinh of ax > 1: the difference takes away less than half of what it is taken from."""
    half = _halved_exp(ax)
    return (half - 0.25 / half,)


def sinh(x: Floats) -> Floats:
    """Hyperbolic sine."""
    (value,) = branch(np.abs(x) <= 1.0, _sinh_small, _sinh_large, np.abs(x))
    return np.copysign(value, x)


def cosh(x: Floats) -> Floats:
    """Hyperbolic cosine."""
    half = _halved_exp(np.abs(x))
    return half + 0.25 / half


def tanh(x: Floats) -> Floats:
    """Hyperbolic tangent."""
    ax = np.abs(x)
    s, s_low, c, c_low = _sinh_cosh(select(ax < 40.0, ax, 0.0))
    value = select(ax < 40.0, divide(s, s_low, c, c_low)[0], 1.0)
    value = select(x == x, value, x)
    return select(ax < 2.0**-30, x, np.copysign(value, x))


def asinh(x: Floats) -> Floats:
    """Inverse hyperbolic sine."""
    ax = np.abs(x)
    t = select(ax < 2.0**30, ax, 0.0)
    p, e = two_product(t, t)
    w, w_low = root(*add(1.0, 0.0, p, e))
    w, w_low = add(w, w_low, 1.0, 0.0)
    q, q_low = divide(p, e, w, w_low)  # √(1 + x²) − 1
    near = _log1p_core(*add(t, 0.0, q, q_low))
    value = select(ax < 2.0**30, near, _log_twice(ax))
    return select(ax < 2.0**-30, x, np.copysign(value, x))


def _log_twice(x: Floats) -> Floats:
    """log(2 x) without overflow on the way; inf of inf, NaN of NaN."""
    k, m = _split(select((x > 0.0) & (x < np.inf), x, 1.0))
    return _log_special(x, _log_core(k + 1.0, m - 1.0, 0.0))


def acosh(x: Floats) -> Floats:
    """Inverse hyperbolic cosine; NaN for x < 1."""
    near = x < 2.0**30
    t, t_low = two_sum(select(near & (x >= 1.0), x, 1.0), -1.0)
    d, d_low = add(t, t_low, 2.0, 0.0)
    w, w_low = root(*multiply(t, t_low, d, d_low))
    value = select(near, _log1p_core(*add(t, t_low, w, w_low)), _log_twice(x))
    return select(x >= 1.0, value, np.nan)


def atanh(x: Floats) -> Floats:
    """Inverse hyperbolic tangent; ±inf at ±1, NaN beyond."""
    ax = np.abs(x)
    t = select(ax < 1.0, ax, 0.0)
    d, d_low = two_sum(1.0, -t)
    value = 0.5 * _log1p_core(*divide(t + t, 0.0, d, d_low))
    value = select(ax < 1.0, value, select(ax == 1.0, np.inf, np.nan))
    return select(ax < 2.0**-30, x, np.copysign(value, x))
