"""64-bit integers against Python's, which have no end; the same values from NumPy and numba."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.kernels.integers import FUNCTIONS, SOURCES

LOW, HIGH, WORD = -(2**63), 2**63 - 1, 2**64
EDGES = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    10,
    63,
    64,
    65,
    -63,
    2**31,
    2**32,
    -(2**32),
    2**53 + 1,
    2**62,
    3037000500,
    HIGH,
    LOW,
    LOW + 1,
]
numbers = st.one_of(st.integers(LOW, HIGH), st.sampled_from(EDGES), st.integers(-100, 100))


def signed(word: int) -> int:
    return (word + 2**63) % WORD - 2**63


def exact(name: str, a: int, b: int) -> int | None:
    """The true result, None where there is none; words as their signed pattern."""
    if (name.startswith("shift") and b < 0) or (name == "modulo" and b == 0):
        return None
    by = min(abs(b), 200)
    return {
        "add": lambda: a + b,
        "subtract": lambda: a - b,
        "negative": lambda: -a,
        "absolute": lambda: abs(a),
        "multiply": lambda: a * b,
        "modulo": lambda: a % b,
        "shift_left": lambda: a << by,
        "shift_right": lambda: a >> by,
        "shift_word_left": lambda: signed((a << by) % WORD),
        "shift_word_right": lambda: signed((a % WORD) >> by),
    }[name]()


def check(name: str, a: int, b: int, value: int, wrong: bool) -> None:
    truth = exact(name, a, b)
    fits = truth is not None and LOW <= truth <= HIGH
    assert wrong == (not fits), (name, a, b)
    assert not fits or value == truth, (name, a, b)


def arguments(name: str, a: list[int], b: list[int]) -> list[np.ndarray]:
    return [np.array(x, np.int64) for x in (a, b)[: SOURCES[name].__code__.co_argcount]]


@pytest.mark.parametrize("name", sorted(SOURCES))
@given(pairs=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_numpy_is_exact(name: str, pairs: list[tuple[int, int]]) -> None:
    a, b = map(list, zip(*pairs, strict=True))
    value, wrong = FUNCTIONS[name](*arguments(name, a, b))
    for row in zip(a, b, value.tolist(), wrong.tolist(), strict=True):
        check(name, *row)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_numba_is_exact(name: str) -> None:
    from tagsel.kernels.jit import numba_functions

    function = numba_functions()[name]
    rng = np.random.default_rng(5)
    random = (rng.integers(LOW, HIGH, 600, endpoint=True) >> rng.integers(0, 64, 600)).tolist()
    for a, b in [*((x, y) for x in EDGES for y in EDGES), *zip(random[:300], random[300:], strict=True)]:
        value, wrong = function(*(a, b)[: SOURCES[name].__code__.co_argcount])
        check(name, a, b, int(value), bool(wrong))


def test_numbers_broadcast_and_nothing_passes_through_floats() -> None:
    value, wrong = FUNCTIONS["add"](np.array([2**53, HIGH]), 1)
    assert value[0] == 2**53 + 1 and wrong.tolist() == [False, True]
    value, wrong = FUNCTIONS["modulo"](-7, np.array([3, -3, 0]))
    assert value[:2].tolist() == [2, -1] and wrong.tolist() == [
        False,
        False,
        True,
    ]  # as -7 % 3 and -7 % -3 in Python
