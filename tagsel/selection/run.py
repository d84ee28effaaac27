"""Run a query: count, or the event list itself; the ledger closes against the commit log or it is an error.

Invariant: the answer and its digest do not depend on threads, tier, zones or the order in which parts arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tagsel.engine.bitmap_cache import MASKS
from tagsel.engine.compiled_scan import How, Passing, accept
from tagsel.engine.row_groups import Rows, Unit
from tagsel.engine.scan import Mask, evaluate, scan, with_hint
from tagsel.engine.steps import able
from tagsel.errors import StoreError
from tagsel.events import Ledger
from tagsel.language import Block
from tagsel.language.bounds import ALL, NONE
from tagsel.selection.absent import triggers_absent
from tagsel.selection.eligible_rows import rows_that_count
from tagsel.selection.partial_result import Answer, Fate, Top
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
    warnings = [w for b in bound for w in b.cut.warnings]
    warnings += _lumi_warning(query)
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


def accepted(prepared: Prepared, *, listing: bool, progress: Progress = None) -> list[Passing] | None:
    """The accepted rows by compiled steps; None where the scan row group by row group must answer.

    StoreError: a part is damaged, and losses are not allowed.
    """
    query, plan = prepared.query, prepared.plan
    if plan.tier != "kernel" or query.weight or not able(b.cut for b in plan.inputs):
        return None
    try:
        return by_steps(prepared, How(listing, query.threads, MASKS if query.remember else None, progress))
    except StoreError as error:
        if query.allow_losses:
            return None
        raise with_hint(error) from error


def by_steps(prepared: Prepared, how: How) -> list[Passing] | None:
    """The accepted rows of each input by compiled steps; None where a row has no answer."""
    passing = []
    for index, (bound, verdict) in enumerate(zip(prepared.plan.inputs, prepared.plan.verdicts, strict=True)):
        frame = bound.input.snapshot.frame
        one = accept(frame, bound.cut.node, verdict, prepared.rows.fates(index, frame), how)
        if one is None:
            return None
        passing.append(one)
    return passing


def of_count(count: Count) -> Outcome:
    """What the log of questions keeps of a count."""
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
    query = prepared.query
    quick = accepted(prepared, listing=False, progress=progress)
    if quick is not None:
        return Answer(Fate.of_passing(quick), (Yield.unweighted(sum(a.count for a in quick)),))

    def work(unit: Unit, block: Block, alive: Mask | None) -> Yield:
        mask = passed(prepared, unit, block, alive)
        return weigh(mask, weights_of(prepared.inputs[unit.source], block, mask))

    fate, sure, units = _decided(prepared, progress)
    tallies = scan(
        units, prepared.rows, work, threads=query.threads, allow_losses=query.allow_losses, progress=progress
    )
    passing = total([Yield.unweighted(sure), *(t.result for t in tallies if t.result is not None)])
    return Answer(fate + Fate.of_tallies(tallies), (passing,))


def _decided(prepared: Prepared, progress: Progress) -> tuple[Fate, int, list[Unit]]:
    """What the zones and small tables decide without the rows: fates, events accepted, and the row groups left."""
    plan, weighted = prepared.plan, bool(prepared.query.weight)
    counts, sure, units = np.zeros(3, np.int64), 0, list[Unit]()
    for index, (bound, verdict) in enumerate(zip(plan.inputs, plan.verdicts, strict=True)):
        frame = bound.input.snapshot.frame
        try:
            fates = prepared.rows.fates(index, frame)
        except StoreError:  # the scan tells of which part
            units += plan.units_of(index, np.ones(len(frame), np.bool_))
            continue
        all_pass = (verdict.cut == ALL) & (not weighted)
        done = (verdict.cut == NONE) | (fates.alive == 0) | all_pass
        counts += [int(of[done].sum()) for of in (fates.duplicate, fates.masked, fates.alive)]
        sure += int(fates.alive[done & all_pass].sum())
        units += plan.units_of(index, ~done)
        if progress is not None:
            progress(int(frame.rows[done].sum()))
    duplicate, masked, alive = counts.tolist()
    return Fate(duplicate, masked, 0, alive, 0), sure, units


def passed(prepared: Prepared, unit: Unit, block: Block, alive: Mask | None) -> Mask:
    """Rows of a unit that are alive and pass the whole cut."""
    return evaluate(prepared.inputs[unit.source].cut, unit, block, alive, prepared.plan.tier)
