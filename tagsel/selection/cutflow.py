"""Cutflow: for each named cut the events that pass it alone, all cuts up to it, and all cuts but it.

Invariant: counts are over events that are readable, not duplicate and not masked; each count comes with the sum
of weights and of squared weights (weight 1 without `--weight`). Every column is touched once for all cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tagsel.errors import CutError
from tagsel.events import Ledger
from tagsel.kernels.exact import ExactSum
from tagsel.language import Block
from tagsel.selection.answer import Answer, Fate
from tagsel.selection.asked import Outcome, question
from tagsel.selection.bookkeeping import generated_sums
from tagsel.selection.flow import flowing_by_steps
from tagsel.selection.patterns import Patterns, by_pattern, ways_of
from tagsel.selection.plan import Unit
from tagsel.selection.query import BoundInput, Query
from tagsel.selection.run import Prepared, Progress, Runner, prepare
from tagsel.selection.scan import Mask, judge, scan
from tagsel.selection.table import Table
from tagsel.selection.weights import Yield, weights_of
from tagsel.store import watched

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
    """Steps in order; `start` is every event that counts; `generated` the generator's sums where files keep them.

    `cutflow["pair"]` is a step by name, cut text or position; cutflows of the same cuts on different data add up.
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
        steps = tuple(
            Step(a.name, a.cut, *(getattr(a, way) + getattr(b, way) for way in WAYS))
            for a, b in zip(self.steps, other.steps, strict=True)
        )
        generated = self.generated + other.generated if self.generated and other.generated else None
        return Cutflow(
            steps,
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
            alone, passed, all_but = (self._of(getattr(step, way)) for way in WAYS)
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
    """What the log of questions keeps of a cutflow."""
    cut = " && ".join(f"({step.cut})" for step in flow.steps)
    return Outcome(cut, flow.ledger.read, flow.ledger.accepted)


@question("cutflow", _outcome)
@watched
def cutflow(query: Query, *, progress: Progress = None, runner: Runner | None = None) -> Cutflow:
    """The cutflow of the query's cuts in their order; the scan needs every row, so zones skip nothing."""
    prepared = prepare(query, zones=False)
    found = runner("cutflow", prepared, None, progress) if runner else flowing(prepared, progress)
    n, fate = len(query.cuts), found.fate
    sums = found.yields or (Yield(),) * (1 + 3 * n)
    passed = sums[-1]
    ledger = Ledger(passed.n, fate.alive - passed.n, fate.masked, fate.duplicate, fate.unreadable)
    ledger.check(prepared.read)
    texts = [b.text for b in prepared.inputs[0].cuts] if prepared.inputs else [t for _, t in query.cuts]
    steps = tuple(
        Step(name or text, text, sums[1 + i], sums[1 + 2 * n + i], sums[1 + n + i])
        for i, ((name, _), text) in enumerate(zip(query.cuts, texts, strict=True))
    )
    return Cutflow(
        steps,
        sums[0],
        generated(query, prepared.inputs),
        ledger,
        query.weight,
        (*prepared.warnings, *_guarded(prepared.inputs)),
        fate.losses,
    )


def flowing(prepared: Prepared, progress: Progress = None) -> Answer:
    """The work of `cutflow`: the yields of the start, then of every cut alone, left out, and in sequence."""
    query = prepared.query
    quick = flowing_by_steps(prepared, progress)
    if quick is not None:
        return quick

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
    found = [t.result for t in tallies if t.result is not None]
    return Answer(Fate.of_tallies(tallies), tuple(ways_of(found, len(query.cuts))))


def _masks(bound: BoundInput, block: Block, counted: Mask, tier: str) -> list[Mask]:
    """Each cut's own mask over the rows that count; one that may overflow or take `% 0` sees what reaches it only."""
    masks: list[Mask] = []
    ahead = counted
    for cut in bound.cuts:
        masks.append(judge(cut, block, ahead if cut.node.raises else counted, tier))
        ahead = ahead & masks[-1]
    return masks


def _guarded(inputs: Sequence[BoundInput]) -> list[str]:
    """A warning for each cut whose other counts hang on the cuts before it."""
    return [
        f"{cut.text} has no answer on events that earlier cuts guard: alone and all-but count what reaches it"
        for bound in inputs[:1]
        for cut in bound.cuts[1:]
        if cut.node.raises
    ]


def generated(query: Query, inputs: Sequence[BoundInput]) -> Yield | None:
    """The generator's sums over all ingested files; None for data, or where a file keeps no such record."""
    sums = generated_sums([s for b in inputs for s in b.input.snapshot.sources]) if query.simulation else None
    return Yield(sums[0], ExactSum.of(sums[1]), ExactSum.of(sums[2])) if sums else None
