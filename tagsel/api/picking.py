"""Identities as people type them: `run:event`, `run:lumi:event`, and a GUID after either to skip the look-up."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tagsel.errors import EventListError
from tagsel.events import EventList, Names

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
        rows.append((int(match["run"]), int(match["lumi"] or -1), int(match["event"]), (match["guid"] or "").upper()))
    rows = list(dict.fromkeys(rows))
    guids = Names.of_strings([guid for *_, guid in rows])
    return EventList.from_arrays(
        [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], guids.codes, guids.values or ("",)
    )
