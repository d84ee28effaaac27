"""Which rows count: readable, no duplicate of an event that stands first elsewhere, in a good luminosity block.

Invariant: the same rule for every verb; what a verb counts, another picks and explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tagsel.errors import StoreError
from tagsel.quality import LumiSet
from tagsel.selection.columns import Columns
from tagsel.selection.duplicates import Across, across_inputs
from tagsel.selection.plan import Unit
from tagsel.selection.query import Query
from tagsel.store import Frame

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


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
        if not self.drop_duplicates:
            return None
        within = unit.part.duplicates(unit.group)
        across = self.across.get(key)
        if across is None:
            return within
        start = sum(unit.part.groups[: unit.group])
        here = across[start : start + unit.rows]
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

    def fates(self, source: int, frame: Frame, wanted: Mask | None = None) -> Fates:
        """What becomes of the rows of all row groups of one input; masks only of the `wanted` ones, (G,), or all.
        StoreError: a part that cannot be judged.
        """
        for key, error in self.damaged.items():
            if key[0] == source:
                raise error
        repeated = self._repeated(source, frame) if self.drop_duplicates else {}
        if self.lumi is None and not repeated:
            nothing = np.zeros(len(frame), np.int64)
            return Fates(nothing, nothing, frame.rows, {})
        wanted = np.ones(len(frame), np.bool_) if wanted is None else wanted
        return self._judged(frame, repeated, None if self.lumi is None else self._good(frame), wanted)

    def _repeated(self, source: int, frame: Frame) -> dict[int, Mask]:
        """The rows that do not count, of the row groups that have some."""
        found: dict[int, Mask] = {}
        marks = frame.parts[0].marks if frame.parts else None
        if marks is not None and len(marks.rows()):
            ends = np.searchsorted(marks.rows(), frame.first_rows + frame.rows)
            some = np.flatnonzero(np.diff(ends, prepend=0)).tolist()
            found = {g: _kept(frame.part(g).duplicates(int(frame.group_of[g]))) for g in some}
        for at, part in enumerate(frame.parts):
            across = self.across.get((source, part.name))
            for group in range(frame.starts[at], frame.starts[at + 1]) if across is not None else ():
                start = int(frame.first_rows[group] - frame.first_rows[frame.starts[at]])
                here = across[start : start + int(frame.rows[group])]  # type: ignore[index]
                if here.any():
                    found[group] = here | found[group] if group in found else here
        return found

    def _good(self, frame: Frame) -> tuple[Counts, Callable[[int], Mask]]:
        """How many rows of each row group lie in good luminosity blocks, and which, for one row group."""
        assert self.lumi is not None
        ids = frame.places("ids")
        if ids is not None:
            good = self.lumi.contains(ids.fields["run"], ids.fields["lumi"])
            lengths = np.diff([*ids.starts, frame.rows.sum()])
            first = np.searchsorted(ids.starts, [*frame.first_rows, frame.rows.sum()])
            total = np.concatenate([[0], np.cumsum(lengths * good)])

            def rows_of(group: int) -> Mask:
                inside = slice(first[group], first[group + 1])
                return np.repeat(good[inside], lengths[inside])

            return np.diff(total[first]), rows_of
        counts = np.zeros(len(frame), np.int64)
        for group in range(len(frame)):
            run, lumi, events = frame.part(group).lumi_counts(int(frame.group_of[group]))
            counts[group] = events[self.lumi.contains(run, lumi)].sum()
        return counts, lambda group: _kept(self.lumi).contains(*_ids(frame, group))

    def _judged(
        self, frame: Frame, repeated: Mapping[int, Mask], good: tuple[Counts, Callable[[int], Mask]] | None,
        wanted: Mask,
    ) -> Fates:  # fmt: skip
        duplicate = np.zeros(len(frame), np.int64)
        alive = frame.rows.copy() if good is None else good[0].copy()
        masks: dict[int, Mask] = {}
        needed = wanted.copy()
        needed[list(repeated)] = True
        for group in np.flatnonzero(needed & (alive > 0) & (alive < frame.rows)).tolist() if good is not None else ():
            masks[group] = good[1](group)  # type: ignore[index]
        for group, marked in repeated.items():
            duplicate[group] = np.count_nonzero(marked)
            if alive[group]:
                masks[group] = masks[group] & ~marked if group in masks else ~marked
                alive[group] = np.count_nonzero(masks[group])
        return Fates(duplicate, frame.rows - duplicate - alive, alive, masks)


@dataclass(frozen=True, eq=False)
class Fates:
    """What becomes of the rows of G row groups before any cut: `duplicate`, `masked`, `alive`, (G,) int64.

    `masks`: which rows are alive, (rows,) bool, of the row groups where only some are.
    """

    duplicate: Counts
    masked: Counts
    alive: Counts
    masks: Mapping[int, Mask]

    def addresses(self, groups: Counts) -> npt.NDArray[np.uint64]:
        """Where the masks of some row groups lie; 0 where all rows are alive."""
        found = np.zeros(len(groups), np.uint64)
        if self.masks:
            for at, group in enumerate(groups.tolist()):
                mask = self.masks.get(group)
                found[at] = 0 if mask is None else mask.__array_interface__["data"][0]
        return found


def _kept(given: T | None) -> T:
    assert given is not None  # asked for only where there are some
    return given


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
