"""Carrying wishes out in our own catalog: a subscription makes rules, a rule copies files, a copy is verified.

Invariant: a copy is in the catalog only when its file is at the site with the checksum that the catalog has for it.
Each is recorded at once: who is killed in the middle has lost nothing, and goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tagsel.catalog.catalog import Catalog
from tagsel.catalog.changes import PutFiles, PutReplicas
from tagsel.catalog.embedded import Embedded, is_at
from tagsel.catalog.names import matching
from tagsel.catalog.placement import PutRule
from tagsel.catalog.prefixes import pfns, places_of
from tagsel.catalog.records import FileRecord, Replica, Rule, Site
from tagsel.errors import AccessError, CatalogError
from tagsel.faults import step
from tagsel.rootio import is_remote
from tagsel.rootio.copying import copy
from tagsel.store import disk

TRIES = 3
"""How often a rule is tried before it counts as failed; asking for it again gives it as many anew."""

log = logging.getLogger("tagsel")

Progress = Callable[[str], None] | None


def carry_out(catalog: Catalog, dataset: str | None = None, progress: Progress = None) -> list[Rule]:
    """Make the copies that are wished for, of one dataset or all; the rules as they are then.

    Rules of subscriptions are made first. A rule whose files cannot all be copied says why, and is tried again by the
    next call, `TRIES` times.
    """
    with disk.locked(catalog.folder):  # two at once would copy the same files
        _subscribed(catalog)
        registry = Embedded(catalog)
        for rule in registry.every_rule(dataset):
            if rule.state not in ("done", "failed"):
                _fulfil(catalog, rule, progress)
        return registry.every_rule(dataset)


def _subscribed(catalog: Catalog) -> None:
    """Make the rules of subscriptions for datasets that have none yet."""
    known = {(rule.dataset, rule.site) for rule in catalog.rules()}
    for wish in catalog.subscriptions():
        names = [n for n in matching(wish.pattern, catalog.names()) if (n, wish.site) not in known]
        catalog.record(*(PutRule(name, wish.site, why=wish.pattern) for name in names))
        known |= {(name, wish.site) for name in names}


def _fulfil(catalog: Catalog, rule: Rule, progress: Progress) -> None:
    """One try of a rule: every file that the site lacks."""
    site = catalog.site(rule.site)
    files = Embedded(catalog).files([rule.dataset])[rule.dataset]
    copies = catalog.replicas([f.guid for f in files])
    missing = [f for f in files if not is_at(catalog, site.name, copies[f.guid], f.lfn)]
    catalog.record(PutRule(**{**vars(rule), "state": "moving"}))
    errors = []
    for file in missing:
        try:
            _move(catalog, rule.dataset, file, copies[file.guid], site)
            step("catalog.transfer")
        except (AccessError, CatalogError) as error:
            errors.append(error.message)
            log.warning("%s to %s: %s", file.lfn or file.guid, site.name, error.message)
        if progress:
            progress(file.lfn)
    tries = rule.tries + bool(errors)
    state = "done" if not errors else "failed" if tries >= TRIES else "waiting"
    done = replace(rule, state=state, tries=tries, error=errors[0] if errors else "")
    catalog.record(PutRule(**vars(replace(done, done=len(files) - len(errors), files=len(files)))))


def _move(catalog: Catalog, dataset: str, file: FileRecord, copies: Sequence[Replica], site: Site) -> None:
    """Copy one file to a site from the first place that gives a good copy, and record it."""
    target, errors = place_at(site, file), []
    for source in _sources(catalog, file, copies):
        try:
            checksum = copy(source, target, file.checksum)
        except AccessError as error:
            errors.append(error.message)
            continue
        known = [] if file.checksum else [PutFiles(dataset, [replace(file, checksum=checksum)], known=True)]
        catalog.record(*known, PutReplicas(site.name, [(file.guid, target)]))
        return
    why = "; ".join(errors) or "no copy of it is known that can be read"
    raise AccessError(f"{file.lfn or file.guid}: {why}", guid=file.guid)


def place_at(site: Site, file: FileRecord) -> str:
    """Where a file is to lie at a site: its logical name below the site's prefix.

    >>> far = Site("FAR", "root://far.example.org//data")
    >>> place_at(far, FileRecord("00D1B2C3-0000-4000-8000-00000000ABCD", "data18:AOD.1.root"))
    'root://far.example.org//data/data18/AOD.1.root'
    """
    made = pfns(site, (file.lfn or f"{file.guid}.root").replace(":", "/", 1))
    fit = [pfn for pfn in made if "://" not in pfn or pfn.startswith("root")]
    if not fit:
        raise CatalogError(f"site {site.name} has no prefix, or rule, that makes a place for copies", site=site.name,
                           hint=f"tagsel sites add {site.name} --prefix /data")  # fmt: skip
    return fit[0]


def _sources(catalog: Catalog, file: FileRecord, copies: Sequence[Replica]) -> Iterator[str]:
    """Places to copy from: local ones first, sites in downtime last."""
    down = catalog.down(datetime.now(UTC))
    places = [(c.site in down, place_of(catalog, c, file.lfn)) for c in copies] + [(False, file.pfn)] * bool(file.pfn)
    known = [(is_down, place) for is_down, place in places if is_remote(place) or Path(place).is_file()]
    yield from dict.fromkeys(p for _, p in sorted(known, key=lambda k: (k[0], is_remote(k[1]))))


def place_of(catalog: Catalog, replica: Replica, lfn: str = "") -> str:
    """The path or URL of a copy, as its site names it; `lfn` is the file's logical name."""
    return (places_of(catalog.site(replica.site), replica, lfn) or [replica.pfn])[0]
