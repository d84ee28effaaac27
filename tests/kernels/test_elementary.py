"""Elementary functions: within 2 ulp of mpmath, C99's special cases, the same bits from NumPy and numba."""

from __future__ import annotations

import math
import subprocess
import sys
import zlib

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.kernels import constants, elementary
from tagsel.kernels.elementary import FUNCTIONS

INF, NAN = math.inf, math.nan
PI = math.pi
ALL = sorted(FUNCTIONS)
TWO = {"atan2", "hypot", "pow"}
ONE = [name for name in ALL if name not in TWO]
TRUTH = {name: getattr(mpmath, name, None) for name in ALL} | {
    "pow": mpmath.power,
    "rint": mpmath.nint,  # ties to even
    "round": lambda x: mpmath.sign(x) * mpmath.floor(abs(x) + 0.5),
}
POINTS = 700

# Ranges of |x|, drawn evenly in log|x|, and the signs drawn: where a function is used and where it is hard.
BOTH, PLUS = (-1.0, 1.0), (1.0,)
EVERYWHERE = ((1e-300, 1e-9), (1e-9, 0.1), (0.1, 2.0), (2.0, 20.0), (20.0, 1e3))
HUGE = (1e3, 1.7e308)
RANGES_OF_SEVERAL = {
    ("sin", "cos", "tan"): (*EVERYWHERE, (1e3, 2.0**21), (2.0**19, 2.0**22), (2.0**20, 1.7e308)),
    ("atan", "asinh"): (*EVERYWHERE, HUGE, (2.0**29, 2.0**31)),
    ("asin", "acos", "atanh"): (*EVERYWHERE[:2], (0.1, 1.0), (0.999, 1.0)),
    ("sinh", "cosh"): (*EVERYWHERE[:4], (20.0, 709.0), (709.0, 710.4), (39.0, 41.0)),
    ("exp", "expm1"): (*EVERYWHERE[:4], (20.0, 709.7), (59.0, 61.0)),
    ("tanh",): EVERYWHERE,
    ("acosh",): ((1.0, 1.001), (1.0, 2.0), (2.0, 1e3), HUGE, (2.0**29, 2.0**31)),
    ("log", "log10", "log2", "sqrt"): (*EVERYWHERE, (0.99, 1.01), (5e-324, 1e-300), HUGE),
    ("log1p",): (*EVERYWHERE, HUGE),
    ("floor", "ceil", "round", "rint"): (*EVERYWHERE, HUGE, (2.0**51, 2.0**54)),
}
RANGES = {name: ranges for names, ranges in RANGES_OF_SEVERAL.items() for name in names}
SIGNS = dict.fromkeys(("acosh", "log", "log10", "log2", "sqrt", "log1p"), PLUS)
PAIRS = {
    "atan2": [
        ((1e-300, 1e300), (1e-300, 1e300)),
        ((0.1, 10.0), (0.1, 10.0)),
        ((1e-320, 1e-300), (1e-320, 1e-300)),
    ],
    "hypot": [
        ((1e-300, 1e300), (1e-300, 1e300)),
        ((0.1, 10.0), (0.1, 10.0)),
        ((1e-320, 1e-300), (1e-320, 1e-300)),
    ],
    "pow": [((1e-300, 1e300), (0.001, 1.0)), ((0.1, 10.0), (0.1, 300.0)), ((0.9, 1.1), (1.0, 5000.0))],
}


def drawn(seed: str, low: float, high: float, signs: tuple[float, ...], n: int = POINTS) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    x = np.exp2(rng.uniform(math.log2(low), math.log2(high), n))
    return np.clip(x, low, high) * rng.choice(signs, n)


def worst(name: str, *arguments: np.ndarray) -> float:
    """The largest error of a function's values, in units in the last place of the truth."""
    errors = [0.0]
    with mpmath.workprec(180):
        values = FUNCTIONS[name](*arguments).tolist()
        for got, *x in zip(values, *(a.tolist() for a in arguments), strict=True):
            truth = TRUTH[name](*map(mpmath.mpf, x))
            rounded = float(truth)
            if math.isinf(rounded):
                errors.append(0.0 if got == rounded or abs(got) > 1.797e308 else INF)
            else:
                error = abs(float((mpmath.mpf(got) - truth) / math.ulp(rounded))) if math.isfinite(got) else INF
                errors.append(error)
    return max(errors)


@pytest.mark.parametrize("name", ONE)
def test_accuracy_everywhere(name: str) -> None:
    for low, high in RANGES[name]:
        assert worst(name, drawn(f"{name}{low}", low, high, SIGNS.get(name, BOTH))) <= 2, (name, low, high)


@pytest.mark.parametrize("name", sorted(TWO))
def test_accuracy_of_two_arguments(name: str) -> None:
    for (x_low, x_high), (y_low, y_high) in PAIRS[name]:
        x = drawn(f"{name}{x_low}x", x_low, x_high, PLUS if name == "pow" else BOTH)
        y = drawn(f"{name}{x_low}y", y_low, y_high, BOTH)
        assert worst(name, x, y) <= 2, (name, x_low)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_near_multiples_of_half_pi(name: str) -> None:
    n = np.concatenate([np.arange(-400.0, 400.0), 2.0 ** np.arange(10, 60), 3.0 ** np.arange(10, 60)])
    x = n * (PI / 2)
    assert worst(name, np.concatenate([x, np.nextafter(x, INF), np.nextafter(x, -INF)])) <= 2
    # of all float64 this one comes nearest to a multiple of π/2 (J.-M. Muller, Elementary Functions)
    nearest = math.ldexp(6381956970095103, 797)
    assert worst(name, np.array([nearest, -nearest, 1e22])) <= 2


@pytest.mark.parametrize("name", ["log", "log10", "log2", "log1p", "acosh", "asin", "acos", "atanh"])
def test_near_one(name: str) -> None:
    distance = drawn(name, 2.0**-53, 0.5, BOTH)
    inside = {"acosh": 1 + abs(distance), "log1p": np.append(distance, abs(distance) - 1)}
    x = inside.get(name, 1 + distance if name.startswith("log") else np.copysign(1 - abs(distance), distance))
    assert worst(name, x) <= 2


def test_exp_and_expm1_of_negative_numbers_down_to_the_subnormal() -> None:
    assert worst("exp", drawn("exp", 700.0, 745.0, (-1.0,))) <= 2
    assert worst("expm1", drawn("expm1", 1e-5, 60.0, (-1.0,))) <= 2


def test_whole_powers() -> None:
    x, n = drawn("whole", 0.01, 100.0, BOTH), np.tile(np.arange(-35.0, 35.0), POINTS // 70)
    assert worst("pow", x, n) <= 2
    assert FUNCTIONS["pow"]([3.0, -2.0, 10.0, 2.0], [2, 3, -1, -1074]).tolist() == [9.0, -8.0, 0.1, 5e-324]


SPECIAL: dict[str, list[tuple[float, ...]]] = {  # arguments, result: C99 annex F.9
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (5e-324, 5e-324)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.0, PI / 2), (-1.0, -PI / 2), (1.1, NAN), (-INF, NAN), (2.1, NAN)],
    "acos": [(1.0, 0.0), (-1.0, PI), (0.0, PI / 2), (-0.0, PI / 2), (1.1, NAN), (INF, NAN), (-3.0, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, PI / 2), (-INF, -PI / 2), (1.0, PI / 4)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (711.0, INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (-711.0, INF)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (-400.0, -1.0)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "acosh": [(1.0, 0.0), (0.9, NAN), (-INF, NAN), (INF, INF)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.1, NAN), (-INF, NAN)],
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (709.8, INF), (-745.2, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (709.8, INF), (5e-324, 5e-324)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (-INF, NAN), (INF, INF)],
    "log10": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (INF, INF), (1000.0, 3.0), (1e22, 22.0)],
    "log2": [
        *((1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (INF, INF), (8.0, 3.0), (0.5, -1.0)),
        *((5e-324, -1074.0), (2.0**1023, 1023.0), (2.0**-1022, -1022.0)),
    ],
    "floor": [(2.5, 2.0), (-2.5, -3.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN), (1e300, 1e300)],
    "ceil": [(2.5, 3.0), (-2.5, -2.0), (-0.5, -0.0), (0.0, 0.0), (INF, INF), (NAN, NAN), (1e300, 1e300)],
    "round": [  # C99 F.9.6.6: halves away from 0
        *((0.5, 1.0), (1.5, 2.0), (2.5, 3.0), (-0.5, -1.0), (-2.5, -3.0), (-0.3, -0.0), (-0.0, -0.0)),
        *((0.49999999999999994, 0.0), (4503599627370495.5, 4503599627370496.0), (9007199254740993.0, 2.0**53)),
        *((INF, INF), (-INF, -INF), (NAN, NAN), (1e300, 1e300)),
    ],
    "rint": [  # IEEE 754 roundToIntegralTiesToEven
        *((0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, -0.0), (-2.5, -2.0), (-0.0, -0.0), (3.5, 4.0)),
        *((0.49999999999999994, 0.0), (4503599627370495.5, 4503599627370496.0), (INF, INF), (NAN, NAN)),
    ],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-1.1, NAN), (-INF, NAN), (INF, INF), (5e-324, 5e-324)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (4.0, 2.0), (-1.0, NAN), (INF, INF)],
    "atan2": [
        *((0.0, -0.0, PI), (-0.0, -0.0, -PI), (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0)),
        *((0.0, -1.0, PI), (-0.0, -1.0, -PI), (0.0, 1.0, 0.0), (-0.0, 1.0, -0.0)),
        *((-1.0, 0.0, -PI / 2), (-1.0, -0.0, -PI / 2), (1.0, 0.0, PI / 2), (1.0, -0.0, PI / 2)),
        *((1.0, -INF, PI), (-1.0, -INF, -PI), (1.0, INF, 0.0), (-1.0, INF, -0.0)),
        *((INF, 1.0, PI / 2), (-INF, -1.0, -PI / 2), (INF, -INF, 0.75 * PI), (-INF, -INF, -0.75 * PI)),
        *((INF, INF, PI / 4), (-INF, INF, -PI / 4), (NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, NAN, NAN)),
        *((5e-324, 1.0, 5e-324), (5e-324, -1.0, PI), (1.0, 1e-320, PI / 2), (1e-310, 1e10, 1e-320)),
    ],
    "hypot": [
        (3.0, 4.0, 5.0),
        (0.0, -0.0, 0.0),
        (INF, NAN, INF),
        (NAN, -INF, INF),
        (NAN, 0.0, NAN),
        (1e308, 0.0, 1e308),
    ],
    "pow": [
        *((0.0, -3.0, INF), (-0.0, -3.0, -INF), (-0.0, -2.0, INF), (0.0, -0.5, INF), (-0.0, -INF, INF)),
        *((0.0, 3.0, 0.0), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (-0.0, 0.5, 0.0), (0.0, INF, 0.0)),
        *(
            (-1.0, INF, 1.0),
            (-1.0, -INF, 1.0),
            (1.0, NAN, 1.0),
            (1.0, INF, 1.0),
            (NAN, 0.0, 1.0),
            (NAN, -0.0, 1.0),
        ),
        *(
            (-2.0, 0.5, NAN),
            (-1e300, 0.1, NAN),
            (0.5, -INF, INF),
            (2.0, -INF, 0.0),
            (0.5, INF, 0.0),
            (2.0, INF, INF),
        ),
        *((-INF, -3.0, -0.0), (-INF, -2.0, 0.0), (-INF, 3.0, -INF), (-INF, 2.0, INF), (-INF, 0.5, INF)),
        *((INF, -1.0, 0.0), (INF, 1.0, INF), (NAN, 1.0, NAN), (2.0, NAN, NAN), (-2.0, 3.0, -8.0)),
        *(
            (2.0, 1024.0, INF),
            (-2.0, 1025.0, -INF),
            (2.0, -1080.0, 0.0),
            (-2.0, -1081.0, -0.0),
            (5e-324, 1.0, 5e-324),
        ),
        *(
            (1.0 + 2.0**-52, 1e300, INF),
            (1.0 - 2.0**-53, 1e300, 0.0),
            (-2.0, 2.0**53, INF),
            (0.0, 1e300, 0.0),
        ),
    ],
}


@pytest.mark.parametrize("name", ALL)
def test_special_cases_are_those_of_c99(name: str) -> None:
    for *arguments, expected in [*SPECIAL[name], *([] if name in TWO else [(NAN, NAN)])]:
        got = FUNCTIONS[name](*arguments)
        equal = got == expected and np.signbit(got) == np.signbit(expected)
        assert equal or (math.isnan(got) and math.isnan(expected)), (
            f"{name}{tuple(arguments)} = {got}, expected {expected}"
        )


SMALL = [0.0, 5e-324, 2.0**-1022, 1e-300, 2.0**-30, 0.25, 0.5, PI / 4, 1.0, PI / 2, 2.0, PI]
LARGE = [20.0, 40.0, 60.0, 709.8, 745.2, 2.0**20, 2.0**30, 2.0**53, 1e22, 1e300, 1.7976931348623157e308]
HARD = np.array([*SMALL, *LARGE, INF, NAN])
HARD = np.concatenate([HARD, -HARD, np.nextafter(HARD, 0.0), np.nextafter(HARD[:-3], INF)])


def any_bits(n: int, seed: int) -> np.ndarray:
    """n floats of any bit pattern."""
    return np.random.default_rng(seed).integers(-(2**63), 2**63, n).view(np.float64)


def assert_same_bits(name: str, *arguments: np.ndarray) -> None:
    """NumPy's and numba's values have the same bits; one NaN is as good as another."""
    from tagsel.kernels.jit import numba_functions

    function = numba_functions()[name]
    ours = FUNCTIONS[name](*arguments)
    theirs = np.array([function(*x) for x in zip(*(a.tolist() for a in arguments), strict=True)], np.float64)
    differ = (ours.view(np.int64) != theirs.view(np.int64)) & ~(np.isnan(ours) & np.isnan(theirs))
    assert not differ.any(), [(a[differ][:3], ours[differ][:3], theirs[differ][:3]) for a in arguments]


@pytest.mark.parametrize("name", ONE)
def test_numba_gives_the_same_bits(name: str) -> None:
    multiples = np.arange(-300.0, 300.0) * (PI / 2)
    ordinary = np.random.default_rng(8).normal(size=2000) * 3
    assert_same_bits(name, np.concatenate([HARD, any_bits(2000, 7), multiples, ordinary, ordinary % 1]))


@pytest.mark.parametrize("name", sorted(TWO))
def test_numba_gives_the_same_bits_of_two_arguments(name: str) -> None:
    rng = np.random.default_rng(9)
    x = np.concatenate([np.repeat(HARD, HARD.size), any_bits(2000, 1), rng.normal(size=2000)])
    y = np.concatenate([np.tile(HARD, HARD.size), any_bits(2000, 2), 9 * rng.normal(size=2000)])
    assert_same_bits(name, x, y)


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=30))
def test_numba_gives_the_same_bits_for_any_floats(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T.copy()
    for name in ALL:
        assert_same_bits(name, *((x, y) if name in TWO else (x,)))


@pytest.mark.parametrize("name", ALL)
def test_a_value_depends_on_its_argument_alone(name: str) -> None:
    """Neither on its place nor on its neighbours: near and far angles mixed, sizes across the blocks."""
    x = np.concatenate([drawn(name, 1e-3, 1e9, BOTH, 9000), HARD])
    arguments = (x, x[::-1].copy()) if name in TWO else (x,)
    whole = FUNCTIONS[name](*arguments)
    for i in [0, 1, 8191, 8192, 8999, *range(9000, x.size)]:
        alone = FUNCTIONS[name](*(float(a[i]) for a in arguments))
        assert alone.tobytes() == whole[i].tobytes() or (np.isnan(alone) and np.isnan(whole[i]))


def test_shapes_types_and_empty_arrays() -> None:
    assert FUNCTIONS["cos"](0).dtype == np.float64 and np.ndim(FUNCTIONS["cos"](0)) == 0
    assert FUNCTIONS["cos"](np.zeros(0)).shape == (0,)
    assert FUNCTIONS["atan2"](np.zeros((3, 1)), np.ones((1, 4), np.float32)).shape == (3, 4)
    assert FUNCTIONS["exp"](np.zeros(7, np.int32)[::3]).tolist() == [1.0, 1.0, 1.0]


def test_constants_have_the_digits_of_mpmath() -> None:
    with mpmath.workprec(constants.BITS + 100):
        expected = {
            constants.PI: mpmath.pi,
            constants.LN2: mpmath.log(2),
            constants.LN10: mpmath.log(10),
            constants.TWO_OVER_PI: 2 / mpmath.pi,
            constants.ONE_OVER_LN10: 1 / mpmath.log(10),
            constants.ONE_OVER_LN2: 1 / mpmath.log(2),
            **{value: mpmath.atan(mpmath.mpf(i) / 8) for i, value in enumerate(constants.ATANS)},
        }
        for value, truth in expected.items():
            assert abs(mpmath.mpf(value) / constants.ONE - truth) < mpmath.mpf(2) ** (16 - constants.BITS)


def test_numpy_alone_is_loaded() -> None:
    script = (
        "import sys, tagsel.kernels.physics, tagsel.kernels.segments, tagsel.kernels.jit\n"
        "print(float(tagsel.kernels.elementary.FUNCTIONS['cos'](0.0)), 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0 False\n"


def test_every_function_has_a_test_here() -> None:
    assert set(SPECIAL) == set(ALL) and set(RANGES) | set(PAIRS) == set(ALL)
    assert set(elementary.SOURCES) == set(ALL)
