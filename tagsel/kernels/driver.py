"""The loop that runs the steps of a cut over row groups: blocks of rows that stay in the cache, one step after another.

A cut is a conjunction of *steps*, each a kernel of its own (`expr/source`). In a block a step is run on every row
(*dense*: no branches, so that it runs in vectors) while many rows are alive, and on the rows that are alive (*sparse*)
once few are. What is left of a block after the last step is accepted: counted, and noted as bits. The loop itself is a
kernel: steps are called by address, nothing of Python is touched.

Invariant: a step never sees a row that an earlier one rejected as alive, so the order of steps changes no answer.

Memory, in 8-byte words:

    job      units, words a unit, lists, steps; seen: for each step the rows that reached it and those that passed it,
             int64, added up
    unit     rows; alive (uint8 a row, 0: all); left (a bit a row, 0: all): what remembered masks leave; where to note
             the accepted rows (a bit a row, zeros before; 0: not); how many they are (written here); for each list:
             counter, its width in bytes, number of values; for each step: code (0: not here), its table, 1 where it
             may run dense, and where to note (a bit a row, 0: not) which rows it judged and which passed
    scratch  mask (uint8 a row of the block), rows (int32), for each list where each event's values begin (int64)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 2048
"""Rows that a step sees at a time: mask, row numbers and a few columns of them lie in the nearest cache."""

UNIT, LIST, STEP = 5, 3, 5
"""Words of a unit before its lists, of a list, of a step."""

FAILED, SHORT = -1, -2
"""What the loop gives instead of the number of accepted rows: a row has no answer; SHORT - n: list n is too short."""

SOURCE = f"""
@helper
def all_alive(mask, count):
    for w in range((count + 7) >> 3):
        store_u8(mask, w, uint64(0x0101010101010101))
    for n in range(count, ((count + 63) >> 6) * 64):
        store_u1(mask, n, uint8(0))

@helper
def copy_mask(source, at, target, count):
    for n in range(count):
        store_u1(target, n, uint8(load_u1(source, at + n) != 0))

@helper
def some_left(left, first, count):
    found = uint8(0)
    for n in range(first >> 3, (first + count + 7) >> 3):
        found |= load_u1(left, n)
    return found != 0

@helper
def keep_left(left, first, mask, count):
    for w in range((count + 7) >> 3):
        bits = uint64(load_u1(left, (first >> 3) + w)) * uint64(0x0101010101010101) & uint64(0x8040201008040201)
        ones = ((bits + uint64(0x7F7F7F7F7F7F7F7F)) >> uint64(7)) & uint64(0x0101010101010101)
        store_u8(mask, w, load_u8(mask, w) & ones)

@helper
def note_mask(mask, notes, first, count):
    for w in range((count + 7) >> 3):
        bits = (load_u8(mask, w) * uint64(0x0102040810204080)) >> uint64(56)
        store_u1(notes, (first >> 3) + w, load_u1(notes, (first >> 3) + w) | uint8(bits))

@helper
def note_rows(rows, live, notes, first):
    for n in range(live):
        row = first + int64(load_i4(rows, n))
        store_u1(notes, row >> 3, load_u1(notes, row >> 3) | uint8(1 << (row & 7)))

@helper
def count_mask(mask, count):
    live = int64(0)
    for w in range((count + 7) >> 3):
        live += int64(bits_set(load_u8(mask, w)))
    return live

@helper
def rows_of_mask(mask, rows, count):
    n = int64(0)
    for part in range((count + 63) >> 6):
        left = uint64(0)
        for w in range(8):
            word = load_u8(mask, part * 8 + w) * uint64(0x0102040810204080)
            left |= (word >> uint64(56)) << uint64(w * 8)
        while left != 0:
            store_i4(rows, n, int32(part * 64 + int64(bits_set(~left & (left - uint64(1))))))
            left &= left - uint64(1)
            n += 1

@helper
def length(counter, kind, row):
    if kind == 4:
        return max(int64(load_i4(counter, row)), int64(0))
    return max(load_i8(counter, row), int64(0)) if kind == 8 else max(int64(load_i1(counter, row)), int64(0))

@helper
def place_list(entry, starts, first, count):
    counter, kind, s = load_u8(entry, 0), load_i8(entry, 1), load_i8(starts, 0)
    for n in range(count):
        s += length(counter, kind, first + n)
        store_i8(starts, n + 1, s)
    return s <= load_i8(entry, 2)

@helper
def pass_list(entry, starts, first, count):
    counter, kind, s = load_u8(entry, 0), load_i8(entry, 1), load_i8(starts, 0)
    for n in range(count):
        s += length(counter, kind, first + n)
    store_i8(starts, 0, s)
    return s <= load_i8(entry, 2)

def kernel(job, scratch, begin, end):
    units, width, lists, steps = load_u8(job, 0), load_i8(job, 1), load_i8(job, 2), load_i8(job, 3)
    seen, mask, rows = load_u8(job, 4), load_u8(scratch, 0), load_u8(scratch, 1)
    found = int64(0)
    for u in range(begin, end):
        unit = units + uint64(u * width * 8)
        size, alive, left, out = load_i8(unit, 0), load_u8(unit, 1), load_u8(unit, 2), load_u8(unit, 3)
        at_lists = unit + uint64({UNIT * 8})
        at_steps = at_lists + uint64(lists * {LIST * 8})
        before = found
        for n in range(lists):
            store_i8(load_u8(scratch, 2 + n), 0, int64(0))
        for first in range(int64(0), size, int64({BLOCK})):
            count = min(int64({BLOCK}), size - first)
            live = count
            if left != 0 and not some_left(left, first, count):
                live = int64(0)
            else:
                all_alive(mask, count)
                if alive != 0:
                    copy_mask(alive, first, mask, count)
                if left != 0:
                    keep_left(left, first, mask, count)
                if alive != 0 or left != 0:
                    live = count_mask(mask, count)
            step, sparse, placed = int64(0), False, False
            while step < steps and live > 0:
                entry = at_steps + uint64(step * {STEP * 8})
                code, table = load_u8(entry, 0), load_u8(entry, 1)
                if code != 0:
                    reached, judged, passed = live, load_u8(entry, 3), load_u8(entry, 4)
                    if not sparse and live * 8 >= count and load_i8(entry, 2) != 0:
                        if judged != 0:
                            note_mask(mask, judged, first, count)
                        run_kernel(code, table, scratch, first, -count)
                        live = count_mask(mask, count)
                        if judged != 0:
                            note_mask(mask, passed, first, count)
                    else:
                        if not sparse:
                            rows_of_mask(mask, rows, count)
                            sparse = True
                        if judged != 0:
                            note_rows(rows, live, judged, first)
                        if not placed:
                            placed = True
                            for n in range(lists):
                                entry, starts = at_lists + uint64(n * {LIST * 8}), load_u8(scratch, 2 + n)
                                if not place_list(entry, starts, first, count):
                                    return int64({SHORT}) - n
                        live = run_kernel(code, table, scratch, first, live)
                        if live < 0:
                            return int64({FAILED})
                        if judged != 0:
                            note_rows(rows, live, passed, first)
                    store_i8(seen, 2 * step, load_i8(seen, 2 * step) + reached)
                    store_i8(seen, 2 * step + 1, load_i8(seen, 2 * step + 1) + live)
                step += 1
            for n in range(lists):
                starts = load_u8(scratch, 2 + n)
                if placed:
                    store_i8(starts, 0, load_i8(starts, count))
                elif not pass_list(at_lists + uint64(n * {LIST * 8}), starts, first, count):
                    return int64({SHORT}) - n
            if out != 0 and live > 0:
                if sparse:
                    note_rows(rows, live, out, first)
                else:
                    note_mask(mask, out, first, count)
            found += live
        store_i8(unit, 4, found - before)
    return found
"""
"""The loop, `kernel(job, scratch, first unit, end)`: the number of accepted rows, or FAILED, or SHORT - n."""


def scratch(lists: int) -> tuple[npt.NDArray[np.uint64], tuple[npt.NDArray[Any], ...]]:
    """Room for one thread: the addresses as the loop reads them, and the arrays that they belong to."""
    mask, rows = np.zeros(BLOCK, np.uint8), np.zeros(BLOCK + 8, np.int32)
    held: tuple[npt.NDArray[Any], ...] = (mask, rows, *(np.zeros(BLOCK + 1, np.int64) for _ in range(lists)))
    return np.array([a.__array_interface__["data"][0] for a in held], np.uint64), held
