"""Functional tests of sites: a file of each is opened as a job would open it; who fails again and again is left alone.

Invariant: a site is excluded by tests only after `FAILURES` of them in a row, never when most sites fail together, and
is used again after one that is good; what people excluded, only people lift.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.api.siterules import changed
from tagsel.api.sites import EXCLUDED
from tagsel.catalog import FileRecord, PutSiteTest, Site, SiteTest
from tagsel.errors import AccessError, TagselError
from tagsel.rootio import RootFile, is_remote

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace

FAILURES = 3
"""How many tests in a row must fail before a site is excluded."""

MANY = 3
"""From so many sites on, where more than half fail the fault is taken to be here, and none is excluded."""

BY_TESTS = "functional tests failed: "
"""How the reason of an exclusion by tests begins."""


def test_sites(workspace: Workspace, names: Sequence[str] = ()) -> list[SiteTest]:
    """Test the sites of those names, or all that are said to hold a file; what came out, by name."""
    catalog = workspace.catalog
    chosen = [catalog.site(n) for n in names] or [s for s in catalog.sites() if s.name in catalog.site_counts()]
    done = [_tested(workspace, site) for site in chosen]
    catalog.record(*(PutSiteTest(**vars(test)) for test in done))
    failed = sum(not test.good for test in done)
    ours = len(done) >= MANY and failed * 2 > len(done)
    for site, test in zip(chosen, done, strict=True):
        _judge(workspace, site, test, ours)
    return done


def _tested(workspace: Workspace, site: Site) -> SiteTest:
    when, started, error = datetime.now(UTC).isoformat(), time.monotonic(), ""
    try:
        _open_one(workspace, site)
    except TagselError as wrong:
        error = wrong.message
    return SiteTest(site.name, when, not error, round(time.monotonic() - started, 3), error)


def _open_one(workspace: Workspace, site: Site) -> None:
    """Open one file at a site and compare it with what the catalog says; each time it may be another."""
    catalog = workspace.catalog
    copies = catalog.site_replicas(site.name)
    known: dict[str, FileRecord] = {}
    for file in catalog.files(guids=[c.guid for c in copies]):
        known[file.guid] = known[file.guid].filled(file) if file.guid in known else file
    if not known:
        raise AccessError(f"site {site.name}: no file of a dataset is said to be there", site=site.name)
    chosen = known[sorted(known)[len(catalog.site_tests(site.name, 1000)) % len(known)]]
    places = [c.pfn for c in catalog.located([chosen])[chosen.guid] if c.site == site.name and c.pfn]
    if not places:
        raise AccessError(f"site {site.name}: it makes no place for {chosen.lfn or chosen.guid}", site=site.name)
    _check(places[0], chosen)


def _check(place: str, file: FileRecord) -> None:
    """AccessError where a place does not give the file: its GUID, entries and size."""
    if file.lfn.endswith(".parquet") or place.endswith(".parquet"):
        if not is_remote(place) and not Path(place).is_file():
            raise AccessError(f"{place}: there is no such file", path=place)
        return
    with RootFile(place) as opened:
        entries = opened.events().entries
        told = {"GUID": (opened.guid, file.guid), "number of entries": (entries, file.entries)}
    for what, (found, right) in told.items():
        if right not in ("", -1) and found != right:
            raise AccessError(f"{place}: its {what} is {found}, the catalog says {right}", path=place)


def _judge(workspace: Workspace, site: Site, test: SiteTest, ours: bool) -> None:
    """Exclude a site that failed often enough, use one again that tests excluded and that is good."""
    why = str(site.meta.get(EXCLUDED, ""))
    last = workspace.catalog.site_tests(site.name, FAILURES)
    if test.good and why.startswith(BY_TESTS):
        said = ""
    elif not why and not ours and len(last) == FAILURES and not any(t.good for t in last):
        said = BY_TESTS + test.error
    else:
        return
    workspace.catalog.record(changed(workspace.catalog, site.name, meta={EXCLUDED: said}))
