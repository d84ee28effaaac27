"""From bits of accepted rows to the columns of an event list, each event written once, where the list has it.

Rows are cut into *segments*, within which run, luminosity block and file are one, and entries rise by one (those of
row groups and of `store/places` together). Segments are counted first; where the list has each is then known, so that
several threads write at once. Invariant: with `dest` the running sums of the counts in the list's order, every element
of every column is written once.

Memory, in 8-byte words:

    job      units, starts, counts, dest; how many constants, and their pairs; how many rising ones, and their pairs;
             where to write event numbers (int64)
    unit     bits (1 a row, each unit's begin at a byte and may be read in words), events (int64), number of its first
             row, first segment, end of its segments
    starts   (S + 1,) int64: the first row of each segment; counts, dest (S,) int64
    pairs    of a constant: its value by segment (int32), the column (int32); of a rising one: row + what is the value
             by segment (int64), the column (int64)
"""

from __future__ import annotations

from tagsel.kernels.blocks import HELPERS

CHUNK = 2048
"""Rows that are looked at together; scratch has so many int32."""

UNIT = 5
"""Words of a unit."""

SOURCE = f"""{HELPERS}
@helper
def write_constant(pair, segment, at, n):
    value, column = load_i4(load_u8(pair, 0), segment), load_u8(pair, 1)
    for k in range(n):
        store_i4(column, at + k, value)

@helper
def write_rising(pair, segment, at, rows, n, base):
    shift, column = load_i8(load_u8(pair, 0), segment) + base, load_u8(pair, 1)
    for k in range(n):
        store_i8(column, at + k, shift + int64(load_i4(rows, k)))

@helper
def write_events(events, column, at, rows, n):
    for k in range(n):
        store_i8(column, at + k, load_i8(events, int64(load_i4(rows, k))))

def kernel(job, rows, begin, end):
    units, starts, counts, dest = load_u8(job, 0), load_u8(job, 1), load_u8(job, 2), load_u8(job, 3)
    constants, constant = load_i8(job, 4), load_u8(job, 5)
    risings, rising, column = load_i8(job, 6), load_u8(job, 7), load_u8(job, 8)
    written = int64(0)
    for u in range(begin, end):
        unit = units + uint64(u * {UNIT * 8})
        bits, events, base = load_u8(unit, 0), load_u8(unit, 1), load_i8(unit, 2)
        for segment in range(load_i8(unit, 3), load_i8(unit, 4)):
            first, last = load_i8(starts, segment) - base, load_i8(starts, segment + 1) - base
            if dest == 0:
                store_i8(counts, segment, set_between(bits, first, last))
            elif load_i8(counts, segment) > 0:
                at = load_i8(dest, segment)
                while first < last:
                    stop = min(last, (first & int64(-64)) + {CHUNK})
                    n = rows_between(bits, first, stop, rows)
                    for k in range(constants):
                        write_constant(constant + uint64(k * 16), segment, at, n)
                    for k in range(risings):
                        write_rising(rising + uint64(k * 16), segment, at, rows, n, base)
                    write_events(events, column, at, rows, n)
                    at += n
                    first = stop
                written += at - load_i8(dest, segment)
    return written
"""
"""The kernel, `kernel(job, rows, first unit, end)`; with dest 0 it counts only. It gives the number of events written;
`rows` has CHUNK int32."""
