"""What the loops over blocks of rows share: masks of a byte a row, bits, row numbers, and where lists begin.

A block's mask is whole words of 64 rows, zeros behind its last row.
A length is bounded by the number of values before it is added: no sum wraps, whatever a counter says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 2048
"""Rows that a step sees at a time: mask, row numbers and a few columns of them lie in the nearest cache."""

LIST = 3
"""Words of a list in a unit: its counter, the counter's width in bytes, the number of values."""

ROOM, PARTS, ROOMS = 64, 4, 4
"""Objects whose momenta a step may lay into scratch, numbers of a momentum, and how many lists of such."""

FAILED, SHORT = -1, -2
"""What a loop gives instead of a number of rows: a row has no answer; SHORT - n: list n is too short."""

HELPERS = f"""
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
def packed_mask(mask, part):
    bits = uint64(0)
    for w in range(8):
        word = load_u8(mask, part * 8 + w) * uint64(0x0102040810204080)
        bits |= (word >> uint64(56)) << uint64(w * 8)
    return bits

@helper
def rows_of_mask(mask, rows, count):
    n = int64(0)
    for part in range((count + 63) >> 6):
        left = packed_mask(mask, part)
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
    counter, kind, s, most = load_u8(entry, 0), load_i8(entry, 1), load_i8(starts, 0), load_i8(entry, 2)
    for n in range(count):
        s += min(length(counter, kind, first + n), most + 1)
        store_i8(starts, n + 1, s)
    return s <= most

@helper
def pass_list(entry, starts, first, count):
    counter, kind, s, most = load_u8(entry, 0), load_i8(entry, 1), load_i8(starts, 0), load_i8(entry, 2)
    for n in range(count):
        s += min(length(counter, kind, first + n), most + 1)
    store_i8(starts, 0, s)
    return s <= most

@helper
def place_lists(at_lists, lists, scratch, first, count):
    for n in range(lists):
        entry, starts = at_lists + uint64(n * {LIST * 8}), load_u8(scratch, 3 + n)
        if not place_list(entry, starts, first, count):
            return n
    return int64(-1)

@helper
def end_lists(at_lists, lists, scratch, first, count, placed):
    for n in range(lists):
        starts = load_u8(scratch, 3 + n)
        if placed:
            store_i8(starts, 0, load_i8(starts, count))
        elif not pass_list(at_lists + uint64(n * {LIST * 8}), starts, first, count):
            return n
    return int64(-1)

@helper
def bits_of(bits, word, begin, end):
    found = load_u8(bits, word)
    if begin > word * 64:
        found &= uint64(0xFFFFFFFFFFFFFFFF) << uint64(begin - word * 64)
    if end < (word + 1) * 64:
        found &= ~(uint64(0xFFFFFFFFFFFFFFFF) << uint64(end - word * 64))
    return found

@helper
def set_between(bits, begin, end):
    n = int64(0)
    for word in range(begin >> 6, (end + 63) >> 6):
        n += int64(bits_set(bits_of(bits, word, begin, end)))
    return n

@helper
def rows_between(bits, begin, end, rows):
    n = int64(0)
    for word in range(begin >> 6, (end + 63) >> 6):
        left = bits_of(bits, word, begin, end)
        if left == uint64(0xFFFFFFFFFFFFFFFF):
            for b in range(64):
                store_i4(rows, n + b, int32(word * 64 + b))
            n += 64
        else:
            while left != 0:
                store_i4(rows, n, int32(word * 64 + int64(bits_set(~left & (left - uint64(1))))))
                left &= left - uint64(1)
                n += 1
    return n
"""
"""Their text; those that a loop does not call cost nothing."""


def scratch(lists: int) -> tuple[npt.NDArray[np.uint64], tuple[npt.NDArray[Any], ...]]:
    """Room for one thread: the addresses as the loop reads them, and the arrays that they belong to."""
    mask, rows = np.zeros(BLOCK, np.uint8), np.zeros(BLOCK + 8, np.int32)
    room = np.zeros(ROOMS * ROOM * PARTS)
    held: tuple[npt.NDArray[Any], ...] = (mask, rows, room, *(np.zeros(BLOCK + 1, np.int64) for _ in range(lists)))
    return np.array([a.__array_interface__["data"][0] for a in held], np.uint64), held
