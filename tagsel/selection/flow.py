"""A cutflow by compiled steps: the bits of all cuts in one pass, then counts and exact sums of weights by pattern.

Invariant: the yields are those of the scan row group by row group, which answers where something is out of the
ordinary: many cuts, a row without an answer, a damaged part, weights too far apart for a table of exponents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.thread_pool import parallel_map
from tagsel.errors import CutError, StoreError
from tagsel.kernels import kernel_cache
from tagsel.kernels import patterns as kernel
from tagsel.kernels.exact import ExactSum, of_mantissas
from tagsel.kernels.layouts import PATTERNS_JOB
from tagsel.kernels.memory import address_of
from tagsel.language import Block
from tagsel.selection.accept import LITTLE, Passing
from tagsel.selection.answer import Answer, Fate
from tagsel.selection.bits import Words, as_mask, words_at
from tagsel.selection.columns import Columns
from tagsel.selection.patterns import FEW, wanted
from tagsel.selection.query import BoundInput
from tagsel.selection.run import Prepared, Progress
from tagsel.selection.several import Cuts, count_several, loops_at_hand
from tagsel.selection.steps import able
from tagsel.selection.weights import Yield, weights_of
from tagsel.store import Frame, watched

Ints = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32] | npt.NDArray[np.float64]

ABOVE = 16
"""Exponents that the table has above that of the heaviest weight which was seen first."""


class _Outside(Exception):
    """A weight does not fit the table."""


def flowing_by_steps(prepared: Prepared, progress: Progress = None) -> Answer | None:
    """The yields of all ways of a cutflow; None where the scan must tell."""
    cuts = len(prepared.query.cuts)
    wanted = prepared.plan.tier == "kernel" and cuts <= FEW and all(able(bound.cuts) for bound in prepared.inputs)
    if not wanted or not loops_at_hand(prepared, cuts, kernel.add_patterns):
        return None
    sums, passing = _Sums(cuts, bool(prepared.query.weight)), list[Passing]()
    try:
        for index, bound in enumerate(prepared.inputs):
            found = _one_input(prepared, index, bound, sums, progress)
            if found is None:
                return None
            passing.append(found)
    except (CutError, StoreError, _Outside):  # the scan tells of it, and of the first event that has no weight
        return None
    return Answer(Fate.of_passing(passing), tuple(sums.yields()))


def _one_input(prepared: Prepared, index: int, bound: BoundInput, sums: _Sums, progress: Progress) -> Passing | None:
    frame, threads = bound.input.snapshot.frame, prepared.query.threads
    fates = prepared.rows.fates(index, frame)
    alike = (None, *(cut.node for cut in bound.cuts))  # the rows that count, then each cut alone
    work = Cuts.of(alike, (None,) * len(alike), len(frame))

    def keep(groups: Ints, bits: Words) -> None:
        """Add up some row groups; each thread has tables of its own."""

        def one(at: int) -> None:
            group = int(groups[at])
            rows = int(frame.rows[group])
            sums.add(bits[:, at], rows, _weights(bound, frame, group, int(bits[0, at])))

        workers = (threads or threads_here()) if int(frame.rows[groups].sum()) >= LITTLE else 1
        parallel_map(watched(one), range(len(groups)), workers)

    found = count_several(work, frame, fates, threads, keep=keep, progress=progress)
    return None if found is None else Passing(int(found.counts[0]), fates, found.bytes)


def _weights(bound: BoundInput, frame: Frame, group: int, alive: int) -> Weights | None:
    """The weights of a row group, float32 or float64, of which the rows count whose bits begin at `alive`."""
    if bound.weight is None:
        return None
    rows, node, part = int(frame.rows[group]), bound.weight.node, frame.part(group)
    if node.op == "column" and node.kind in ("f32", "f64") and node.value in part.columns:
        column = part.read(int(frame.group_of[group]), [node.value])[node.value]
        if column.dtype in (np.float32, np.float64):  # one that is missing is NaN, which the table does not take
            return np.ascontiguousarray(column)
    counted = as_mask(words_at(alive, rows), rows)
    block = Block(rows, Columns(part, int(frame.group_of[group])))
    return np.ascontiguousarray(weights_of(bound, block, counted))


@dataclass(eq=False)
class _Table:
    """Counts by pattern, and mantissas of weights and of their squares by pattern and exponent."""

    counts: Ints
    weights: Ints
    squares: Ints

    @classmethod
    def of(cls, cuts: int, weighted: bool) -> _Table:
        patterns = 1 << cuts
        sizes = [(patterns if weighted else 0, n * kernel.WINDOW, 2) for n in (1, 2)]
        return cls(np.zeros(patterns, np.int64), *(np.zeros(size, np.int64) for size in sizes))

    def __iadd__(self, other: _Table) -> _Table:
        self.counts += other.counts
        self.weights += other.weights
        self.squares += other.squares
        return self


@dataclass(eq=False)
class _Sums:
    """What all threads have added up; tables that no thread is using wait in `free`."""

    cuts: int
    weighted: bool
    first: int | None = None  # the exponent of the tables' first slot, once a weight was seen
    made: list[_Table] = field(default_factory=list)
    free: list[_Table] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def add(self, bits: Words, rows: int, weights: Weights | None) -> None:
        """Add a row group: addresses of its bits, of the rows that count and of each cut, and its weights."""
        with self.lock:
            if self.first is None:
                self.first = _window(weights)
            if not self.free:
                self.free.append(_Table.of(self.cuts, self.weighted))
                self.made.append(self.free[-1])
            table = self.free.pop()
        places = np.ascontiguousarray(bits)
        job = PATTERNS_JOB.filled(
            cuts=self.cuts,
            rows=rows,
            bits=address_of(places),
            weights=0 if weights is None else address_of(weights),
            weight_width=0 if weights is None else weights.itemsize,
            counts=address_of(table.counts),
            table=address_of(table.weights),
            squares=address_of(table.squares),
            first=self.first,
            first_squared=2 * self.first - 1023,
        )
        room = np.empty(self.cuts + kernel.ROOM, np.uint64)
        status = kernel_cache.function(kernel.add_patterns)(address_of(job), address_of(room), 0, -(-rows // 64))
        with self.lock:
            self.free.append(table)
        if status:
            raise _Outside

    def yields(self) -> list[Yield]:
        """The start, then every cut alone, every cut left out, and the cuts in sequence."""
        whole = _Table.of(self.cuts, self.weighted)
        for table in self.made:
            whole += table
        there, ways = np.flatnonzero(whole.counts), np.array(wanted(self.cuts))
        having = ((there & ways[:, None]) == ways[:, None]).astype(np.int64)  # (ways, patterns that occur)
        counts = (having @ whole.counts[there]).tolist()
        if not self.weighted:
            return [Yield.unweighted(count) for count in counts]
        first = self.first or 0
        sums = _by_way(having, whole.weights[there], first), _by_way(having, whole.squares[there], 2 * first - 1023)
        return [Yield(*way) for way in zip(counts, *sums, strict=True)]


def _by_way(having: Ints, table: Ints, first: int) -> list[ExactSum]:
    """The sum of each way, from mantissas by pattern and exponent, (patterns, exponents, 2)."""
    used = np.flatnonzero(table.any(axis=(0, 2)))
    if not len(used):
        return [ExactSum()] * len(having)
    table = table[:, used[0] : used[-1] + 1]
    ways = (having @ table.reshape(len(table), -1)).reshape(len(having), -1, 2)
    return [of_mantissas(way, first + int(used[0])) for way in ways]


def _window(weights: Weights | None) -> int:
    """The exponent of the first slot, biased, from the heaviest of some weights; _Outside where there is none."""
    if weights is None:
        return 1023
    size = float(np.max(np.abs(weights), initial=0.0))
    first = int(np.array(size).view(np.int64) >> 52) + ABOVE - kernel.WINDOW + 1
    if not np.isfinite(size) or not size or first < 1 or 2 * first - 1023 < 1:
        raise _Outside
    return first
