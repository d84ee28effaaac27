"""Values of files as values of attributes: exact or refused, named by file, column and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tagsel.errors import IngestError
from tagsel.ingest.convert import NATURAL, Place, fit, fit_id

PLACE = Place(Path("f.root"), "x")
RANGES = {"bool": (0, 1), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
WORDS = {"bits32": 32, "bits64": 64}

numbers = st.sampled_from(
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)


@given(st.data(), numbers, st.sampled_from(sorted(RANGES)))
def test_a_whole_number_is_exact_or_refused(data: st.DataObject, dtype: str, kind: str) -> None:
    values = data.draw(arrays.arrays(np.dtype(dtype), st.integers(1, 6)))
    low, high = RANGES[kind]
    # Python's own integers and fractions decide what fits
    fits = [v == v and abs(v) != float("inf") and v == int(v) and low <= int(v) <= high for v in values.tolist()]
    if all(fits):
        assert fit(values, kind, PLACE).tolist() == [int(v) for v in values.tolist()]
    else:
        with pytest.raises(IngestError) as caught:
            fit(values, kind, PLACE)
        assert not fits[caught.value.fields["row"]]  # type: ignore[call-overload]


@given(
    st.data(),
    st.sampled_from(["bool", "uint8", "uint16", "int32", "uint32", "int64", "uint64"]),
    st.sampled_from(sorted(WORDS)),
)
def test_words_keep_their_bits_or_are_refused(data: st.DataObject, dtype: str, kind: str) -> None:
    values = data.draw(arrays.arrays(np.dtype(dtype), st.integers(1, 6)))
    width = WORDS[kind]
    same = np.dtype(dtype) in (np.dtype(f"int{width}"), np.dtype(f"uint{width}"))
    if same or all(0 <= int(v) < 2**width for v in values.tolist()):
        stored = fit(values, kind, PLACE)
        assert stored.dtype == np.dtype(f"int{width}")
        assert [v % 2**width for v in stored.tolist()] == [int(v) % 2**width for v in values.tolist()]
    else:
        with pytest.raises(IngestError):
            fit(values, kind, PLACE)


def test_floats_keep_nan_and_infinity_and_their_bits() -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 0.1], dtype=np.float32)
    assert fit(values, "float32", PLACE).tobytes() == values.tobytes()
    assert np.array_equal(fit(values, "float64", PLACE), values.astype(np.float64), equal_nan=True)


@pytest.mark.parametrize(("kind", "most"), [("float64", 2**53), ("float32", 2**24)])
def test_whole_numbers_beyond_the_bits_of_a_float_are_refused(kind: str, most: int) -> None:
    """`most` + 1 is the first whole number that is none: it would be rounded to `most`."""
    for value in (most + 1, -most - 1, 2**62 + 1):
        with pytest.raises(IngestError, match=f"not exact as {kind}"):
            fit(np.array([value], dtype=np.int64), kind, PLACE)
    with pytest.raises(IngestError, match=f"not exact as {kind}"):
        fit(np.array([2**64 - 1], dtype=np.uint64), kind, PLACE)
    assert fit(np.array([most, -most], dtype=np.int64), kind, PLACE).tolist() == [most, -most]
    assert fit(np.array([most + 1, 1], dtype=np.int64), kind, PLACE, unknown=most + 1).tolist() == [-1, 1]


def test_fault_08_event_numbers_above_2_to_63_minus_1_and_negative_are_refused() -> None:
    largest = np.array([5, 2**63 - 1], dtype=np.uint64)
    assert fit_id(largest, "event", "int64", PLACE).tolist() == [5, 2**63 - 1]
    with pytest.raises(IngestError, match=r"f\.root: x, row 1: 9223372036854775808 is above 2\^63 - 1"):
        fit_id(np.array([5, 2**63], dtype=np.uint64), "event", "int64", PLACE)
    with pytest.raises(IngestError, match="row 0: -3 is negative"):
        fit_id(np.array([-3], dtype=np.int64), "event", "int64", PLACE)
    with pytest.raises(IngestError, match=r"row 0: 4294967295 is above 2\^31 - 1, the largest run number"):
        fit_id(np.array([2**32 - 1], dtype=np.uint32), "run", "int32", PLACE)


@given(st.data(), numbers, st.sampled_from([("run", "int32"), ("event", "int64")]))
def test_an_id_that_is_none_is_refused_without_a_hint_at_other_types(
    data: st.DataObject, dtype: str, name_and_kind: tuple[str, str]
) -> None:
    """Ids have the types that they have: the hint once told to give the run's attribute another."""
    name, kind = name_and_kind
    values = data.draw(arrays.arrays(np.dtype(dtype), st.integers(1, 6)))
    exact = {"float32": 2**24, "float64": 2**53}.get(dtype, 2**64)
    most = min(RANGES[kind][1], exact - 1)
    fits = [v == v and abs(v) != float("inf") and v == int(v) and 0 <= int(v) <= most for v in values.tolist()]
    if all(fits):
        assert fit_id(values, name, kind, PLACE).tolist() == [int(v) for v in values.tolist()]
    else:
        with pytest.raises(IngestError) as caught:
            fit_id(values, name, kind, PLACE)
        assert not fits[caught.value.fields["row"]]  # type: ignore[call-overload]
        assert "type" not in caught.value.hint and f"{name} number" in caught.value.message


def test_fault_07_event_numbers_above_2_to_53_are_exact() -> None:
    values = np.array([2**53 + 1, 2**62 + 3], dtype=np.uint64)
    assert fit_id(values, "event", "int64", PLACE).tolist() == [2**53 + 1, 2**62 + 3]


def test_unknown_is_hidden_before_the_range_is_checked() -> None:
    values = np.array([1, 2**32 - 1], dtype=np.uint32)
    assert fit(values, "int32", PLACE, unknown=2**32 - 1).tolist() == [1, -1]


def test_row_of_a_bad_list_item_is_the_event() -> None:
    place = Place(Path("f.root"), "x", start=100, counts=np.array([2, 0, 3]))
    with pytest.raises(IngestError, match="row 102"):
        fit(np.array([1, 1, 1, 2**40, 1], dtype=np.int64), "int32", place)


def test_every_type_of_a_file_has_an_attribute_that_holds_it() -> None:
    for base, kind in NATURAL.items():
        if base in ("string", "bool", "float32", "float64"):
            assert kind == base
        else:
            info, low_high = np.iinfo(base), RANGES[kind]
            assert low_high[0] <= info.min
            assert base == "uint64" or info.max <= low_high[1]  # uint64 is range-checked, row by row
