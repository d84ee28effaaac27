"""Functional tests of sites: a file of each is opened as a job would open it; who fails again and again is left alone.

Invariant: a site is excluded by tests only after `FAILURES` of them in a row, never when most sites fail together, and
is used again after one that is good; what people excluded, only people lift, and failures of before do not count then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.api.siterules import changed, record
from tagsel.api.sites import EXCLUDED, UP
from tagsel.catalog import FileRecord, PutSiteTest, Site, SiteTest
from tagsel.catalog.changes import Change
from tagsel.errors import AccessError, TagselError
from tagsel.rootio import RootFile, is_remote

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace

FAILURES = 3
"""How many tests in a row must fail before a site is excluded."""

MANY = 3
"""From so many sites on, where more than half fail the fault is taken to be here, and none is excluded."""

_Told = Mapping[str, tuple[str | int, str | int]]
"""What a file says of itself, and what the catalog says: by the name of what it is."""

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
        return {"GUID": (opened.guid, file.guid), "number of entries": (entries, file.entries),
                "size": (opened.bytes, file.bytes)}  # fmt: skip


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


def _judge(workspace: Workspace, site: Site, test: SiteTest, ours: bool) -> None:
    """Exclude a site that failed often enough, use one again that tests excluded and that is good."""
    catalog = workspace.catalog

    def made() -> list[Change]:
        keys = catalog.site(site.name).meta
        why, since = str(keys.get(EXCLUDED, "")), str(keys.get(UP, ""))
        last = [t for t in catalog.site_tests(site.name, FAILURES) if t.tested > since]
        if test.good and why.startswith(BY_TESTS):
            return [changed(catalog, site.name, meta={EXCLUDED: ""})]
        if not why and not ours and len(last) == FAILURES and not any(t.good for t in last):
            return [changed(catalog, site.name, meta={EXCLUDED: BY_TESTS + test.error})]
        return []

    record(catalog, made)
