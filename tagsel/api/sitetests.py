"""Functional tests of sites: a file of each is opened as a job would open it; who fails again and again is left alone.

Invariant: a site is excluded by tests only after `FAILURES` of them in a row within `WINDOW`, never when most of the
sites that were tested within it fail, whether they were tested together or one by one, and never so that more than a
share of all, or the last one, is excluded, however many processes test sites at once: they judge one after another.
It is used again after a test that is good. What people excluded, only people lift, and failures of before do not count
then.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tagsel.api.home import Home
from tagsel.api.siterules import changed, record
from tagsel.api.topology import EXCLUDED, UP
from tagsel.base.lock_file import acquire, held
from tagsel.catalog import Catalog, FileRecord, PutSiteTest, Site, SiteTest
from tagsel.catalog.changes import Change
from tagsel.errors import AccessError, CatalogError, TagselError, after
from tagsel.rootio import RootFile, is_remote

log = logging.getLogger("tagsel")

FAILURES = 3
"""How many tests in a row must fail before a site is excluded."""

WINDOW = timedelta(hours=24)
"""Tests of before are history: they exclude nobody."""

MANY = 3
"""From so many sites on, where more than half fail the fault is taken to be here, and none is excluded."""

SHARE = 3
"""At most one site in so many that hold files is excluded by tests at once, but one in any case where two are left."""

LOCK = "catalog.sites"
"""Name of the lock, in the home, of the process that judges sites by their tests."""

PATIENCE_S = 60.0
"""Seconds to wait for another process that judges sites; one takes a fraction of a second."""

_Told = Mapping[str, tuple[str | int, str | int]]
"""What a file says of itself, and what the catalog says: by the name of what it is."""

BY_TESTS = "functional tests failed: "
"""How the reason of an exclusion by tests begins."""


def test_sites(home: Home, names: Sequence[str] = ()) -> list[SiteTest]:
    """Test the sites of those names, or all that are said to hold a file; what came out, by name."""
    catalog = home.catalog
    chosen = [catalog.site(n) for n in names] or [s for s in catalog.sites() if s.name in catalog.site_counts()]
    done = [_tested(home, site) for site in chosen]
    with _alone(catalog):
        catalog.record(*(PutSiteTest(**vars(test)) for test in done))
        with after(f"the tests of {', '.join(test.site for test in done)} are recorded"):
            for site, test in zip(chosen, done, strict=True):
                _judge(home, site, test)
    return done


@contextmanager
def _alone(catalog: Catalog) -> Iterator[None]:
    """Judge sites as the only process: how many are excluded is counted and changed under one lock."""
    path = catalog.folder / LOCK
    lock = acquire(path, patience=PATIENCE_S, action="judging sites by their tests")
    if lock is None:
        raise held(path, PATIENCE_S, CatalogError)
    try:
        yield
    finally:
        lock.remove()


def _tested(home: Home, site: Site) -> SiteTest:
    when, started, error = datetime.now(UTC).isoformat(), time.monotonic(), ""
    try:
        _open_one(home, site)
    except TagselError as wrong:
        error = wrong.message
    return SiteTest(site.name, when, not error, round(time.monotonic() - started, 3), error)


def _open_one(home: Home, site: Site) -> None:
    """Open one file at a site and compare it with what the catalog says; each time it may be another."""
    catalog = home.catalog
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
    kind = next((kind for kind in _READERS if (file.lfn or place).endswith(kind)), "")
    if kind and is_remote(place):  # nothing here reads such files from other machines
        return
    told = _READERS[kind](place, file) if kind else _root(place, file)
    for what, (found, right) in told.items():
        if right not in ("", -1) and found != right:
            raise AccessError(f"{place}: its {what} is {found}, the catalog says {right}", path=place)


def _root(place: str, file: FileRecord) -> _Told:
    with RootFile(place) as opened:
        entries = opened.events().entries
        return {
            "GUID": (opened.guid, file.guid),
            "number of entries": (entries, file.entries),
            "size": (opened.bytes, file.bytes),
        }


def _parquet(place: str, file: FileRecord) -> _Told:
    """The size is looked at first: a file that was cut short has no footer."""
    import pyarrow.parquet as pq

    size = _size(place)
    if file.bytes not in (-1, size):
        return {"size": (size, file.bytes)}
    try:
        pq.read_metadata(place)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these
        raise AccessError(f"{place}: its Parquet footer cannot be read: {error}", path=place) from error
    return {"size": (size, file.bytes)}  # entries of a TAG file are its rows that are there, fewer after a retraction


def _json(place: str, file: FileRecord) -> _Told:
    size = _size(place)
    try:
        json.loads(Path(place).read_bytes())
    except (OSError, ValueError) as error:
        raise AccessError(f"{place}: it is no JSON that can be read: {error}", path=place) from error
    return {"size": (size, file.bytes)}


_READERS: Mapping[str, Callable[[str, FileRecord], _Told]] = {".parquet": _parquet, ".json": _json}
"""How files that are not ROOT's are tested, by how their names end."""


def _size(place: str) -> int:
    try:
        return Path(place).stat().st_size
    except OSError as error:
        raise AccessError(f"{place}: cannot be read: {error.strerror or error}", path=place) from error


def _judge(home: Home, site: Site, test: SiteTest) -> None:
    """Exclude a site that failed often enough, use one again that tests excluded and that is good."""
    catalog = home.catalog
    because = [""]

    def made() -> list[Change]:
        keys = catalog.site(site.name).meta
        why = str(keys.get(EXCLUDED, ""))
        because[0] = ""
        if test.good and why.startswith(BY_TESTS):
            return [changed(catalog, site.name, meta={EXCLUDED: ""})]
        if why or not _fails(catalog, site.name, str(keys.get(UP, ""))):
            return []
        because[0] = _spared(catalog, site.name)
        if because[0]:
            return []
        return [changed(catalog, site.name, meta={EXCLUDED: BY_TESTS + test.error})]

    record(catalog, made)
    if because[0]:
        log.warning("site %s failed %d times in a row and is not excluded: %s", site.name, FAILURES, because[0])


def _fails(catalog: Catalog, site: str, since: str) -> bool:
    """Whether the last tests of a site, in the window and since a person said that it is up, all failed."""
    begins = max(since, (datetime.now(UTC) - WINDOW).isoformat())
    last = [test for test in catalog.site_tests(site, FAILURES) if test.tested > begins]
    return len(last) == FAILURES and not any(test.good for test in last)


def _spared(catalog: Catalog, site: str) -> str:
    """Why a site that fails is not excluded; "" where it is to be."""
    sites = {s.name: str(s.meta.get(EXCLUDED, "")) for s in catalog.sites() if s.name in catalog.site_counts()}
    begins = (datetime.now(UTC) - WINDOW).isoformat()
    last: list[SiteTest] = []
    for name in sites:
        last += [test for test in catalog.site_tests(name, 1) if test.tested > begins]
    failed = sum(not test.good for test in last)
    if len(last) >= MANY and failed * 2 > len(last):
        hours = WINDOW.total_seconds() / 3600
        return f"so do {failed} of the {len(last)} sites tested in the last {hours:g} h: the fault is taken to be here"
    excluded = sum(why.startswith(BY_TESTS) for name, why in sites.items() if name != site)
    most = max(1, len(sites) // SHARE)
    if excluded >= most:
        return f"tests have excluded {excluded} of {len(sites)} sites already, and exclude {most} at most"
    if not any(name != site and not why for name, why in sites.items()):
        return "no other site would be left"
    return ""
