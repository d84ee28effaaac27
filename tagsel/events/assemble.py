"""From named columns and a header, as files hold them, to an event list.

Invariant: a list that came with a digest has that digest, or is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, product
from typing import Any

import numpy as np

from tagsel.errors import EventListError, did_you_mean
from tagsel.events.eventlist import EventList
from tagsel.events.ledger import Ledger
from tagsel.events.names import UNKNOWN, Names, Reference

ALIASES: Mapping[str, tuple[str, ...]] = {
    "run": ("RunNumber", "runNumber", "Run"),
    "lumi": ("luminosityBlock", "LumiBlockN", "lumiBlock", "luminosity_block", "ls"),
    "event": ("EventNumber", "eventNumber", "Event", "evt"),
    "guid": ("aod_guid",),
    "entry": ("aod_entry",),
}
"""Names that other programs give to the columns of an event list."""

STAGES = ("esd", "raw")

KNOWN = frozenset(
    {*ALIASES, *chain.from_iterable(ALIASES.values()), "sample"}
    | {f"{stage}_{field}" for stage, field in product(STAGES, ("guid", "entry"))}
)
"""Every column name that has a meaning here."""


def from_columns(columns: Mapping[str, Any], header: Mapping[str, Any] | None) -> EventList:
    """A list from columns by name (see `EventList.columns`; names of `ALIASES` too) and the header with them.

    `run` and `event` are needed; numbers as arrays, strings as `Names`. EventListError for a missing column
    and for a digest that is not the header's.
    """
    named = {_canonical(name): column for name, column in columns.items()}
    for name in ("run", "event"):
        if name not in named:
            hint = did_you_mean(name, columns) or f"it has {', '.join(list(columns)[:10])}"
            raise EventListError(f"no column {name}", hint=hint, column=name)
    count = len(named["event"])
    guid = named.get("guid", Names.same("", count))
    head = header or {}
    provenance = head.get("provenance") or {}
    if not isinstance(provenance, Mapping):
        raise EventListError(f"provenance is {str(provenance)[:60]}, a table was expected")
    made = EventList.from_arrays(
        named["run"],
        named.get("lumi", np.full(count, UNKNOWN)),
        named["event"],
        guid.codes,
        guid.values,
        named.get("entry"),
        simulation=head.get("kind") == "simulation" or "sample" in named,
        sample=named.get("sample", ""),
        references={stage: _reference(named, stage) for stage in STAGES if f"{stage}_guid" in named},
        ledger=_ledger(head.get("ledger")),
        provenance=provenance,
        by_lumi=head.get("identity") == "run lumi event",
    )
    if head.get("digest", made.digest) != made.digest:
        raise EventListError(f"not the events that were written: digest {made.digest[:12]}…, expected {head['digest']}")
    return made


def _ledger(document: Any) -> Ledger | None:
    """The ledger of a header; EventListError for one that is no table of whole numbers."""
    if document is None:
        return None
    if not isinstance(document, Mapping) or not all(type(n) is int for n in document.values()):
        raise EventListError(f"ledger is {str(document)[:60]}, whole numbers by name were expected")
    try:
        return Ledger.from_json(document)
    except TypeError as error:
        raise EventListError(f"ledger has other counts than it should: {', '.join(document)}") from error


def _canonical(name: str) -> str:
    """The column that `name` is an alias of, or `name`."""
    return next((canonical for canonical, aliases in ALIASES.items() if name in aliases), name)


def _reference(named: Mapping[str, Any], stage: str) -> Reference:
    """The reference of a stage from its two columns."""
    guid = named[f"{stage}_guid"]
    return Reference.of(guid.codes, guid.values, named.get(f"{stage}_entry", np.full(len(guid), UNKNOWN)))
