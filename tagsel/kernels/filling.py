"""Fill a histogram of one to three axes from columns, for the rows whose bits are set, or for each of their objects.

A value belongs to the bin whose edges enclose it (low <= value < high), exactly: of equal bins a guess is put right by
the edges. Sums are added in the order of rows.

Memory, in 8-byte words:

    job      bits (a bit a row), axes and how many, weights (float64, 0: none), sums (int64, with weights float64),
             squares (float64), counts (int64): NaN, filled, inside, missing; for objects their counter and its width in
             bytes, else 0; rows; for objects a uint8 each, 1 where a value is missing, 0 where none is
    axis     column, its width in bytes (4, 8: floats; -4, -8: integers; -1: bool, a byte), times (float64), over
             (float64), edges with -inf and inf at the ends (float64), bins, whether they are equal, low edge (float64),
             bins a unit (float64)
"""

from __future__ import annotations

from tagsel.kernels.blocks import HELPERS

AXIS = 9
"""Words of an axis."""

SOURCE = f"""{HELPERS}
@helper
def value_of(axis, row):
    column, width = load_u8(axis, 0), load_i8(axis, 1)
    if width == 4:
        x = float64(load_f4(column, row))
    elif width == 8:
        x = load_f8(column, row)
    elif width == -4:
        x = float64(load_i4(column, row))
    elif width == -8:
        x = float64(load_i8(column, row))
    else:
        x = float64(load_u1(column, row))
    times, over = load_f8(axis, 2), load_f8(axis, 3)
    if times != 1.0:
        x *= times
    if over != 1.0:
        x /= over
    return x

@helper
def bin_of(axis, x):
    edges, bins = load_u8(axis, 4), load_i8(axis, 5)
    if load_i8(axis, 6) != 0:
        guess = (x - load_f8(axis, 7)) * load_f8(axis, 8)
        if guess < 0.0:
            found = int64(0)
        elif guess >= float64(bins):
            found = bins + 1
        else:
            found = int64(guess) + 1
        if x < load_f8(edges, found):
            found -= 1
        elif found <= bins and x >= load_f8(edges, found + 1):
            found += 1
        return found
    low, high = int64(0), bins + 1
    while low < high:
        middle = (low + high + 1) >> 1
        if load_f8(edges, middle) <= x:
            low = middle
        else:
            high = middle - 1
    return low

@helper
def enter(axes, count, weights, sums, squares, at, row):
    place, inside = int64(0), True
    for k in range(count):
        axis = axes + uint64(k * {AXIS * 8})
        x, bins = value_of(axis, at), load_i8(axis, 5)
        if x != x:
            return 0
        found = bin_of(axis, x)
        inside = inside and found >= 1 and found <= bins
        place = place * (bins + 2) + found
    if weights == 0:
        store_i8(sums, place, load_i8(sums, place) + 1)
    else:
        weight = load_f8(weights, row)
        store_f8(sums, place, load_f8(sums, place) + weight)
        store_f8(squares, place, load_f8(squares, place) + weight * weight)
    return 2 if inside else 1

def kernel(job, unused, begin, end):
    bits, axes, count, weights = load_u8(job, 0), load_u8(job, 1), load_i8(job, 2), load_u8(job, 3)
    sums, squares, told = load_u8(job, 4), load_u8(job, 5), load_u8(job, 6)
    counter, width, rows, gone = load_u8(job, 7), load_i8(job, 8), load_i8(job, 9), load_u8(job, 10)
    missing, nan, filled, between, at = int64(0), int64(0), int64(0), int64(0), int64(0)
    for word in range(begin, end):
        left = load_u8(bits, word)
        if counter != 0:
            for row in range(word * 64, min(word * 64 + 64, rows)):
                stop = at + length(counter, width, row)
                if (left >> uint64(row - word * 64)) & uint64(1) != 0:
                    for k in range(at, stop):
                        if gone != 0 and load_u1(gone, k) != 0:
                            missing += 1
                        else:
                            how = enter(axes, count, weights, sums, squares, k, row)
                            nan += int64(how == 0)
                            filled += int64(how > 0)
                            between += int64(how == 2)
                at = stop
        else:
            while left != 0:
                row = word * 64 + int64(bits_set(~left & (left - uint64(1))))
                left &= left - uint64(1)
                how = enter(axes, count, weights, sums, squares, row, row)
                nan += int64(how == 0)
                filled += int64(how > 0)
                between += int64(how == 2)
    store_i8(told, 0, nan)
    store_i8(told, 1, filled)
    store_i8(told, 2, between)
    store_i8(told, 3, missing)
    return int64(0)
"""
"""The kernel, `kernel(job, 0, first word, end)` over words of 64 rows."""
