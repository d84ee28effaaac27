"""Changes of where data are wanted and from whom it is known: sites, other catalogs, rules, downtimes.

Invariant: as for all changes (`changes.py`), `ops` depends on the change alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from tagsel.catalog.changes import Change, Stamp, as_json, check_meta
from tagsel.catalog.names import check_dataset_name
from tagsel.catalog.records import Downtime, Link, Rule, SharedCatalog, SiteTest, Subscription, Value
from tagsel.catalog.standing import check_site, need_dataset, no_subscription
from tagsel.catalog.tables import Op, Put, Remove, Row, Rows
from tagsel.errors import CatalogError, did_you_mean

A_TIME = "as 2026-11-25T08:00+00:00"


def _need_site(state: Rows, site: str) -> None:
    if not state.of("sites", site):
        raise CatalogError(f"no site {site!r}", hint=did_you_mean(site, state.rows["sites"]), site=site)


@dataclass(frozen=True)
class PutSite(Change):
    """Register a site, or replace the record of one.

    `after` is the `site_mark` of the record that it was made of, "" where there must be none yet, None for any.
    """

    name: str
    prefix: str = ""
    meta: Mapping[str, Value] = field(default_factory=dict)
    after: str | None = None

    def check(self, state: Rows) -> None:
        """The name is one that a dataset could have, too; nobody changed the site meanwhile."""
        check_dataset_name(self.name)
        check_meta(self.meta)
        check_site(state, self.name, self.after)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of sites."""
        yield Put("sites", {"name": self.name, "prefix": self.prefix, "meta": as_json(self.meta)})


@dataclass(frozen=True)
class PutCatalog(Change):
    """Mirror another catalog from now on, or replace what is said of one; fields as `SharedCatalog`."""

    name: str
    kind: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    patterns: Sequence[str] = ()
    synced: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "patterns", tuple(self.patterns))

    def check(self, state: Rows) -> None:
        """The name is one that a dataset could have, too."""
        check_dataset_name(self.name)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of catalogs."""
        settings, patterns = json.dumps(dict(self.settings), sort_keys=True), json.dumps(list(self.patterns))
        yield Put("catalogs", {**asdict(self), "settings": settings, "patterns": patterns})


@dataclass(frozen=True)
class DropCatalog(Change):
    """Mirror a catalog no more; what was mirrored stays."""

    name: str

    def check(self, state: Rows) -> None:
        """It is known."""
        if not state.of("catalogs", self.name):
            hint = did_you_mean(self.name, state.rows["catalogs"]) or "`tagsel catalog list` lists them"
            raise CatalogError(f"no catalog {self.name!r}", hint=hint)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of catalogs."""
        yield Remove("catalogs", (self.name,))


@dataclass(frozen=True)
class PutRule(Rule, Change):
    """Wish for complete copies of a dataset at a site, or say how far they are; fields as `Rule`."""

    def check(self, state: Rows) -> None:
        """Dataset and site exist."""
        need_dataset(state, self.dataset)
        _need_site(state, self.site)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of rules."""
        yield Put("rules", asdict(self))


@dataclass(frozen=True)
class DropRule(Change):
    """Wish for the copies of a dataset at a site no more; those that are there stay."""

    dataset: str
    site: str

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of rules."""
        yield Remove("rules", (self.dataset, self.site))


@dataclass(frozen=True)
class PutSubscription(Subscription, Change):
    """Wish for copies of all datasets of a pattern at a site."""

    def check(self, state: Rows) -> None:
        """The site exists."""
        _need_site(state, self.site)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of subscriptions."""
        yield Put("subscriptions", asdict(self))


@dataclass(frozen=True)
class DropSubscription(Subscription, Change):
    """End a subscription; rules that it made stay."""

    def check(self, state: Rows) -> None:
        """It is known."""
        known = [Subscription(row["pattern"], row["site"]) for row in state.all("subscriptions")]
        if (wish := Subscription(self.pattern, self.site)) not in known:
            raise no_subscription(wish, known)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of subscriptions."""
        yield Remove("subscriptions", (self.pattern, self.site))


@dataclass(frozen=True)
class PutLink(Link, Change):
    """Say how fast files go from one site to another; fields as `Link`."""

    def check(self, state: Rows) -> None:
        """Both sites exist, and something goes."""
        _need_site(state, self.source)
        _need_site(state, self.target)
        if not self.rate > 0:
            raise CatalogError(f"link from {self.source} to {self.target}: its rate is {self.rate}, in MB/s")

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of links."""
        yield Put("links", {**asdict(self), "rate": float(self.rate)})


@dataclass(frozen=True)
class PutSiteTest(SiteTest, Change):
    """Keep what a functional test of a site came to; fields as `SiteTest`."""

    def check(self, state: Rows) -> None:
        """The site exists."""
        _need_site(state, self.site)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of site_tests."""
        yield Put("site_tests", asdict(self))


@dataclass(frozen=True)
class PutDowntime(Downtime, Change):
    """Do not use a site for a time; fields as `Downtime`."""

    def check(self, state: Rows) -> None:
        """The site exists, the times can be read and are in order."""
        _need_site(state, self.site)
        times = [_time(text) for text in (self.begins, self.ends) if text]
        if not self.begins or times != sorted(times):
            raise CatalogError(f"downtime from {self.begins or 'nothing'} to {self.ends}: its end is before its begin")

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of downtimes."""
        yield Put("downtimes", asdict(self))


@dataclass(frozen=True)
class DropDowntime(Change):
    """Take a downtime back."""

    site: str
    begins: str

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of downtimes."""
        yield Remove("downtimes", (self.site, self.begins))


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise CatalogError(f"{text!r:.60} is no time", hint=A_TIME) from error
    if when.tzinfo is None:
        raise CatalogError(f"{text!r:.60} has no time zone", hint=A_TIME)
    return when


def read_catalog(row: Row) -> SharedCatalog:
    """The record of a row of catalogs."""
    return SharedCatalog(
        row["name"], row["kind"], json.loads(row["settings"]), tuple(json.loads(row["patterns"])), row["synced"]
    )


KINDS = (
    PutSite,
    PutCatalog,
    DropCatalog,
    PutRule,
    DropRule,
    PutSubscription,
    DropSubscription,
    PutLink,
    PutDowntime,
    DropDowntime,
    PutSiteTest,
)
"""Every kind of change of this module."""
