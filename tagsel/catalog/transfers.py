"""Carrying wishes out in our own catalog: a subscription makes rules, a rule copies files, a copy is verified.

Invariant: a copy is in the catalog only when its file is at the site with the checksum that the catalog has for it.
Each is recorded as soon as it is good: who is killed in the middle has lost nothing, and goes on where it was. One
process at a time carries a rule out; several may be at work on several rules.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime

from tagsel.base.lock_file import LockFile, acquire, holder
from tagsel.catalog.catalog import Catalog
from tagsel.catalog.changes import PutRule
from tagsel.catalog.embedded import Embedded, is_at
from tagsel.catalog.names import matching
from tagsel.catalog.prefixes import pfns, places_of, rules_of
from tagsel.catalog.records import FileRecord, Replica, Rule, Site
from tagsel.catalog.streams import Copy, Streams
from tagsel.catalog.underway import FOLDER, lock_of, recorded
from tagsel.errors import AccessError, CatalogError
from tagsel.rootio import is_remote
from tagsel.rootio.copying import sweep
from tagsel.store import disk

TRIES = 3
"""How often a rule is tried before it counts as failed; asking for it again gives it as many anew."""

PATIENCE_S = 3600.0
"""Seconds to wait for another process that copies the files of the same rule."""

log = logging.getLogger("tagsel")

Progress = Callable[[int, int], None] | None
"""What is called with the files that are done, copied or not, and with how many there are to be copied."""


def carry_out(
    catalog: Catalog, dataset: str | None = None, progress: Progress = None, site: str | None = None
) -> list[Rule]:
    """Make the copies that are wished for, of one dataset or all, at one site or all; these rules as they are then.

    Rules of subscriptions are made first. A rule whose files cannot all be copied says why, and is tried again by the
    next call, `TRIES` times. One that another process carries out is waited for, last of all, and the log says so.
    """
    registry = Embedded(catalog)
    with disk.saying("lock", catalog.folder / FOLDER):
        (catalog.folder / FOLDER).mkdir(exist_ok=True)
    with disk.locked(catalog.folder / FOLDER, action="making rules"):  # two at once would make the same rules
        _subscribed(catalog)
    wished = [rule for rule in _asked(registry, dataset, site) if rule.state not in ("done", "failed")]
    tally = _Tally(progress, {_key(rule): rule.files - rule.done for rule in wished})
    with ExitStack() as locks, Streams(catalog) as streams:
        others = [rule for rule in wished if not _tried(catalog, rule, streams, locks, tally, wait=False)]
        for rule in others:
            streams.finish()  # and so hold nothing while another is waited for
            _tried(catalog, rule, streams, locks, tally, wait=True)
        streams.finish()
    return _asked(registry, dataset, site)


def _asked(registry: Embedded, dataset: str | None, site: str | None) -> list[Rule]:
    return [rule for rule in registry.every_rule(dataset) if site in (None, rule.site)]


def _subscribed(catalog: Catalog) -> None:
    """Make the rules of subscriptions for datasets that have none yet."""
    known = {(rule.dataset, rule.site) for rule in catalog.rules()}
    for wish in catalog.subscriptions():
        names = [n for n in matching(wish.pattern, catalog.names()) if (n, wish.site) not in known]
        catalog.record(*(PutRule(name, wish.site, why=wish.pattern) for name in names))
        known |= {(name, wish.site) for name in names}


class _Tally:
    """How many files there are to be copied, by rule, and how many of them are done."""

    def __init__(self, progress: Progress, lacking: dict[tuple[str, str], int]) -> None:
        self.progress, self.lacking, self.done = progress, lacking, 0

    def expect(self, rule: Rule, files: int) -> None:
        """A rule turns out to lack so many files: others may have made some."""
        self.lacking[_key(rule)] = files

    def add(self) -> None:
        """One more is done."""
        self.done += 1
        if self.progress:
            self.progress(self.done, sum(self.lacking.values()))


def _key(rule: Rule) -> tuple[str, str]:
    return rule.dataset, rule.site


def _tried(catalog: Catalog, wished: Rule, streams: Streams, locks: ExitStack, tally: _Tally, wait: bool) -> bool:
    """Begin a try of a rule; False where another process is at it, and is not to be waited for."""
    path = lock_of(catalog.folder, wished)
    lock = acquire(path, patience=PATIENCE_S if wait else 0, action="copying")
    if lock is None:
        who = holder(path)
        if wait:
            raise CatalogError(
                f"{wished.dataset} to {wished.site} is being copied by {who}; waited {PATIENCE_S:g} s",
                hint="let it finish, or end that process; files that it copied are kept",
                holder=str(who),
                path=str(path),
            )
        if who:
            log.warning("%s to %s: waiting for %s", wished.dataset, wished.site, who)
        return False
    locks.callback(lock.release)
    now = recorded(catalog, wished)
    if now is None or now.tries != wished.tries or now.state == "failed":  # another was faster
        tally.expect(wished, 0)
        lock.remove()
    else:
        _Try(catalog, now, lock, tally).begin(streams)
    return True


class _Try:
    """One try of a rule that this process holds: every file that the site lacks."""

    def __init__(self, catalog: Catalog, rule: Rule, lock: LockFile, tally: _Tally) -> None:
        self.catalog, self.rule, self.lock, self.tally = catalog, rule, lock, tally
        self.errors: dict[int, str] = {}  # by the number of the file
        self.left = self.files = 0

    def begin(self, streams: Streams) -> None:
        """Have the copies made."""
        files = Embedded(self.catalog).files([self.rule.dataset])[self.rule.dataset]
        copies = self.catalog.replicas([f.guid for f in files])
        missing = [f for f in files if not is_at(self.catalog, self.rule.site, copies[f.guid], f)]
        self.files, self.left = len(files), len(missing)
        self.tally.expect(self.rule, len(missing))
        if not missing:
            self._end()
            return
        site = self.catalog.site(self.rule.site)
        if self.rule.state == "moving":  # who did so before was killed
            with suppress(AccessError, CatalogError):
                sweep([self._place(site, file, copies[file.guid]) for file in missing])
        self.catalog.record(PutRule(**{**vars(self.rule), "state": "moving", "error": ""}))
        for number, file in enumerate(missing):
            self._begin_one(streams, number, file, site, copies[file.guid])

    def _begin_one(
        self, streams: Streams, number: int, file: FileRecord, site: Site, copies: Sequence[Replica]
    ) -> None:
        try:
            wanted = Copy(
                file.dataset or self.rule.dataset,
                file,
                site.name,
                self._place(site, file, copies),
                tuple(_sources(self.catalog, file, copies)),
            )
        except (AccessError, CatalogError) as error:
            self._ended(number, error.message)
            return
        streams.begin(wanted, lambda error: self._ended(number, error))

    def _place(self, site: Site, file: FileRecord, copies: Sequence[Replica]) -> str:
        """Where a copy is to lie: where one below the site's folder is said to be, or where a new one goes."""
        told = (self.catalog.local_path(c, file.lfn) for c in copies if c.site == site.name)
        known = (str(path) for path in told if path and site.prefix and path.is_relative_to(site.prefix))
        return next((path for path in known if ".." not in path.split("/")), None) or place_at(site, file)

    def _ended(self, number: int, error: str) -> None:
        if error:
            self.errors[number] = error
        self.left -= 1
        self.tally.add()
        if not self.left:
            self._end()

    def _end(self) -> None:
        """Record what the try came to, and let the rule go."""
        said = [self.errors[number] for number in sorted(self.errors)]
        for error in said:
            log.warning("%s to %s: %s", self.rule.dataset, self.rule.site, error)
        tries = self.rule.tries + bool(said)
        state = "done" if not said else "failed" if tries >= TRIES else "waiting"
        over = replace(
            self.rule,
            state=state,
            tries=tries,
            error=said[0] if said else "",
            done=self.files - len(said),
            files=self.files,
        )
        if recorded(self.catalog, self.rule) is not None:  # its dataset may have been dropped
            self.catalog.record(PutRule(**vars(over)))
        self.lock.remove()


def place_at(site: Site, file: FileRecord) -> str:
    """Where a new copy of a file is to lie at a site: its logical name below the site's prefix.

    A bare name, of which other datasets may have files, too, is put below its dataset's, unless the site has rules.

    >>> far, guid = Site("FAR", "root://far.example.org//data"), "00D1B2C3-0000-4000-8000-00000000ABCD"
    >>> place_at(far, FileRecord(guid, "data18:AOD.1.root"))
    'root://far.example.org//data/data18/AOD.1.root'
    >>> place_at(far, FileRecord(guid, "result.parquet", dataset="zmumu.SEL"))
    'root://far.example.org//data/zmumu.SEL/result.parquet'
    """
    name = file.lfn or f"{file.guid}.root"
    if file.dataset and not {"/", ":"} & set(name) and not rules_of(site):
        name = f"{file.dataset}/{name}"
    made = pfns(site, name.replace(":", "/", 1))
    fit = [pfn for pfn in made if "://" not in pfn or pfn.startswith("root")]
    if not fit:
        raise CatalogError(
            f"site {site.name} has no prefix, or rule, that makes a place for copies",
            site=site.name,
            hint=f"tagsel sites add {site.name} --prefix /data",
        )
    return fit[0]


def _sources(catalog: Catalog, file: FileRecord, copies: Sequence[Replica]) -> Iterator[str]:
    """Places to copy from: local ones first, sites in downtime last."""
    down = catalog.down(datetime.now(UTC))
    places = [(c.site in down, place_of(catalog, c, file.lfn)) for c in copies] + [(False, file.pfn)] * bool(file.pfn)
    known = [(is_down, place) for is_down, place in places if is_remote(place) or os.path.isfile(place)]  # noqa: PTH113 - of a name that is too long Path's raises
    yield from dict.fromkeys(p for _, p in sorted(known, key=lambda k: (k[0], is_remote(k[1]))))


def place_of(catalog: Catalog, replica: Replica, lfn: str = "") -> str:
    """The path or URL of a copy, as its site names it; `lfn` is the file's logical name."""
    return (places_of(catalog.site(replica.site), replica, lfn) or [replica.pfn])[0]
