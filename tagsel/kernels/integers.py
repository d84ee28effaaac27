"""Exact 64-bit integer arithmetic, with masks that say where the result would not be exact.

    >>> from tagsel.kernels import integers
    >>> integers.FUNCTIONS["add"]([1, 2**63 - 1], 1)
    (array([                   2, -9223372036854775808]), array([False,  True]))

Arguments are int64, arrays or numbers; a result is (value, wrong). Where `wrong` holds the true result does
not fit in int64 or does not exist, and the value means nothing. One text serves NumPy and numba, as in
`doubled`. Invariant: no step passes through float64, and nothing warns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tagsel.kernels.doubled import Bools, Ints, select

Checked: TypeAlias = tuple[Ints, Bools]
"""(values, where they are wrong)."""

LOWEST = -(2**63)
_LOW = 2**32 - 1


def add(a: Ints, b: Ints) -> Checked:
    """a + b; wrong where both have one sign and the wrapped sum the other."""
    value = a + b
    return value, ((a ^ value) & (b ^ value)) < 0


def subtract(a: Ints, b: Ints) -> Checked:
    """a − b; wrong where the signs differ and the wrapped difference has not a's."""
    value = a - b
    return value, ((a ^ b) & (a ^ value)) < 0


def negative(a: Ints) -> Checked:
    """−a; wrong for the lowest integer."""
    return -a, a == LOWEST


def absolute(a: Ints) -> Checked:
    """|a|; wrong for the lowest integer."""
    return select(a < 0, -a, a), a == LOWEST


def _high_word(a: Ints, b: Ints) -> Ints:
    """The upper 64 bits of the signed product, from products of halves (Warren, Hacker's Delight, 8-2)."""
    a0, a1, b0, b1 = a & _LOW, a >> 32, b & _LOW, b >> 32
    low = ((a0 * b0) >> 32) & _LOW  # a0·b0 has no sign: take its upper half so
    middle = a1 * b0 + low
    return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & _LOW)) >> 32)


def multiply(a: Ints, b: Ints) -> Checked:
    """a × b; wrong where the upper word of the product is more than the sign of the lower."""
    value = a * b
    return value, _high_word(a, b) != (value >> 63)


def modulo(a: Ints, b: Ints) -> Checked:
    """a modulo b, with the sign of b as Python's %; wrong for b = 0."""
    by = select((b == 0) | (b == -1), 1, b)  # modulo −1 is 0 as well, but the lowest integer would trap
    return a % by, (b == 0) | (a != a)


def shift_left(a: Ints, b: Ints) -> Checked:
    """a · 2^b; wrong where that does not fit, or b is negative."""
    by = select((b >= 0) & (b < 64), b, 0)
    value = select(b < 64, a << by, 0)
    return value, (b < 0) | ((value >> by) != a)


def shift_right(a: Ints, b: Ints) -> Checked:
    """floor(a / 2^b); wrong where b is negative."""
    return a >> select(b < 0, 0, select(b > 63, 63, b)), (b < 0) | (a != a)


def shift_word_left(a: Ints, b: Ints) -> Checked:
    """The 64-bit pattern a moved up by b bits, zeros behind; wrong where b is negative."""
    return select((b >= 0) & (b < 64), a << select((b >= 0) & (b < 64), b, 0), 0), b < 0


def shift_word_right(a: Ints, b: Ints) -> Checked:
    """The 64-bit pattern a moved down by b bits, zeros before; wrong where b is negative."""
    by = select((b > 0) & (b < 64), b, 1)
    down = ((a >> 1) & (2**63 - 1)) >> (by - 1)
    return select(b == 0, a, select(b < 64, down, 0)), b < 0


SOURCES: dict[str, Callable[..., Checked]] = {
    f.__name__: f
    for f in (
        *(add, subtract, negative, absolute, multiply, modulo),
        *(shift_left, shift_right, shift_word_left, shift_word_right),
    )
}
"""The functions as written, by name; `jit` compiles these."""


def _on_arrays(function: Callable[..., Checked]) -> Callable[..., Checked]:
    @wraps(function)
    def broadcast(*arguments: npt.ArrayLike) -> Checked:
        with np.errstate(all="ignore"):
            value, wrong = function(*np.broadcast_arrays(*(np.asarray(a, np.int64) for a in arguments)))
        return value, wrong

    return broadcast


FUNCTIONS: dict[str, Callable[..., Checked]] = {name: _on_arrays(f) for name, f in SOURCES.items()}
"""The functions on arrays that broadcast, by name."""
