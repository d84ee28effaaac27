"""The search of the event index for many (run, event): `store/eventindex` in a loop.

First the block of each wanted one is written (`find_blocks`), -1 where its run is not there; then (`find_rows`) the row
that carries it, NOBODY, or SEVERAL where more than one does.
"""

from __future__ import annotations

from numpy import int64, uint64

from tagsel.kernels.layouts import FINDING_JOB
from tagsel.kernels.memory import Word, load_i4, load_i8, load_u1, load_u8, store_i8

NOBODY, SEVERAL = -1, -2

BLOCK = 128
"""Rows of a block of the index."""


def packed(words: Word, starts: Word, bits: Word, block: Word, place: Word) -> Word:
    """Number `place` of a block of packed numbers."""
    width = load_u1(bits, block)
    if width == 0:
        return int64(0)
    bit = place * int64(width)
    word, shift = load_i8(starts, block) + (bit >> 6), uint64(bit & 63)
    value = load_u8(words, word) >> shift | (load_u8(words, word + 1) << uint64(1)) << (uint64(63) - shift)
    return int64(value & (uint64(0xFFFFFFFFFFFFFFFF) >> uint64(64 - width)))


def run_of(runs: Word, count: Word, run: Word) -> Word:
    """The place of a run in the index, -1 where it is not there."""
    low, high = int64(0), count
    while low < high:
        middle = (low + high) >> 1
        if load_i4(runs, middle) < run:
            low = middle + 1
        else:
            high = middle
    return low if low < count and load_i4(runs, low) == run else int64(-1)


def find_blocks(job: Word, unused: Word, begin: Word, end: Word) -> Word:
    """Write, for wanted ones `begin` … `end`, the block in which the first event that is not below each may lie."""
    index = FINDING_JOB(job, 0)
    blocks, firsts = index.first_block, index.first_event
    wanted_runs, wanted_events, answers = index.wanted_runs, index.wanted_events, index.answers
    last_run, of_run, near = int64(-1), int64(-1), int64(0)
    for n in range(begin, end):
        run, event = int64(load_i4(wanted_runs, n)), load_i8(wanted_events, n)
        if run != last_run:
            last_run, of_run = run, run_of(index.runs, index.run_count, run)
            near = load_i8(blocks, of_run) if of_run >= 0 else int64(0)
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


def find_rows(job: Word, unused: Word, begin: Word, end: Word) -> Word:
    """Write, for wanted ones `begin` … `end` whose blocks are written, the row that has each, NOBODY, or SEVERAL."""
    index = FINDING_JOB(job, 0)
    blocks, sizes, firsts = index.first_block, index.sizes, index.first_event
    bases, steps = index.base_row, index.steps
    wanted_runs, wanted_events, answers = index.wanted_runs, index.wanted_events, index.answers
    words, starts, bits = index.event_words, index.event_starts, index.event_bits
    last_run, of_run = int64(-1), int64(-1)
    for n in range(begin, end):
        run, event = int64(load_i4(wanted_runs, n)), load_i8(wanted_events, n)
        if run != last_run:
            last_run, of_run = run, run_of(index.runs, index.run_count, run)
        block = load_i8(answers, n)
        store_i8(answers, n, int64(NOBODY))
        if block < 0:
            continue
        first, past, size = load_i8(blocks, of_run), load_i8(blocks, of_run + 1), load_i8(sizes, of_run)
        step, distance = int64(load_u1(steps, block)), event - load_i8(firsts, block)
        low, high = int64(0), min(size - (block - first) * int64(BLOCK), int64(BLOCK))
        end_of_block = high
        while low < high:
            middle = (low + high) >> 1
            if packed(words, starts, bits, block, middle) + middle * step < distance:
                low = middle + 1
            else:
                high = middle
        matches = int64(0)
        for _ in range(2):  # the row that has it, then whether the next one has it, too
            if low >= end_of_block:
                block, low = block + 1, int64(0)
                if block >= past:
                    break
                end_of_block = min(size - (block - first) * int64(BLOCK), int64(BLOCK))
            value = packed(words, starts, bits, block, low)
            if load_i8(firsts, block) + low * int64(load_u1(steps, block)) + value != event:
                break
            if matches == 0:
                row = packed(index.row_words, index.row_starts, index.row_bits, block, low)
                store_i8(answers, n, load_i8(bases, block) + low + row)
            else:
                store_i8(answers, n, int64(SEVERAL))
            matches += 1
            low += 1
    return int64(0)
