"""The loop that runs the steps of a cut over row groups: blocks of rows that stay in the cache, one step after another.

A cut is a conjunction of *steps*, each a kernel of its own (`engine/source`). In a block a step is run on every row
(*dense*: no branches, so that it runs in vectors) while many rows are alive, and on the rows that are alive (*sparse*)
once few are. What is left of a block after the last step is accepted: counted, and noted as bits. The loop itself is
compiled: steps are called by address, nothing of Python is touched.

Invariant: a step never sees a row that an earlier one rejected as alive, so the order of steps changes no answer.
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
    count_mask,
    end_lists,
    keep_left,
    note_mask,
    note_rows,
    place_lists,
    rows_of_mask,
    some_left,
)
from tagsel.kernels.layouts import SCRATCH, STEP, STEPS_JOB, STEPS_UNIT
from tagsel.kernels.memory import Word, load_i8, run_kernel, store_i8


def run_steps(job: Word, scratch: Word, begin: Word, end: Word) -> Word:
    """Run units `begin` … `end` of a STEPS_JOB: the number of accepted rows, or FAILED, or SHORT - n."""
    task, own = STEPS_JOB(job, 0), SCRATCH(scratch, 0)
    lists, steps, seen = task.lists, task.steps, task.seen
    mask, rows = own.mask, own.rows
    accepted = int64(0)
    for u in range(begin, end):
        at_unit = task.units + uint64(u * task.unit_bytes)
        at_lists, at_steps = at_unit + uint64(task.lists_at), at_unit + uint64(task.steps_at)
        unit = STEPS_UNIT(at_unit, 0)
        size, alive, left, out = unit.rows, unit.alive, unit.left, unit.out
        before = accepted
        begin_lists(scratch, lists)
        for first in range(int64(0), size, int64(BLOCK)):
            count = min(int64(BLOCK), size - first)
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
                entry = STEP(at_steps, step)
                code, table = entry.code, entry.table
                if code != 0:
                    reached, judged, passed = live, entry.judged, entry.passed
                    if not sparse and live * 8 >= count and entry.dense != 0:
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
                                return int64(SHORT) - short
                        live = run_kernel(code, table, scratch, first, live)
                        if live < 0:
                            return int64(FAILED)
                        if judged != 0:
                            note_rows(rows, live, passed, first)
                    store_i8(seen, 2 * step, load_i8(seen, 2 * step) + reached)
                    store_i8(seen, 2 * step + 1, load_i8(seen, 2 * step + 1) + live)
                step += 1
            short = end_lists(at_lists, lists, scratch, first, count, placed)
            if short >= 0:
                return int64(SHORT) - short
            if out != 0 and live > 0:
                if sparse:
                    note_rows(rows, live, out, first)
                else:
                    note_mask(mask, out, first, count)
            accepted += live
        unit.accepted = accepted - before
    return accepted
