"""Generated source becomes machine code that reads memory of every type, aligned or not, and looks things up."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
import pytest

from tagsel.kernels import memory, native


def call(source: str, rows: int, *arrays: np.ndarray) -> int:
    """The result of a kernel; its table holds the addresses of the arrays."""
    table = np.array([memory.address_of(array) for array in arrays], np.uint64)
    return native.load(native.build(source))(memory.address_of(table), 0, 0, rows)


def one_byte_off(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1)


@pytest.mark.parametrize("width", memory.WIDTHS)
def test_memory_of_every_type_is_read_where_it_lies(width: str) -> None:
    source = f"""
def kernel(table, scratch, first, rows):
    values, wanted, out = load_u8(table, 0), load_u8(table, 1), load_u8(table, 2)
    for i in range(rows):
        store_u1(out, i, uint8(float64(load_{width}(values, i)) == load_f8(wanted, i)))
    return rows
"""
    kind = np.dtype(width)
    extremes = [np.finfo(kind).max, 0.1] if kind.kind == "f" else [np.iinfo(kind).min, np.iinfo(kind).max]
    values = np.array([0, 1, 2, 7, *extremes], kind)
    out = np.zeros(values.size, np.uint8)
    assert call(source, values.size, one_byte_off(values), one_byte_off(values.astype(np.float64)), out) == values.size
    assert out.all()


@pytest.mark.parametrize(("width", "load"), [("i8", "load_i8"), ("f8", "load_f8")])
def test_contains_is_membership(width: str, load: str) -> None:
    source = f"""
def kernel(table, scratch, first, rows):
    values, sorted_, out, size = load_u8(table, 0), load_u8(table, 1), load_u8(table, 2), load_u8(table, 3)
    for i in range(rows):
        store_u1(out, i, uint8(contains_{width}(sorted_, load_i8(size, 0), {load}(values, i))))
    return 0
"""
    edges: list[Any] = [-(2**63), 2**63 - 1, 2**53, 2**53 + 1] if width == "i8" else [np.nan, np.inf, -np.inf, -0.0]
    values = np.array([*range(-3, 40), *edges], width)
    for held in ([], [5], [0, 2], list(range(0, 30, 3)), [-(2**63), 2**53 + 1]):
        known = np.array(sorted(held), width)
        out = np.empty(values.size, np.uint8)
        call(source, values.size, values, known, out, np.array([known.size]))
        assert out.tolist() == [v in known.tolist() for v in values.tolist()]


def test_within_is_a_plain_search_through_the_ranges() -> None:
    source = """
def kernel(table, scratch, first, rows):
    runs, firsts, lasts = load_u8(table, 0), load_u8(table, 1), load_u8(table, 2)
    run, lumi, out, size = load_u8(table, 3), load_u8(table, 4), load_u8(table, 5), load_u8(table, 6)
    for i in range(rows):
        inside = within(runs, firsts, lasts, load_i8(size, 0), load_i8(run, i), load_i8(lumi, i))
        store_u1(out, i, uint8(inside))
    return 0
"""
    ranges = [(1, 1, 5), (1, 10, 10), (3, 2, 9), (7, 1, 2**31 - 1)]
    assert ranges == sorted(ranges) and bisect.bisect(ranges, (8,)) == len(ranges)
    runs, lumis = (a.ravel() for a in np.meshgrid(np.arange(-1, 9), [-(2**40), -1, *range(12), 2**31 - 1, 2**31]))
    for held in (ranges, ranges[:1], []):
        tables = [np.array([r[n] for r in held], np.int64) for n in range(3)]
        out = np.empty(runs.size, np.uint8)
        call(source, runs.size, *tables, runs, lumis, out, np.array([len(held)]))
        expected = [any(r == a and low <= b <= high for r, low, high in held) for a, b in zip(runs, lumis, strict=True)]
        assert out.tolist() == expected


def test_machine_code_stands_alone_and_bad_code_is_refused() -> None:
    made = native.build("def kernel(table, scratch, first, rows):\n    return rows + 1\n")
    assert made.alone
    assert native.load(made)(0, 0, 0, 41) == 42
    with pytest.raises(ValueError, match="object code without"):
        native.load(native.Native("no such symbol", made.code))
    assert native.fingerprint() == native.fingerprint()
