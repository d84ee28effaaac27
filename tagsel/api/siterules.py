"""Sites of a workspace: their prefix and rules, which make physical names of logical ones.

Invariant: rules that cannot be read are refused before anything is recorded; of two who change a site at once neither
loses what the other said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagsel.api.home import Home
from tagsel.catalog import RULES, Catalog, PutSite, Site, pfns, read_rules, rules_of, write_rules
from tagsel.catalog.changes import Change
from tagsel.catalog.constraints import Conflict, site_mark
from tagsel.errors import CatalogError

_PATIENCE = 100
"""How often a change of a site is tried anew when others change it meanwhile."""


def put_site(
    home: Home, name: str, prefix: str | None, given: Mapping[str, Any], rules: Path | str | None, volume: str
) -> Site:
    """Register a site, or change one; what is not given stays. An empty prefix, key, or rules "", take those away."""
    if volume and not rules:
        raise CatalogError(f"volume {volume!r} was given without rules", hint="--rules storage.json")
    catalog = home.catalog
    check_prefix(name, prefix)
    if rules is not None:
        given = {**given, RULES: write_rules(read_rules(rules, name, volume)) if str(rules) else ""}

    def made() -> Sequence[PutSite]:
        new = changed(catalog, name, prefix, given)
        return [] if Site(new.name, new.prefix, new.meta) in catalog.sites() else [new]

    record(catalog, made)
    return catalog.site(name)


def check_prefix(site: str, prefix: str | None) -> None:
    """CatalogError where a site cannot have this prefix."""
    if prefix and "://" not in prefix and not prefix.startswith("/"):
        raise CatalogError(f"site {site}: prefix {prefix!r} is neither a URL nor an absolute folder", site=site)


def record(catalog: Catalog, made: Callable[[], Sequence[Change]]) -> Sequence[Change]:
    """Record what `made` makes of the sites as they are; it is asked again where another changes them meanwhile."""
    for _ in range(_PATIENCE):
        with suppress(Conflict):
            changes = made()
            catalog.record(*changes)
            return changes
    raise CatalogError("sites change all the time", hint="try again")


def changed(catalog: Catalog, name: str, prefix: str | None = None, meta: Mapping[str, Any] | None = None) -> PutSite:
    """The change that gives a site, new or known, another prefix or other keys; a key that becomes "" goes.

    It is refused (`Conflict`) where the site is another by then, so that nobody's keys are lost: see `record`.
    """
    known = next((site for site in catalog.sites() if site.name == name), None)
    old = known or Site(name)
    kept = {key: value for key, value in {**old.meta, **(meta or {})}.items() if value != ""}
    mark = site_mark(known.prefix, known.meta) if known else ""
    return PutSite(name, old.prefix if prefix is None else prefix, kept, after=mark)


def describe_site(site: Site, lfn: str = "") -> dict[str, Any]:
    """A site, JSON-ready; with `lfn` the physical names of that file there."""
    ways = [{"protocol": way.name, "access": way.access, "rules": len(way.rules)} for way in rules_of(site)]
    meta = {key: value for key, value in site.meta.items() if key != RULES}
    known: dict[str, Any] = {"prefix": site.prefix, "protocols": ways, **meta}
    return {**known, "lfn": lfn, "pfns": pfns(site, lfn)} if lfn else known
