"""Find events by their identity: one or a hundred thousand, every miss listed.

Invariant: found + missing = asked; of data an event is found once (the row that counts), of simulation in every
row that carries its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.events import EventList
from tagsel.selection.duplicates import pack
from tagsel.selection.gather import Accepted, event_list, gather
from tagsel.selection.plan import Unit
from tagsel.selection.query import Query
from tagsel.selection.rows import Filter, rows_that_count


@dataclass(frozen=True)
class Picked:
    """The events found, and the identities (run, lumi or -1, event) that no input has, in the order asked."""

    events: EventList
    misses: tuple[tuple[int, int, int], ...]
    asked: int

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "asked": self.asked,
            "found": self.asked - len(self.misses),
            "rows": len(self.events),
            "misses": [{"run": r, "lumi": lumi if lumi >= 0 else None, "event": e} for r, lumi, e in self.misses],
            "digest": self.events.digest,
        }


def pick(query: Query, wanted: EventList) -> Picked:
    """The rows of the query's inputs that hold the wanted identities (run, event; and lumi where it is given)."""
    run, lumi, event = wanted.run, wanted.lumi, wanted.event
    hit = np.zeros(len(wanted), bool)
    rows = rows_that_count(query, masked=False)
    blocks: list[Accepted] = []
    for unit in _units(query, run):
        found, matched = _match(unit, run, lumi, event, rows)
        hit |= matched
        if len(found):
            blocks.append(gather(unit, found))
    misses = [(int(run[i]), int(lumi[i]), int(event[i])) for i in np.flatnonzero(~hit)]
    history = {
        "operation": "pick",
        "datasets": [i.pinned for i in query.inputs],
        "asked": len(wanted),
        "misses": [list(m) for m in misses],
    }
    return Picked(event_list(blocks, query.inputs, None, history), tuple(misses), len(wanted))


def _units(query: Query, run: npt.NDArray[np.int32]) -> Sequence[Unit]:
    """Row groups that hold at least one of the wanted runs, by their small tables."""
    runs = np.unique(run)
    units = []
    for index, source in enumerate(query.inputs):
        for part in source.snapshot.parts:
            for group, size in enumerate(part.groups):
                if np.isin(part.lumi_counts(group)[0], runs).any():
                    units.append(Unit(index, part, group, size, 1, 0))
    return units


def _match(
    unit: Unit,
    run: npt.NDArray[np.int32],
    lumi: npt.NDArray[np.int32],
    event: npt.NDArray[np.int64],
    rows: Filter,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows of the unit that are wanted and count, and which of the wanted were met there."""
    ids = unit.part.read(unit.group, ["run", "lumi", "event"])
    here, asked = pack([ids["run"], run], [ids["event"], event])
    candidates = np.flatnonzero(np.isin(here, asked))
    duplicate = rows.duplicates(unit)
    if duplicate is not None:
        candidates = candidates[~duplicate[candidates]]
    order = np.argsort(asked, kind="stable")
    first = np.searchsorted(asked[order], here[candidates], "left")
    last = np.searchsorted(asked[order], here[candidates], "right")
    matched = np.zeros(len(run), bool)
    kept = np.zeros(len(candidates), bool)
    for k, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        which = order[low:high]
        agrees = (lumi[which] < 0) | (lumi[which] == ids["lumi"][candidates[k]])
        matched[which[agrees]] = True
        kept[k] = bool(agrees.any())
    return candidates[kept], matched
