"""The map of an event list: its files, what the catalogs know of each, and where their copies are.

Invariant: of a file that several catalogs know, what all of them know together counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.api.origins import home_of_origin, origins
from tagsel.base.memory_limit import memory_for
from tagsel.catalog import FORMER, Catalog, FileRecord, Replica, others
from tagsel.events import EventList
from tagsel.store import Table

if TYPE_CHECKING:
    from tagsel.aod import EventMap, Layout


def map_list(home: Home, events: EventList, stage: str, refresh: bool = False) -> EventMap:
    """Files, entries and sites of a list's events; of each file what all datasets together know."""
    from tagsel.aod import map_events

    with memory_for(f"the map of {len(events):,} events"):
        if refresh:
            from tagsel.api import catalogs  # it loads what mirrors other catalogs, which few maps need

            catalogs.refresh(home, [guid for guid in events.stage(stage).guid.values if guid])
        files, replicas, layout = files_of(home, events, stage)
        return map_events(events, list(files.values()), replicas, stage=stage, layout=layout)


def files_of(
    home: Home, events: EventList, stage: str
) -> tuple[dict[str, FileRecord], dict[str, list[Replica]], Layout]:
    """All files of the datasets of a list and those that it points to, their copies by GUID, and their layout."""
    names: dict[Path, set[str]] = {}
    for origin in origins(events.provenance):
        names.setdefault(home_of_origin(home, origin)[0], set()).add(origin.name)
    known: dict[str, FileRecord] = {}
    copies: dict[str, list[Replica]] = {}
    for folder, catalog in others.homes(home.folder, home.catalog):
        found = _files_in(catalog, events, stage, names.get(folder, set()))
        for guid, replicas in catalog.located(found.values()).items():
            copies[guid] = [*copies.get(guid, ()), *(r for r in replicas if r not in copies.get(guid, ()))]
        known = known_files([*known.values(), *found.values()])
    return known, copies, _layout(names)


def _files_in(catalog: Catalog, events: EventList, stage: str, names: set[str]) -> dict[str, FileRecord]:
    """What one catalog knows of the files of a list and of its datasets, by GUID."""
    kind = stage.upper()
    guids: list[str] = []
    for name in sorted(names & set(catalog.names())):
        guids += [file.guid for file in catalog.files(name, kind=kind)]
    mine = [g for g in events.stage(stage).guid.values if g]
    known = known_files(catalog.files(guids=[*guids, *mine], kind=kind))
    if kind == "AOD" and (gone := [g for g in mine if g not in known]):  # of files that were retracted since
        known |= known_files(catalog.files(guids=gone, kind=FORMER))
    return known


def known_files(records: Iterable[FileRecord]) -> dict[str, FileRecord]:
    """One record a GUID: the one that knows most, filled with what only others know."""

    def knows(f: FileRecord) -> tuple[bool, ...]:
        return (bool(f.pfn) and Path(f.pfn).is_file(), bool(f.pfn), f.entries >= 0, f.bytes >= 0)

    by_guid: dict[str, list[FileRecord]] = {}
    for record in records:
        by_guid.setdefault(record.guid, []).append(record)
    best = (sorted(same, key=knows, reverse=True) if len(same) > 1 else same for same in by_guid.values())
    return {first.guid: reduce(FileRecord.filled, rest, first) for first, *rest in best}


def _layout(datasets: Mapping[Path, Iterable[str]]) -> Layout:
    """Tree and id names of the datasets' files, where a schema of the user's own named them at ingest.

    The datasets are listed by the folder of their workspace. One layout serves all files of a map: names of ids are
    looked for in turn; of several trees none is taken, and files that keep their events in an unusual one come out as
    unreadable. Such datasets are mapped one by one.
    """
    from tagsel.aod import Layout

    trees: set[str] = set()
    ids: dict[str, list[str]] = {}
    folders: set[Path] = set()
    for home, names in datasets.items():
        folders.update(home / DATA / name for name in names)
    for folder in sorted(folders):
        for source in Table.open(folder).snapshot().sources if Table.exists(folder) else ():
            said = cast("dict[str, Any]", source.bookkeeping.get("layout", {}))
            trees |= {said["tree"]} if said.get("tree") else set()
            for key, columns in said.get("ids", {}).items():
                ids[key] = list(dict.fromkeys((*ids.get(key, ()), *columns)))
    return Layout(trees.pop() if len(trees) == 1 else "", ids)
