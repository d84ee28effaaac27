"""Many cuts in one pass: regions of one analysis, each with its own ledger, overlaps, and event list.

Invariant: every region's count, ledger and list are those of a selection of its own. A row group is skipped where no
region can have an event; a conjunct that several regions share is evaluated once for it; columns are read once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.compiled_scan import Passing
from tagsel.engine.many_cuts import Cuts, count_several, loops_at_hand
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import Mask, judge
from tagsel.engine.steps import able
from tagsel.errors import CutError, StoreError, did_you_mean
from tagsel.events import EventList
from tagsel.language import Block, Bound, conjuncts
from tagsel.language.bounds import ALL, NONE, SOME
from tagsel.selection.event_list import provenance
from tagsel.selection.fold import folded
from tagsel.selection.list_builder import Accepted, event_list, gather
from tagsel.selection.partial_result import Fate
from tagsel.selection.plan import plan
from tagsel.selection.query import Query, bind_query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Count, Prepared, Progress, finish, prepare
from tagsel.selection.yields import Yield, weigh, weights_of
from tagsel.store import watched


@dataclass(frozen=True, repr=False)
class Regions(Mapping[str, Count]):
    """Regions by name, each a `Count`; `overlap` is how many events two regions share; `lists` their events.

    `overlap` is `(regions, regions) int64`, a region's own events on its diagonal; `alone`, `(regions,) int64`, those
    in no other region; `anywhere` those in any. None where they were not asked for.
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
        weighted = any(c.weighted for c in self.counts.values())
        rows = []
        for name, count in self.counts.items():
            start = count.accepted + count.ledger.rejected
            share = round(count.accepted / start, 6) if start else None
            sums = (count.weighted.sumw, count.weighted.sumw2**0.5) if count.weighted else ()
            rows.append((name, count.accepted, share, *sums))
        return Table(("region", "events", "of start", *(("sum of weights", "error") if weighted else ())), tuple(rows))

    def overlaps(self) -> Table:
        """The events that each two regions share; CutError where that was not asked for."""
        if self.overlap is None:
            raise CutError("overlaps of regions were not asked for", hint="overlap=True")
        rows = zip(self.counts, self.overlap.tolist(), strict=True)
        return Table(("region", *self.counts), tuple((name, *row) for name, row in rows))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "regions": {name: count.to_json() for name, count in self.counts.items()},
            "overlap": None if self.overlap is None else self.overlap.tolist(),
            "digests": {name: events.digest for name, events in self.lists.items()},
        }


@dataclass(frozen=True)
class _Found:
    """What some row groups came to: for each region its yield and rows; events that each two share, that are in one
    alone, and that are in any."""

    yields: tuple[Yield, ...]
    shared: npt.NDArray[np.int64]
    alone: npt.NDArray[np.int64]
    anywhere: int
    rows: tuple[tuple[Accepted, ...], ...]

    def __add__(self, other: _Found) -> _Found:
        yields = tuple(a + b for a, b in zip(self.yields, other.yields, strict=True))
        rows = tuple(a + b for a, b in zip(self.rows, other.rows, strict=True))
        anywhere = self.anywhere + other.anywhere
        return _Found(yields, self.shared + other.shared, self.alone + other.alone, anywhere, rows)


def _outcome(answer: Regions) -> Outcome:
    """What the log of questions keeps of regions: how many events each has."""
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
    quick = None if overlap or lists or query.weight else _counted(several, started, progress)
    if quick is not None:
        return Regions(dict(zip(cuts, quick, strict=True)), None, {})
    union, verdicts = _union([p.plan.units for p in several])
    shared = [_shared([p.inputs[k].cut for p in several]) for k in range(len(several[0].inputs))]

    def work(unit: Unit, block: Block, alive: Mask | None) -> _Found:
        counted = np.ones(unit.rows, bool) if alive is None else alive
        decided = verdicts[unit.source, unit.part.name, unit.group]
        masks = _masks(shared[unit.source], block, counted, decided)
        return _found(several[0], unit, block, masks, overlap, lists)

    count = len(several)
    nothing = _Found((Yield(),) * count, *_shares(np.zeros((count, 0), np.bool_)), ((),) * count)
    found, tallies = folded(several[0], work, lambda a, b: a + b, nothing, progress=progress, units=union)
    counts = {
        name: finish(p, Fate.of_tallies(tallies), passing, started)
        for name, p, passing in zip(cuts, several, found.yields, strict=True)
    }
    kept = _lists(several, counts, found.rows) if lists else {}
    shares = (found.shared, found.alone, found.anywhere) if overlap else (None, None, None)
    return Regions(counts, shares[0], kept, *shares[1:])


def queries(query: Query, cuts: Mapping[str, str]) -> list[Query]:
    """Each region as a query of its own: its cut and all those of the query, as one cut of its name."""
    common = [f"({text})" for _, text in query.cuts if text != "true"]
    texts = {name: " && ".join([*common, f"({cut})"]) for name, cut in cuts.items()}
    return [replace(query, cuts=(pair,)) for pair in texts.items()]


def _counted(several: Sequence[Prepared], started: float, progress: Progress) -> list[Count] | None:
    """The counts by compiled steps, where all regions can be; the work that each tells of is that of the pass."""
    first = several[0]
    wanted = all(p.plan.tier == "kernel" and able(b.cut for b in p.inputs) for p in several)
    if not wanted or not loops_at_hand(first.query.tier, first.read, len(several)):
        return None
    accepted, fate = np.zeros(len(several), np.int64), Fate()
    for index, bound in enumerate(first.inputs):
        frame = bound.input.snapshot.frame
        nodes, verdicts = [p.inputs[index].cut.node for p in several], [p.plan.verdicts[index] for p in several]
        try:
            fates = first.rows.fates(index, frame)
            found = count_several(
                Cuts.of(nodes, verdicts, len(frame)), frame, fates, first.query.threads, progress=progress
            )
        except StoreError:  # the scan tells of it
            return None
        if found is None:
            return None
        accepted += found.counts
        fate += Fate.of_passing([Passing(int(found.counts.sum()), fates, found.bytes)])
    yields = map(Yield.unweighted, accepted.tolist())
    return [finish(prepared, fate, passing, started) for prepared, passing in zip(several, yields, strict=True)]


def _prepared(asked: Sequence[Query]) -> list[Prepared]:
    """Each query bound and planned; which rows count is found once for all."""
    first = prepare(asked[0])
    own = {w for b in first.inputs for w in b.cut.warnings}
    said = tuple(w for w in first.warnings if w not in own)
    several = [first]
    for one in asked[1:]:
        inputs = bind_query(one)
        planned = plan(inputs, tier=one.tier, allow_losses=one.allow_losses)
        warnings = tuple(dict.fromkeys(w for b in inputs for w in b.cut.warnings))
        several.append(replace(first, query=one, inputs=inputs, plan=planned, warnings=(*warnings, *said)))
    return several


Verdicts = dict[tuple[int, str, int], list[int]]


def _union(plans: Sequence[Sequence[Unit]]) -> tuple[tuple[Unit, ...], Verdicts]:
    """The row groups, NONE where every region says so; and the verdict of each region."""
    units, verdicts = [], {}
    for same in zip(*plans, strict=True):
        decided = [u.verdict for u in same]
        unit = same[0]
        verdicts[unit.source, unit.part.name, unit.group] = decided
        units.append(replace(unit, verdict=NONE if set(decided) == {NONE} else SOME))
    return tuple(units), verdicts


@dataclass(frozen=True)
class _Shared:
    """The conjuncts of every region in order, and which of them stand in all regions, or in more than one."""

    regions: tuple[tuple[Bound, ...], ...]
    everywhere: tuple[Bound, ...]
    several: frozenset[str]


def _shared(cuts: Sequence[Bound]) -> _Shared:
    """Conjuncts are one where their bound trees are; those that may have no answer for a row are never shared."""
    regions = tuple(tuple(conjuncts(cut)) for cut in cuts)
    counted = Counter(f for cut in regions for f in {c.fingerprint for c in cut if not c.node.raises})
    everywhere = {c.fingerprint: c for c in regions[0] if counted[c.fingerprint] == len(cuts)}
    if any(c.node.raises for cut in regions for c in cut):  # each must see what its own cut leaves, no less
        everywhere = {}
    return _Shared(regions, tuple(everywhere.values()), frozenset(f for f, n in counted.items() if n > 1))


def _masks(shared: _Shared, block: Block, counted: Mask, verdicts: Sequence[int]) -> list[Mask]:
    """The rows of each region. What all regions ask is asked first; what several ask, once, of the rows left."""
    known: dict[str, Mask] = {}
    base = counted
    if SOME in verdicts and ALL not in verdicts:  # where a region takes all rows, what all ask holds for all
        for conjunct in shared.everywhere:
            known[conjunct.fingerprint] = base = judge(conjunct, block, base)
    masks = []
    for cut, verdict in zip(shared.regions, verdicts, strict=True):
        if verdict != SOME:
            masks.append(counted if verdict == ALL else np.zeros(len(counted), bool))
            continue
        masks.append(_mask(cut, shared, block, counted, base, known))
    return masks


def _mask(
    cut: Sequence[Bound], shared: _Shared, block: Block, counted: Mask, base: Mask, known: dict[str, Mask]
) -> Mask:
    """The rows of one region, its conjuncts left to right; `known` are masks over the rows of `base`.

    A conjunct that may have no answer sees just what those before it leave, as in a selection of its own.
    """
    ahead = counted
    for conjunct in cut:
        if conjunct.fingerprint in shared.several and conjunct.fingerprint not in known:
            known[conjunct.fingerprint] = judge(conjunct, block, base)
        if conjunct.fingerprint in known:
            ahead = ahead & known[conjunct.fingerprint]
        else:
            ahead = judge(conjunct, block, ahead if conjunct.node.raises else ahead & base)
        if not ahead.any():
            break
    return ahead


def _found(prepared: Prepared, unit: Unit, block: Block, masks: Sequence[Mask], overlap: bool, lists: bool) -> _Found:
    """Yields, overlaps and rows of the regions in one row group."""
    union = np.logical_or.reduce(masks)
    weights = weights_of(prepared.inputs[unit.source], block, union)
    count, rows = len(masks), np.flatnonzero(union)
    shares = _shares(np.array([mask[rows] for mask in masks] if overlap else np.zeros((count, 0))))
    kept: tuple[tuple[Accepted, ...], ...] = ((),) * count
    if lists and len(rows):
        ids = gather(unit, rows)
        ids = replace(ids, weight=None if weights is None else weights[rows])
        kept = tuple((ids.take(np.flatnonzero(mask[rows])),) for mask in masks)
    return _Found(tuple(weigh(mask, weights) for mask in masks), *shares, kept)


def _shares(inside: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Of regions by events, 0 and 1: how many events each two share, how many are in one alone, and in any."""
    ones = inside.astype(np.float64)
    alone = ones[:, ones.sum(axis=0) == 1].sum(axis=1)
    return (ones @ ones.T).astype(np.int64), alone.astype(np.int64), int(np.count_nonzero(inside.any(axis=0)))


def _lists(
    several: Sequence[Prepared], counts: Mapping[str, Count], rows: Sequence[Sequence[Accepted]]
) -> dict[str, EventList]:
    """The event list of each region, with all that a selection of its own would say of it."""
    made = {}
    for (name, counted), prepared, blocks in zip(counts.items(), several, rows, strict=True):
        history = provenance(prepared, counted, None)
        made[name] = event_list(list(blocks), [b.input for b in prepared.inputs], counted.ledger, history)
    return made
