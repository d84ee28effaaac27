"""Where the files of a list are to be processed: what the catalog says of sites, and the broker's choices.

Invariant: what is told here is what `submit` does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tagsel.api.sites import EXCLUDED, standing
from tagsel.catalog import Downtime, Site

if TYPE_CHECKING:
    from tagsel.aod import EventMap
    from tagsel.api.workspace import Workspace
    from tagsel.jobs.broker import Brokered, Standing, Topology


def topology(workspace: Workspace, when: datetime | None = None) -> Topology:
    """The workspace's sites as jobs see them at a time, by default now, and the links between them."""
    from tagsel.jobs.broker import Topology

    down = workspace.catalog.down(when or datetime.now(UTC))
    sites = {site.name: _standing(site, down.get(site.name)) for site in workspace.catalog.sites()}
    return Topology(sites, {(link.source, link.target): link.rate for link in workspace.catalog.links()})


def _standing(site: Site, down: Downtime | None) -> Standing:
    from tagsel.jobs.broker import Standing

    said = standing(site.meta, down)
    closed = "" if said == "up" else said
    silent = standing({}, down) if down is not None else ""
    until = f"wait until {down.ends}, or " if down is not None and down.ends else ""
    slots = site.meta.get("slots", 0)
    remedy = f"{until}tagsel sites up {site.name}" if closed or site.meta.get(EXCLUDED) else ""
    return Standing(site.name, closed, silent, slots if isinstance(slots, int) else 0, remedy)


def brokered(workspace: Workspace, event_map: EventMap) -> tuple[Brokered, EventMap]:
    """The broker's choice for each file of a map, and the map with places in the order in which they are tried."""
    from tagsel.jobs.broker import broker

    catalog = workspace.catalog
    held = catalog.located(catalog.files(guids=[f.guid for f in event_map.files]))
    copies = {guid: [(c.site, c.pfn) for c in replicas] for guid, replicas in held.items()}
    return broker(event_map, copies, topology(workspace))
