"""Sites of a workspace: their prefix and rules, which make physical names of logical ones.

Invariant: rules that cannot be read are refused before anything is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.catalog import RULES, Catalog, PutSite, Site, pfns, read_rules, rules_of, write_rules
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
    if prefix and "://" not in prefix and not prefix.startswith("/"):
        raise CatalogError(f"prefix {prefix!r} is neither a URL nor an absolute folder", site=name)
    if rules is not None:
        given = {**given, RULES: write_rules(read_rules(rules, name, volume)) if str(rules) else ""}
    new = changed(catalog, name, prefix, given)
    made = Site(new.name, new.prefix, new.meta)
    if made not in catalog.sites():
        catalog.record(new)
    return made


def changed(
    catalog: Catalog, name: str, prefix: str | None = None, meta: Mapping[str, Any] | None = None
) -> PutSite:
    """The change that gives a site, new or known, another prefix or other keys; a key that becomes "" goes."""
    old = next((site for site in catalog.sites() if site.name == name), Site(name))
    kept = {key: value for key, value in {**old.meta, **(meta or {})}.items() if value != ""}
    return PutSite(name, old.prefix if prefix is None else prefix, kept)


def describe_site(site: Site, lfn: str = "") -> dict[str, Any]:
    """A site, JSON-ready; with `lfn` the physical names of that file there."""
    ways = [{"protocol": way.name, "access": way.access, "rules": len(way.rules)} for way in rules_of(site)]
    meta = {key: value for key, value in site.meta.items() if key != RULES}
    known: dict[str, Any] = {"prefix": site.prefix, "protocols": ways, **meta}
    return {**known, "lfn": lfn, "pfns": pfns(site, lfn)} if lfn else known
