"""The search of the event index for many (run, event): `store/eventindex` in a loop.

Memory, in 8-byte words:

    job    runs (int32, rising) and their number; first block of each run and one past (int64); rows of each (int64);
           of each block its first event, lowest row (int64), step (uint8); of the packed events, then of the packed
           rows: words, first word (int64) and bits (uint8) of each block; wanted runs (int32), events (int64); answers
           (int64)

First the block of each wanted one is written, -1 where its run is not there; then (`kernel` with blocks already there)
the row that carries it, NOBODY, or SEVERAL where more than one does.
"""

from __future__ import annotations

NOBODY, SEVERAL = -1, -2

BLOCK = 128
"""Rows of a block of the index."""

_HEAD = """
@helper
def packed(words, starts, bits, block, place):
    width = load_u1(bits, block)
    if width == 0:
        return int64(0)
    bit = place * int64(width)
    word, shift = load_i8(starts, block) + (bit >> 6), uint64(bit & 63)
    value = load_u8(words, word) >> shift | (load_u8(words, word + 1) << uint64(1)) << (uint64(63) - shift)
    return int64(value & (uint64(0xFFFFFFFFFFFFFFFF) >> uint64(64 - width)))

@helper
def run_of(runs, count, run):
    low, high = int64(0), count
    while low < high:
        middle = (low + high) >> 1
        if load_i4(runs, middle) < run:
            low = middle + 1
        else:
            high = middle
    return low if low < count and load_i4(runs, low) == run else int64(-1)

def kernel(job, unused, begin, end):
    runs, count, blocks, sizes = load_u8(job, 0), load_i8(job, 1), load_u8(job, 2), load_u8(job, 3)
    firsts, bases, steps = load_u8(job, 4), load_u8(job, 5), load_u8(job, 6)
    wanted_runs, wanted_events, answers = load_u8(job, 13), load_u8(job, 14), load_u8(job, 15)
    known, of_run, near = int64(-1), int64(-1), int64(0)
    for n in range(begin, end):
        run, event = int64(load_i4(wanted_runs, n)), load_i8(wanted_events, n)
        if run != known:
            known, of_run = run, run_of(runs, count, run)
            near = load_i8(blocks, of_run) if of_run >= 0 else int64(0)
"""

BLOCKS = (
    _HEAD
    + """
        if of_run < 0:
            store_i8(answers, n, int64(-1))
            continue
        first, past, low, ahead = load_i8(blocks, of_run), load_i8(blocks, of_run + 1), near, int64(1)
        while low + ahead < past and load_i8(firsts, low + ahead) < event:  # they rise: it is not far from the last one
            low, ahead = low + ahead, 2 * ahead
        high = min(low + ahead, past)
        while low < high:
            middle = (low + high) >> 1
            if load_i8(firsts, middle) < event:
                low = middle + 1
            else:
                high = middle
        near = max(low - 1, first)
        store_i8(answers, n, near)
    return int64(0)
"""
)
"""`kernel(job, 0, first, end)`: the block of each wanted one in which the first event that is not below it may lie."""

ROWS = (
    _HEAD
    + f"""
        block = load_i8(answers, n)
        store_i8(answers, n, int64({NOBODY}))
        if block < 0:
            continue
        first, past, size = load_i8(blocks, of_run), load_i8(blocks, of_run + 1), load_i8(sizes, of_run)
        step, distance = int64(load_u1(steps, block)), event - load_i8(firsts, block)
        low, high = int64(0), min(size - (block - first) * int64({BLOCK}), int64({BLOCK}))
        end_of_block = high
        while low < high:
            middle = (low + high) >> 1
            value = packed(load_u8(job, 7), load_u8(job, 8), load_u8(job, 9), block, middle)
            if value + middle * step < distance:
                low = middle + 1
            else:
                high = middle
        found = int64(0)
        for _ in range(2):  # the row that has it, then whether the next one has it, too
            if low >= end_of_block:
                block, low = block + 1, int64(0)
                if block >= past:
                    break
                end_of_block = min(size - (block - first) * int64({BLOCK}), int64({BLOCK}))
            value = packed(load_u8(job, 7), load_u8(job, 8), load_u8(job, 9), block, low)
            if load_i8(firsts, block) + low * int64(load_u1(steps, block)) + value != event:
                break
            if found == 0:
                row = packed(load_u8(job, 10), load_u8(job, 11), load_u8(job, 12), block, low)
                store_i8(answers, n, load_i8(bases, block) + low + row)
            else:
                store_i8(answers, n, int64({SEVERAL}))
            found += 1
            low += 1
    return int64(0)
"""
)
"""`kernel(job, 0, first, end)`: of each wanted one, whose block is in its answer, the row that carries it, NOBODY, or
SEVERAL."""
