"""Events that stand in several streams: which input keeps them, and bitmaps of the rows that do not count.

Invariant: the row that counts is the first by (stream priority, dataset name, GUID, entry), never by order of
arrival. Within one dataset the store knows the repeated rows; here are those across datasets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import StoreError
from tagsel.selection.query import Input
from tagsel.store import Part, watched

Keys = npt.NDArray[Any]


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
    parts = [(index, part) for index, source in enumerate(inputs) for part in source.snapshot.parts]
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
    columns = (np.concatenate([b[c] for b in blocks]) if blocks else _EMPTY for c in ("run", "lumi", "event"))
    return _Ids(source, part, np.concatenate(rows) if rows else _EMPTY, *columns)


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
