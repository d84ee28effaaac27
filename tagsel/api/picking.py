"""Identities as people type them: `run:event`, `run:lumi:event`, and a GUID after either to skip the look-up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel import selection
from tagsel.api.event_lists import Events
from tagsel.api.home import Home
from tagsel.errors import EventListError
from tagsel.events import EventList, Names
from tagsel.events.eventlist import LIMITS
from tagsel.selection import Picked, Query

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
        match = _ID.fullmatch(text.strip()) if hasattr(text, "strip") else None
        if match is None:
            raise EventListError(
                f"event {position} is {text!r:.60}",
                hint=_file_hint(str(text)) or "run:event or run:lumi:event, for example 315267:197818706",
            )
        numbers = {name: int(match[name] or -1) for name in LIMITS}
        for name, limit in LIMITS.items():
            if numbers[name] > limit:
                raise EventListError(f"event {position} is {text[:60]!r}: {name} is above {limit}", position=position)
        rows.append((numbers["run"], numbers["lumi"], numbers["event"], (match["guid"] or "").upper()))
    distinct = list(dict.fromkeys(rows))
    guids = Names.of_strings([guid for *_, guid in distinct])
    imported = {"lines": len(rows), "repeated": len(rows) - len(distinct)}
    return EventList.from_arrays(
        [r[0] for r in distinct],
        [r[1] for r in distinct],
        [r[2] for r in distinct],
        guids.codes,
        guids.values or ("",),
        provenance={"imported": imported},
    )


def _file_hint(text: str) -> str:
    """What to try where the name of a file stands in the place of an event."""
    try:
        is_file = Path(text).is_file()
    except ValueError:  # a NUL
        return ""
    if is_file:
        return f"-f {shlex.quote(text)} reads the ids in a file"
    if Path(text).suffix in (".txt", ".events", ".csv", ".json"):
        return f"there is no file {text} here; -f FILE reads the ids in a file"
    return ""


def pick(home: Home, query: Query, asked: EventList) -> Picked:
    """Every id: those whose GUID is that of a file we have from there, the others among the TAGs; misses in order."""
    paths = _paths(home, asked)
    there = np.array([guid in paths for guid in asked.guids], np.bool_)
    placed = there[asked.guid_codes] if len(there) else np.zeros(len(asked), np.bool_)
    among_tags, in_files = (asked[~placed], asked[placed]) if placed.any() else (asked, asked[:0])
    picked = selection.pick(query, among_tags)
    if query.simulation:
        picked = _where_asked(picked, among_tags)
    events, missed, named_twice = picked.events, picked.missed, picked.named_twice
    if len(in_files):
        there_too, not_there = _in_files(home, in_files, simulation=query.simulation)
        missed = np.concatenate([missed, not_there])
        if not query.simulation:
            named_twice += len(there_too) - len(there_too.distinct()) + _shared(events, there_too)
        if len(events) and len(there_too):
            events = events | there_too
        elif len(there_too):
            events = there_too
    repeated = _repeated_lines(asked)
    answer = Picked(Events.of(events, home), missed, len(asked) + repeated, named_twice + repeated)
    answer.check()
    return answer


def _shared(left: EventList, right: EventList) -> int:
    """How many events of data both lists have."""
    if not len(left) or not len(right):
        return 0
    return left.overlap(right).both


def _repeated_lines(asked: EventList) -> int:
    """How many lines of the text that a list was read from said what a line before them said."""
    imported = asked.provenance.get("imported")
    repeated = imported.get("repeated") if isinstance(imported, Mapping) else 0
    return repeated if isinstance(repeated, int) else 0


def _paths(home: Home, asked: EventList) -> dict[str, str]:
    """Where the AODs lie that the ids name, of those that the catalog knows a path of."""
    guids = [guid for guid in asked.guids if guid]
    return {f.guid: f.pfn for f in home.catalog.files(guids=guids) if f.kind == "AOD" and f.pfn} if guids else {}


def _where_asked(picked: Picked, asked: EventList) -> Picked:
    """Of simulation, which repeats its numbers: just the rows in the files that the ids name, where they name one."""
    wanted = {(e.run, e.event, e.guid) for e in asked}
    kept = [(e.run, e.event, e.guid) in wanted or (e.run, e.event, "") in wanted for e in picked.events]
    events = picked.events if all(kept) else picked.events[np.array(kept, np.bool_)]
    rows = {(e.run, e.event, e.guid) for e in events}
    lost = [[e.run, e.lumi, e.event, -1] for e in asked if e.guid and (e.run, e.event, e.guid) not in rows]
    known = {(int(run), int(event)) for run, _, event, _ in picked.missed}
    more = [row for row in lost if (row[0], row[2]) not in known]
    missed = np.concatenate([picked.missed, np.array(more, np.int64).reshape(-1, 4)])
    return Picked(events, missed, picked.asked, picked.named_twice)


def _in_files(home: Home, asked: EventList, *, simulation: bool) -> tuple[EventList, npt.NDArray[np.int64]]:
    """The ids found in the files that their GUIDs name, and those that are not there, as `Picked.missed`."""
    from tagsel.aod.lookup import find_entries

    entry, lumi = np.full(len(asked), -1, np.int64), asked.lumi.astype(np.int64)
    paths = _paths(home, asked)
    for code, guid in enumerate(asked.guids):
        rows = np.flatnonzero(asked.guid_codes == code)
        if guid in paths:
            entry[rows], lumi[rows] = find_entries(paths[guid], guid, asked[rows])
    hit = entry >= 0
    nowhere = np.full(int((~hit).sum()), -1)
    missed = np.stack([asked.run[~hit], asked.lumi[~hit], asked.event[~hit], nowhere], axis=1, dtype=np.int64)
    found = EventList.from_arrays(
        asked.run[hit],
        lumi[hit],
        asked.event[hit],
        asked.guid_codes[hit],
        asked.guids or ("",),
        entry[hit],
        simulation=simulation,
        provenance={"operation": "pick", "files": [g for g in asked.guids if g in paths]},
    )
    return found, missed
