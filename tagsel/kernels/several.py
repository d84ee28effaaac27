"""The loop that judges several cuts at once: each of their steps is run once in a block of rows, for all cuts that
have it and the rows that any of these still has.

Invariant: a step is run on a row at most once, and only while a cut needs it there; so the cuts' bits are those that
each has by itself.

Memory, in 8-byte words (see `driver` for what is not said here):

    job      units, words a unit, lists, steps, cuts; for each step where its cuts begin in the next (steps + 1, int64);
             cuts by step (int64); how many rows each cut accepts (int64, added up); room: 32 words for each cut and two
    unit     rows, alive; the lists; for each step: code (0: every row passes), its table, 1 where it may run dense; for
             each cut: 1 where it may accept a row, and where to note which (a bit a row, 0: not)
"""

from __future__ import annotations

from tagsel.kernels.blocks import BLOCK, FAILED, HELPERS, LIST, SHORT

UNIT, STEP, CUT = 2, 3, 2
"""Words of a unit before its lists, of a step, of a cut."""

WORDS = BLOCK // 64
"""Words of a block's bits."""

SOURCE = f"""{HELPERS}
@helper
def pack(mask, bits):
    for part in range({WORDS}):
        store_u8(bits, part, packed_mask(mask, part))

@helper
def copy_bits(source, target):
    for w in range({WORDS}):
        store_u8(target, w, load_u8(source, w))

@helper
def and_bits(source, target):
    for w in range({WORDS}):
        store_u8(target, w, load_u8(target, w) & load_u8(source, w))

@helper
def or_bits(source, target):
    for w in range({WORDS}):
        store_u8(target, w, load_u8(target, w) | load_u8(source, w))

@helper
def clear_bits(target):
    for w in range({WORDS}):
        store_u8(target, w, uint64(0))

@helper
def count_bits(bits):
    n = int64(0)
    for w in range({WORDS}):
        n += int64(bits_set(load_u8(bits, w)))
    return n

def kernel(job, scratch, begin, end):
    units, width, lists, steps = load_u8(job, 0), load_i8(job, 1), load_i8(job, 2), load_i8(job, 3)
    cuts, first_of, cut_of = load_i8(job, 4), load_u8(job, 5), load_u8(job, 6)
    counts, room = load_u8(job, 7), load_u8(job, 8)
    mask, rows = load_u8(scratch, 0), load_u8(scratch, 1)
    base = room + uint64(cuts * {WORDS * 8})
    need = base + uint64({WORDS * 8})
    for u in range(begin, end):
        unit = units + uint64(u * width * 8)
        size, alive = load_i8(unit, 0), load_u8(unit, 1)
        at_lists = unit + uint64({UNIT * 8})
        at_steps = at_lists + uint64(lists * {LIST * 8})
        at_cuts = at_steps + uint64(steps * {STEP * 8})
        for n in range(lists):
            store_i8(load_u8(scratch, 3 + n), 0, int64(0))
        for first in range(int64(0), size, int64({BLOCK})):
            count = min(int64({BLOCK}), size - first)
            for w in range(count >> 3, {BLOCK // 8}):
                store_u8(mask, w, uint64(0))
            all_alive(mask, count)
            if alive != 0:
                copy_mask(alive, first, mask, count)
            pack(mask, base)
            for c in range(cuts):
                if load_u8(at_cuts, {CUT} * c) != 0:
                    copy_bits(base, room + uint64(c * {WORDS * 8}))
                else:
                    clear_bits(room + uint64(c * {WORDS * 8}))
            placed = False
            for step in range(steps):
                entry = at_steps + uint64(step * {STEP * 8})
                code, table = load_u8(entry, 0), load_u8(entry, 1)
                if code == 0:
                    continue
                clear_bits(need)
                for n in range(load_i8(first_of, step), load_i8(first_of, step + 1)):
                    or_bits(room + uint64(load_i8(cut_of, n) * {WORDS * 8}), need)
                live = count_bits(need)
                if live == 0:
                    continue
                if live * 8 >= count and load_i8(entry, 2) != 0:
                    all_alive(mask, count)
                    run_kernel(code, table, scratch, first, -count)
                    pack(mask, need)
                else:
                    if not placed:
                        placed = True
                        short = place_lists(at_lists, lists, scratch, first, count)
                        if short >= 0:
                            return int64({SHORT}) - short
                    rows_between(need, int64(0), int64({BLOCK}), rows)
                    live = run_kernel(code, table, scratch, first, live)
                    if live < 0:
                        return int64({FAILED})
                    clear_bits(need)
                    note_rows(rows, live, need, int64(0))
                for n in range(load_i8(first_of, step), load_i8(first_of, step + 1)):
                    and_bits(need, room + uint64(load_i8(cut_of, n) * {WORDS * 8}))
            short = end_lists(at_lists, lists, scratch, first, count, placed)
            if short >= 0:
                return int64({SHORT}) - short
            for c in range(cuts):
                bits, out = room + uint64(c * {WORDS * 8}), load_u8(at_cuts, {CUT} * c + 1)
                store_i8(counts, c, load_i8(counts, c) + count_bits(bits))
                if out != 0:
                    for w in range((count + 63) >> 6):
                        store_u8(out, (first >> 6) + w, load_u8(bits, w))
    return int64(0)
"""
"""The loop, `kernel(job, scratch, first unit, end)`: 0, or FAILED, or SHORT - n."""
