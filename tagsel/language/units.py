"""Units of attributes and literals: what may be compared with what, and by which exact factor.

Invariant: a unit is a product of powers of energy, length, time and angle, and an exact scale; factors are
fractions, rounded once, when a number is made of them.

A quantity without a unit (`None`) is not checked: a bare number takes the unit of what it meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

DIMENSIONS = ("energy", "length", "time", "angle")

PI = Fraction("3.14159265358979323846264338327950288419716939937510")
"""π to 50 digits, so that degrees are rounded once."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its exponents of energy, length, time, angle, its size in GeV, m, s, rad, and how it is written.

    >>> UNITS["MeV"].factor(UNITS["GeV"])
    Fraction(1, 1000)
    """

    dims: tuple[int, int, int, int]
    scale: Fraction
    symbol: str = ""

    def same(self, other: Unit) -> bool:
        """Whether the two measure the same thing: energy and energy, say."""
        return self.dims == other.dims

    def factor(self, other: Unit) -> Fraction:
        """What to multiply a number in this unit by, to have it in `other`."""
        return self.scale / other.scale

    def times(self, other: Unit, sign: int = 1) -> Unit:
        """The unit of a product (`sign` 1) or a quotient (`sign` -1)."""
        e, x, t, a = (i + sign * j for i, j in zip(self.dims, other.dims, strict=True))
        scale = self.scale * other.scale if sign > 0 else self.scale / other.scale
        if other == NUMBER or (self == NUMBER and sign > 0):
            return self if other == NUMBER else other
        joint = {1: "*", -1: "/"}[sign]
        symbol = f"{self.symbol or '1'}{joint}{other.symbol or '1'}" if (e, x, t, a) != (0, 0, 0, 0) else ""
        return Unit((e, x, t, a), scale, symbol)

    def power(self, n: int) -> Unit:
        """The unit of a quantity to the power of `n`."""
        e, x, t, a = (i * n for i in self.dims)
        return Unit((e, x, t, a), self.scale**n, f"{self.symbol}^{n}" if self.symbol else "")

    def root(self) -> Unit | None:
        """The unit of a square root; None where the scale has no exact one."""
        e, x, t, a = (i // 2 for i in self.dims)
        top, bottom = isqrt(self.scale.numerator), isqrt(self.scale.denominator)
        scale = Fraction(top, bottom)
        return Unit((e, x, t, a), scale, f"sqrt({self.symbol})") if scale * scale == self.scale else None

    @property
    def name(self) -> str:
        """How the unit is written: as literals write it where one has it (twice an energy in GeV is one in GeV)."""
        return next((s for s, u in UNITS.items() if (u.dims, u.scale) == (self.dims, self.scale)), self.symbol)

    def describe(self) -> str:
        """The unit for people: `GeV (energy)`."""
        named = [name for name, power in zip(DIMENSIONS, self.dims, strict=True) if power]
        if len(named) == 1 and sum(self.dims) == 1:
            return f"{self.symbol} ({named[0]})"
        return self.symbol or "a pure number"


def _table() -> Mapping[str, Unit]:
    energy = {"eV": -9, "keV": -6, "MeV": -3, "GeV": 0, "TeV": 3}
    length = {"nm": -9, "um": -6, "mm": -3, "cm": -2, "m": 0}
    time = {"fs": -15, "ps": -12, "ns": -9, "us": -6, "ms": -3, "s": 0}
    table = {n: Unit((1, 0, 0, 0), Fraction(10) ** k, n) for n, k in energy.items()}
    table |= {n: Unit((0, 1, 0, 0), Fraction(10) ** k, n) for n, k in length.items()}
    table |= {n: Unit((0, 0, 1, 0), Fraction(10) ** k, n) for n, k in time.items()}
    angle = {"rad": Fraction(1), "mrad": Fraction(1, 1000), "deg": PI / 180}
    return table | {n: Unit((0, 0, 0, 1), scale, n) for n, scale in angle.items()}


UNITS: Mapping[str, Unit] = _table()
"""The units that a literal may have, by symbol."""

RADIAN = UNITS["rad"]
NUMBER = Unit((0, 0, 0, 0), Fraction(1))
"""The unit of a ratio of like quantities: comparing it with `25 GeV` is an error."""


def attribute_unit(text: str) -> Unit | None:
    """The unit of an attribute as its schema writes it; None where there is none, or one that tagsel does not know.

    >>> attribute_unit("MeV") == UNITS["MeV"], attribute_unit("Hz")
    (True, None)
    """
    return UNITS.get(text)
