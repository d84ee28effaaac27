"""Numbers of a cut: exact as written, rounded once."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import CutError
from tagsel.language.literals import Literal, read_number, to_f32, to_f64
from tagsel.language.units import NUMBER, PI, UNITS, attribute_unit

TIE = Fraction(1) + Fraction(1, 2**24)
"""Halfway between the float32 1 and 1 + 2**-23."""


def test_float32_is_rounded_once() -> None:
    """A little above the tie goes up; by way of float64 it would land on the tie, and then go down to even."""
    above = TIE + Fraction(1, 2**60)
    assert to_f64(above) == float(TIE)
    assert float(np.float32(to_f64(above))) == 1.0
    assert to_f32(above) == 1 + 2**-23
    assert to_f32(TIE) == 1.0  # ties go to even
    assert to_f32(TIE - Fraction(1, 2**60)) == 1.0


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        (Fraction(2**128 - 2**104), float(2**128 - 2**104)),  # the largest float32
        (Fraction(2**128 - 2**103 - 1), float(2**128 - 2**104)),  # just below halfway to 2**128
        (Fraction(2**128 - 2**103), math.inf),
        (-Fraction(2**128 - 2**103), -math.inf),
        (Fraction(1, 2**149), 2.0**-149),  # the smallest
        (Fraction(1, 2**150), 0.0),  # a tie with zero
        (Fraction(1, 2**150) + Fraction(1, 2**200), 2.0**-149),
        (Fraction(0), 0.0),
    ],
)
def test_float32_at_the_ends(exact: Fraction, expected: float) -> None:
    assert to_f32(exact) == expected


@given(st.fractions(), st.integers(-60, 60))
def test_float32_is_the_nearest(exact: Fraction, power: int) -> None:
    """No float32 neighbour is nearer; NumPy knows the neighbours."""
    exact *= Fraction(2) ** power
    got = np.float32(to_f32(exact))
    assert float(got) == to_f32(exact)
    distance = abs(Fraction(float(got)) - exact)
    for other in (np.nextafter(got, np.float32(np.inf)), np.nextafter(got, np.float32(-np.inf))):
        assert distance <= abs(Fraction(float(other)) - exact)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(lambda d: abs(d.adjusted()) < 60))
def test_text_reads_back_exactly(value: Decimal) -> None:
    literal = Literal(abs(value), False)
    again = read_number(literal.text(), 0)
    assert again.exact == literal.exact
    assert not again.integer
    assert again.text() == literal.text()


@given(st.integers(0, 2**200))
def test_integers_read_in_every_base(value: int) -> None:
    assert read_number(str(value), 0) == Literal(value, True)
    for text in (hex(value), hex(value).upper(), bin(value)[:100]):
        literal = read_number(text, 0)
        assert literal == Literal(int(text, 0), True, pattern=True)
        assert read_number(literal.text(), 0) == literal


def test_unit_goes_with_the_text() -> None:
    assert Literal(25, True, "GeV").text() == "25 GeV"


def test_a_place_is_kept() -> None:
    with pytest.raises(CutError) as caught:
        read_number("1e999", 7)
    assert (caught.value.position, caught.value.length) == (7, 5)


# units


@pytest.mark.parametrize(
    ("a", "b", "factor"),
    [
        ("GeV", "MeV", 1000),
        ("MeV", "TeV", Fraction(1, 10**6)),
        ("keV", "eV", 1000),
        ("cm", "mm", 10),
        ("um", "m", Fraction(1, 10**6)),
        ("us", "ns", 1000),
        ("mrad", "rad", Fraction(1, 1000)),
        ("deg", "rad", PI / 180),
    ],
)
def test_factors_are_exact(a: str, b: str, factor: Fraction) -> None:
    assert UNITS[a].factor(UNITS[b]) == factor
    assert UNITS[b].factor(UNITS[a]) == 1 / Fraction(factor)


def test_pi_is_that_of_float64() -> None:
    assert float(PI) == math.pi


def test_products_and_powers() -> None:
    gev, mm = UNITS["GeV"], UNITS["mm"]
    assert gev.times(gev).dims == (2, 0, 0, 0)
    assert gev.times(gev, -1).same(NUMBER)
    assert gev.times(mm, -1).dims == (1, -1, 0, 0)
    assert UNITS["MeV"].power(2).scale == Fraction(1, 10**6)
    root = UNITS["MeV"].power(2).root()
    assert root is not None and root.same(gev) and root.scale == UNITS["MeV"].scale
    assert not gev.same(mm)


def test_unknown_attribute_units_are_not_checked() -> None:
    assert attribute_unit("Hz") is None
    assert attribute_unit("") is None
