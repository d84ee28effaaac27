"""Sites of a workspace: what they hold, how fast files go between them, and when they are down.

Invariant: a site that is down or excluded stays in the catalog, with its copies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagsel.api.home import Home
from tagsel.api.siterules import changed, check_prefix, describe_site, record
from tagsel.base.documents import read_toml
from tagsel.base.text_table import Table
from tagsel.catalog import Catalog, Downtime, DropDowntime, PutDowntime, PutLink
from tagsel.catalog.changes import Change, PutSite, Stamp
from tagsel.catalog.constraints import Conflict
from tagsel.catalog.registry import Embedded
from tagsel.catalog.tables import Rows
from tagsel.catalog.transfers import place_of
from tagsel.errors import CatalogError

log = logging.getLogger("tagsel")

TOPOLOGY = '[sites.CERN] prefix = "/data"; [[links]] between = ["CERN", "CNAF"] rate = 100'
"""What a topology file looks like."""

SITE_KEYS = ("prefix",)
"""Keys of a site in a topology file that are not free keys."""

EXCLUDED = "excluded"
"""The free key of a site that says why no job is to go there, until further notice."""

UP = "up_since"
"""The free key of a site that says when it was last said to be up (UTC): tests of before do not exclude it."""


def table(home: Home) -> Table:
    """The sites: prefix, tier, files that are said to be there, and whether it is up."""
    down = home.catalog.down(datetime.now(UTC))
    held = home.catalog.site_counts()
    rows = [
        (s.name, s.meta.get("tier", ""), s.prefix, held.get(s.name, 0), standing(s.meta, down.get(s.name)))
        for s in home.catalog.sites()
    ]
    return Table(("site", "tier", "prefix", "files", "state"), tuple(rows))


def standing(meta: Mapping[str, Any], down: Downtime | None) -> str:
    """Whether a site can be used, in words: `up`, or why not."""
    if meta.get(EXCLUDED):
        return f"excluded: {meta[EXCLUDED]}"
    if down is not None:
        until = f" until {down.ends}" if down.ends else ""
        return f"down{until}{f': {down.reason}' if down.reason else ''}"
    return "up"


def show(home: Home, name: str, lfn: str = "") -> dict[str, Any]:
    """All that is known of a site: keys, links, downtimes, copies whose file is not where it is said to be."""
    catalog = home.catalog
    site = catalog.site(name)
    stale = catalog.stale(name)
    return {
        "site": site.name,
        **describe_site(site, lfn),
        "state": standing(site.meta, catalog.down(datetime.now(UTC)).get(name)),
        "files": catalog.site_counts().get(name, 0),
        "links": {lk.target: lk.rate for lk in catalog.links() if lk.source == name},
        "downtimes": [{"begins": d.begins, "ends": d.ends, "reason": d.reason} for d in catalog.downtimes(name)],
        "tests": [{"tested": t.tested, "good": t.good, "error": t.error} for t in catalog.site_tests(name)],
        "stale": [{"guid": r.guid, "pfn": r.pfn} for r in stale],
    }


def load(home: Home, path: Path) -> list[str]:
    """Take over a topology: `[sites.NAME]` with prefix and keys, `[[links]]` with `between` and `rate`, in TOML.

    A link goes both ways, at `rate` MB/s. The names of the file's sites; CatalogError names the file for anything else.
    """
    try:
        told = read_toml(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CatalogError(f"{path} cannot be read: {why}", path=str(path)) from error
    if wrong := sorted(set(told) - {"sites", "links"}):
        raise CatalogError(f"{path}: unknown {wrong[0]!r}", hint="[sites.NAME] and [[links]]", path=str(path))
    try:
        record(home.catalog, lambda: _topology(home.catalog, told))
    except Conflict:
        raise
    except CatalogError as error:
        raise CatalogError(f"{path}: {error.message}", hint=error.hint or TOPOLOGY, path=str(path)) from error
    return list(told.get("sites", {}))


def _topology(catalog: Catalog, told: Mapping[str, Any]) -> list[Change]:
    sites, links = told.get("sites", {}), told.get("links", [])
    if not isinstance(sites, dict) or not isinstance(links, list):
        raise CatalogError("sites or links are not as expected", hint=TOPOLOGY)
    changes: list[Change] = [_told_site(catalog, name, site) for name, site in sites.items()]
    for link in links:
        changes += _told_link(link)
    return changes


def _told_site(catalog: Catalog, name: str, told: Any) -> PutSite:
    """The change of a site of a topology; CatalogError names the site."""
    if not isinstance(told, dict) or not isinstance(told.get("prefix", ""), str):
        raise CatalogError(f"site {name} is not as expected: {told!r:.80}", hint=TOPOLOGY, site=name)
    check_prefix(name, told.get("prefix"))
    made = changed(catalog, name, told.get("prefix"), {k: v for k, v in told.items() if k not in SITE_KEYS})
    try:
        replace(made, after=None).check(Rows())
        list(made.ops(Stamp(0, "", "")))
    except CatalogError as error:
        raise CatalogError(f"site {name}: {error.message}", hint=error.hint, site=name) from error
    return made


def _told_link(told: Any) -> list[PutLink]:
    """The changes of a link of a topology, both ways; CatalogError says what was given."""
    ends, rate = (told.get("between"), told.get("rate")) if isinstance(told, dict) else (None, None)
    if not isinstance(ends, list) or len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise CatalogError(f"a link is between a list of two sites, not {ends!r:.80}", hint=TOPOLOGY)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise CatalogError(f"the link between {' and '.join(ends)}: its rate is {rate!r:.80}, not MB/s", hint=TOPOLOGY)
    one, other = ends
    return [PutLink(one, other, float(rate)), PutLink(other, one, float(rate))]


def down(home: Home, site: str, begins: str = "", ends: str = "", reason: str = "") -> Downtime:
    """Do not use a site for a time, from now and until further notice if no times are given."""
    begins = begins or datetime.now(UTC).isoformat(timespec="seconds")
    home.catalog.record(PutDowntime(site, begins, ends, reason))
    return Downtime(site, begins, ends, reason)


def up(home: Home, site: str) -> int:
    """Use a site again: downtimes that are not over are taken back, an exclusion is lifted; how many."""
    catalog, lifted = home.catalog, [0]

    def made() -> list[Change]:
        keys, now = catalog.site(site).meta, datetime.now(UTC)
        over = [d for d in catalog.downtimes(site) if not d.ends or datetime.fromisoformat(d.ends) > now]
        changes: list[Change] = [DropDowntime(site, d.begins) for d in over]
        lifted[0] = len(over) + bool(keys.get(EXCLUDED))
        last = catalog.site_tests(site, 1)
        if keys.get(EXCLUDED) or (last and not last[0].good):  # tests of before count no more
            changes.append(changed(catalog, site, meta={EXCLUDED: "", UP: now.isoformat()}))
        return changes

    record(catalog, made)
    return lifted[0]


def exclude(home: Home, site: str, reason: str) -> None:
    """Send no job to a site until it is `up` again."""
    home.catalog.site(site)
    catalog, said = home.catalog, {EXCLUDED: reason or "no reason given"}
    record(catalog, lambda: [changed(catalog, site, meta=said)])


def files(home: Home, dataset: str, site: str = "") -> Table:
    """The files that a dataset holds, with the places of their copies: all, or those of one site."""
    registry = Embedded(home.catalog)
    if site:
        home.catalog.site(site)
    held = registry.files([dataset])[dataset]
    copies = home.catalog.replicas([f.guid for f in held])
    rows = []
    for file in held:
        at = [c for c in copies[file.guid] if site in ("", c.site)]
        places = [place_of(home.catalog, c, file.lfn) for c in at] or [file.pfn] * (not site and bool(file.pfn))
        where = " ".join(dict.fromkeys(c.site for c in at))
        rows.append((" ".join(dict.fromkeys(places)), file.guid, file.lfn, file.entries, file.bytes, where))
    return Table(("place", "guid", "lfn", "entries", "bytes", "sites"), tuple(rows))
