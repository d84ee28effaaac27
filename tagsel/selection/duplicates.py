"""Events that stand in several streams: which input keeps them, and bitmaps of the rows that do not count.

Invariant: the row that counts is the first by (stream priority, dataset name, GUID, entry), never by order of
arrival. Within one dataset the store knows the repeated rows; here are those across datasets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.selection.query import Input
from tagsel.store import Part

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


def identities(part: Part) -> tuple[Keys, Keys]:
    """(run, event) of every row of a part."""
    blocks = [part.read(group, ["run", "event"]) for group in range(len(part.groups))]
    if not blocks:
        return np.empty(0, np.int32), np.empty(0, np.int64)
    return np.concatenate([b["run"] for b in blocks]), np.concatenate([b["event"] for b in blocks])


def across_inputs(inputs: Sequence[Input]) -> Mapping[tuple[int, str], npt.NDArray[np.bool_]]:
    """For each (input, part): rows whose event an earlier input has; inputs come in their order of priority.

    Nothing is read for a single input, nor for inputs that share no run.
    """
    if len(inputs) < 2:
        return {}
    parts = [(index, part) for index, source in enumerate(inputs) for part in source.snapshot.parts]
    ids = [identities(part) for _, part in parts]
    keys = pack([run for run, _ in ids], [event for _, event in ids])
    found: dict[tuple[int, str], npt.NDArray[np.bool_]] = {}
    seen = keys[0][:0] if keys else np.empty(0, np.uint64)
    for index in range(len(inputs)):
        mine = [(part, key) for (i, part), key in zip(parts, keys, strict=True) if i == index]
        for part, key in mine:
            repeated = np.isin(key, seen)
            if repeated.any():
                found[index, part.name] = repeated
        seen = np.unique(np.concatenate([seen, *(key for _, key in mine)]))
    return found
