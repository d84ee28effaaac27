"""Values by event against plain loops over plain lists."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.kernels import segments

floats = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1e16, 1.0, -1e16, math.nan, math.inf]))
integers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**62, 2**63 - 1, -(2**63), 2**53 + 1, 1, -1]))


def events_of(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[tuple[Any, bool]]]]:
    """Lists of (value, to be skipped)."""
    return st.lists(st.lists(st.tuples(elements, st.booleans()), max_size=6), max_size=8)


def arrays(events: list[list[tuple[Any, bool]]], dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = [pair for event in events for pair in event]
    values = np.array([v for v, _ in flat], dtype)
    return values, np.array([len(e) for e in events], np.int32), np.array([s for _, s in flat], np.bool_)


def same(got: Any, expected: Any) -> bool:
    return (got != got and expected != expected) or (got == expected and np.signbit(got) == np.signbit(expected))


def extreme(values: list[float], smallest: bool) -> tuple[float, int] | None:
    """First smallest or largest value that is not NaN, and its index."""
    best: tuple[float, int] | None = None
    for i, v in enumerate(values):
        if v == v and (best is None or (v < best[0] if smallest else v > best[0])):
            best = v, i
    return best


@given(events_of(floats), st.booleans())
def test_total_is_the_plain_loop(events: list[list[tuple[float, bool]]], skipping: bool) -> None:
    values, counter, skip = arrays(events, np.float64)
    got = segments.total(values, counter, skip if skipping else None)
    for event, value in zip(events, got, strict=True):
        expected = 0.0
        for v, left_out in event:
            if not (skipping and left_out):
                expected += v
        assert same(value, expected)


def test_total_keeps_list_order_where_pairwise_sums_would_not() -> None:
    values = np.array([1e16, 1.0, 1.0, -1e16] + [0.1] * 1000)
    expected = 0.0
    for _ in range(1000):
        expected += 0.1
    assert segments.total(values, np.array([4, 1000])).tolist() == [0.0, expected]
    assert expected != math.fsum([0.1] * 1000)


@given(events_of(integers), st.booleans())
def test_total_of_integers_says_where_it_overflows(events: list[list[tuple[int, bool]]], skipping: bool) -> None:
    values, counter, skip = arrays(events, np.int64)
    got, wrong = segments.total_of_integers(values, counter, skip if skipping else None)
    for event, value, overflow in zip(events, got.tolist(), wrong.tolist(), strict=True):
        expected, left = 0, False
        for v, left_out in event:
            if not (skipping and left_out):
                expected += v
                left |= not -(2**63) <= expected < 2**63
        assert overflow == left
        assert left or value == expected


def test_narrow_integers_are_summed_in_64_bits() -> None:
    assert segments.total_of_integers(np.full(3, 2**31 - 1, np.int32), np.array([3]))[0].tolist() == [3 * (2**31 - 1)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(events=events_of(st.floats(width=32)), skipping=st.booleans())
def test_extremes_of_floats(dtype: Any, events: list[list[tuple[float, bool]]], skipping: bool) -> None:
    check_extremes(*arrays(events, dtype), skipping)


@given(events_of(integers), st.booleans())
def test_extremes_of_integers(events: list[list[tuple[int, bool]]], skipping: bool) -> None:
    check_extremes(*arrays(events, np.int64), skipping)


def check_extremes(values: np.ndarray, counter: np.ndarray, skip: np.ndarray, skipping: bool) -> None:
    ends = np.cumsum(counter)
    for smallest, value_of, index_of in (
        (True, segments.smallest, segments.index_of_smallest),
        (False, segments.largest, segments.index_of_largest),
    ):
        value, missing = value_of(values, counter, skip if skipping else None)
        index, index_missing = index_of(values, counter, skip if skipping else None)
        assert value.dtype == values.dtype and index.dtype == np.int64 and (missing == index_missing).all()
        for i, end in enumerate(ends):
            mine = values[end - counter[i] : end].tolist()
            left_out = skip[end - counter[i] : end]
            usable = [math.nan if skipping and s else v for v, s in zip(mine, left_out, strict=True)]
            best = extreme(usable, smallest)
            assert missing[i] == (best is None)
            assert best is None or (same(value[i], values.dtype.type(best[0])) and index[i] == best[1])


@given(events_of(st.booleans()))
def test_count_any_all(events: list[list[tuple[bool, bool]]]) -> None:
    passed, counter, _ = arrays(events, np.bool_)
    lists = [[v for v, _ in e] for e in events]
    assert segments.count(passed, counter).tolist() == [sum(e) for e in lists]
    assert segments.any_true(passed, counter).tolist() == [any(e) for e in lists]
    assert segments.all_true(passed, counter).tolist() == [all(e) for e in lists]


@given(events_of(integers), st.integers(0, 7))
def test_element(events: list[list[tuple[int, bool]]], k: int) -> None:
    values, counter, _ = arrays(events, np.int64)
    got, missing = segments.element(values, counter, k)
    again, _ = segments.element(values, counter, k, segments.offsets(counter))
    assert got.tolist() == again.tolist() == [e[k][0] if len(e) > k else 0 for e in events]
    assert missing.tolist() == [len(e) <= k for e in events]


def test_a_negative_counter_counts_as_zero() -> None:
    values, counter = np.array([5.0, 6.0]), np.array([-3, 2], np.int32)
    assert segments.offsets(counter).tolist() == [0, 0, 2]
    assert segments.total(values, counter).tolist() == [0.0, 11.0]
    assert segments.element(values, counter, 1)[0].tolist() == [0.0, 6.0]
    assert segments.all_true(np.array([True, False]), counter).tolist() == [True, False]


def test_slots_become_lists_of_what_is_filled() -> None:
    slots = [np.array([1, 2, 3, 4], np.float32), np.array([10, 20, 30, 40], np.float32)]
    flat, lengths = segments.join_slots(slots, np.array([0, 1, 5, -1], np.int32))
    assert flat.dtype == np.float32 and flat.tolist() == [2.0, 3.0, 30.0] and lengths.tolist() == [0, 1, 2, 0]


def test_no_events() -> None:
    none, empty = np.zeros(0, np.int32), np.zeros(0)
    assert segments.total(empty, none).shape == segments.count(empty.astype(bool), none).shape == (0,)
    assert segments.smallest(empty, none)[0].shape == segments.element(empty, none, 2)[1].shape == (0,)
