"""Rounding to whole numbers: floor, ceil, round, rint. Each is exact: its result is a float64 that is a whole number.

`round` takes halves away from 0, as C, C++ and ROOT's formulas do; `rint` takes them to the even neighbour, as IEEE
754 and `TMath::Nint` do. NaN, infinities and the sign of zero go through, as C99 annex F says.
"""

from __future__ import annotations

import numpy as np

from tagsel.kernels.doubled import Floats, select


def floor(x: Floats) -> Floats:
    """The largest whole number that is not above x."""
    return np.floor(x)


def ceil(x: Floats) -> Floats:
    """The smallest whole number that is not below x."""
    return np.ceil(x)


def rint(x: Floats) -> Floats:
    """The nearest whole number; halves go to the even one."""
    return np.rint(x)


def round(x: Floats) -> Floats:  # noqa: A001
    """The nearest whole number; halves go away from 0.

    The rest, size - whole, is exact; size + 0.5 would be rounded: of 0.49999999999999994 to 1.
    """
    size = np.abs(x)
    whole = np.floor(size)
    return np.copysign(select(size - whole >= 0.5, whole + 1.0, whole), x)
