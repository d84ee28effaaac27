"""From a list and the catalog to the files of another system.

Invariant: nothing is looked up but in the workspace's own catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tagsel.api.home import Home
from tagsel.api.maps import files_of
from tagsel.bridges import Exported, Order
from tagsel.bridges import export as write
from tagsel.bridges.systems import system as row_of
from tagsel.events import EventList, read_events


def export(
    home: Home,
    events: EventList | Path | str,
    system: str,
    out: Path,
    *,
    stage: str = "aod",
    site: str = "",
    run: Path | str | None = None,
    events_per_job: int | None = None,
    settings: Mapping[str, str] | None = None,
    force: bool = False,
) -> Exported:
    """Write a list for a system; see `Events.export`. With `site` only its copies are named."""
    from tagsel.aod import map_events

    row_of(system)
    if site:
        home.catalog.site(site)
    chosen = events if isinstance(events, EventList) else read_events(events)
    files, replicas, layout = files_of(home, chosen, stage)
    if site:
        files = {guid: replace(file, pfn="") for guid, file in files.items()}
        at_site = {}
        for guid, copies in replicas.items():
            at_site[guid] = [copy for copy in copies if copy.site == site]
        replicas = at_site
    event_map = map_events(chosen, list(files.values()), replicas, stage=stage, layout=layout)
    places = {}
    for guid, file in files.items():
        pfns = [file.pfn, *(replica.pfn for replica in replicas.get(guid, ()))]
        places[guid] = tuple(dict.fromkeys(filter(None, pfns)))
    program = Path(run) if run else None
    order = Order(chosen, event_map, places, dict(settings or {}), program, events_per_job)
    return write(system, order, out, force=force)
