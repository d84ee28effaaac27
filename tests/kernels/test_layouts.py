"""Both sides of a table are made from its layout; a loop run by Python gives what its machine code gives."""

from __future__ import annotations

import numpy as np
import pytest

from tagsel.kernels import blocks, driver, filling, intrinsics, jit, kernel_cache, layouts, native, regions
from tagsel.kernels.layouts import AXIS, FILLING_JOB, LIST, STEP, STEPS_JOB, STEPS_UNIT, Layout
from tagsel.kernels.memory import address_of

ALL = [layout for layout in vars(layouts).values() if isinstance(layout, Layout)]


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_python_writes_and_reads_each_field_where_the_layout_says(layout: Layout) -> None:
    numbers = dict(zip(layout.fields, range(3, 3 + len(layout.fields)), strict=True))
    table = np.concatenate([layout.filled(**dict.fromkeys(layout.fields, 0)), layout.filled(**numbers)])
    assert [getattr(layout(address_of(table), 1), name) for name in layout.fields] == list(numbers.values())
    assert [layout.word(name) for name in layout.fields] == list(range(layout.words))


def test_machine_code_reads_and_writes_fields_by_name() -> None:
    open_axis = intrinsics.record(AXIS)

    def move(axes: int, target: int) -> float:
        axis, other = open_axis(axes, 1), open_axis(target, 0)
        other.bins = axis.bins
        other.low = axis.low
        return axis.times + axis.over

    numbers = dict.fromkeys(AXIS.fields, 0) | {"times": 0.5, "over": 8.0, "low": -2.5, "bins": -3, "edges": 2**64 - 1}
    table, target = np.concatenate([AXIS.zeros(1), AXIS.filled(**numbers)]), AXIS.zeros(1)
    places = np.uint64(address_of(table)), np.uint64(address_of(target))
    regions.publish()  # as a loaded kernel does
    assert jit.jit(move)(*places) == 8.5
    assert target[0].tolist() == (0, 0, 0.0, 0.0, 0, -3, 0, -2.5, 0.0)


def test_a_table_is_not_filled_with_a_field_too_few_or_too_many() -> None:
    whole = {"counter": 1, "width": 4, "values": 9}
    assert LIST.filled(**whole).tolist() == [(1, 4, 9)]
    with pytest.raises(TypeError, match="list: .*values$"):
        LIST.filled(counter=1, width=4)
    with pytest.raises(TypeError, match="list: .*code$"):
        LIST.filled(**whole, code=0)
    with pytest.raises(layouts.struct.error):
        LIST.filled(**whole | {"counter": -1})


def test_a_loop_must_be_of_the_room_that_keys_cover() -> None:
    def loop(job: int, scratch: int, begin: int, end: int) -> int:
        return end

    with pytest.raises(ValueError, match=r"loop is no loop of this room"):
        native.build(loop)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loop_that_fills_bins_is_the_same_compiled_and_not(weighted: bool) -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.999, 3.0, np.nan, np.inf, *np.linspace(-0.5, 3.5, 62)])
    edges = np.array([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf])
    bits = np.array([2**64 - 1 - 2**5, 0b101111], np.uint64)
    weights = np.linspace(0.1, 2.0, values.size)
    results = []
    for loop in (filling.fill_bins, kernel_cache.function(filling.fill_bins)):
        sums = np.zeros(5, np.float64 if weighted else np.int64)
        squares, entries = np.zeros(5), np.zeros(filling.ENTRIES, np.int64)
        axis = AXIS.filled(
            column=address_of(values),
            width=8,
            times=1.0,
            over=1.0,
            edges=address_of(edges),
            bins=3,
            equal=1,
            low=0.0,
            bins_a_unit=1.0,
        )
        job = FILLING_JOB.filled(
            bits=address_of(bits),
            axes=address_of(axis),
            axis_count=1,
            weights=address_of(weights) if weighted else 0,
            sums=address_of(sums),
            squares=address_of(squares) if weighted else 0,
            entries=address_of(entries),
            counter=0,
            counter_width=0,
            rows=values.size,
            gone=0,
        )
        assert loop(address_of(job), 0, 0, len(bits)) == 0
        results.append([sums.tolist(), squares.tolist(), entries.tolist()])
    assert results[0] == results[1]
    assert results[0][2][:2] == [1, 67] and sum(results[0][0]) > 0


@pytest.mark.parametrize("passing", [0.1, 0.9])
def test_the_loop_that_runs_steps_is_the_same_compiled_and_not(passing: float) -> None:
    """Dense and sparse, in two units that end within a word, with rows that do not count and rows that are left."""
    text = """
def kernel(table, scratch, first, count):
    values = load_u8(table, 0)
    mask, rows = load_u8(scratch, 0), load_u8(scratch, 1)
    if count < 0:
        for i in range(first, first - count):
            store_u1(mask, i - first, load_u1(mask, i - first) & uint8(load_u1(values, i) != 0))
        return int64(0)
    kept = int64(0)
    for j in range(count):
        row = load_i4(rows, j)
        store_i4(rows, kept, row)
        kept += int64(load_u1(values, first + int64(row)) != 0)
    return kept
"""
    step = kernel_cache.function(text)
    generator, size = np.random.default_rng(5), 150
    columns = (generator.random((2, 2, size)) < passing).astype(np.uint8)
    alive, left = generator.integers(0, 2, size, np.uint8), generator.integers(0, 256, 24).astype(np.uint8)
    results = []
    for loop in (driver.run_steps, kernel_cache.function(driver.run_steps)):
        table = np.zeros(2, STEPS_UNIT.followed_by(lists=(LIST, 0), steps=(STEP, 2)))
        out, seen = np.zeros((2, 24), np.uint8), np.zeros((2, 2), np.int64)
        notes = np.zeros((2, 24), np.uint8)
        tables = np.array([[address_of(column) for column in unit] for unit in columns], np.uint64)
        table["rows"], table["out"] = [size, size - 3], [address_of(bits) for bits in out]
        table["alive"], table["left"] = [address_of(alive), 0], [0, address_of(left)]
        table["steps"]["code"], table["steps"]["dense"] = step.address, [1, 0]
        table["steps"]["table"] = address_of(tables) + 8 * np.arange(4, dtype=np.uint64).reshape(2, 2)
        table["steps"]["judged"][0, 1], table["steps"]["passed"][0, 1] = map(address_of, notes)
        job = STEPS_JOB.filled(
            units=address_of(table),
            unit_bytes=table.dtype.itemsize,
            lists=0,
            lists_at=layouts.offset(table.dtype, "lists"),
            steps=2,
            steps_at=layouts.offset(table.dtype, "steps"),
            seen=address_of(seen),
        )
        scratch, held = blocks.scratch(0)
        with np.errstate(over="ignore"):  # masks become bits by products that wrap
            accepted = loop(address_of(job), address_of(scratch), 0, 2)
        assert len(held) == 3
        results.append([accepted, table["accepted"].tolist(), seen.tolist(), out.tolist(), notes.tolist()])
    assert results[0] == results[1]
    both = columns[:, 0] & columns[:, 1]
    assert results[0][1][0] == int((both[0] & alive).sum())
    assert results[0][0] == sum(results[0][1]) > 0
