"""Which rows count: readable, no duplicate of an event that stands first elsewhere, in a good luminosity block.

Of events in several streams, the row that counts is the first by (stream priority, dataset name, GUID, entry), never by
order of arrival. Within one dataset the store knows the repeated rows; those across datasets are found here.
Invariant: the same rule for every verb; what a verb counts, another picks and explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.row_groups import Columns, Fates, Judged, Unit
from tagsel.errors import StoreError
from tagsel.quality import LumiSet
from tagsel.selection.query import Input, Query
from tagsel.store import Frame, Part, watched

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Keys = npt.NDArray[Any]


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


def event_keys(runs: npt.NDArray[Any], events: npt.NDArray[Any], known_runs: npt.NDArray[Any], width: int) -> Keys:
    """One sortable key a row, `(n,)` uint64: the run's rank times `width` plus the event; exact by construction.

    `width` is above every event number and `len(known_runs) * width` below 2**64 (see `pack`).
    """
    rank = np.searchsorted(known_runs, runs).astype(np.uint64)
    return rank * np.uint64(width) + events.astype(np.uint64)


def pack(runs: Sequence[Keys], events: Sequence[Keys]) -> list[Keys]:
    """Keys of several sets of (run, event) that are equal exactly where run and event are; uint64 where it fits."""
    known = np.unique(np.concatenate([np.unique(r) for r in runs])) if runs else np.empty(0, np.int32)
    width = 1 + max((int(e.max()) for e in events if len(e)), default=0)
    if len(known) * width < 2**64:
        return [event_keys(r, e, known, width) for r, e in zip(runs, events, strict=True)]
    pairs = np.dtype([("run", "<i8"), ("event", "<i8")])
    packed = []
    for r, e in zip(runs, events, strict=True):
        key = np.empty(len(r), pairs)
        key["run"], key["event"] = r, e
        packed.append(key)
    return packed


@dataclass(frozen=True)
class Across:
    """By (input, part): rows whose event an earlier input has, and parts that could not be read."""

    rows: Mapping[tuple[int, str], npt.NDArray[np.bool_]]
    damaged: Mapping[tuple[int, str], StoreError]


@dataclass(frozen=True, eq=False)
class _Ids:
    """Run, lumi and event of the row groups of a part that may share runs with another input, and where they begin."""

    source: int
    part: Part
    rows: npt.NDArray[np.int64]  # positions in the part
    run: Keys
    lumi: Keys
    event: Keys


def across_inputs(inputs: Sequence[Input], allow_losses: bool = False) -> Across:
    """Rows whose event an earlier input has; inputs come in their order of priority.

    Only row groups of runs that two inputs share are read, by the small tables; nothing for a single input.
    StoreError for a damaged part (with `allow_losses` it is noted), and for an event that two inputs put into
    different luminosity blocks.
    """
    if len(inputs) < 2:
        return Across({}, {})
    damaged: dict[tuple[int, str], StoreError] = {}
    runs: dict[tuple[int, str], list[Keys]] = {}
    parts: list[tuple[int, Part]] = []
    for index, source in enumerate(inputs):
        parts += [(index, part) for part in source.snapshot.parts]
    for index, part in parts:
        try:
            runs[index, part.name] = [np.unique(part.lumi_counts(g)[0]) for g in range(len(part.groups))]
        except StoreError as error:
            _note(damaged, (index, part.name), error, allow_losses)
    shared = _shared(runs)
    read = []
    for index, part in parts:
        try:
            if (index, part.name) in runs:
                read.append(_identities(index, part, [bool(np.isin(r, shared).any()) for r in runs[index, part.name]]))
        except StoreError as error:
            _note(damaged, (index, part.name), error, allow_losses)
    return Across(_repeated(inputs, read), damaged)


def _note(damaged: dict[tuple[int, str], StoreError], key: tuple[int, str], error: StoreError, allowed: bool) -> None:
    if not allowed:
        raise error
    damaged[key] = error


def _shared(runs: Mapping[tuple[int, str], list[Keys]]) -> Keys:
    """Runs that more than one input has."""
    by_input: dict[int, list[Keys]] = {}
    for (index, _), groups in runs.items():
        by_input.setdefault(index, []).extend(groups)
    known = [np.unique(np.concatenate(groups)) for groups in by_input.values() if groups]
    values, counts = np.unique(np.concatenate(known), return_counts=True) if known else (np.empty(0), np.empty(0))
    return np.asarray(values[counts > 1])


@watched
def _identities(source: int, part: Part, wanted: Sequence[bool]) -> _Ids:
    starts = np.cumsum([0, *part.groups])
    chosen = [group for group, want in enumerate(wanted) if want]
    blocks = [part.read(group, ["run", "lumi", "event"]) for group in chosen]
    rows = [np.arange(starts[group], starts[group + 1]) for group in chosen]
    if not blocks:
        return _Ids(source, part, _EMPTY, _EMPTY, _EMPTY, _EMPTY)
    run = np.concatenate([block["run"] for block in blocks])
    lumi = np.concatenate([block["lumi"] for block in blocks])
    event = np.concatenate([block["event"] for block in blocks])
    return _Ids(source, part, np.concatenate(rows), run, lumi, event)


_EMPTY = np.empty(0, np.int64)


def _repeated(inputs: Sequence[Input], read: Sequence[_Ids]) -> dict[tuple[int, str], npt.NDArray[np.bool_]]:
    runs = [ids.run for ids in read]
    if any(source.by_lumi for source in inputs):  # a luminosity block counts as a run of its own
        runs = [(ids.run.astype(np.int64) << 32) | ids.lumi for ids in read]
    keys = pack(runs, [ids.event for ids in read])
    found: dict[tuple[int, str], npt.NDArray[np.bool_]] = {}
    seen, lumis = (keys[0][:0], _EMPTY) if keys else (_EMPTY, _EMPTY)
    for index in range(len(inputs)):
        mine = [(ids, key) for ids, key in zip(read, keys, strict=True) if ids.source == index]
        for ids, key in mine:
            at = np.searchsorted(seen, key)  # `seen` rises: np.isin would sort both
            repeated = seen[np.minimum(at, max(len(seen) - 1, 0))] == key if len(seen) else np.zeros(len(key), bool)
            if repeated.any():
                _check_lumis(ids, repeated, lumis[at[repeated]])
                mask = found[index, ids.part.name] = np.zeros(ids.part.rows, bool)
                mask[ids.rows[repeated]] = True
        seen, first = np.unique(np.concatenate([seen, *(key for _, key in mine)]), return_index=True)
        lumis = np.concatenate([lumis, *(ids.lumi for ids, _ in mine)])[first]
    return found


def _check_lumis(ids: _Ids, repeated: npt.NDArray[np.bool_], lumis: Keys) -> None:
    """StoreError for an event that this part puts into another luminosity block than an earlier input."""
    wrong = np.flatnonzero(ids.lumi[repeated] != lumis)
    if len(wrong):
        row = np.flatnonzero(repeated)[wrong[0]]
        raise StoreError(
            f"event {ids.run[row]}:{ids.event[row]} is in luminosity block {lumis[wrong[0]]} of one dataset and in "
            f"{ids.lumi[row]} of another ({len(wrong):,} such events)",
            hint="one of the datasets is wrong, or they are not streams of the same data",
            run=int(ids.run[row]),
            event=int(ids.event[row]),
        )
