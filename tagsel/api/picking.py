"""Identities as people type them: `run:event`, `run:lumi:event`, and a GUID after either to skip the look-up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagsel import selection
from tagsel.api.lists import Events
from tagsel.errors import EventListError
from tagsel.events import EventList, Names
from tagsel.events.eventlist import LIMITS
from tagsel.selection import Picked, Query

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace

_ID = re.compile(
    r"(?P<run>\d{1,10}):(?:(?P<lumi>\d{1,10}):)?(?P<event>\d{1,20})"
    r"(?:[:@](?P<guid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}))?"
)


def wanted(ids: Sequence[str]) -> EventList:
    """The identities that texts such as `315267:197818706` name, lumi and file unknown where not given.

    EventListError, with the position, for a text that is none.
    """
    rows = []
    for position, text in enumerate(ids, 1):
        match = _ID.fullmatch(text.strip())
        if match is None:
            raise EventListError(
                f"event {position} is {text[:60]!r}",
                hint="run:event or run:lumi:event, for example 315267:197818706",
            )
        numbers = {name: int(match[name] or -1) for name in LIMITS}
        for name, limit in LIMITS.items():
            if numbers[name] > limit:
                raise EventListError(f"event {position} is {text[:60]!r}: {name} is above {limit}", position=position)
        rows.append((numbers["run"], numbers["lumi"], numbers["event"], (match["guid"] or "").upper()))
    rows = list(dict.fromkeys(rows))
    guids = Names.of_strings([guid for *_, guid in rows])
    return EventList.from_arrays(
        [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], guids.codes, guids.values or ("",)
    )


def pick(workspace: Workspace, query: Query, asked: EventList) -> Picked:
    """Every id: those with a GUID from their file, the others among the TAGs; misses in the order asked."""
    known = asked.references["aod"].guid.known()
    among_tags, in_files = asked[~known], asked[known]
    picked = selection.pick(query, among_tags)
    if not len(in_files):
        return Picked(Events.of(picked.events, workspace), picked.missed, picked.asked)
    found, missed = _in_files(workspace, in_files, simulation=query.simulation)
    both = picked.events | found if len(picked.events) and len(found) else found if len(found) else picked.events
    return Picked(Events.of(both, workspace), np.concatenate([picked.missed, missed]), len(asked))


def _in_files(
    workspace: Workspace, asked: EventList, *, simulation: bool
) -> tuple[EventList, npt.NDArray[np.int64]]:
    """The ids found in the files that their GUIDs name, and those that are not there, as `Picked.missed`."""
    from tagsel.aod.lookup import find_entries

    entry, lumi = np.full(len(asked), -1, np.int64), asked.lumi.astype(np.int64)
    paths = {f.guid: f.pfn for f in workspace.catalog.files(guids=list(asked.guids)) if f.kind == "AOD" and f.pfn}
    for code, guid in enumerate(asked.guids):
        rows = np.flatnonzero(asked.guid_codes == code)
        if guid in paths:
            entry[rows], lumi[rows] = find_entries(paths[guid], guid, asked[rows])
    hit = entry >= 0
    nowhere = np.full(int((~hit).sum()), -1)
    missed = np.stack([asked.run[~hit], asked.lumi[~hit], asked.event[~hit], nowhere], axis=1, dtype=np.int64)
    found = EventList.from_arrays(
        asked.run[hit], lumi[hit], asked.event[hit], asked.guid_codes[hit], asked.guids or ("",), entry[hit],
        simulation=simulation, provenance={"operation": "pick", "files": [g for g in asked.guids if g in paths]},
    )  # fmt: skip
    return found, missed
