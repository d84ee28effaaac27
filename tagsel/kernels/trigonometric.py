"""sin, cos, tan and their inverses, in steps that NumPy and numba share (see `doubled`).

Angles are reduced to |r| ≤ π/4 in double length: below 2^20 by subtracting n · π/2 in four pieces (Cody and
Waite), above it by multiplying with just the bits of 2/π that matter (M. Payne and R. Hanek, SIGNUM 18 (1983)
19), so that every float64 is reduced correctly. The rest are Taylor series. Inverses come from one core:
atan(a/b) around the nearest i/8. Invariant: |error| ≤ 2 ulp, special cases as in C99 annex F.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from tagsel.kernels import constants
from tagsel.kernels.doubled import (
    Floats,
    Ints,
    Pair,
    add,
    bits_of,
    branch,
    divide,
    horner,
    multiply,
    nearest,
    quick_two_sum,
    root,
    scale,
    select,
    two_product,
    two_sum,
)

_FAR = 1048576.0  # 2^20: n < 2^20 times 33 bits is exact
_TWO_OVER_PI = constants.TWO_OVER_PI / constants.ONE
_P1, _P2, _P3, _P4 = constants.leading(constants.PI // 2, (33, 33, 33))
_HALF_PI, _HALF_PI_LOW = constants.leading(constants.PI // 2, (53,))
_PI, _PI_LOW = constants.leading(constants.PI, (53,))
_SIN = tuple((-1) ** n / factorial(2 * n + 1) for n in range(8, 0, -1))
_COS = tuple((-1) ** n / factorial(2 * n) for n in range(8, 1, -1))
_ATAN = tuple((-1) ** n / (2 * n + 1) for n in range(6, 0, -1))
_ATAN_HIGH = np.array([constants.leading(a, (53,))[0] for a in constants.ATANS])
_ATAN_LOW = np.array([constants.leading(a, (53,))[1] for a in constants.ATANS])
_STEPS = float(constants.ATAN_STEPS)

_LIMB, _MASK, _PAD = 28, (1 << 28) - 1, 84
_LIMBS = np.array(
    [
        (constants.TWO_OVER_PI >> (constants.BITS + _PAD - _LIMB * (i + 1))) & _MASK
        for i in range((constants.BITS + _PAD) // _LIMB)
    ],
    np.int64,
)
"""2/π from the bit 2^(_PAD - 1) downwards, 28 bits each."""


def _limb(start: Ints, shift: Ints, i: int) -> Ints:
    """The i-th 28 bits of 2/π counted from bit 28 · start + shift of the table."""
    return ((_LIMBS[start + i] << shift) | (_LIMBS[start + (i + 1)] >> (_LIMB - shift))) & _MASK


def _far(x: Floats) -> tuple[Ints, Floats, Floats]:
    """n mod 4 and x − n π/2 in double length, for 2^20 ≤ |x|; anything for inf and NaN."""
    bits = bits_of(x)
    exponent = select(np.abs(x) < np.inf, (bits >> 52) & 2047, 1043)
    m = (bits & ((1 << 52) - 1)) | (1 << 52)
    m0, m1 = m & _MASK, m >> _LIMB
    first = exponent + (_PAD - 1077)  # x = m 2^(exponent − 1075): higher bits of 2/π only add multiples of 4
    start = first // _LIMB
    shift = first - start * _LIMB
    w0, w1, w2 = _limb(start, shift, 0), _limb(start, shift, 1), _limb(start, shift, 2)
    w3, w4 = _limb(start, shift, 3), _limb(start, shift, 4)
    w5, w6 = _limb(start, shift, 5), _limb(start, shift, 6)
    c6 = m0 * w6
    c5 = m0 * w5 + m1 * w6 + (c6 >> _LIMB)
    c4 = m0 * w4 + m1 * w5 + (c5 >> _LIMB)
    c3 = m0 * w3 + m1 * w4 + (c4 >> _LIMB)
    c2 = m0 * w2 + m1 * w3 + (c3 >> _LIMB)
    c1 = m0 * w1 + m1 * w2 + (c2 >> _LIMB)
    c0 = m0 * w0 + m1 * w1 + (c1 >> _LIMB)
    up = (c0 >> 25) & 1  # a fraction ≥ 1/2: the next quadrant is nearer; 1 − fraction is its complement
    n = ((c0 >> 26) & 3) + up
    flip = -up
    high, e1 = two_sum(np.float64((c0 ^ flip) & ((1 << 26) - 1)) * 2.0**-26, np.float64((c1 ^ flip) & _MASK) * 2.0**-54)
    high, e2 = two_sum(high, np.float64((c2 ^ flip) & _MASK) * 2.0**-82)
    high, e3 = two_sum(high, np.float64((c3 ^ flip) & _MASK) * 2.0**-110)
    high, e4 = two_sum(high, np.float64((c4 ^ flip) & _MASK) * 2.0**-138)
    high, low = quick_two_sum(high, ((e1 + e2) + e3) + e4)
    r, r_low = multiply(high, low, _HALF_PI, _HALF_PI_LOW)
    sign = select(x < 0.0, -1, 1)
    turn = np.float64(sign * (1 + 2 * flip))
    return n * sign, r * turn, r_low * turn


def _near(x: Floats) -> tuple[Ints, Floats, Floats]:
    """n and x − n π/2 in double length, for |x| ≤ 2^20."""
    f, n = nearest(x * _TWO_OVER_PI)
    r, e1 = two_sum(x - f * _P1, f * -_P2)  # f·P1, f·P2, f·P3 are exact, and so is the first difference
    r, e2 = two_sum(r, f * -_P3)
    r, r_low = quick_two_sum(r, (e1 + e2) - f * _P4)
    return n, r, r_low


def _reduce(x: Floats) -> Any:
    return branch(np.abs(x) > _FAR, _far, _near, x)


def _sin_cos(r: Floats, r_low: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """sin and cos of |r + r_low| ≤ π/4, both in double length (to about 2^-55)."""
    z = r * r
    s, s_low = quick_two_sum(r, r_low + (r * (z * horner(z, _SIN)) - 0.5 * (z * r_low)))
    half = 0.5 * z
    c = 1.0 - half
    c_low = ((1.0 - c) - half) + (z * (z * horner(z, _COS)) - r * r_low)
    c, c_low = quick_two_sum(c, c_low)
    return s, s_low, c, c_low


def sin(x: Floats) -> Floats:
    """Sine of an angle in radians."""
    n, r, r_low = _reduce(x)
    s, _, c, _ = _sin_cos(r, r_low)
    value = select((n & 1) == 1, c, s)
    return select(x == 0.0, x, select((n & 2) == 2, -value, value) + (x - x))


def cos(x: Floats) -> Floats:
    """Cosine of an angle in radians."""
    n, r, r_low = _reduce(x)
    s, _, c, _ = _sin_cos(r, r_low)
    value = select((n & 1) == 1, s, c)
    return select(((n + 1) & 2) == 2, -value, value) + (x - x)


def tan(x: Floats) -> Floats:
    """Tangent of an angle in radians."""
    n, r, r_low = _reduce(x)
    s, s_low, c, c_low = _sin_cos(r, r_low)
    odd = (n & 1) == 1
    a, a_low = select(odd, -c, s), select(odd, -c_low, s_low)
    q, _ = divide(a, a_low, select(odd, s, c), select(odd, s_low, c_low))
    return select(x == 0.0, x, q + (x - x))


def _atan_core(a: Floats, a_low: Any, b: Floats, b_low: Any) -> Pair:
    """atan(a/b) in double length for 0 ≤ a ≤ b, 2^-60 ≤ b ≤ 2^60; NaN if either is."""
    q = a / b
    i = nearest(select(q <= 1.0, q, 0.0) * _STEPS)[1]
    c = np.float64(i) / _STEPS
    p, e = two_product(c, b)
    top, top_low = add(a, a_low, -p, -(e + c * b_low))
    p, e = two_product(c, a)
    bottom, bottom_low = add(b, b_low, p, e + c * a_low)
    t, t_low = divide(top, top_low, bottom, bottom_low)  # atan(a/b) − atan(c) = atan((a − c b) / (b + c a))
    z = t * t
    high, low = two_sum(_ATAN_HIGH[i], t)
    return quick_two_sum(high, low + (_ATAN_LOW[i] + (t_low + t * (z * horner(z, _ATAN)))))


def _angle(y: Floats, y_low: Any, x: Floats, x_low: Any) -> Floats:
    """The angle in [0, π] of the point (x, y), 0 ≤ y, the larger of |x| and y between 2^-60 and 2^60."""
    left = x < 0.0
    ax, ax_low = np.abs(x), select(left, -x_low, x_low)
    steep = y > ax
    a, a_low = select(steep, ax, y), select(steep, ax_low, y_low)
    b, b_low = select(steep, y, ax), select(steep, y_low, ax_low)
    high, low = _atan_core(a, a_low, b, b_low)
    down, down_low = add(_HALF_PI, _HALF_PI_LOW, -high, -low)
    high, low = select(steep, down, high), select(steep, down_low, low)
    return select(left, add(_PI, _PI_LOW, -high, -low)[0], high)


def _cathetus(x: Floats) -> Pair:
    """√(1 − x²) in double length; NaN for |x| > 1."""
    p, e = two_product(x, x)
    h, low = two_sum(1.0, -p)
    return root(h, low - e)


def asin(x: Floats) -> Floats:
    """Arc sine, in [-π/2, π/2]; NaN for |x| > 1."""
    ax = np.abs(x)
    w, w_low = _cathetus(select(ax <= 2.0, x, 2.0))
    angle = _angle(ax, 0.0, w, w_low)
    return select((ax < 2.0**-30) | (x != x), x, np.copysign(angle, x))


def acos(x: Floats) -> Floats:
    """Arc cosine, in [0, π]; NaN for |x| > 1."""
    w, w_low = _cathetus(select(np.abs(x) <= 2.0, x, 2.0))
    return _angle(w, w_low, x, 0.0)


def atan(x: Floats) -> Floats:
    """Arc tangent, in [-π/2, π/2]."""
    ax = np.abs(x)
    size = select(ax < 2.0**60, ax, 2.0**60)
    angle = _angle(size, 0.0, 1.0 + 0.0 * size, 0.0)
    return select((ax < 2.0**-30) | (x != x), x, np.copysign(angle, x))


def atan2(y: Floats, x: Floats) -> Floats:
    """The angle of the point (x, y), in [-π, π]; zeros and infinities with their signs as in C99."""
    ax, ay = np.abs(x), np.abs(y)
    endless = (ax == np.inf) | (ay == np.inf)
    ax = select(endless, select(ax == np.inf, 1.0, 0.0), ax)
    ay = select(endless, select(ay == np.inf, 1.0, 0.0), ay)
    larger = select(ax > ay, ax, ay)
    ax = select(larger == 0.0, 1.0, ax)
    exponent = (bits_of(larger) >> 52) & 2047
    up = 1022 - select(larger == 0.0, 1022, exponent)  # brings it to [1/2, 1), or above 2^-60
    right = np.copysign(1.0, x) > 0.0
    sx, sy = scale(ax, up), scale(ay, up)
    angle = _angle(sy, 0.0, select(right, sx, -sx), 0.0)
    angle = select(right & (ay < ax * 2.0**-60), ay / select(ax > 0.0, ax, 1.0), angle)
    return select((x == x) & (y == y), np.copysign(angle, y), x + y)
