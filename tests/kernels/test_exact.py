"""Exact sums against math.fsum and fractions: any order, any grouping, infinities, denormals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tagsel.kernels.exact import ExactSum

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, max_size=40), st.integers(0, 40))
def test_a_sum_is_the_fraction_rounded_once_however_it_is_cut(numbers: list[float], cut: int) -> None:
    exact = sum(map(Fraction, numbers), Fraction(0))
    whole = ExactSum.of(numbers)
    assert whole == ExactSum.of(numbers[:cut]) + ExactSum.of(numbers[cut:])
    assert whole == ExactSum.of(numbers[::-1])
    try:
        expected = float(exact)
    except OverflowError:
        expected = math.inf if exact > 0 else -math.inf
    assert whole.value == expected


def test_against_fsum_on_many_weights() -> None:
    weights = np.random.default_rng(1).normal(0, 1e3, 100_000) ** 3
    assert ExactSum.of(weights).value == math.fsum(weights)


def test_what_is_not_finite() -> None:
    assert ExactSum.of([1.0, math.inf]).value == math.inf
    assert ExactSum.of([1.0, -math.inf]).value == -math.inf
    assert math.isnan((ExactSum.of(math.inf) + ExactSum.of(-math.inf)).value)
    assert math.isnan(ExactSum.of([math.nan, 1.0]).value)
    assert ExactSum.of([1.7e308, 1.7e308]).value == math.inf
    assert ExactSum.of([]).value == 0.0
    assert ExactSum.of([5e-324, 5e-324]).value == 1e-323
