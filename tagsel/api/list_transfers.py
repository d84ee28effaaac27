"""Transfers of event lists: the AOD files of the events of a list, and only those, at a site.

Invariant: what a list asks for is a dataset of its own, named by the list's digest and its files, which holds these AOD
files; so its wish is one like others: it is carried out, shown, tried again and taken back as that of any dataset.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace

from tagsel.api.home import Home
from tagsel.api.maps import files_of, map_list
from tagsel.api.origins import contents, origins, snapshots_of
from tagsel.api.transfer_rules import cancel, request
from tagsel.catalog import PutDataset, PutFiles, Rule
from tagsel.catalog.transfers import Progress
from tagsel.errors import CatalogError
from tagsel.events import EventList

log = logging.getLogger("tagsel")

STATE = "transfer"
"""The state of the dataset that holds the AOD files of a list."""


def name_of(events: EventList) -> str:
    """What the dataset of a list's AOD files is called; the same events in other files, as rebased, have another."""
    guids = sorted(guid for guid, entries in events.stage("aod").files() if len(entries))
    of_files = hashlib.sha256(json.dumps(guids).encode()).hexdigest()
    return f"transfers.{events.digest[:16]}.{of_files[:8]}.AOD"


def request_list(home: Home, events: EventList, site: str, progress: Progress = None) -> list[Rule]:
    """Ask for copies of the AOD files of a list's events at a site, and make them; the rule as it is then.

    CatalogError where no catalog knows a file of the list, and where the site is another catalog's, which makes its
    copies itself; files that no catalog knows are said in the log, and the rest is copied.
    """
    if owner := home.catalog.site(site).meta.get("catalog"):
        raise CatalogError(
            f"site {site} is of catalog {owner}, which makes its copies itself, of datasets only",
            hint=f"tagsel transfers request DATASET {site}",
            site=site,
        )
    _register(home, events)
    return request(home, name_of(events), site, progress)


def cancel_list(home: Home, events: EventList, site: str) -> Rule:
    """Take back the wish for the AOD files of a list at a site, as it was: copies that are there stay."""
    if name_of(events) not in home.catalog.names():
        raise CatalogError("no copies of the files of this list were asked for", hint="tagsel transfers", site=site)
    return cancel(home, name_of(events), site)


def _register(home: Home, events: EventList) -> None:
    """Make the dataset of a list's AOD files; one that is there already has them."""
    name = name_of(events)
    mapped = map_list(home, events, "aod")
    known, _, _ = files_of(home, events, "aod")
    files = []
    for file in mapped.files:
        record = known.get(file.guid)
        if record is not None:
            files.append(replace(record, pfn=file.pfn, kind="AOD", dataset=name))
    if not files:
        raise CatalogError(
            f"no catalog knows an AOD file of these {len(events):,} events",
            hint="tagsel ingest --aod names them, tagsel catalogs sync asks other catalogs",
        )
    lost = mapped.unknown_files
    if lost or len(mapped.unmapped):
        log.warning(
            "%d of %d files of the list are in no catalog, and %d events have no AOD address: these are not copied",
            len(lost),
            len(mapped.files),
            len(mapped.unmapped),
        )
    if {f.guid for f in files} <= {f.guid for f in home.catalog.files(name)}:
        return
    facts = PutDataset(
        name,
        type="AOD",
        state=STATE,
        files=len(files),
        events=sum(max(f.entries, 0) for f in files),
        bytes=sum(max(f.bytes, 0) for f in files),
        parents=tuple(snapshots_of(events.provenance)),
        meta={"list": events.digest, **contents(origins(events.provenance))},
    )
    home.catalog.record(facts, PutFiles(name, files))
