"""The accepted rows of a cut by compiled steps: the fast way of `count` and `select`, for all row groups at once.

Where something is out of the ordinary (a damaged part whose loss is allowed, a row without an answer, a list that is
too short) it gives up, and the scan row group by row group tells it. Invariant: what it gives is what the scan gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tagsel.expr import Node, kernel_cache
from tagsel.expr.bounds import ALL, NONE, SOME
from tagsel.expr.chain import Chain, Job, Units
from tagsel.expr.lower import fits, ordered, steps_of
from tagsel.expr.nodes import columns_of, walk
from tagsel.selection.plan import Plan
from tagsel.selection.query import BoundInput
from tagsel.selection.rows import Fates, Filter
from tagsel.store import Frame

Ints = npt.NDArray[np.int64]
Progress = Callable[[int], None] | None


@dataclass(frozen=True, eq=False)
class Passing:
    """One input's accepted rows: how many, their numbers in the snapshot, rising, and their event numbers (both None
    where only counted); the fates of the others, bytes of the columns touched, row groups read."""

    count: int
    fates: Fates
    bytes: int
    rows: Ints | None = None
    events: Ints | None = None


def able(plan: Plan) -> bool:
    """Whether every input's cut can be run so: each step is a kernel, and no row can be without an answer."""
    return all(fits(b.cut.node) and not b.cut.node.raises for b in plan.inputs)


def accept(
    plan: Plan, rows: Filter, *, listing: bool, threads: int = 0, zones: bool = True, progress: Progress = None
) -> list[Passing] | None:
    """The accepted rows of every input, or None where the scan must tell. StoreError: a part is damaged."""
    found = []
    for index in range(len(plan.inputs)):
        one = _one_input(plan, rows, index, listing, threads or os.cpu_count() or 1, progress)
        if one is None:
            return None
        found.append(one)
    return found


def _one_input(
    plan: Plan, rows: Filter, index: int, listing: bool, threads: int, progress: Progress
) -> Passing | None:
    bound, verdict = plan.inputs[index], plan.verdicts[index]
    frame = bound.input.snapshot.frame
    fates = rows.fates(index, frame, (verdict.cut != NONE) & (listing | (verdict.cut != ALL)))
    run = (verdict.cut != NONE) & (fates.alive > 0)
    sure = 0
    if not listing:
        taken = run & (verdict.cut == ALL)
        sure, run = int(fates.alive[taken].sum()), run & ~taken
    pieces, touched = [], 0
    for columns, members in frame.kinds:
        groups = members[run[members]]
        if len(groups):
            job, size = _job(bound, verdict.steps, frame, columns, groups, fates, listing)
            touched += size
            piece = _run(job, frame.rows[groups], listing, threads, progress)
            if piece is None:
                return None
            pieces.append(piece)
    count = sure + sum(p[0] for p in pieces)
    if not listing:
        return Passing(count, fates, touched)
    return Passing(count, fates, touched, *_in_order(pieces))


def _in_order(pieces: Sequence[tuple[int, Ints, Ints]]) -> tuple[Ints, Ints]:
    """Rows and events of several runs, by row."""
    if len(pieces) == 1:
        return pieces[0][1:]
    rows = np.concatenate([p[1] for p in pieces]) if pieces else np.empty(0, np.int64)
    events = np.concatenate([p[2] for p in pieces]) if pieces else np.empty(0, np.int64)
    order = np.argsort(rows, kind="stable")
    return rows[order], events[order]


def _job(
    bound: BoundInput, steps: npt.NDArray[np.int8], frame: Frame, columns: frozenset[str], groups: Ints, fates: Fates,
    listing: bool,
) -> tuple[Job, int]:  # fmt: skip
    """The chain over some row groups, of parts with these columns, and the bytes of the columns that it may touch."""
    needed = steps[:, groups] == SOME
    wanted = [(n, step) for n, step in enumerate(steps_of(bound.cut.node)) if needed[n].any()]
    places = {id(step): n for n, step in wanted}
    chosen = ordered([step for _, step in wanted], lambda step: _cost(step))
    chain = _chain(chosen, frame, columns)
    frame.open(groups)
    memory = {name: frame.memory(name, groups) for name in chain.columns}
    units = Units(
        frame.rows[groups], frame.first_rows[groups], fates.addresses(groups),
        {name: m.addresses for name, m in memory.items()}, {name: m.sizes for name, m in memory.items()},
        [fates, *memory.values()],
    )  # fmt: skip
    event = frame.memory("event", groups) if listing else None
    touched = sum(int(m.sizes.sum()) * int(m.type[1:]) for m in memory.values())
    order = [places[id(step)] for step in chosen]
    return chain.job(units, needed=needed[order], events=event.addresses if event else None), touched


def _chain(steps: Sequence[Node], frame: Frame, columns: frozenset[str]) -> Chain:
    types = {name: frame.type(name) for step in steps for name in sorted(columns_of(step)) if name in columns}
    return _made(tuple(steps), tuple(types.items()))


@lru_cache(maxsize=256)
def _made(steps: tuple[Node, ...], types: tuple[tuple[str, str], ...]) -> Chain:
    return Chain.of(steps, dict(types), kernel_cache.function)


def _cost(step: Node) -> float:
    """How much later a step comes: the dearer, the later."""
    return float(sum(_DEAR.get(n.op, 1) for n in walk(step)))


_DEAR = {"call": 50, "aggregate": 30, "element": 10, "trigger": 5, "in_lumi": 10}


def _run(
    job: Job, sizes: Ints, listing: bool, threads: int, progress: Progress
) -> tuple[int, Ints, Ints] | None:
    """Run a job in pieces of some row groups each, in several threads; None where a piece gives no answer."""
    bounds = _pieces(sizes, threads)

    def one(piece: tuple[int, int]) -> tuple[int, Ints, Ints]:
        room = int(sizes[piece[0] : piece[1]].sum()) if listing else 0
        rows, events = np.empty(room, np.int64), np.empty(room, np.int64)
        found = job.run(*piece, rows, events) if listing else job.run(*piece)
        return found, rows[:max(found, 0)], events[:max(found, 0)]

    alone = threads == 1 or len(bounds) == 1
    done = list(map(one, bounds) if alone else _pool(threads).map(one, bounds))
    if any(found < 0 for found, _, _ in done):
        return None
    if progress is not None:
        progress(int(sizes.sum()))
    rows, events = (np.concatenate([d[n] for d in done]) for n in (1, 2))
    return sum(d[0] for d in done), rows, events


def _pieces(sizes: Ints, threads: int) -> list[tuple[int, int]]:
    """Ranges of row groups, several a thread, so that threads end together."""
    count = min(len(sizes), 1 if threads == 1 else 2 * threads)
    edges = np.linspace(0, len(sizes), count + 1).astype(int).tolist()
    return list(pairwise(edges))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The threads of all selections in the process, for each number of threads asked for."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tagsel-scan")
