"""The AOD side of a selection: from an event list to files, entries and sites, and reading just those
entries."""

from tagsel.aod.mapping import EventMap, KnownFile, KnownReplica, Layout, MappedFile, map_events
from tagsel.aod.openfile import OpenFile
from tagsel.aod.read import (
    Batch,
    Reading,
    Visits,
    arrays,
    cost_of,
    example_of,
    forecast,
    iterate,
    reading,
    template,
    visits_of,
)
from tagsel.aod.report import FileProblem, ReadReport, provenance_of
from tagsel.aod.skim import SkimReport, skim
from tagsel.aod.verify import read_note
from tagsel.aod.wanted import Wanted, wanted_of

__all__ = [
    "Batch",
    "EventMap",
    "FileProblem",
    "KnownFile",
    "KnownReplica",
    "Layout",
    "MappedFile",
    "OpenFile",
    "ReadReport",
    "Reading",
    "SkimReport",
    "Visits",
    "Wanted",
    "arrays",
    "cost_of",
    "example_of",
    "forecast",
    "iterate",
    "map_events",
    "provenance_of",
    "read_note",
    "reading",
    "skim",
    "template",
    "visits_of",
    "wanted_of",
]
