"""Evaluate a cut over row groups: `evaluate(row groups, cut) → bitmaps`, the one place that decides how.

Zones settle row groups, remembered bitmaps spare steps, and compiled steps judge the rows that are left, all row groups
at once. The interpreter answers block by block where the plan chose it, where a step fits no kernel or may have no
answer for a row, and where the compiled steps gave up: a list is too short, or a part is damaged and its loss allowed.
Invariant: all ways give the same bits, so which one answered is never seen in an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tagsel.base.cpus import threads as threads_here
from tagsel.base.thread_pool import parallel_map
from tagsel.engine.bitmaps import Bits, Taken, words_at
from tagsel.engine.compiled_scan import How, Unanswered, accept
from tagsel.engine.row_groups import Columns, Fate, Fates, Rows, Unit
from tagsel.engine.scan import Mask, judge, with_hint
from tagsel.engine.steps import able
from tagsel.engine.zones import Verdict
from tagsel.errors import StoreError
from tagsel.language import Block, Bound
from tagsel.language.bounds import ALL, NONE
from tagsel.store import Frame, watch, watched

T = TypeVar("T")
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The G row groups of input number `source`, the cut to evaluate, and what is settled about both before any row is
    read: the verdict of the zones, and which rows are eligible. `lost` says why a row group is unreadable.
    """

    source: int
    frame: Frame
    cut: Bound
    verdict: Verdict
    eligible: Fates
    lost: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: int, frame: Frame, cut: Bound, verdict: Verdict, rows: Rows, allow_losses: bool) -> Candidates:
        """Find the eligible rows of all row groups. StoreError: a part is damaged, and losses are not allowed."""
        try:
            return cls(source, frame, cut, verdict, rows.fates(source, frame))
        except StoreError:
            units = units_of(source, frame, verdict)
            return cls(source, frame, cut, verdict, *_one_by_one(units, rows, allow_losses))


def units_of(source: int, frame: Frame, verdict: Verdict, wanted: Flags | None = None) -> list[Unit]:
    """The row groups of an input one by one; of those `wanted`, (G,), or all."""
    groups = np.arange(len(frame)) if wanted is None else np.flatnonzero(wanted)
    columns = (frame.part_of, frame.group_of, frame.rows, verdict.cut, frame.first_rows)
    rows = zip(*(column[groups].tolist() for column in columns), strict=True)
    return [Unit(source, frame.parts[part], *rest) for part, *rest in rows]


def _one_by_one(units: Sequence[Unit], rows: Rows, allow_losses: bool) -> tuple[Fates, dict[int, str]]:
    """The eligible rows of each row group on its own, and why some cannot be told."""
    counts = np.zeros((3, len(units)), np.int64)
    masks: dict[int, Mask] = {}
    lost: dict[int, str] = {}
    for group, unit in enumerate(units):
        try:
            with watch:
                judged = rows.judge(unit, Columns(unit.part, unit.group))
        except StoreError as error:
            if not allow_losses:
                raise with_hint(error) from error
            lost[group] = error.message
            continue
        counts[:, group] = judged.duplicate, judged.masked, judged.alive
        if judged.mask is not None:
            masks[group] = judged.mask
    return Fates(counts[0], counts[1], counts[2], masks.__getitem__), lost


@dataclass(frozen=True, eq=False)
class Passing:
    """The rows of one input that pass its cut: how many, and their bitmaps (None where only counted).

    `lost` says why a row group is unreadable; none of its rows passes. `bytes` are those of the columns touched,
    `spared` the steps that remembered bitmaps spared, by row group.
    """

    candidates: Candidates
    count: int
    bitmaps: Taken | None
    lost: Mapping[int, str]
    bytes: int
    spared: int = 0

    @property
    def fate(self) -> Fate:
        """The rows of the input by their end before the cut; those of lost row groups are unreadable."""
        eligible = Fate.of_eligible(self.candidates.eligible, self.bytes, self.spared)
        if not self.lost:
            return eligible
        rows, gone = self.candidates.eligible, list(self.lost)
        return replace(
            eligible,
            duplicate=eligible.duplicate - int(rows.duplicate[gone].sum()),
            masked=eligible.masked - int(rows.masked[gone].sum()),
            alive=eligible.alive - int(rows.alive[gone].sum()),
            unreadable=int(self.candidates.frame.rows[gone].sum()),
            losses=tuple(dict.fromkeys(self.lost.values())),
        )


def total_fate(evaluated: Sequence[Passing]) -> Fate:
    """The rows of all inputs by their end before the cut."""
    return sum((passing.fate for passing in evaluated), Fate())


def evaluate(candidates: Candidates, how: How) -> Passing:
    """Evaluate a cut over row groups. StoreError: a part is damaged, and losses are not allowed."""
    if how.tier == "kernel" and able([candidates.cut]):
        try:
            accepted = accept(candidates.frame, candidates.cut.node, candidates.verdict, candidates.eligible, how)
            return Passing(candidates, accepted.count, accepted.taken, candidates.lost, accepted.bytes, accepted.spared)
        except Unanswered:
            pass
        except StoreError as error:
            if not how.allow_losses:
                raise with_hint(error) from error
    return _by_row_group(candidates, how)


def _by_row_group(candidates: Candidates, how: How) -> Passing:
    """Evaluate the cut row group by row group, in several threads; what the zones settle is not read."""
    frame, verdict, eligible = candidates.frame, candidates.verdict, candidates.eligible
    left = (verdict.cut != NONE) & (eligible.alive > 0)
    settled = left & (verdict.cut == ALL) & (not how.listing)
    count = int(eligible.alive[settled].sum())
    units = units_of(candidates.source, frame, verdict, left & ~settled)
    groups = np.flatnonzero(left & ~settled)
    if how.progress is not None:
        how.progress(int(frame.rows.sum() - frame.rows[groups].sum()))
    bits = Bits.of(frame.rows[groups] if how.listing else groups[:0])
    counts, sizes = np.zeros((2, len(groups)), np.int64)
    lost = dict(candidates.lost)

    def one(at: int) -> None:
        group, unit = int(groups[at]), units[at]
        columns = Columns(unit.part, unit.group)
        try:
            with watch:
                mask = _mask(candidates, unit, columns, group, how.tier)
        except StoreError as error:
            if not how.allow_losses:
                raise with_hint(error) from error
            lost[group] = error.message
            return
        counts[at], sizes[at] = np.count_nonzero(mask), columns.bytes
        if how.listing:
            octets = words_at(int(bits.addresses[at]), unit.rows).view(np.uint8)
            octets[: -(-unit.rows // 8)] = np.packbits(mask, bitorder="little")

    progress = how.progress
    done = None if progress is None else lambda at: progress(units[at].rows)
    parallel_map(watched(one), range(len(units)), how.threads, done)
    bitmaps = Taken.of([(groups, counts, bits.addresses, bits)]) if how.listing else None
    lost = {group: lost[group] for group in sorted(lost)}
    return Passing(candidates, count + int(counts.sum()), bitmaps, lost, int(sizes.sum()))


def _mask(candidates: Candidates, unit: Unit, columns: Columns, group: int, tier: str) -> Mask:
    """The eligible rows of a row group that pass the cut."""
    alive = candidates.eligible.mask(group) if candidates.eligible.partly[group] else None
    if unit.verdict == ALL:
        return np.ones(unit.rows, np.bool_) if alive is None else alive
    return judge(candidates.cut, Block(unit.rows, columns), alive, tier)


Work = Callable[[Unit, Block, Words], T]
"""What a question does with the rows of a row group that pass, given as bits, 64 a word."""

MOST_AT_ONCE, MOST_BYTES = 256, 1 << 28
"""Row groups whose results are in memory together, and bytes of them; at least one for each thread."""


def fold_passing(
    evaluated: Sequence[Passing], work: Work[T], add: Callable[[T, T], T], nothing: T, how: How, *, size: int = 0
) -> tuple[T, list[Passing]]:
    """Add up `work` over the row groups that have passing rows, in their order, about `size` bytes each.

    StoreError: a part is damaged; where losses are allowed, its row group is lost instead, in the `Passing` returned.
    """
    places: list[tuple[int, int]] = []
    for k, passing in enumerate(evaluated):
        places += [(k, at) for at in range(len(_bitmaps(passing).groups))]
    step = max(how.threads or threads_here(), min(MOST_AT_ONCE, MOST_BYTES // max(size, 1)))
    total, losses, touched = nothing, [dict[int, str]() for _ in evaluated], [0] * len(evaluated)

    def one(place: tuple[int, int]) -> tuple[T | None, int, str]:
        unit, bits = _row_group(evaluated[place[0]], place[1])
        columns = Columns(unit.part, unit.group)
        try:
            with watch:
                result = work(unit, Block(unit.rows, columns), bits)
        except StoreError as error:
            if not how.allow_losses:
                raise with_hint(error) from error
            return None, 0, error.message
        return result, columns.bytes, ""

    for start in range(0, len(places), step):
        batch = places[start : start + step]
        results = parallel_map(watched(one), batch, how.threads)
        for (k, at), (result, nbytes, loss) in zip(batch, results, strict=True):
            touched[k] += nbytes
            if loss:
                losses[k][at] = loss
            else:
                total = add(total, result)  # type: ignore[arg-type]
    return total, [_without(*of) for of in zip(evaluated, losses, touched, strict=True)]


def _bitmaps(passing: Passing) -> Taken:
    assert passing.bitmaps is not None  # it was evaluated with `listing`
    return passing.bitmaps


def _row_group(passing: Passing, at: int) -> tuple[Unit, Words]:
    """A row group that has passing rows, and these as bits."""
    candidates, bitmaps = passing.candidates, _bitmaps(passing)
    frame, group = candidates.frame, int(bitmaps.groups[at])
    rows = int(frame.rows[group])
    unit = Unit(
        candidates.source,
        frame.part(group),
        int(frame.group_of[group]),
        rows,
        int(candidates.verdict.cut[group]),
        int(frame.first_rows[group]),
    )
    return unit, words_at(int(bitmaps.addresses[at]), rows)


def _without(passing: Passing, losses: Mapping[int, str], touched: int) -> Passing:
    """What passes without the row groups that turned out to be unreadable; `losses` by place in the bitmaps."""
    bitmaps = _bitmaps(passing)
    keep = np.ones(len(bitmaps.groups), np.bool_)
    keep[list(losses)] = False
    lost = {**passing.lost, **{int(bitmaps.groups[at]): why for at, why in losses.items()}}
    rest = Taken(bitmaps.groups[keep], bitmaps.counts[keep], bitmaps.addresses[keep], bitmaps.held)
    return replace(
        passing,
        count=int(passing.count - bitmaps.counts[~keep].sum()),
        bitmaps=rest,
        lost={group: lost[group] for group in sorted(lost)},
        bytes=passing.bytes + touched,
    )
