"""Sets of luminosity blocks against Python's sets of pairs."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import QualityError
from tagsel.quality import LumiSet

TOP = 2**31 - 1

few = st.tuples(st.integers(0, 4), st.integers(0, 25), st.integers(0, 6))
spans = few.map(lambda t: (t[0], t[1], t[1] + t[2]))
range_lists = st.lists(spans, max_size=12)


def blocks(ranges: list[tuple[int, int, int]]) -> set[tuple[int, int]]:
    """The slow oracle: every (run, block) written out."""
    return {(run, block) for run, first, last in ranges for block in range(first, last + 1)}


@given(range_lists)
def test_any_ranges_become_one_form(ranges: list[tuple[int, int, int]]) -> None:
    lumi = LumiSet.from_ranges(ranges)
    expected = blocks(ranges)
    assert blocks(lumi.ranges) == expected
    assert len(lumi) == len(expected)
    assert bool(lumi) == bool(expected)
    assert lumi.runs.tolist() == sorted({run for run, _ in expected})
    for (run, _, last), (next_run, first, _) in zip(lumi.ranges, lumi.ranges[1:], strict=False):
        assert (next_run, first) > (run, last + 1), "ranges are rising and never touch"


@given(range_lists, range_lists)
def test_feature_34_algebra_is_that_of_sets(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]
) -> None:
    a, b = LumiSet.from_ranges(left), LumiSet.from_ranges(right)
    x, y = blocks(left), blocks(right)
    for got, expected in ((a | b, x | y), (a & b, x & y), (a - b, x - y), (a ^ b, x ^ y)):
        assert blocks(got.ranges) == expected
        assert len(got) == len(expected)
        assert got == LumiSet.from_ranges([(run, block, block) for run, block in expected])
    assert (a == b) == (x == y)
    assert (a.digest == b.digest) == (x == y)
    if x == y:
        assert hash(a) == hash(b)


@given(range_lists, st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 35)), max_size=30))
def test_contains_in_any_order(ranges: list[tuple[int, int, int]], pairs: list[tuple[int, int]]) -> None:
    lumi, expected = LumiSet.from_ranges(ranges), blocks(ranges)
    run, block = np.array(pairs, np.int32).reshape(-1, 2).T
    assert lumi.contains(run, block).tolist() == [pair in expected for pair in pairs]


def test_limits_of_int32() -> None:
    lumi = LumiSet.from_ranges([(TOP, 0, TOP), (TOP - 1, TOP, TOP), (0, 0, 0)])
    assert lumi.ranges == [(0, 0, 0), (TOP - 1, TOP, TOP), (TOP, 0, TOP)]
    assert len(lumi) == 1 + 1 + 2**31
    asked = lumi.contains(np.array([TOP, TOP - 1, TOP - 1, 0, -1, 0]), np.array([TOP, TOP, 0, 0, 0, -1]))
    assert asked.tolist() == [True, True, False, True, False, False]
    assert [a.dtype for a in lumi.arrays()] == [np.int32] * 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((7, 5, 4), "run 7: range 5 to 4 ends before it begins"),
        ((-1, 1, 2), "run -1: run -1 is not between"),
        ((7, -1, 2), "run 7: first block -1 is not between"),
        ((7, 1, 2**31), "run 7: last block 2147483648 is not between"),
    ],
)
def test_fault_22_ranges_that_cannot_be(bad: tuple[int, int, int], message: str) -> None:
    with pytest.raises(QualityError, match=message) as caught:
        LumiSet.from_ranges([(1, 1, 1), bad])
    assert caught.value.fields["run"] == bad[0]


def test_digest_by_hand() -> None:
    lumi = LumiSet.from_ranges([(8, 5, 5), (7, 11, 20), (7, 1, 10)])
    rows = struct.pack("<iii", 7, 1, 20) + struct.pack("<iii", 8, 5, 5)  # merged, rising
    assert lumi.digest == hashlib.sha256(rows).hexdigest()
    assert LumiSet().digest == hashlib.sha256(b"").hexdigest()


def test_empty_set_everywhere() -> None:
    empty, some = LumiSet(), LumiSet.from_ranges([(1, 2, 3)])
    assert not empty
    assert len(empty) == 0
    assert empty.ranges == []
    assert (empty | some) == (some - empty) == (some ^ empty) == some
    assert (empty & some) == (empty - some) == (some ^ some) == empty
    assert not empty.contains([1], [2]).any()
    assert some.contains([], []).tolist() == []


def test_a_set_does_not_change() -> None:
    some = LumiSet.from_ranges([(1, 2, 3)])
    with pytest.raises(ValueError, match="read-only"):
        some._edges[0] = 0
    assert repr(some) == "<LumiSet: 2 luminosity blocks in 1 runs>"


PAIRS = st.tuples(st.sampled_from([0, 1, 7, TOP]), st.sampled_from([0, 1, 2, 3, 5, TOP - 1, TOP]))


@given(st.lists(PAIRS, max_size=30))
def test_the_blocks_of_events_are_a_set(pairs: list[tuple[int, int]]) -> None:
    found = LumiSet.from_blocks([run for run, _ in pairs], [block for _, block in pairs])
    assert found == LumiSet.from_ranges([(run, block, block) for run, block in pairs])
    assert len(found) == len(set(pairs))


@pytest.mark.parametrize("pair", [(-1, 1), (1, -1), (TOP + 1, 1), (1, TOP + 1)])
def test_events_without_a_block_are_none_of_a_set(pair: tuple[int, int]) -> None:
    with pytest.raises(QualityError, match="is not between 0 and"):
        LumiSet.from_blocks([1, pair[0]], [1, pair[1]])
