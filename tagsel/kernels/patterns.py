"""Events by the pattern of cuts that they pass: counts, and exact sums of weights and of their squares.

A finite double is a whole mantissa times a power of two, so mantissas are summed by pattern and exponent, in two
halves of integers: sums are exact, and do not hang on any order (see `exact`). Exponents lie in a window; a weight
outside of it, or one that is not finite, is told, and must be summed another way.

Memory, in 8-byte words:

    job      cuts, rows, addresses of their bits (a bit a row, in words): of the rows that count, then of each cut;
             weights (a row each), 0 for none, and their bytes: 4 (float32) or 8 (float64); counts by pattern (int64);
             tables of weights and of squares, int64, (patterns, WINDOW, 2) and (patterns, 2 x WINDOW, 2); the
             exponents of their first slots
    room     a word for each cut; patterns of 64 rows (int32); their weights, and squares; of weights, then of squares,
             for each row its slot's place in a pattern's table, and its mantissa's halves
"""

from __future__ import annotations

WINDOW = 64
"""Exponents of weights in a table; of squares twice as many."""

ROOM = 32 + 8 * 64
"""Words of the room beside those of the cuts."""

OUTSIDE = -1
"""What the kernel gives where a weight is outside the window, or its square is."""

SOURCE = f"""
@helper
def transposed(words, byte, first, end):
    x = uint64(0)
    for c in range(first, end):
        x |= ((load_u8(words, c) >> uint64(8 * byte)) & uint64(0xFF)) << uint64(8 * (c - first))
    swap = (x ^ (x >> uint64(7))) & uint64(0x00AA00AA00AA00AA)
    x ^= swap ^ (swap << uint64(7))
    swap = (x ^ (x >> uint64(14))) & uint64(0x0000CCCC0000CCCC)
    x ^= swap ^ (swap << uint64(14))
    swap = (x ^ (x >> uint64(28))) & uint64(0x00000000F0F0F0F0)
    return x ^ swap ^ (swap << uint64(28))

@helper
def find_patterns(words, cuts, patterns):
    for byte in range(8):
        low = transposed(words, byte, int64(0), min(cuts, int64(8)))
        high = transposed(words, byte, int64(8), cuts) if cuts > 8 else uint64(0)
        for b in range(8):
            upper = ((high >> uint64(8 * b)) & uint64(0xFF)) << uint64(8)
            store_i4(patterns, 8 * byte + b, int32(upper | ((low >> uint64(8 * b)) & uint64(0xFF))))

@helper
def widen(weights, width, row, count, target):
    if width == 4:
        for k in range(count):
            store_f8(target, k, float64(load_f4(weights, row + k)))
    else:
        for k in range(count):
            store_f8(target, k, load_f8(weights, row + k))

@helper
def square(values, count, target):
    for k in range(count):
        store_f8(target, k, load_f8(values, k) * load_f8(values, k))

@helper
def split(values, count, first, slots, target):
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

@helper
def add(table, at, row, parts):
    at += load_i8(parts, row)
    store_i8(table, at, load_i8(table, at) + load_i8(parts, 64 + row))
    store_i8(table, at + 1, load_i8(table, at + 1) + load_i8(parts, 128 + row))

def kernel(job, room, begin, end):
    cuts, rows, bits = load_i8(job, 0), load_i8(job, 1), load_u8(job, 2)
    weights, width, counts = load_u8(job, 3), load_i8(job, 4), load_u8(job, 5)
    table, squares, first, first2 = load_u8(job, 6), load_u8(job, 7), load_i8(job, 8), load_i8(job, 9)
    patterns = room + uint64(cuts * 8)
    here = patterns + uint64(32 * 8)
    squared = here + uint64(64 * 8)
    parts, parts2 = squared + uint64(64 * 8), squared + uint64(4 * 64 * 8)
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
            outside |= split(here, count, first, int64({WINDOW}), parts)
            outside |= split(squared, count, first2, int64({2 * WINDOW}), parts2)
        while left != 0:
            row = int64(bits_set(~left & (left - uint64(1))))
            left &= left - uint64(1)
            pattern = int64(load_i4(patterns, row))
            store_i8(counts, pattern, load_i8(counts, pattern) + 1)
            if weights != 0:
                add(table, pattern * {2 * WINDOW}, row, parts)
                add(squares, pattern * {4 * WINDOW}, row, parts2)
    return int64(0) if outside == 0 else int64({OUTSIDE})
"""
"""The kernel, `kernel(job, room, first word, end)` over words of 64 rows: 0, or OUTSIDE."""
