"""Many cuts in one pass: regions of one analysis, each with its own ledger, overlaps, and event list.

Invariant: every region's count, ledger and list are those of a selection of its own. A row group is skipped where no
region can have an event; a conjunct that several regions share is evaluated once for it; columns are read once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.compiled_scan import Unanswered
from tagsel.engine.many_cuts import Cuts, count_several, loops_at_hand
from tagsel.engine.row_groups import Fate, Unit
from tagsel.engine.scan import Mask, fate_of, judge
from tagsel.engine.steps import able
from tagsel.errors import CutError, StoreError, did_you_mean
from tagsel.events import EventList
from tagsel.language import Block, Bound, conjuncts
from tagsel.language.bounds import ALL, NONE, SOME
from tagsel.selection.event_list import provenance
from tagsel.selection.fold import folded
from tagsel.selection.list_builder import EventColumns, event_list, events_of_group
from tagsel.selection.plan import plan
from tagsel.selection.query import BoundInput, Query, bind_query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Count, Prepared, Progress, finish, prepare
from tagsel.selection.yields import Yield, weigh, weights_of
from tagsel.store import watched


@dataclass(frozen=True, repr=False)
class Regions(Mapping[str, Count]):
    """Regions by name, each a `Count`; `overlap` is how many events two regions share; `lists` their events.

    `overlap` is `(regions, regions) int64`, a region's own events on its diagonal; `alone`, `(regions,) int64`, those
    in no other region; `anywhere` those in any. They are None without `overlap=True`.
    """

    counts: Mapping[str, Count]
    overlap: npt.NDArray[np.int64] | None = None
    lists: Mapping[str, EventList] = field(default_factory=dict)
    alone: npt.NDArray[np.int64] | None = None
    anywhere: int | None = None

    def __getitem__(self, name: str) -> Count:
        if name not in self.counts:
            hint = did_you_mean(name, self.counts) or f"regions: {', '.join(self.counts)}"
            raise CutError(f"no region {name!r}", hint=hint)
        return self.counts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def table(self) -> Table:
        """A row a region: events, their share of those that count, and with a weight its sum and error."""
        columns: tuple[str, ...] = ("region", "events", "of start")
        rows = []
        for name, count in self.counts.items():
            start = count.accepted + count.ledger.rejected
            share = round(count.accepted / start, 6) if start else None
            row: tuple[object, ...] = (name, count.accepted, share)
            if count.weighted:
                row += (count.weighted.sumw, count.weighted.sumw2**0.5)
            rows.append(row)
        if any(count.weighted for count in self.counts.values()):
            columns += ("sum of weights", "error")
        return Table(columns, tuple(rows))

    def overlaps(self) -> Table:
        """The events that each two regions share; CutError without `overlap=True`."""
        if self.overlap is None:
            raise CutError("overlaps of regions were not asked for", hint="overlap=True")
        rows = zip(self.counts, self.overlap.tolist(), strict=True)
        return Table(("region", *self.counts), tuple((name, *row) for name, row in rows))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "regions": {name: count.to_json() for name, count in self.counts.items()},
            "overlap": None if self.overlap is None else self.overlap.tolist(),
            "digests": {name: events.digest for name, events in self.lists.items()},
        }


@dataclass(frozen=True)
class _PartialRegions:
    """The regions of some row groups: the yield and events of each; how many events each two share, each has alone,
    and are in any."""

    yields: tuple[Yield, ...]
    shared: npt.NDArray[np.int64]
    alone: npt.NDArray[np.int64]
    anywhere: int
    events: tuple[tuple[EventColumns, ...], ...]

    def __add__(self, other: _PartialRegions) -> _PartialRegions:
        return _PartialRegions(
            tuple(a + b for a, b in zip(self.yields, other.yields, strict=True)),
            self.shared + other.shared,
            self.alone + other.alone,
            self.anywhere + other.anywhere,
            tuple(a + b for a, b in zip(self.events, other.events, strict=True)),
        )


def _outcome(answer: Regions) -> Outcome:
    """The log entry of regions: how many events each has."""
    counts = "; ".join(f"{name}: {count.cut}: {count.accepted}" for name, count in answer.items())
    return Outcome(counts, next(iter(answer.values())).read)


@question("regions", _outcome)
@watched
def regions(
    query: Query, cuts: Mapping[str, str], *, overlap: bool = False, lists: bool = False, progress: Progress = None
) -> Regions:
    """The events of each region: those that pass its cut and all cuts of the query. CutError for no region at all."""
    if not cuts:
        raise CutError("no region is asked for", hint='"SR: MET_pt > 100" "CR: MET_pt < 50"')
    started = time.perf_counter()
    several = _prepared(queries(query, cuts))
    if not (overlap or lists or query.weight):
        counted = _counted_by_steps(several, started, progress)
        if counted is not None:
            return Regions(dict(zip(cuts, counted, strict=True)))
    union, verdicts = _union([prepared.plan.units for prepared in several])
    shared = [_shared(of_input) for of_input in _cuts_by_input(several)]

    def work(unit: Unit, block: Block, alive: Mask | None) -> _PartialRegions:
        counted = np.ones(unit.rows, bool) if alive is None else alive
        masks = _masks(shared[unit.source], block, counted, verdicts[unit.source, unit.part.name, unit.group])
        return _partial_regions(several[0], unit, block, masks, overlap, lists)

    count = len(several)
    nothing = _PartialRegions((Yield(),) * count, *_shares(np.zeros((count, 0), np.bool_)), ((),) * count)
    total, tallies = folded(several[0], work, lambda a, b: a + b, nothing, progress=progress, units=union)
    fate = fate_of(tallies)
    counts = {}
    for name, prepared, passing in zip(cuts, several, total.yields, strict=True):
        counts[name] = finish(prepared, fate, passing, started)
    events = _lists(several, counts, total.events) if lists else {}
    if not overlap:
        return Regions(counts, lists=events)
    return Regions(counts, total.shared, events, total.alone, total.anywhere)


def queries(query: Query, cuts: Mapping[str, str]) -> list[Query]:
    """Each region as a query of its own: its cut and all those of the query, as one cut of its name."""
    common = [f"({text})" for _, text in query.cuts if text != "true"]
    texts = {name: " && ".join([*common, f"({cut})"]) for name, cut in cuts.items()}
    return [replace(query, cuts=(pair,)) for pair in texts.items()]


def _cuts_by_input(several: Sequence[Prepared]) -> list[list[Bound]]:
    """The cuts of all regions, for each input."""
    cuts: list[list[Bound]] = [[] for _ in several[0].inputs]
    for prepared in several:
        for of_input, bound in zip(cuts, prepared.inputs, strict=True):
            of_input.append(bound.cut)
    return cuts


def _counted_by_steps(several: Sequence[Prepared], started: float, progress: Progress) -> list[Count] | None:
    """The counts by compiled steps, each with the work of the whole pass; None where not all regions can be."""
    first, cuts = several[0], _cuts_by_input(several)
    fits = all(prepared.plan.tier == "kernel" for prepared in several) and all(map(able, cuts))
    if not fits or not loops_at_hand(first.query.tier, first.read, len(several)):
        return None
    accepted, fate = np.zeros(len(several), np.int64), Fate()
    for index, bound in enumerate(first.inputs):
        frame = bound.input.snapshot.frame
        verdicts = [prepared.plan.verdicts[index] for prepared in several]
        work = Cuts.of([cut.node for cut in cuts[index]], verdicts, len(frame))
        try:
            fates = first.rows.fates(index, frame)
            counted = count_several(work, frame, fates, first.query.threads, progress=progress)
        except (StoreError, Unanswered):  # the scan tells of it
            return None
        accepted += counted.counts
        fate += Fate.of_eligible(fates, counted.bytes)
    yields = map(Yield.unweighted, accepted.tolist())
    return [finish(prepared, fate, passing, started) for prepared, passing in zip(several, yields, strict=True)]


def _prepared(queries: Sequence[Query]) -> list[Prepared]:
    """Each query bound and planned; which rows count is worked out once for all."""
    first = prepare(queries[0])
    cut_warnings = _cut_warnings(first.inputs)
    common = tuple(warning for warning in first.warnings if warning not in cut_warnings)
    several = [first]
    for query in queries[1:]:
        inputs = bind_query(query)
        planned = plan(inputs, tier=query.tier, allow_losses=query.allow_losses)
        warnings = (*_cut_warnings(inputs), *common)
        several.append(replace(first, query=query, inputs=inputs, plan=planned, warnings=warnings))
    return several


def _cut_warnings(inputs: Sequence[BoundInput]) -> list[str]:
    """The warnings of the whole cut of some inputs, each once."""
    warnings = chain.from_iterable(bound.cut.warnings for bound in inputs)
    return list(dict.fromkeys(warnings))


Verdicts = dict[tuple[int, str, int], list[int]]


def _union(plans: Sequence[Sequence[Unit]]) -> tuple[tuple[Unit, ...], Verdicts]:
    """The row groups, NONE where every region skips it; and the verdict of each region."""
    units, verdicts = [], {}
    for same in zip(*plans, strict=True):
        unit = same[0]
        by_region = [region.verdict for region in same]
        verdicts[unit.source, unit.part.name, unit.group] = by_region
        units.append(replace(unit, verdict=NONE if set(by_region) == {NONE} else SOME))
    return tuple(units), verdicts


@dataclass(frozen=True)
class _Shared:
    """The conjuncts of every region in order, those that all regions have, and those that several have."""

    regions: tuple[tuple[Bound, ...], ...]
    everywhere: tuple[Bound, ...]
    several: frozenset[str]


def _shared(cuts: Sequence[Bound]) -> _Shared:
    """The conjuncts that regions share: those with the same bound tree, unless a row may have no answer to them."""
    regions = tuple(tuple(conjuncts(cut)) for cut in cuts)
    times, some_raise = Counter[str](), False
    for region in regions:
        some_raise = some_raise or any(conjunct.node.raises for conjunct in region)
        times.update({conjunct.fingerprint for conjunct in region if not conjunct.node.raises})
    everywhere = {}
    if not some_raise:  # else each conjunct must see exactly the rows that its own cut leaves
        for conjunct in regions[0]:
            if times[conjunct.fingerprint] == len(cuts):
                everywhere[conjunct.fingerprint] = conjunct
    several = frozenset(fingerprint for fingerprint, regions_with_it in times.items() if regions_with_it > 1)
    return _Shared(regions, tuple(everywhere.values()), several)


def _masks(shared: _Shared, block: Block, counted: Mask, verdicts: Sequence[int]) -> list[Mask]:
    """The rows of each region. Conjuncts of all regions come first; those of several are evaluated once."""
    evaluated: dict[str, Mask] = {}
    base = counted
    if SOME in verdicts and ALL not in verdicts:  # where a region takes all rows, conjuncts of all regions hold
        for conjunct in shared.everywhere:
            evaluated[conjunct.fingerprint] = base = judge(conjunct, block, base)
    masks = []
    for cut, verdict in zip(shared.regions, verdicts, strict=True):
        if verdict != SOME:
            masks.append(counted if verdict == ALL else np.zeros(len(counted), bool))
            continue
        masks.append(_mask(cut, shared, block, counted, base, evaluated))
    return masks


def _mask(
    cut: Sequence[Bound], shared: _Shared, block: Block, counted: Mask, base: Mask, evaluated: dict[str, Mask]
) -> Mask:
    """The rows of one region, its conjuncts left to right; `evaluated` are masks over the rows of `base`.

    A conjunct that may have no answer sees just the rows that those before it leave, as in a selection of its own.
    """
    ahead = counted
    for conjunct in cut:
        if conjunct.fingerprint in shared.several and conjunct.fingerprint not in evaluated:
            evaluated[conjunct.fingerprint] = judge(conjunct, block, base)
        if conjunct.fingerprint in evaluated:
            ahead = ahead & evaluated[conjunct.fingerprint]
        else:
            ahead = judge(conjunct, block, ahead if conjunct.node.raises else ahead & base)
        if not ahead.any():
            break
    return ahead


def _partial_regions(
    prepared: Prepared, unit: Unit, block: Block, masks: Sequence[Mask], overlap: bool, lists: bool
) -> _PartialRegions:
    """Yields, overlaps and events of the regions in one row group."""
    union = np.logical_or.reduce(masks)
    weights = weights_of(prepared.inputs[unit.source], block, union)
    count, rows = len(masks), np.flatnonzero(union)
    inside = np.array([mask[rows] for mask in masks]) if overlap else np.zeros((count, 0))
    events: tuple[tuple[EventColumns, ...], ...] = ((),) * count
    if lists and len(rows):
        of_union = events_of_group(unit, rows)
        if weights is not None:
            of_union = replace(of_union, weight=weights[rows])
        events = tuple((of_union.take(np.flatnonzero(mask[rows])),) for mask in masks)
    return _PartialRegions(tuple(weigh(mask, weights) for mask in masks), *_shares(inside), events)


def _shares(inside: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """How many events two regions share, one has alone, and any has; `inside` (regions, events) is of 0 and 1."""
    ones = inside.astype(np.float64)
    alone = ones[:, ones.sum(axis=0) == 1].sum(axis=1)
    return (ones @ ones.T).astype(np.int64), alone.astype(np.int64), int(np.count_nonzero(inside.any(axis=0)))


def _lists(
    several: Sequence[Prepared], counts: Mapping[str, Count], events: Sequence[Sequence[EventColumns]]
) -> dict[str, EventList]:
    """The event list of each region, with the provenance of a selection of its own."""
    lists = {}
    for (name, count), prepared, blocks in zip(counts.items(), several, events, strict=True):
        history = provenance(prepared, count, None)
        lists[name] = event_list(blocks, [bound.input for bound in prepared.inputs], count.ledger, history)
    return lists
