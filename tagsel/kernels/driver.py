"""The loop that runs the steps of a cut over row groups: blocks of rows that stay in the cache, one step after another.

A cut is a conjunction of *steps*, each a kernel of its own (`expr/source`). In a block a step is run on every row
(*dense*: no branches, so that it runs in vectors) while many rows are alive, and on the rows that are alive (*sparse*)
once few are. What is left of a block after the last step is accepted: counted, and noted as bits. The loop itself is a
kernel: steps are called by address, nothing of Python is touched.

Invariant: a step never sees a row that an earlier one rejected as alive, so the order of steps changes no answer.

Memory, in 8-byte words:

    job      units, words a unit, lists, steps; seen: for each step the rows that reached it and those that passed it,
             int64, added up
    unit     rows; alive (uint8 a row, 0: all); left (a bit a row, 0: all): what remembered masks leave; where to note
             the accepted rows (a bit a row, zeros before; 0: not); how many they are (written here); for each list:
             counter, its width in bytes, number of values; for each step: code (0: not here), its table, 1 where it
             may run dense, and where to note (a bit a row, 0: not) which rows it judged and which passed
    scratch  mask (uint8 a row of the block), rows (int32), room for momenta (`hoist`), for each list where each event's
             values begin (int64)
"""

from __future__ import annotations

from tagsel.kernels.blocks import BLOCK, FAILED, HELPERS, LIST, SHORT

UNIT, STEP = 5, 5
"""Words of a unit before its lists, and of a step."""

SOURCE = f"""{HELPERS}
def kernel(job, scratch, begin, end):
    units, width, lists, steps = load_u8(job, 0), load_i8(job, 1), load_i8(job, 2), load_i8(job, 3)
    seen, mask, rows = load_u8(job, 4), load_u8(scratch, 0), load_u8(scratch, 1)
    found = int64(0)
    for u in range(begin, end):
        unit = units + uint64(u * width * 8)
        size, alive, left, out = load_i8(unit, 0), load_u8(unit, 1), load_u8(unit, 2), load_u8(unit, 3)
        at_lists = unit + uint64({UNIT * 8})
        at_steps = at_lists + uint64(lists * {LIST * 8})
        before = found
        for n in range(lists):
            store_i8(load_u8(scratch, 3 + n), 0, int64(0))
        for first in range(int64(0), size, int64({BLOCK})):
            count = min(int64({BLOCK}), size - first)
            live = count
            if left != 0 and not some_left(left, first, count):
                live = int64(0)
            else:
                all_alive(mask, count)
                if alive != 0:
                    copy_mask(alive, first, mask, count)
                if left != 0:
                    keep_left(left, first, mask, count)
                if alive != 0 or left != 0:
                    live = count_mask(mask, count)
            step, sparse, placed = int64(0), False, False
            while step < steps and live > 0:
                entry = at_steps + uint64(step * {STEP * 8})
                code, table = load_u8(entry, 0), load_u8(entry, 1)
                if code != 0:
                    reached, judged, passed = live, load_u8(entry, 3), load_u8(entry, 4)
                    if not sparse and live * 8 >= count and load_i8(entry, 2) != 0:
                        if judged != 0:
                            note_mask(mask, judged, first, count)
                        run_kernel(code, table, scratch, first, -count)
                        live = count_mask(mask, count)
                        if judged != 0:
                            note_mask(mask, passed, first, count)
                    else:
                        if not sparse:
                            rows_of_mask(mask, rows, count)
                            sparse = True
                        if judged != 0:
                            note_rows(rows, live, judged, first)
                        if not placed:
                            placed = True
                            short = place_lists(at_lists, lists, scratch, first, count)
                            if short >= 0:
                                return int64({SHORT}) - short
                        live = run_kernel(code, table, scratch, first, live)
                        if live < 0:
                            return int64({FAILED})
                        if judged != 0:
                            note_rows(rows, live, passed, first)
                    store_i8(seen, 2 * step, load_i8(seen, 2 * step) + reached)
                    store_i8(seen, 2 * step + 1, load_i8(seen, 2 * step + 1) + live)
                step += 1
            short = end_lists(at_lists, lists, scratch, first, count, placed)
            if short >= 0:
                return int64({SHORT}) - short
            if out != 0 and live > 0:
                if sparse:
                    note_rows(rows, live, out, first)
                else:
                    note_mask(mask, out, first, count)
            found += live
        store_i8(unit, 4, found - before)
    return found
"""
"""The loop, `kernel(job, scratch, first unit, end)`: the number of accepted rows, or FAILED, or SHORT - n."""
