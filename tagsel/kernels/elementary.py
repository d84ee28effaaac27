"""Elementary functions on NumPy arrays that give the same bits on every machine, within 2 ulp of the truth.

    >>> import numpy as np
    >>> from tagsel.kernels import elementary
    >>> elementary.FUNCTIONS["cos"](np.array([0.0, 1.0]))
    array([1.        , 0.54030231])

Mathematical libraries differ in the last bits from machine to machine, and a cut then lets other events pass.
These functions are made from + − × ÷ √ only, each rounded as IEEE 754 says (`doubled` tells how), so they
cannot differ. Arguments are arrays or numbers of any real type and are taken as float64; they broadcast; the
result is float64 of the broadcast shape (a float64 number for numbers). Special cases follow C99 annex F,
without warnings: log(-1) is NaN, log(0) is -inf. Invariant: what `jit` compiles are these same functions, and
gives the same bits (but for the sign and payload of a NaN).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tagsel.kernels import doubled, exponential, rounding, trigonometric

_BLOCK = 8192
"""Values computed together, so that the intermediate arrays stay in the cache of a core."""


class Elementary(Protocol):
    """A function of float64 arrays of one shape, or of numbers."""

    def __call__(self, *arguments: npt.ArrayLike) -> Any:
        """The function's values, float64, of the broadcast shape."""


def vectorised(function: Callable[..., Any]) -> Elementary:
    """`function` on arrays or numbers that broadcast: in blocks, as float64, without warnings.

    >>> vectorised(lambda x, y: x + y)([1, 2], 0.5)
    array([1.5, 2.5])
    """

    @wraps(function)
    def on_arrays(*arguments: npt.ArrayLike) -> Any:
        arrays = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in arguments))
        flat = [np.ascontiguousarray(a).reshape(-1) for a in arrays]
        result = np.empty(arrays[0].size)
        with np.errstate(all="ignore"):
            for start in range(0, result.size, _BLOCK):
                part = slice(start, start + _BLOCK)
                result[part] = function(*(a[part] for a in flat))
        return result.reshape(arrays[0].shape)[()]

    return on_arrays


def sqrt(x: doubled.Floats) -> doubled.Floats:
    """Square root, correctly rounded by the machine; NaN of negative numbers."""
    return np.sqrt(x)


SOURCES: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(trigonometric.sin, trigonometric.cos, trigonometric.tan),
        *(trigonometric.asin, trigonometric.acos, trigonometric.atan, trigonometric.atan2),
        *(exponential.sinh, exponential.cosh, exponential.tanh),
        *(exponential.asinh, exponential.acosh, exponential.atanh),
        *(exponential.exp, exponential.expm1, exponential.log, exponential.log10, exponential.log1p),
        *(exponential.pow, exponential.hypot, exponential.log2, sqrt),
        *(rounding.floor, rounding.ceil, rounding.round, rounding.rint),
    )
}
"""The functions as written, by name; `jit` compiles these."""

FUNCTIONS: dict[str, Elementary] = {name: vectorised(f) for name, f in SOURCES.items()}
"""The functions on arrays that broadcast, by name."""
