"""Results add up associatively, numbers exactly, and survive JSON."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import JobError
from tagsel.jobs.values import NONE, Total, add, decode, encode, result_of

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, max_size=20), st.randoms(use_true_random=False))
def test_sums_of_floats_do_not_depend_on_how_they_are_grouped(numbers: list[float], random: Any) -> None:
    total = sum((Total.of(x) for x in numbers), Total(Fraction(0)))
    shuffled = list(numbers)
    random.shuffle(shuffled)
    middle = random.randint(0, len(shuffled))
    parts = [sum((Total.of(x) for x in part), Total(Fraction(0))) for part in (shuffled[:middle], shuffled[middle:])]
    assert (parts[0] + parts[1]).value == total.value
    try:
        assert total.value == math.fsum(numbers)  # exact too, but in one go
    except OverflowError:  # fsum gives up where an intermediate sum is beyond float64
        assert total.value == pytest.approx(float("inf")) or abs(total.value) <= 1.8e308


def test_infinities_and_nan_add_up_as_in_ieee() -> None:
    def total(*numbers: float) -> float:
        return sum((Total.of(x) for x in numbers), Total(Fraction(0))).value

    assert total(1.0, math.inf) == math.inf
    assert math.isnan(total(math.inf, -math.inf, 1.0))
    assert math.isnan(total(math.nan, 1.0))
    assert total(1.7e308, 1.7e308) == math.inf
    assert total(-1.7e308, -1.7e308) == -math.inf


def test_records_add_key_by_key() -> None:
    a = result_of({"n": 1, "sub": {"w": 0.1}, "flag": True})
    b = result_of({"sub": {"w": np.float32(0.5)}, "n": np.int64(2), "flag": 3})
    kind, value = add(a, b)
    assert (kind, decode(encode(value, final=True))) == (
        "numbers",
        {"n": 3, "sub": {"w": 0.1 + 0.5}, "flag": 4},
    )
    kind, value = add(result_of({"n": 1}), result_of({"n": 0.5}))
    assert value["n"].value == 1.5
    assert result_of(ak.Record({"n": 2, "w": 0.5}))[1]["n"] == 2
    assert add(NONE, a) == add(a, NONE) == a


def test_what_does_not_add_up() -> None:
    with pytest.raises(JobError, match=r"process returned str as sub\.name"):
        result_of({"sub": {"name": "x"}})
    with pytest.raises(JobError, match="process returned NoneType") as caught:
        result_of(None)
    assert "hist" in caught.value.hint
    with pytest.raises(JobError, match="numbers for one batch and hist for another"):
        add(result_of({"n": 1}), result_of(hist.Hist.new.Reg(2, 0, 1).Double()))
    with pytest.raises(JobError, match=r"records of different keys do not add up: n, sub\.w and n, only, sub"):
        add(result_of({"n": 1, "sub": {"w": 1}}), result_of({"n": 1, "only": 2, "sub": {}}))
    with pytest.raises(JobError, match=r"do not add up: m and none"):
        add(result_of({"sub": {"m": 1}}), result_of({"sub": {}}))
    with pytest.raises(JobError, match="int in one batch, dict in another"):
        add(result_of({"n": 1}), result_of({"n": {}}))
    with pytest.raises(JobError, match="histograms of two batches do not add up"):
        add(result_of(hist.Hist.new.Reg(2, 0, 1).Double()), result_of(hist.Hist.new.Reg(3, 0, 1).Double()))


def filled(*values: float) -> hist.Hist:
    h = hist.Hist.new.Reg(4, 0, 1, name="x", label="x [GeV]").StrCat(["a"], growth=True, name="c").Weight()
    h.fill(values, "b" if len(values) > 1 else "a", weight=[0.5] * len(values))
    return h


@pytest.mark.parametrize(
    "value",
    [
        {"n": 2**70, "w": Total.of(0.1) + Total.of(0.2), "bad": Total.of(math.inf)},
        {"sum": {"hist": 1}},
        {"record": {"float": 3}},
        {},
    ],
)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    assert decode(json.loads(json.dumps(encode(value)))) == value


def test_histograms_are_kept_without_pickle() -> None:
    one, two = filled(0.1), filled(0.3, 2.0)
    kind, both = add(result_of({"h": one}), result_of({"h": two}))
    text = json.dumps(encode(both))
    assert decode(json.loads(text))["h"] == one + two
    assert "uhi_schema" in text
    kind, total = add(result_of(one), result_of(two))
    assert kind == "hist"
    assert decode(json.loads(json.dumps(encode(total, final=True)))) == one + two
