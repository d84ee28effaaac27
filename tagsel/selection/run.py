"""Run a query: count, or the event list itself; the ledger closes against the commit log or it is an error.

Invariant: the answer and its digest do not depend on threads, tier, zones or the order in which parts arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import add
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tagsel.engine.bitmap_cache import MASKS
from tagsel.engine.bitmaps import Words, as_mask
from tagsel.engine.compiled_scan import How
from tagsel.engine.evaluate import Candidates, Passing, evaluate, fold_passing, total_fate
from tagsel.engine.row_groups import Fate, Rows, Unit
from tagsel.engine.scan import Mask
from tagsel.engine.scan import evaluate as evaluate_block
from tagsel.errors import StoreError
from tagsel.events import Ledger
from tagsel.language import Block
from tagsel.selection.absent import triggers_absent
from tagsel.selection.eligible_rows import rows_that_count
from tagsel.selection.partial_result import Answer, Top
from tagsel.selection.plan import Plan, plan
from tagsel.selection.query import BoundInput, Query, bind_query, canonical_cut, selection_hash
from tagsel.selection.question import Outcome, question
from tagsel.selection.yields import Yield, total, weigh, weights_of
from tagsel.store import Frame, watched

Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class Work:
    """What it took: row groups by verdict, rows and bytes looked at, seconds, tier; `remembered`: steps of the cut that
    masks of earlier answers spared, counted by row group."""

    plan: Plan
    rows: int
    bytes: int
    seconds: float
    remembered: int = 0

    def to_json(self) -> dict[str, object]:
        """For people and machines; rates are per second of wall time."""
        seconds = max(self.seconds, 1e-9)
        return {
            **self.plan.to_json(),
            "bytes": self.bytes,
            "remembered": self.remembered,
            "seconds": round(self.seconds, 6),
            "events_per_s": round(self.rows / seconds),
            "gb_per_s": round(self.bytes / seconds / 1e9, 3),
        }


@dataclass(frozen=True, repr=False)
class Count:
    """The number of events that pass a selection. `int(count)` is this number.

    Attributes
    ----------
    ledger : Ledger
        Accounts for every row of the datasets.
    cut : str
        Canonical text of the cut.
    selection : str
        Hash of the selection: cut, snapshots, good-run lists.
    warnings : tuple of str
        Warnings about the cut.
    losses : tuple of str
        Damaged row groups.
    work : Work
        Bytes, rows and seconds of the scan.
    triggers_absent : mapping
        Chains of the cut that the menus of some rows lack.
    weighted : Yield or None
        With a weight: accepted events, their sums of weights and of squared weights.
    """

    ledger: Ledger
    cut: str
    selection: str
    warnings: tuple[str, ...]
    losses: tuple[str, ...]
    work: Work
    triggers_absent: Mapping[str, Any] = field(default_factory=dict)
    weighted: Yield | None = None  # with a weight: the accepted events, their sums of weights and squared weights

    @property
    def accepted(self) -> int:
        """Events that pass."""
        return self.ledger.accepted

    @property
    def read(self) -> int:
        """Rows of the inputs, by the commit log."""
        return self.ledger.read

    def __int__(self) -> int:
        return self.accepted

    def __repr__(self) -> str:
        counts = " + ".join(f"{n:,} {name}" for name, n in self.ledger.to_json().items())
        return f"<Count: {self.accepted:,} of {self.read:,} pass; {counts}>"

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "accepted": self.accepted,
            "read": self.read,
            "ledger": self.ledger.to_json(),
            "cut": self.cut,
            "selection": self.selection,
            "warnings": list(self.warnings),
            "losses": list(self.losses),
            "weighted": self.weighted.to_json() if self.weighted else None,
            "triggers_absent": dict(self.triggers_absent),
            "work": self.work.to_json(),
        }


@dataclass(frozen=True)
class Prepared:
    """A query bound and planned, with the rows that count: what every verb starts from."""

    query: Query
    inputs: tuple[BoundInput, ...]
    plan: Plan
    rows: Rows
    warnings: tuple[str, ...]

    @property
    def read(self) -> int:
        """Rows of all inputs, by the commit log."""
        return sum(b.input.snapshot.rows for b in self.inputs)


class Runner(Protocol):
    """Does a verb's work over the row groups of a prepared query somewhere else: on a cluster."""

    def __call__(self, verb: str, prepared: Prepared, top: Top = None, progress: Progress = None) -> Answer:
        """What `counting`, `listing` or `flowing` gives; `verb` is "count", "select" or "cutflow"."""


def prepare(query: Query, *, zones: bool = True) -> Prepared:
    """Bind, plan, and find the duplicates; every error of the cut is raised here, before data is read."""
    bound = bind_query(query)
    rows = rows_that_count(query)
    warnings = [*chain.from_iterable(b.cut.warnings for b in bound), *_lumi_warning(query)]
    planned = plan(bound, tier=query.tier, zones=zones, allow_losses=query.allow_losses)
    return Prepared(query, bound, planned, rows, tuple(dict.fromkeys(warnings)))


def _lumi_warning(query: Query) -> list[str]:
    """A good-run list that shares no run with the data: 0 events will be accepted, and that is said."""
    mask = query.mask
    if mask is None or not any(i.snapshot.rows for i in query.inputs):
        return []
    try:
        known = any(np.isin(_runs(i.snapshot.frame), mask.runs).any() for i in query.inputs)
    except StoreError:
        if query.allow_losses:
            return []  # what a damaged part holds is unknown
        raise
    if known:
        return []
    return ["the good-run lists and the data have no run in common: every event is masked"]


def _runs(frame: Frame) -> npt.NDArray[np.int32]:
    """The runs of a snapshot, some of them more than once."""
    ids = frame.places("ids")
    if ids is not None:
        return ids.fields["run"]
    groups = range(len(frame))
    runs = [frame.part(group).lumi_counts(int(frame.group_of[group]))[0] for group in groups]
    return np.concatenate(runs) if runs else np.empty(0, np.int32)


def finish(prepared: Prepared, fate: Fate, passing: Yield, started: float, top: tuple[int, str] | None = None) -> Count:
    """The ledger, closed against the commit log; `passing` are the accepted events."""
    ledger = Ledger(
        accepted=passing.n,
        rejected=fate.alive - passing.n,
        masked=fate.masked,
        duplicate=fate.duplicate,
        unreadable=fate.unreadable,
    )
    ledger.check(prepared.read)
    work = Work(prepared.plan, ledger.read, fate.bytes, time.perf_counter() - started, fate.remembered)
    return Count(
        ledger,
        canonical_cut(prepared.inputs),
        selection_hash(prepared.query, prepared.inputs, top),
        prepared.warnings,
        fate.losses,
        work,
        triggers_absent(prepared.inputs, prepared.query.allow_losses),
        passing if prepared.query.weight else None,
    )


def evaluated(prepared: Prepared, how: How) -> list[Passing]:
    """The rows of each input that pass the whole cut. StoreError: a part is damaged, and losses are not allowed."""
    candidates = (candidates_of(prepared, index) for index in range(len(prepared.inputs)))
    return [evaluate(one, how) for one in candidates]


def candidates_of(prepared: Prepared, index: int) -> Candidates:
    """The row groups of one input with its whole cut, and what is settled about them before any row is read."""
    bound, verdict = prepared.inputs[index], prepared.plan.verdicts[index]
    frame, allow_losses = bound.input.snapshot.frame, prepared.query.allow_losses
    return Candidates.of(index, frame, bound.cut, verdict, prepared.rows, allow_losses)


def how_of(prepared: Prepared, *, listing: bool, progress: Progress = None) -> How:
    """How a query is evaluated; `listing`: the rows that pass are wanted, not only their number."""
    query = prepared.query
    masks = MASKS if query.remember else None
    return How(listing, query.threads, masks, progress, prepared.plan.tier, query.allow_losses)


def of_count(count: Count) -> Outcome:
    """The log entry of a count."""
    return Outcome(count.cut, count.read, count.accepted, count.selection)


@question("count", of_count)
@watched
def count(query: Query, *, zones: bool = True, progress: Progress = None, runner: Runner | None = None) -> Count:
    """How many events the query accepts."""
    started = time.perf_counter()
    prepared = prepare(query, zones=zones)
    found = runner("count", prepared, None, progress) if runner else counting(prepared, progress)
    return finish(prepared, found.fate, total(found.yields), started)


def counting(prepared: Prepared, progress: Progress = None) -> Answer:
    """The work of `count`: one yield."""
    weighted = bool(prepared.query.weight)
    how = how_of(prepared, listing=weighted, progress=progress)
    passing = evaluated(prepared, how)
    if not weighted:
        return Answer(total_fate(passing), (Yield.unweighted(sum(p.count for p in passing)),))

    def work(unit: Unit, block: Block, bits: Words) -> Yield:
        mask = as_mask(bits, unit.rows)
        return weigh(mask, weights_of(prepared.inputs[unit.source], block, mask))

    whole, passing = fold_passing(passing, work, add, Yield(), how)
    return Answer(total_fate(passing), (whole,))


def passed(prepared: Prepared, unit: Unit, block: Block, alive: Mask | None) -> Mask:
    """Rows of a unit that are alive and pass the whole cut."""
    return evaluate_block(prepared.inputs[unit.source].cut, unit, block, alive, prepared.plan.tier)
