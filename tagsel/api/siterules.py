"""Sites of a workspace: their prefix and rules, which make physical names of logical ones.

Invariant: rules that cannot be read are refused before anything is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.catalog import RULES, PutSite, Site, pfns, read_rules, rules_of, write_rules
from tagsel.errors import CatalogError

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace


def put_site(
    workspace: Workspace, name: str, prefix: str | None, given: Mapping[str, Any], rules: Path | str | None, volume: str
) -> Site:
    """Register a site, or change one; what is not given stays. An empty prefix, key, or rules "", take those away."""
    if volume and not rules:
        raise CatalogError(f"volume {volume!r} was given without rules", hint="--rules storage.json")
    catalog = workspace.catalog
    old = next((site for site in catalog.sites() if site.name == name), Site(name))
    if prefix and "://" not in prefix and not prefix.startswith("/"):
        raise CatalogError(f"prefix {prefix!r} is neither a URL nor an absolute folder", site=name)
    meta = {key: value for key, value in {**old.meta, **given}.items() if value != ""}
    if rules is not None:
        meta.pop(RULES, None)
        if str(rules):
            meta[RULES] = write_rules(read_rules(rules, name, volume))
    new = Site(name, old.prefix if prefix is None else prefix, meta)
    if new != old or name not in {site.name for site in catalog.sites()}:
        catalog.record(PutSite(new.name, new.prefix, new.meta))
    return new


def describe_site(site: Site, lfn: str = "") -> dict[str, Any]:
    """A site, JSON-ready; with `lfn` the physical names of that file there."""
    ways = [{"protocol": way.name, "access": way.access, "rules": len(way.rules)} for way in rules_of(site)]
    meta = {key: value for key, value in site.meta.items() if key != RULES}
    known: dict[str, Any] = {"prefix": site.prefix, "protocols": ways, **meta}
    return {**known, "lfn": lfn, "pfns": pfns(site, lfn)} if lfn else known
