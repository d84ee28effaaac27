"""Which rows count: readable, no duplicate of an event that stands first elsewhere, in a good luminosity block.

Invariant: the same rule for every verb; what a verb counts, another picks and explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tagsel.errors import StoreError
from tagsel.kernels.memory import address_of
from tagsel.quality import LumiSet
from tagsel.selection.columns import Columns
from tagsel.selection.duplicates import Across, across_inputs
from tagsel.selection.plan import Unit
from tagsel.selection.query import Query
from tagsel.store import Frame, Part

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class Judged(NamedTuple):
    """How many rows of a unit are duplicate, masked, alive; and which are alive (None: all, or none)."""

    duplicate: int
    masked: int
    alive: int
    mask: Mask | None = None


class Rows(Protocol):
    """Which rows count, for one row group or for all of an input: worked out here, or where a piece was sent from."""

    def judge(self, unit: Unit, columns: Columns) -> Judged:
        """What becomes of the rows of one unit. StoreError: its part cannot be judged."""

    def fates(self, source: int, frame: Frame) -> Fates:
        """What becomes of the rows of all row groups of one input. StoreError: a part that cannot be judged."""


@dataclass(frozen=True)
class Filter:
    """Good luminosity blocks (None: all), and the rows that repeat an event; `damaged` parts cannot be judged."""

    lumi: LumiSet | None
    drop_duplicates: bool
    across: Mapping[tuple[int, str], Mask]
    damaged: Mapping[tuple[int, str], StoreError]

    def duplicates(self, unit: Unit) -> Mask | None:
        """Rows of the unit that repeat an event which stands first elsewhere; None: none."""
        key = unit.source, unit.part.name
        if key in self.damaged:
            raise self.damaged[key]
        return self._repeats(unit.source, unit.part, unit.group) if self.drop_duplicates else None

    def _repeats(self, source: int, part: Part, group: int) -> Mask | None:
        within, across = part.duplicates(group), self.across.get((source, part.name))
        if across is None:
            return within
        start = sum(part.groups[:group])
        here = across[start : start + part.groups[group]]
        return here if within is None else here | within

    def good(self, unit: Unit, columns: Columns) -> Mask | bool:
        """Rows in good luminosity blocks; True or False where the small table already decides for all of them."""
        if self.lumi is None:
            return True
        run, lumi, _ = unit.part.lumi_counts(unit.group)
        verdict = self.lumi.contains(run, lumi)
        if verdict.all():
            return True
        return False if not verdict.any() else self.lumi.contains(columns["run"], columns["lumi"])

    def repeated(self, source: int, frame: Frame, rows: Counts) -> Mask:
        """Which rows of an input's snapshot repeat an event that stands first elsewhere."""
        found = np.zeros(len(rows), np.bool_)
        if not len(rows):
            return found
        ends = np.array([p.first_row + p.rows for p in frame.parts], np.int64)
        part_of = np.searchsorted(ends, rows, side="right")
        for at in np.unique(part_of).tolist() if self.damaged or self.across else ():
            part, mine = frame.parts[at], part_of == at
            if (source, part.name) in self.damaged:
                raise self.damaged[source, part.name]
            across = self.across.get((source, part.name)) if self.drop_duplicates else None
            if across is not None:
                found[mine] = across[rows[mine] - part.first_row]
        marks = frame.parts[0].marks.rows() if self.drop_duplicates and frame.parts[0].marks is not None else rows[:0]
        at_mark = np.minimum(np.searchsorted(marks, rows), max(len(marks) - 1, 0))
        return found | (marks[at_mark] == rows) if len(marks) else found

    def judge(self, unit: Unit, columns: Columns) -> Judged:
        """What becomes of the rows of one unit. StoreError: its part cannot be judged."""
        duplicate, good = self.duplicates(unit), self.good(unit, columns)
        fresh = unit.rows if duplicate is None else unit.rows - int(np.count_nonzero(duplicate))
        if good is False:
            return Judged(unit.rows - fresh, fresh, 0)
        alive = None if duplicate is None else ~duplicate
        if good is not True:
            alive = good if alive is None else alive & good
        kept = unit.rows if alive is None else int(np.count_nonzero(alive))
        return Judged(unit.rows - fresh, fresh - kept, kept, alive)

    def fates(self, source: int, frame: Frame) -> Fates:
        """What becomes of the rows of all row groups of one input. StoreError: a part that cannot be judged."""
        for key, error in self.damaged.items():
            if key[0] == source:
                raise error
        marked = self._marked(source, frame) if self.drop_duplicates else frozenset()
        good = None if self.lumi is None else _good(self.lumi, frame)

        def repeats(group: int) -> Mask | None:
            return self._repeats(source, frame.part(group), int(frame.group_of[group])) if group in marked else None

        def mask(group: int) -> Mask:
            again = repeats(group)
            alive = np.ones(int(frame.rows[group]), np.bool_) if again is None else ~again
            return alive if good is None or good[0][group] == frame.rows[group] else alive & good[1](group)

        duplicate, alive = np.zeros(len(frame), np.int64), (frame.rows if good is None else good[0]).copy()
        for group in sorted(marked):
            again = repeats(group)
            duplicate[group] = 0 if again is None else np.count_nonzero(again)
            if duplicate[group] and alive[group]:
                alive[group] = np.count_nonzero(mask(group))
        return Fates(duplicate, frame.rows - duplicate - alive, alive, mask)

    def _marked(self, source: int, frame: Frame) -> frozenset[int]:
        """The row groups that may have rows that repeat an event."""
        found: set[int] = set()
        marks = frame.parts[0].marks if frame.parts else None
        if marks is not None and len(marks.rows()):
            ends = np.searchsorted(marks.rows(), frame.first_rows + frame.rows)
            found.update(np.flatnonzero(np.diff(ends, prepend=0)).tolist())
        for at, part in enumerate(frame.parts):
            if (source, part.name) in self.across:
                found.update(range(int(frame.starts[at]), int(frame.starts[at + 1])))
        return frozenset(found)


def _good(lumi: LumiSet, frame: Frame) -> tuple[Counts, Callable[[int], Mask]]:
    """How many rows of each row group lie in good luminosity blocks, and which, for one row group."""
    ids = frame.places("ids")
    if ids is None:
        counts = np.zeros(len(frame), np.int64)
        for group in range(len(frame)):
            run, block, events = frame.part(group).lumi_counts(int(frame.group_of[group]))
            counts[group] = events[lumi.contains(run, block)].sum()
        return counts, lambda group: lumi.contains(*_ids(frame, group))
    good = lumi.contains(ids.fields["run"], ids.fields["lumi"])
    lengths = np.diff([*ids.starts, frame.rows.sum()])
    first = np.searchsorted(ids.starts, [*frame.first_rows, frame.rows.sum()])
    total = np.concatenate([[0], np.cumsum(lengths * good)])

    def rows_of(group: int) -> Mask:
        inside = slice(first[group], first[group + 1])
        return np.repeat(good[inside], lengths[inside])

    return np.diff(total[first]), rows_of


@dataclass(frozen=True, eq=False)
class Fates:
    """What becomes of the rows of G row groups before any cut: `duplicate`, `masked`, `alive`, (G,) int64.

    `mask(group)`: which rows are alive, (rows,) bool; worked out when asked, so that memory is that of the few in use.
    """

    duplicate: Counts
    masked: Counts
    alive: Counts
    mask: Callable[[int], Mask]

    @property
    def partly(self) -> Mask:
        """Row groups of which some rows are alive and some are not, (G,) bool."""
        return (self.alive > 0) & (self.duplicate + self.masked > 0)

    def masks(self, groups: Counts) -> dict[int, Mask]:
        """The masks of some row groups, of those where only some rows are alive."""
        return {group: self.mask(group) for group in groups[self.partly[groups]].tolist()}


def addresses(masks: Mapping[int, Mask], groups: Counts) -> npt.NDArray[np.uint64]:
    """Where the masks of some row groups lie; 0 where all rows are alive."""
    found = np.zeros(len(groups), np.uint64)
    for at, group in enumerate(groups.tolist() if masks else ()):
        if group in masks:
            found[at] = address_of(masks[group])
    return found


def _ids(frame: Frame, group: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    read = frame.part(group).read(int(frame.group_of[group]), ["run", "lumi"])
    return read["run"], read["lumi"]


def rows_that_count(query: Query, *, masked: bool = True) -> Filter:
    """The rows that count by the query's policy, and (unless not `masked`) its good-run lists.

    StoreError where the policy is `error` and an event stands in several rows, and for a damaged part unless losses
    are allowed: its rows are unreadable then.
    """
    found = Across({}, {})
    if query.policy != "all" and not (query.simulation and query.policy == "first"):
        found = across_inputs(query.inputs, query.allow_losses)
    if query.policy == "error":
        _refuse(query, found)
    return Filter(query.mask if masked else None, query.policy == "first", found.rows, found.damaged)


def _refuse(query: Query, found: Across) -> None:
    within = sum(i.snapshot.duplicate_rows() for i in query.inputs)
    across = sum(int(np.count_nonzero(m)) for m in found.rows.values())
    if within + across:
        raise StoreError(
            f"{within:,} rows repeat an event of their dataset, {across:,} one of another dataset",
            hint="--duplicates first takes each event once, --duplicates all every row",
            within=within,
            across=across,
        )
