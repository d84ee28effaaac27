"""Cutflow: for each named cut the events that pass it alone, all cuts up to it, and all cuts but it.

Compiled steps give the bits of all cuts in one pass, and a kernel adds up counts and weights by pattern of cuts. The
scan row group by row group answers where that is not possible: many cuts, a row without an answer, a damaged part,
weights too far apart for a table of exponents.

Invariant: counts are over events that are readable, not duplicate and not masked; each count comes with the sum
of weights and of squared weights (weight 1 without `--weight`). Both ways give the same yields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.text_table import Table
from tagsel.base.thread_pool import parallel_map
from tagsel.engine.bitmaps import Words, as_mask, words_at
from tagsel.engine.compiled_scan import LITTLE, Unanswered
from tagsel.engine.many_cuts import Cuts, count_several, loops_at_hand
from tagsel.engine.row_groups import Columns, Fate, Unit
from tagsel.engine.scan import Mask, fate_of, judge, scan
from tagsel.engine.steps import able
from tagsel.errors import CutError, StoreError
from tagsel.events import Ledger
from tagsel.kernels import kernel_cache
from tagsel.kernels import patterns as kernel
from tagsel.kernels.exact import ExactSum, of_mantissas
from tagsel.kernels.layouts import PATTERNS_JOB
from tagsel.kernels.memory import address_of
from tagsel.language import Block
from tagsel.selection.partial_result import Answer
from tagsel.selection.patterns import FEW, Patterns, by_pattern, wanted, ways_of
from tagsel.selection.query import BoundInput, Query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Prepared, Progress, Runner, prepare
from tagsel.selection.yields import Yield, generated_sums, weights_of
from tagsel.store import Frame, watched

WAYS = ("alone", "sequential", "all_but")


@dataclass(frozen=True, slots=True)
class Step:
    """One cut of a cutflow."""

    name: str
    cut: str
    alone: Yield
    sequential: Yield
    all_but: Yield

    def to_json(self) -> dict[str, object]:
        """`{cut, alone, sequential, all_but}`, and the cut's name."""
        ways = {way: getattr(self, way).to_json() for way in WAYS}
        return {"name": self.name, "cut": self.cut, **ways}


@dataclass(frozen=True, repr=False)
class Cutflow:
    """Events that pass each cut alone, in sequence, and all cuts but it.

    `cutflow["pair"]` is a step by name, text of the cut or position. Cutflows of the same cuts on different datasets
    add up with `+`.

    Attributes
    ----------
    steps : tuple of Step
        One step for each cut, in order.
    start : Yield
        All events that are neither unreadable, duplicate nor masked.
    generated : Yield or None
        Sums over the generated events of a simulation, if every file has them.
    ledger : Ledger
        Accounts for every row of the datasets.
    weight : str
        The weight; "" without one.
    warnings : tuple of str
        Warnings about the cuts.
    losses : tuple of str
        Damaged row groups.
    """

    steps: tuple[Step, ...]
    start: Yield
    generated: Yield | None
    ledger: Ledger
    weight: str = ""
    warnings: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()

    def __getitem__(self, which: str | int) -> Step:
        if isinstance(which, int):
            return self.steps[which]
        for step in self.steps:
            if which in (step.name, step.cut):
                return step
        raise CutError(f"no step {which!r} in this cutflow", hint=f"steps: {', '.join(s.name for s in self.steps)}")

    def __len__(self) -> int:
        return len(self.steps)

    def __add__(self, other: Cutflow) -> Cutflow:
        """The cutflow of both data sets together; CutError when the cuts or weights differ."""
        mine, theirs = [s.cut for s in self.steps], [s.cut for s in other.steps]
        if mine != theirs or self.weight != other.weight:
            raise CutError("cutflows of different cuts or weights cannot be added", hint=f"{mine} and {theirs}")
        steps = []
        for a, b in zip(self.steps, other.steps, strict=True):
            step = Step(a.name, a.cut, a.alone + b.alone, a.sequential + b.sequential, a.all_but + b.all_but)
            steps.append(step)
        generated = self.generated + other.generated if self.generated and other.generated else None
        return Cutflow(
            tuple(steps),
            self.start + other.start,
            generated,
            self.ledger + other.ledger,
            self.weight,
            tuple(dict.fromkeys((*self.warnings, *other.warnings))),
            self.losses + other.losses,
        )

    def table(self) -> Table:
        """A row a cut: events (sums of weights with a weight) alone, in sequence, their shares, and all cuts but it."""
        rows: list[tuple[object, ...]] = []
        if self.generated is not None:
            rows.append(("(generated)", None, self._of(self.generated), None, None, None))
        start = before = self._of(self.start)
        rows.append(("(all)", start, start, 1.0, None, None))
        for step in self.steps:
            alone, passed, all_but = self._of(step.alone), self._of(step.sequential), self._of(step.all_but)
            rows.append((step.name, alone, passed, _share(passed, start), _share(passed, before), all_but))
            before = passed
        return Table(("cut", "alone", "sequential", "of start", "of previous", "all but"), tuple(rows))

    def _of(self, value: Yield) -> float:
        return value.sumw if self.weight else value.n

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "cuts": [s.to_json() for s in self.steps],
            "start": self.start.to_json(),
            "generated": self.generated.to_json() if self.generated else None,
            "weight": self.weight,
            "ledger": self.ledger.to_json(),
            "warnings": list(self.warnings),
            "losses": list(self.losses),
        }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None


def _outcome(flow: Cutflow) -> Outcome:
    """The log entry of a cutflow."""
    cut = " && ".join(f"({step.cut})" for step in flow.steps)
    return Outcome(cut, flow.ledger.read, flow.ledger.accepted)


@question("cutflow", _outcome)
@watched
def cutflow(query: Query, *, progress: Progress = None, runner: Runner | None = None) -> Cutflow:
    """The cutflow of the query's cuts in their order; the scan needs every row, so zones skip nothing."""
    prepared = prepare(query, zones=False)
    answer = runner("cutflow", prepared, None, progress) if runner else flowing(prepared, progress)
    cuts, fate = len(query.cuts), answer.fate
    yields = answer.yields or (Yield(),) * (1 + 3 * cuts)
    accepted = yields[-1].n
    ledger = Ledger(accepted, fate.alive - accepted, fate.masked, fate.duplicate, fate.unreadable)
    ledger.check(prepared.read)
    texts = [text for _, text in query.cuts]
    if prepared.inputs:
        texts = [cut.text for cut in prepared.inputs[0].cuts]
    alone, all_but, sequential = yields[1 : 1 + cuts], yields[1 + cuts : 1 + 2 * cuts], yields[1 + 2 * cuts :]
    steps = []
    for at, ((name, _), text) in enumerate(zip(query.cuts, texts, strict=True)):
        steps.append(Step(name or text, text, alone[at], sequential[at], all_but[at]))
    return Cutflow(
        tuple(steps),
        yields[0],
        generated(query, prepared.inputs),
        ledger,
        query.weight,
        (*prepared.warnings, *_guarded(prepared.inputs)),
        fate.losses,
    )


def flowing(prepared: Prepared, progress: Progress = None) -> Answer:
    """The work of `cutflow`: the yields of the start, then of every cut alone, left out, and in sequence."""
    query = prepared.query
    answer = flowing_by_steps(prepared, progress)
    if answer is not None:
        return answer

    def work(unit: Unit, block: Block, alive: Mask | None) -> Patterns:
        bound = prepared.inputs[unit.source]
        counted = np.ones(unit.rows, bool) if alive is None else alive
        masks = _masks(bound, block, counted, prepared.plan.tier)
        weights = weights_of(bound, block, counted)
        return by_pattern(masks, counted, weights)

    tallies = scan(
        prepared.plan.units,
        prepared.rows,
        work,
        threads=query.threads,
        allow_losses=query.allow_losses,
        needs_rows=True,
        progress=progress,
    )
    patterns = [tally.result for tally in tallies if tally.result is not None]
    return Answer(fate_of(tallies), tuple(ways_of(patterns, len(query.cuts))))


def _masks(bound: BoundInput, block: Block, counted: Mask, tier: str) -> list[Mask]:
    """Each cut's own mask over the rows that count; one that may overflow or take `% 0` sees what reaches it only."""
    masks: list[Mask] = []
    ahead = counted
    for cut in bound.cuts:
        masks.append(judge(cut, block, ahead if cut.node.raises else counted, tier))
        ahead = ahead & masks[-1]
    return masks


def _guarded(inputs: Sequence[BoundInput]) -> list[str]:
    """A warning for each cut whose counts depend on the cuts before it."""
    cuts = inputs[0].cuts[1:] if inputs else ()
    return [
        f"{cut.text} has no answer on events that earlier cuts guard: alone and all-but count what reaches it"
        for cut in cuts
        if cut.node.raises
    ]


def generated(query: Query, inputs: Sequence[BoundInput]) -> Yield | None:
    """The generator's sums over all ingested files; None for data, or where a file keeps no such record."""
    if not query.simulation:
        return None
    sources = chain.from_iterable(bound.input.snapshot.sources for bound in inputs)
    sums = generated_sums(list(sources))
    return Yield(sums[0], ExactSum.of(sums[1]), ExactSum.of(sums[2])) if sums else None


Ints = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32] | npt.NDArray[np.float64]

ABOVE = 16
"""Exponents that the table has above that of the heaviest weight which was seen first."""


class _Outside(Exception):
    """A weight does not fit the table."""


def flowing_by_steps(prepared: Prepared, progress: Progress = None) -> Answer | None:
    """The yields of all ways of a cutflow by compiled steps; None where the scan must give them."""
    cuts = len(prepared.query.cuts)
    fits = prepared.plan.tier == "kernel" and cuts <= FEW and all(able(bound.cuts) for bound in prepared.inputs)
    if not fits or not loops_at_hand(prepared.query.tier, prepared.read, cuts, kernel.add_patterns):
        return None
    sums, fate = _Sums(cuts, bool(prepared.query.weight)), Fate()
    try:
        for index, bound in enumerate(prepared.inputs):
            fate += _one_input(prepared, index, bound, sums, progress)
    except (CutError, StoreError, Unanswered, _Outside):  # the scan tells of it
        return None
    return Answer(fate, tuple(sums.yields()))


def _one_input(prepared: Prepared, index: int, bound: BoundInput, sums: _Sums, progress: Progress) -> Fate:
    frame, threads = bound.input.snapshot.frame, prepared.query.threads
    fates = prepared.rows.fates(index, frame)
    cuts = (None, *(cut.node for cut in bound.cuts))  # the rows that count, then each cut alone
    work = Cuts.of(cuts, (None,) * len(cuts), len(frame))

    def keep(groups: Ints, bits: Words) -> None:
        """Add up some row groups; each thread has tables of its own."""

        def add_group(at: int) -> None:
            group = int(groups[at])
            rows = int(frame.rows[group])
            sums.add(bits[:, at], rows, _weights(bound, frame, group, int(bits[0, at])))

        workers = (threads or threads_here()) if int(frame.rows[groups].sum()) >= LITTLE else 1
        parallel_map(watched(add_group), range(len(groups)), workers)

    counted = count_several(work, frame, fates, threads, keep=keep, progress=progress)
    return Fate.of_eligible(fates, counted.bytes)


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
    """The sums of one thread: counts by pattern, and mantissas of weights and squares by pattern and exponent."""

    counts: Ints
    weights: Ints
    squares: Ints

    @classmethod
    def of(cls, cuts: int, weighted: bool) -> _Table:
        patterns = 1 << cuts
        with_weights = patterns if weighted else 0
        weights = np.zeros((with_weights, kernel.WINDOW, 2), np.int64)
        squares = np.zeros((with_weights, 2 * kernel.WINDOW, 2), np.int64)
        return cls(np.zeros(patterns, np.int64), weights, squares)

    def __iadd__(self, other: _Table) -> _Table:
        self.counts += other.counts
        self.weights += other.weights
        self.squares += other.squares
        return self


@dataclass(eq=False)
class _Sums:
    """The sums of all threads; `free` are the tables that no thread is using."""

    cuts: int
    weighted: bool
    first: int | None = None  # the exponent of the tables' first slot, once a weight was seen
    tables: list[_Table] = field(default_factory=list)
    free: list[_Table] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def add(self, bits: Words, rows: int, weights: Weights | None) -> None:
        """Add a row group: addresses of its bits, of the rows that count and of each cut, and its weights."""
        with self.lock:
            if self.first is None:
                self.first = _window(weights)
            if not self.free:
                self.free.append(_Table.of(self.cuts, self.weighted))
                self.tables.append(self.free[-1])
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
        for table in self.tables:
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
