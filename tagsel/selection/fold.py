"""A scan whose results are added up as they come, so that memory does not grow with the number of row groups.

Invariant: results are added in the order of row groups, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tagsel.base.cpus import threads as threads_here
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import Tally, Work, scan
from tagsel.selection.run import Prepared, Progress

T = TypeVar("T")

MOST_AT_ONCE, MOST_BYTES = 256, 1 << 28
"""Row groups whose results are held together, and bytes of them; one for each thread all the same."""


def folded(
    prepared: Prepared,
    work: Work[T],
    add: Callable[[T, T], T],
    nothing: T,
    *,
    size: int = 0,
    needs_rows: bool = False,
    progress: Progress = None,
    units: Sequence[Unit] | None = None,
) -> tuple[T, list[Tally[Any]]]:
    """`add` over the results of all units (the plan's, or those given), about `size` bytes each, and the tallies."""
    threads = prepared.query.threads or threads_here()
    step = max(threads, min(MOST_AT_ONCE, MOST_BYTES // max(size, 1)))
    query, units = prepared.query, prepared.plan.units if units is None else units
    total, tallies = nothing, list[Tally[Any]]()
    for start in range(0, len(units), step):
        done = scan(
            units[start : start + step],
            prepared.rows,
            work,
            threads=query.threads,
            allow_losses=query.allow_losses,
            needs_rows=needs_rows,
            progress=progress,
        )
        for tally in done:
            if tally.result is not None:
                total = add(total, tally.result)
            tallies.append(replace(tally, result=None))
    return total, tallies
