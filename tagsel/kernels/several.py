"""The loop that judges several cuts at once: each of their steps is run once in a block of rows, for all cuts that
have it and the rows that any of these still has.

Invariant: a step is run on a row at most once, and only while a cut needs it there; so the cuts' bits are those that
each has by itself.
"""

from __future__ import annotations

from numpy import int64, uint64

from tagsel.kernels.blocks import (
    BLOCK,
    FAILED,
    SHORT,
    all_alive,
    begin_lists,
    copy_mask,
    end_lists,
    note_rows,
    packed_mask,
    place_lists,
    rows_between,
)
from tagsel.kernels.layouts import CUT, SCRATCH, SEVERAL_JOB, SEVERAL_STEP, SEVERAL_UNIT
from tagsel.kernels.memory import Word, bits_set, load_i8, load_u8, run_kernel, store_i8, store_u8

WORDS = BLOCK // 64
"""Words of a block's bits."""

BLOCK_BYTES = 8 * WORDS
"""Bytes of a block's bits."""


def pack(mask: Word, bits: Word) -> None:
    """Write a block's mask as bits."""
    for part in range(WORDS):
        store_u8(bits, part, packed_mask(mask, part))


def copy_bits(source: Word, target: Word) -> None:
    """Copy a block's bits."""
    for w in range(WORDS):
        store_u8(target, w, load_u8(source, w))


def and_bits(source: Word, target: Word) -> None:
    """Keep the bits that another block's bits have, too."""
    for w in range(WORDS):
        store_u8(target, w, load_u8(target, w) & load_u8(source, w))


def or_bits(source: Word, target: Word) -> None:
    """Add another block's bits."""
    for w in range(WORDS):
        store_u8(target, w, load_u8(target, w) | load_u8(source, w))


def clear_bits(target: Word) -> None:
    """Set a block's bits to 0."""
    for w in range(WORDS):
        store_u8(target, w, uint64(0))


def count_bits(bits: Word) -> Word:
    """How many of a block's bits are set."""
    n = int64(0)
    for w in range(WORDS):
        n += int64(bits_set(load_u8(bits, w)))
    return n


def judge_several(job: Word, scratch: Word, begin: Word, end: Word) -> Word:
    """Run units `begin` … `end` of a SEVERAL_JOB: 0, or FAILED, or SHORT - n."""
    task, own = SEVERAL_JOB(job, 0), SCRATCH(scratch, 0)
    lists, steps, cuts = task.lists, task.steps, task.cuts
    first_of, cut_of, counts, room = task.first_of, task.cut_of, task.counts, task.room
    mask, rows = own.mask, own.rows
    base = room + uint64(cuts * BLOCK_BYTES)
    need = base + uint64(BLOCK_BYTES)
    for u in range(begin, end):
        at_unit = task.units + uint64(u * task.unit_bytes)
        at_lists, at_steps = at_unit + uint64(task.lists_at), at_unit + uint64(task.steps_at)
        at_cuts = at_unit + uint64(task.cuts_at)
        unit = SEVERAL_UNIT(at_unit, 0)
        size, alive = unit.rows, unit.alive
        begin_lists(scratch, lists)
        for first in range(int64(0), size, int64(BLOCK)):
            count = min(int64(BLOCK), size - first)
            for w in range(count >> 3, BLOCK // 8):
                store_u8(mask, w, uint64(0))
            all_alive(mask, count)
            if alive != 0:
                copy_mask(alive, first, mask, count)
            pack(mask, base)
            for c in range(cuts):
                if CUT(at_cuts, c).live != 0:
                    copy_bits(base, room + uint64(c * BLOCK_BYTES))
                else:
                    clear_bits(room + uint64(c * BLOCK_BYTES))
            placed = False
            for step in range(steps):
                entry = SEVERAL_STEP(at_steps, step)
                code, table = entry.code, entry.table
                if code == 0:
                    continue
                clear_bits(need)
                for n in range(load_i8(first_of, step), load_i8(first_of, step + 1)):
                    or_bits(room + uint64(load_i8(cut_of, n) * BLOCK_BYTES), need)
                live = count_bits(need)
                if live == 0:
                    continue
                if live * 8 >= count and entry.dense != 0:
                    all_alive(mask, count)
                    run_kernel(code, table, scratch, first, -count)
                    pack(mask, need)
                else:
                    if not placed:
                        placed = True
                        short = place_lists(at_lists, lists, scratch, first, count)
                        if short >= 0:
                            return int64(SHORT) - short
                    rows_between(need, int64(0), int64(BLOCK), rows)
                    live = run_kernel(code, table, scratch, first, live)
                    if live < 0:
                        return int64(FAILED)
                    clear_bits(need)
                    note_rows(rows, live, need, int64(0))
                for n in range(load_i8(first_of, step), load_i8(first_of, step + 1)):
                    and_bits(need, room + uint64(load_i8(cut_of, n) * BLOCK_BYTES))
            short = end_lists(at_lists, lists, scratch, first, count, placed)
            if short >= 0:
                return int64(SHORT) - short
            for c in range(cuts):
                bits, out = room + uint64(c * BLOCK_BYTES), CUT(at_cuts, c).out
                store_i8(counts, c, load_i8(counts, c) + count_bits(bits))
                if out != 0:
                    for w in range((count + 63) >> 6):
                        store_u8(out, (first >> 6) + w, load_u8(bits, w))
    return int64(0)
