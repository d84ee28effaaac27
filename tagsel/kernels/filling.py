"""Fill a histogram of one to three axes from columns, for the rows whose bits are set, or for each of their objects.

A value belongs to the bin whose edges enclose it (low <= value < high), exactly: of equal bins a guess is put right by
the edges. Sums are added in the order of rows.
"""

from __future__ import annotations

from numpy import float64, int64, uint64

from tagsel.kernels.blocks import length, lowest_bit
from tagsel.kernels.layouts import AXIS, FILLING_JOB
from tagsel.kernels.memory import (
    Word,
    load_f4,
    load_f8,
    load_i4,
    load_i8,
    load_u1,
    load_u8,
    store_f8,
    store_i8,
)

NAN, OUTSIDE, INSIDE = 0, 1, 2
"""What becomes of an entry: it is NaN and not filled, or filled beyond the edges of an axis, or between them."""

ENTRIES = 4
"""Numbers that are counted: NaN, filled, inside, missing."""


def value_of(axes: Word, k: Word, row: Word) -> Word:
    """The value of a row on axis `k`, in the axis's unit, float64."""
    axis = AXIS(axes, k)
    column, width = axis.column, axis.width
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
    times, over = axis.times, axis.over
    if times != 1.0:
        x *= times
    if over != 1.0:
        x /= over
    return x


def bin_of(axes: Word, k: Word, x: Word) -> Word:
    """The bin of a number on axis `k`: 0 below the edges, bins + 1 above."""
    axis = AXIS(axes, k)
    edges, bins = axis.edges, axis.bins
    if axis.equal != 0:
        guess = (x - axis.low) * axis.bins_a_unit
        if guess < 0.0:
            at = int64(0)
        elif guess >= float64(bins):
            at = bins + 1
        else:
            at = int64(guess) + 1
        if x < load_f8(edges, at):
            at -= 1
        elif at <= bins and x >= load_f8(edges, at + 1):
            at += 1
        return at
    low, high = int64(0), bins + 1
    while low < high:
        middle = (low + high + 1) >> 1
        if load_f8(edges, middle) <= x:
            low = middle
        else:
            high = middle - 1
    return low


def enter(axes: Word, count: Word, weights: Word, sums: Word, squares: Word, at: Word, row: Word) -> Word:
    """Fill one entry, whose values are number `at` of the columns and whose weight is the row's."""
    place, inside = int64(0), True
    for k in range(count):
        x, bins = value_of(axes, k, at), AXIS(axes, k).bins
        if x != x:
            return NAN
        own = bin_of(axes, k, x)
        inside = inside and own >= 1 and own <= bins
        place = place * (bins + 2) + own
    if weights == 0:
        store_i8(sums, place, load_i8(sums, place) + 1)
    else:
        weight = load_f8(weights, row)
        store_f8(sums, place, load_f8(sums, place) + weight)
        store_f8(squares, place, load_f8(squares, place) + weight * weight)
    return INSIDE if inside else OUTSIDE


def fill_bins(job: Word, unused: Word, begin: Word, end: Word) -> Word:
    """Fill from words `begin` … `end` of the bits of a FILLING_JOB; those before them count objects, so begin at 0."""
    task = FILLING_JOB(job, 0)
    bits, axes, count, weights = task.bits, task.axes, task.axis_count, task.weights
    sums, squares, entries = task.sums, task.squares, task.entries
    counter, width, rows, gone = task.counter, task.counter_width, task.rows, task.gone
    missing, nan, filled, inside, at = int64(0), int64(0), int64(0), int64(0), int64(0)
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
                            fate = enter(axes, count, weights, sums, squares, k, row)
                            nan += int64(fate == NAN)
                            filled += int64(fate != NAN)
                            inside += int64(fate == INSIDE)
                at = stop
        else:
            while left != 0:
                row = word * 64 + lowest_bit(left)
                left &= left - uint64(1)
                fate = enter(axes, count, weights, sums, squares, row, row)
                nan += int64(fate == NAN)
                filled += int64(fate != NAN)
                inside += int64(fate == INSIDE)
    store_i8(entries, 0, nan)
    store_i8(entries, 1, filled)
    store_i8(entries, 2, inside)
    store_i8(entries, 3, missing)
    return int64(0)
