"""Where the files of a list are to be processed: what the catalog says of sites, and the broker's choices.

Invariant: what is told here is what `submit` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tagsel.api.home import Home
from tagsel.api.topology import EXCLUDED, standing
from tagsel.base.text_table import Table
from tagsel.catalog import Downtime, Site, others

if TYPE_CHECKING:
    from tagsel.aod import EventMap
    from tagsel.jobs.broker import Brokered, Standing, Topology


def topology(home: Home, here: bool) -> Topology:
    """The workspace's sites as jobs see them now, and the links between them.

    Jobs that run `here` go to no site, so that only storage matters: what is down gives nothing.
    """
    from tagsel.jobs.broker import Topology

    down = home.catalog.down(datetime.now(UTC))
    by_name: dict[str, Site] = {}
    for _, catalog in reversed(others.homes(home.folder, home.catalog)):
        by_name.update((site.name, site) for site in catalog.sites())
    sites = {name: _standing(site, down.get(name)) for name, site in by_name.items()}
    if here:
        sites = {name: replace(site, closed=site.silent) for name, site in sites.items()}
    return Topology(sites, {(link.source, link.target): link.rate for link in home.catalog.links()})


def _standing(site: Site, down: Downtime | None) -> Standing:
    from tagsel.jobs.broker import Standing

    said = standing(site.meta, down)
    closed = "" if said == "up" else said
    silent = standing({}, down) if down is not None else ""
    until = f"wait until {down.ends}, or " if down is not None and down.ends else ""
    slots = site.meta.get("slots", 0)
    remedy = f"{until}tagsel sites up {site.name}" if closed or site.meta.get(EXCLUDED) else ""
    return Standing(site.name, closed, silent, slots if isinstance(slots, int) else 0, remedy)


def brokered(home: Home, event_map: EventMap, *, here: bool) -> tuple[Brokered, EventMap]:
    """The broker's choice for each file of a map, and the map with places in the order in which they are tried."""
    from tagsel.jobs.broker import broker

    guids = [f.guid for f in event_map.files]
    copies: dict[str, list[tuple[str, str]]] = {}
    for _, catalog in others.homes(home.folder, home.catalog):
        for guid, replicas in catalog.located(catalog.files(guids=guids)).items():
            places = copies.setdefault(guid, [])
            places += [(c.site, c.pfn) for c in replicas if (c.site, c.pfn) not in places]
    return broker(event_map, copies, topology(home, here))


def explain(choices: Iterable[Mapping[str, Any]]) -> Table:
    """Where the files of a job are processed and why not elsewhere: one row for files of one choice."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for c in choices:
        refused = "; ".join(f"{site} is {why}" for site, why in c["refused"].items())
        key = (c["site"], c["source"], refused, c["problem"], c["remedy"])
        row = groups.setdefault(key, [0, 0, 0, 0])
        for k, value in enumerate((1, c["events"], c["bytes"], c["moved"])):
            row[k] += value
    rows = tuple((site, source, *counts, *why) for (site, source, *why), counts in sorted(groups.items()))
    columns = ("site", "read_from", "files", "events", "bytes", "moved", "refused", "problem", "remedy")
    return Table(columns, rows)
