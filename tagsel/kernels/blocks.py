"""What the loops over blocks of rows share: masks of a byte a row, bits, row numbers, and where lists begin.

A block's mask is whole words of 64 rows, zeros behind its last row.
A length is bounded by the number of values before it is added: no sum wraps, whatever a counter says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import int32, int64, uint8, uint64

from tagsel.kernels.layouts import LIST, SCRATCH
from tagsel.kernels.memory import (
    Word,
    address_of,
    bits_set,
    load_i1,
    load_i4,
    load_i8,
    load_u1,
    load_u8,
    store_i4,
    store_i8,
    store_u1,
    store_u8,
)

BLOCK = 2048
"""Rows that a step sees at a time: mask, row numbers and a few columns of them lie in the nearest cache."""

ROOM, PARTS, ROOMS = 64, 4, 4
"""Objects whose momenta a step may lay into scratch, numbers of a momentum, and how many lists of such."""

FAILED, SHORT = -1, -2
"""What a loop gives instead of a number of rows: a row has no answer; SHORT - n: list n is too short."""

SCRATCH_WORDS = SCRATCH.words


def all_alive(mask: Word, count: Word) -> None:
    """Set the mask of `count` rows to 1, and the rest of its last word of 64 to 0."""
    for w in range((count + 7) >> 3):
        store_u8(mask, w, uint64(0x0101010101010101))
    for n in range(count, ((count + 63) >> 6) * 64):
        store_u1(mask, n, uint8(0))


def copy_mask(source: Word, at: Word, target: Word, count: Word) -> None:
    """Copy a mask from row `at` on, each byte as 0 or 1."""
    for n in range(count):
        store_u1(target, n, uint8(load_u1(source, at + n) != 0))


def some_left(left: Word, first: Word, count: Word) -> bool:
    """Whether one of `count` rows from `first` on has its bit set."""
    bits = uint8(0)
    for n in range(first >> 3, (first + count + 7) >> 3):
        bits |= load_u1(left, n)
    return bool(bits != 0)


def keep_left(left: Word, first: Word, mask: Word, count: Word) -> None:
    """Join the bits of `count` rows from `first` on to the mask."""
    for w in range((count + 7) >> 3):
        bits = uint64(load_u1(left, (first >> 3) + w)) * uint64(0x0101010101010101) & uint64(0x8040201008040201)
        ones = ((bits + uint64(0x7F7F7F7F7F7F7F7F)) >> uint64(7)) & uint64(0x0101010101010101)
        store_u8(mask, w, load_u8(mask, w) & ones)


def note_mask(mask: Word, notes: Word, first: Word, count: Word) -> None:
    """Set the bits of the rows of a mask, whose first row is `first`."""
    for w in range((count + 7) >> 3):
        bits = (load_u8(mask, w) * uint64(0x0102040810204080)) >> uint64(56)
        store_u1(notes, (first >> 3) + w, load_u1(notes, (first >> 3) + w) | uint8(bits))


def note_rows(rows: Word, live: Word, notes: Word, first: Word) -> None:
    """Set the bits of listed rows, which count from `first` on."""
    for n in range(live):
        row = first + int64(load_i4(rows, n))
        store_u1(notes, row >> 3, load_u1(notes, row >> 3) | uint8(1 << (row & 7)))


def count_mask(mask: Word, count: Word) -> Word:
    """How many rows of a mask are 1."""
    live = int64(0)
    for w in range((count + 7) >> 3):
        live += int64(bits_set(load_u8(mask, w)))
    return live


def packed_mask(mask: Word, part: Word) -> Word:
    """64 bytes of a mask as bits."""
    bits = uint64(0)
    for w in range(8):
        word = load_u8(mask, part * 8 + w) * uint64(0x0102040810204080)
        bits |= (word >> uint64(56)) << uint64(w * 8)
    return bits


def lowest_bit(word: Word) -> Word:
    """The place of the lowest bit that is set, int64."""
    return int64(bits_set(~word & (word - uint64(1))))


def rows_of_mask(mask: Word, rows: Word, count: Word) -> None:
    """List the rows of a mask."""
    n = int64(0)
    for part in range((count + 63) >> 6):
        left = packed_mask(mask, part)
        while left != 0:
            store_i4(rows, n, int32(part * 64 + lowest_bit(left)))
            left &= left - uint64(1)
            n += 1


def length(counter: Word, width: Word, row: Word) -> Word:
    """What a counter of `width` bytes says of a row, negative ones as 0."""
    if width == 4:
        return max(int64(load_i4(counter, row)), int64(0))
    if width == 8:
        return max(load_i8(counter, row), int64(0))
    return max(int64(load_i1(counter, row)), int64(0))


def place_list(lists: Word, n: Word, starts: Word, first: Word, count: Word) -> bool:
    """Write where each row's values of list `n` begin; False: the list has fewer values than its counters say."""
    values = LIST(lists, n)
    counter, width, most, start = values.counter, values.width, values.values, load_i8(starts, 0)
    for k in range(count):
        start += min(length(counter, width, first + k), most + 1)
        store_i8(starts, k + 1, start)
    return bool(start <= most)


def pass_list(lists: Word, n: Word, starts: Word, first: Word, count: Word) -> bool:
    """As `place_list`, of the block's end alone."""
    values = LIST(lists, n)
    counter, width, most, start = values.counter, values.width, values.values, load_i8(starts, 0)
    for k in range(count):
        start += min(length(counter, width, first + k), most + 1)
    store_i8(starts, 0, start)
    return bool(start <= most)


def starts_of(scratch: Word, n: Word) -> Word:
    """The address in scratch where each event's values of list `n` begin."""
    return load_u8(scratch, SCRATCH_WORDS + n)


def begin_lists(scratch: Word, lists: Word) -> None:
    """Have the lists of a unit begin at 0."""
    for n in range(lists):
        store_i8(starts_of(scratch, n), 0, int64(0))


def place_lists(at_lists: Word, lists: Word, scratch: Word, first: Word, count: Word) -> Word:
    """Place all lists in a block of rows: -1, or the number of a list that is too short."""
    for n in range(lists):
        if not place_list(at_lists, n, starts_of(scratch, n), first, count):
            return n
    return int64(-1)


def end_lists(at_lists: Word, lists: Word, scratch: Word, first: Word, count: Word, placed: Word) -> Word:
    """Have the lists begin behind a block, in which they were placed or not: -1, or the number of a short list."""
    for n in range(lists):
        starts = starts_of(scratch, n)
        if placed:
            store_i8(starts, 0, load_i8(starts, count))
        elif not pass_list(at_lists, n, starts, first, count):
            return n
    return int64(-1)


def bits_of(bits: Word, word: Word, begin: Word, end: Word) -> Word:
    """Word number `word` of some bits, of which those from `begin` to `end` count."""
    inside = load_u8(bits, word)
    if begin > word * 64:
        inside &= uint64(0xFFFFFFFFFFFFFFFF) << uint64(begin - word * 64)
    if end < (word + 1) * 64:
        inside &= ~(uint64(0xFFFFFFFFFFFFFFFF) << uint64(end - word * 64))
    return inside


def set_between(bits: Word, begin: Word, end: Word) -> Word:
    """How many bits from `begin` to `end` are set."""
    n = int64(0)
    for word in range(begin >> 6, (end + 63) >> 6):
        n += int64(bits_set(bits_of(bits, word, begin, end)))
    return n


def rows_between(bits: Word, begin: Word, end: Word, rows: Word) -> Word:
    """List the rows from `begin` to `end` whose bits are set, and give their number."""
    n = int64(0)
    for word in range(begin >> 6, (end + 63) >> 6):
        left = bits_of(bits, word, begin, end)
        if left == uint64(0xFFFFFFFFFFFFFFFF):
            for b in range(64):
                store_i4(rows, n + b, int32(word * 64 + b))
            n += 64
        else:
            while left != 0:
                store_i4(rows, n, int32(word * 64 + lowest_bit(left)))
                left &= left - uint64(1)
                n += 1
    return n


def scratch(lists: int) -> tuple[npt.NDArray[np.uint64], tuple[npt.NDArray[Any], ...]]:
    """Room for one thread: the addresses as SCRATCH says, and the arrays that they belong to."""
    mask, rows = np.zeros(BLOCK, np.uint8), np.zeros(BLOCK + 8, np.int32)
    momenta = np.zeros(ROOMS * ROOM * PARTS)
    starts = [np.zeros(BLOCK + 1, np.int64) for _ in range(lists)]
    head = SCRATCH.filled(mask=address_of(mask), rows=address_of(rows), momenta=address_of(momenta))
    table = np.array([*head.view(np.uint64), *map(address_of, starts)], np.uint64)
    return table, (mask, rows, momenta, *starts)
