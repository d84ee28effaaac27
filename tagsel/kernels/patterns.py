"""Events by the pattern of cuts that they pass: counts, and exact sums of weights and of their squares.

A finite double is a whole mantissa times a power of two, so mantissas are summed by pattern and exponent, in two
halves of integers: sums are exact, and do not hang on any order (see `exact`). Exponents lie in a window; a weight
outside of it, or one that is not finite, is told, and must be summed another way.
"""

from __future__ import annotations

from numpy import float64, int32, int64, uint64

from tagsel.kernels.blocks import lowest_bit
from tagsel.kernels.layouts import PATTERNS_JOB
from tagsel.kernels.memory import (
    Word,
    load_f4,
    load_f8,
    load_i4,
    load_i8,
    load_u8,
    store_f8,
    store_i4,
    store_i8,
    store_u8,
)

WINDOW = 64
"""Exponents of weights in a table; of squares twice as many."""

ROOM = 32 + 8 * 64
"""Words of the room beside those of the cuts."""

OUTSIDE = -1
"""What the loop gives where a weight is outside the window, or its square is."""


def transposed(words: Word, byte: Word, first: Word, end: Word) -> Word:
    """Byte `byte` of words `first` … `end` (at most 8), as bits turned: 8 bytes, one a row, with a bit a word."""
    x = uint64(0)
    for c in range(first, end):
        x |= ((load_u8(words, c) >> uint64(8 * byte)) & uint64(0xFF)) << uint64(8 * (c - first))
    swap = (x ^ (x >> uint64(7))) & uint64(0x00AA00AA00AA00AA)
    x ^= swap ^ (swap << uint64(7))
    swap = (x ^ (x >> uint64(14))) & uint64(0x0000CCCC0000CCCC)
    x ^= swap ^ (swap << uint64(14))
    swap = (x ^ (x >> uint64(28))) & uint64(0x00000000F0F0F0F0)
    return x ^ swap ^ (swap << uint64(28))


def find_patterns(words: Word, cuts: Word, patterns: Word) -> None:
    """Write the pattern of each of 64 rows, of which each cut has a word of bits."""
    for byte in range(8):
        low = transposed(words, byte, int64(0), min(cuts, int64(8)))
        high = transposed(words, byte, int64(8), cuts) if cuts > 8 else uint64(0)
        for b in range(8):
            upper = ((high >> uint64(8 * b)) & uint64(0xFF)) << uint64(8)
            store_i4(patterns, 8 * byte + b, int32(upper | ((low >> uint64(8 * b)) & uint64(0xFF))))


def widen(weights: Word, width: Word, row: Word, count: Word, target: Word) -> None:
    """Copy weights from a row on, of 4 or 8 bytes, as float64."""
    if width == 4:
        for k in range(count):
            store_f8(target, k, float64(load_f4(weights, row + k)))
    else:
        for k in range(count):
            store_f8(target, k, load_f8(weights, row + k))


def square(values: Word, count: Word, target: Word) -> None:
    """Write the squares of float64 values."""
    for k in range(count):
        store_f8(target, k, load_f8(values, k) * load_f8(values, k))


def split(values: Word, count: Word, first: Word, slots: Word, target: Word) -> Word:
    """Write slot and mantissa, in two halves, of float64 values; bits that are set: one is outside the slots."""
    outside = uint64(0)
    for k in range(count):
        bits = load_u8(values, k)
        slot = int64((bits >> uint64(52)) & uint64(0x7FF)) - first
        inside = uint64(slot) < uint64(slots)
        sign = int64(bits) >> 63
        mantissa = (int64((bits & uint64(0xFFFFFFFFFFFFF)) | uint64(0x10000000000000)) ^ sign) - sign
        outside |= uint64(0) if inside else bits << uint64(1)
        store_i8(target, k, 2 * slot if inside else int64(0))
        store_i8(target, 64 + k, mantissa >> 26 if inside else int64(0))
        store_i8(target, 128 + k, mantissa & int64(0x3FFFFFF) if inside else int64(0))
    return outside


def add(table: Word, at: Word, row: Word, parts: Word) -> None:
    """Add a row's mantissa to its slot, in the part of the table that begins at `at`."""
    at += load_i8(parts, row)
    store_i8(table, at, load_i8(table, at) + load_i8(parts, 64 + row))
    store_i8(table, at + 1, load_i8(table, at + 1) + load_i8(parts, 128 + row))


def add_patterns(job: Word, room: Word, begin: Word, end: Word) -> Word:
    """Add up the rows of words `begin` … `end` of a PATTERNS_JOB: 0, or OUTSIDE.

    `room`: a word for each cut; the patterns of 64 rows (int32); their weights, and squares; of weights, then of
    squares, what `split` writes of each row.
    """
    task = PATTERNS_JOB(job, 0)
    cuts, rows, bits = task.cuts, task.rows, task.bits
    weights, width, counts = task.weights, task.weight_width, task.counts
    table, squares, first, first_squared = task.table, task.squares, task.first, task.first_squared
    patterns = room + uint64(cuts * 8)
    here = patterns + uint64(32 * 8)
    squared = here + uint64(64 * 8)
    parts = squared + uint64(64 * 8)
    squared_parts = squared + uint64(4 * 64 * 8)
    outside = uint64(0)
    for word in range(begin, end):
        left = load_u8(load_u8(bits, 0), word)
        if left == 0:
            continue
        for c in range(cuts):
            store_u8(room, c, load_u8(load_u8(bits, c + 1), word))
        find_patterns(room, cuts, patterns)
        if weights != 0:
            count = min(int64(64), rows - word * 64)
            widen(weights, width, word * 64, count, here)
            square(here, count, squared)
            outside |= split(here, count, first, int64(WINDOW), parts)
            outside |= split(squared, count, first_squared, int64(2 * WINDOW), squared_parts)
        while left != 0:
            row = lowest_bit(left)
            left &= left - uint64(1)
            pattern = int64(load_i4(patterns, row))
            store_i8(counts, pattern, load_i8(counts, pattern) + 1)
            if weights != 0:
                add(table, pattern * (2 * WINDOW), row, parts)
                add(squares, pattern * (4 * WINDOW), row, squared_parts)
    return int64(0) if outside == 0 else int64(OUTSIDE)
