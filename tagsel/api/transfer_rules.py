"""Wishes for copies of datasets at sites: made, carried out, taken back, and made again by subscriptions.

Invariant: what is asked for at a site is carried out by `run`, or by the other catalog whose dataset it is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tagsel.api import catalogs
from tagsel.api.home import Home
from tagsel.base.lock_file import holder
from tagsel.base.text_table import Table
from tagsel.catalog import Catalog, DatasetRecord, DropRule, Rule
from tagsel.catalog.changes import PutRule
from tagsel.catalog.mirror import theirs
from tagsel.catalog.names import matching
from tagsel.catalog.registry import Embedded, Registry, lock_of
from tagsel.catalog.transfers import Progress, carry_out
from tagsel.errors import CatalogError, after

log = logging.getLogger("tagsel")


def request(home: Home, dataset: str, site: str, progress: Progress = None) -> list[Rule]:
    """Ask for complete copies of a dataset at a site, and make them; of a mirrored one, its catalog is asked.

    The rule for that site as it is then; others of the dataset are left alone. One that failed is tried again.
    `progress` is called with the files that are done and with how many there are to be copied.
    """
    asked = home.catalog.dataset(dataset)
    if owner := _asker(home, asked, site):
        registry = _registry(home, owner)
        registry.wish(theirs(asked), site)
        with after(f"copies of {dataset} at {site} are asked of {owner}", f"tagsel transfers list --catalog {owner}"):
            return [rule for rule in registry.rules(theirs(asked)) if rule.site == site]
    Embedded(home.catalog).wish(dataset, site)
    with after(f"copies of {dataset} at {site} are asked for", "tagsel transfers run goes on"):
        _again(home.catalog, dataset, site)
        return carry_out(home.catalog, dataset, progress, site)


def cancel(home: Home, dataset: str, site: str) -> Rule:
    """Take back the wish for copies of a dataset at a site, as it was: copies that are there stay.

    CatalogError where there is none, where it is another catalog's, and where a subscription would make it again.
    """
    catalog = home.catalog
    asked, _ = catalog.dataset(dataset), catalog.site(site)
    wishes = Embedded(catalog).rules(dataset)
    rule = next((rule for rule in wishes if rule.site == site), None)
    if rule is None and (owner := _asker(home, asked, site)):
        raise CatalogError(
            f"rules of {dataset} at {site} are those of catalog {owner}: they end there, not here",
            hint=f"tagsel transfers list --catalog {owner}",
            dataset=dataset,
            site=site,
        )
    if rule is None:
        known = ", ".join(rule.site for rule in wishes)
        raise CatalogError(
            f"no copies of {dataset} were asked for at {site}",
            dataset=dataset,
            site=site,
            hint=f"they were at {known}" if known else "tagsel transfers",
        )
    for wish in catalog.subscriptions():
        if wish.site == site and matching(wish.pattern, [dataset]):
            raise CatalogError(
                f"the subscription of {wish.pattern} to {site} would ask for {dataset} again",
                site=site,
                hint=f'tagsel subscriptions end "{wish.pattern}" {site}',
                dataset=dataset,
            )
    catalog.record(DropRule(dataset, site))
    if who := holder(lock_of(catalog.folder, rule)):
        log.warning("%s to %s: the copying goes on in %s", dataset, site, who)
    return rule


def _asker(home: Home, asked: DatasetRecord, site: str) -> str:
    """The other catalog that makes copies of a dataset at a site; "" where we do."""
    owner = str(asked.meta.get("catalog", ""))
    there = {s.name for s in home.catalog.sites() if s.meta.get("catalog") == owner}
    return owner if site in there else ""


def _again(catalog: Catalog, dataset: str, site: str) -> None:
    for rule in catalog.rules(dataset):
        if rule.site == site and rule.state == "failed":
            catalog.record(PutRule(**{**vars(rule), "state": "waiting", "tries": 0}))


def run(home: Home, progress: Progress = None) -> tuple[Rule, ...]:
    """Carry out the wishes that wait, and look for new datasets of subscriptions first."""
    return tuple(carry_out(home.catalog, None, progress))


def rules(home: Home, catalog: str = "") -> tuple[Rule, ...]:
    """All wishes for copies, and how far each is; with `catalog` those of the account at that catalog."""
    return tuple(_registry(home, catalog).every_rule())


def rule_table(wishes: Sequence[Rule]) -> Table:
    """Rules as a table."""
    rows = [(r.dataset, r.site, r.state, r.done, r.files, r.tries, r.why, r.error) for r in wishes]
    return Table(("dataset", "site", "state", "done", "files", "tries", "subscription", "error"), tuple(rows))


def subscribe(home: Home, pattern: str, site: str, catalog: str = "") -> None:
    """Ask for copies of every dataset that a glob matches, those to come too; of another catalog's by its own rules."""
    if not pattern.strip():
        raise CatalogError("an empty pattern matches no dataset", hint="a glob such as data18.*.AOD")
    _registry(home, catalog).subscribe(pattern, site)


def unsubscribe(home: Home, pattern: str, site: str, catalog: str = "") -> None:
    """End a subscription; copies and rules that it made stay."""
    _registry(home, catalog).unsubscribe(pattern, site)


def subscriptions(home: Home, catalog: str = "") -> Table:
    """What is subscribed to."""
    found = _registry(home, catalog).subscriptions()
    return Table(("pattern", "site"), tuple((s.pattern, s.site) for s in found))


def _registry(home: Home, catalog: str) -> Registry:
    """The registry of a catalog that is mirrored; "" is the workspace's own."""
    return catalogs.opened(catalogs.find(home, catalog)) if catalog else Embedded(home.catalog)
