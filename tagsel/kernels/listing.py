"""From bits of accepted rows to the columns of an event list, each event written once, where the list has it.

Rows are cut into *segments*, within which run, luminosity block and file are one, and entries rise by one (those of
row groups and of `store/places` together). Segments are counted first; where the list has each is then known, so that
several threads write at once. Invariant: with `dest` the running sums of the counts in the list's order, every element
of every column is written once.
"""

from __future__ import annotations

from numpy import int64

from tagsel.kernels.blocks import rows_between, set_between
from tagsel.kernels.layouts import COLUMN_PAIR, LISTED_UNIT, LISTING_JOB
from tagsel.kernels.memory import Word, load_i4, load_i8, store_i4, store_i8

CHUNK = 2048
"""Rows that are looked at together; scratch has so many int32."""


def write_constant(pairs: Word, k: Word, segment: Word, at: Word, n: Word) -> None:
    """Write `n` events of a column that is constant in a segment."""
    pair = COLUMN_PAIR(pairs, k)
    value, column = load_i4(pair.by_segment, segment), pair.column
    for m in range(n):
        store_i4(column, at + m, value)


def write_rising(pairs: Word, k: Word, segment: Word, at: Word, rows: Word, n: Word, base: Word) -> None:
    """Write `n` events of a column that rises with the row."""
    pair = COLUMN_PAIR(pairs, k)
    shift, column = load_i8(pair.by_segment, segment) + base, pair.column
    for m in range(n):
        store_i8(column, at + m, shift + int64(load_i4(rows, m)))


def write_numbers(events: Word, column: Word, at: Word, rows: Word, n: Word) -> None:
    """Write the event numbers of `n` events."""
    for m in range(n):
        store_i8(column, at + m, load_i8(events, int64(load_i4(rows, m))))


def write_events(job: Word, rows: Word, begin: Word, end: Word) -> Word:
    """Write the events of units `begin` … `end` of a LISTING_JOB, and give their number; with `dest` 0 count them only.

    `rows` has CHUNK int32.
    """
    task = LISTING_JOB(job, 0)
    starts, counts, dest, column = task.starts, task.counts, task.dest, task.events
    constants, constant_count = task.constants, task.constant_count
    rising, rising_count = task.rising, task.rising_count
    written = int64(0)
    for u in range(begin, end):
        unit = LISTED_UNIT(task.units, u)
        bits, events, base = unit.bits, unit.events, unit.first_row
        for segment in range(unit.first_segment, unit.end_segment):
            first, last = load_i8(starts, segment) - base, load_i8(starts, segment + 1) - base
            if dest == 0:
                store_i8(counts, segment, set_between(bits, first, last))
            elif load_i8(counts, segment) > 0:
                at = load_i8(dest, segment)
                while first < last:
                    stop = min(last, (first & int64(-64)) + CHUNK)
                    n = rows_between(bits, first, stop, rows)
                    for k in range(constant_count):
                        write_constant(constants, k, segment, at, n)
                    for k in range(rising_count):
                        write_rising(rising, k, segment, at, rows, n, base)
                    write_numbers(events, column, at, rows, n)
                    at += n
                    first = stop
                written += at - load_i8(dest, segment)
    return written
