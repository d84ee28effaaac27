"""Bring the catalog of a workspace up to date with its datasets, where a crash came between the two.

Invariant: the commit log of a dataset is the truth of its rows; the catalog learns from it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tagsel.api import trash_folder
from tagsel.api.inputs import DATA, caught_up
from tagsel.catalog import Catalog, derive_facts
from tagsel.errors import TagselError
from tagsel.store import Table, unsettled

log = logging.getLogger("tagsel")


def opened(folder: Path) -> Catalog:
    """The catalog, brought up to date with the datasets where a crash came between the two."""
    catalog = Catalog(folder)
    if catalog.may_write():
        trash_folder.settle(folder, catalog)
        heal(folder, catalog)
    return catalog


def heal(folder: Path, catalog: Catalog) -> list[str]:
    """Register datasets that the catalog does not know; the names that were mended.

    Of the others only those are opened that a commit left unsettled: whose newest snapshot the catalog may not know. A
    folder that cannot be read is said in the log, and holds up nothing else.
    """
    mended = settle(folder, catalog)
    known = set(catalog.names())
    again: list[str] = []
    for place in sorted((folder / DATA).glob("*/_delta_log")):
        name = place.parent.name
        if name in known or not Table.exists(place.parent):
            continue
        if catalog.is_held():  # the process that holds it may be registering that dataset
            break
        try:
            snapshot = Table.open(place.parent).snapshot()
            if snapshot.number:  # an empty dataset is one that an ingest is making, or was killed while it did
                from tagsel.ingest.registration import register

                register(catalog, name, snapshot, named_facts(name))
                again.append(name)
        except TagselError as error:
            log.warning("dataset %s cannot be registered: %s", name, error.message)
    if again:
        log.warning(
            "%s did not know %s: registered as the files say; tagsel workspace recover looks for what else it lacks",
            folder,
            ", ".join(again[:3]) + (f" and {len(again) - 3:,} more" if len(again) > 3 else ""),
        )
    return [*mended, *again]


def settle(folder: Path, catalog: Catalog) -> list[str]:
    """Tell the catalog of snapshots that were committed by processes that died before they did; the datasets' names."""
    data = folder / DATA
    mended = []
    for name in unsettled.unsettled(data):
        if name not in catalog.names() or not Table.exists(data / name):
            continue
        try:
            record = catalog.dataset(name)
            newest = Table.open(data / name).snapshot()
            if caught_up(catalog, record, newest).snapshot != record.snapshot:
                mended.append(name)
            unsettled.settle(data / name, catalog.dataset(name).snapshot)
        except TagselError as error:
            log.warning("dataset %s cannot be brought up to date in the catalog: %s", name, error.message)
    return mended


def named_facts(name: str) -> dict[str, Any]:
    """Type, year and stream as the name says them."""
    said = derive_facts(name)
    return {"type": said.type, "year": said.year, "stream": said.stream}
