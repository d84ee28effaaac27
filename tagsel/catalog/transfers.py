"""Carrying wishes out in our own catalog: a subscription makes rules, a rule copies files, a copy is verified.

Threads read, write and verify files side by side; the caller's thread alone records them, in one change for all copies
that became good while the last change was made.

Invariants: a copy is in the catalog only when its file is at the site with the checksum that the catalog has for it.
Each is recorded as soon as it is good, so a process that is killed loses nothing. Two copies to one place are never
made at once. One process at a time carries a rule out; several may work on several rules.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import TracebackType

from tagsel.base.fail_points import fail_point
from tagsel.base.lock_file import LockFile, acquire, holder
from tagsel.catalog.catalog import Catalog
from tagsel.catalog.changes import Change, PutFiles, PutReplicas, PutRule
from tagsel.catalog.names import matching
from tagsel.catalog.records import FileRecord, Replica, Rule, Site
from tagsel.catalog.registry import FOLDER, Embedded, is_at, lock_of, recorded
from tagsel.catalog.site_paths import pfns, places_of, rules_of
from tagsel.errors import AccessError, CatalogError
from tagsel.rootio import is_remote
from tagsel.rootio.copying import copy, sweep
from tagsel.store import disk

TRIES = 3
"""How often a rule is tried before it counts as failed; asking for it again gives it as many anew."""

PATIENCE_S = 3600.0
"""Seconds to wait for another process that copies the files of the same rule."""

log = logging.getLogger("tagsel")

Progress = Callable[[int, int], None] | None
"""What is called with the files that are done, copied or not, and with how many there are to be copied."""

STREAMS = 4
"""Files that are copied at once: while one waits for a disk or a server, another is read or checked. Eight were
not clearly faster than four, on a local disk or with a server nearby; and a server that is far has others to serve."""

AHEAD = 4 * STREAMS
"""Copies that are asked for before the first of them is made, so that threads do not wait for the catalog."""

_Ended = Callable[[str], None]


@dataclass(frozen=True)
class Copy:
    """A copy to be made: a file, as the dataset that it is of knows it, from the first good source to a place."""

    dataset: str
    file: FileRecord
    site: str
    target: str
    sources: Sequence[str]

    def changes(self, checksum: str) -> list[Change]:
        """What is recorded once it is there: the copy, and a checksum or size that nobody knew."""
        size = self.file.bytes if self.file.bytes >= 0 else _size(self.target)
        learnt = replace(self.file, checksum=self.file.checksum or checksum, bytes=size)
        known = [] if learnt == self.file else [PutFiles(self.dataset, [learnt], known=True)]
        return [*known, PutReplicas(self.site, [(self.file.guid, self.target)])]


class _Stopped(Exception):
    """The copy in hand is to be given up."""


class Streams:
    """Threads that copy, for as long as a `with` block lasts."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.stopped = threading.Event()
        self.begun: dict[Future[str], tuple[Copy, _Ended]] = {}

    def __enter__(self) -> Streams:
        self.threads = ThreadPoolExecutor(STREAMS, thread_name_prefix="tagsel-copy")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Give up what is not done: each thread at the next piece of its file."""
        self.stopped.set()
        self.threads.shutdown(cancel_futures=True)
        with suppress(AccessError, CatalogError):  # of a copy that is there, the next look at it says so
            self._record(self.begun[future][0].changes(future.result()) for future in self.begun if _is_good(future))

    def begin(self, wanted: Copy, ended: _Ended) -> None:
        """Have a copy made; `ended` is called, by a later method of this, with "" or why there is none."""
        while len(self.begun) >= AHEAD or any(wanted.target == other.target for other, _ in self.begun.values()):
            self.settle()
        self.begun[self.threads.submit(self._make, wanted)] = wanted, ended

    def finish(self) -> None:
        """Wait for all copies that were begun."""
        while self.begun:
            self.settle()

    def settle(self) -> None:
        """Wait for a copy, record those that are good, and say of each that it ended."""
        wait(self.begun, return_when=FIRST_COMPLETED)
        finished = [future for future in self.begun if future.done()]
        good = {future: self.begun[future][0].changes(future.result()) for future in finished if _is_good(future)}
        refused = self._refused(good)
        for future in finished:
            _, ended = self.begun.pop(future)
            error = future.exception() or refused.get(future)
            if error is not None and not isinstance(error, AccessError | CatalogError):
                raise error
            ended("" if error is None else error.message)
            fail_point("catalog.transfer")

    def _refused(self, good: dict[Future[str], list[Change]]) -> dict[Future[str], Exception]:
        """Record copies, in one change if that can be; those that the catalog refused, and why."""
        refused: dict[Future[str], Exception] = {}
        try:
            self._record(good.values())
        except CatalogError:
            for future, changes in good.items():
                try:
                    self._record([changes])
                except CatalogError as error:
                    refused[future] = error
        return refused

    def _record(self, copies: Iterable[Sequence[Change]]) -> None:
        changes = list(chain.from_iterable(copies))
        if changes:
            fail_point("catalog.transfer.copied")
            self.catalog.record(*changes)

    def _make(self, wanted: Copy) -> str:
        """What a thread does: the checksum of a good copy."""
        errors = []
        for source in wanted.sources:
            try:
                return copy(source, wanted.target, wanted.file.checksum, self._go_on)
            except AccessError as error:
                errors.append(error.message)
            except OSError as error:
                errors.append(f"{wanted.target}: cannot be written: {error.strerror or error}")
        why = "; ".join(errors) or "no copy of it is known that can be read"
        raise AccessError(f"{wanted.file.lfn or wanted.file.guid}: {why}", guid=wanted.file.guid)

    def _go_on(self) -> None:
        if self.stopped.is_set():
            raise _Stopped


def _size(place: str) -> int:
    """The size of a copy on this machine; -1 of others."""
    try:
        return -1 if is_remote(place) else Path(place).stat().st_size
    except OSError:
        return -1


def _is_good(future: Future[str]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


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
    existing = {(rule.dataset, rule.site) for rule in catalog.rules()}
    for wish in catalog.subscriptions():
        names = [n for n in matching(wish.pattern, catalog.names()) if (n, wish.site) not in existing]
        catalog.record(*(PutRule(name, wish.site, why=wish.pattern) for name in names))
        existing |= {(name, wish.site) for name in names}


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
        """Return the place of a copy: that of a recorded one below the site's folder, or that of a new one."""
        for replica in copies:
            if replica.site != site.name:
                continue
            path = self.catalog.local_path(replica, file.lfn)
            if path and site.prefix and path.is_relative_to(site.prefix) and ".." not in path.parts:
                return str(path)
        return place_at(site, file)

    def _ended(self, number: int, error: str) -> None:
        if error:
            self.errors[number] = error
        self.left -= 1
        self.tally.add()
        if not self.left:
            self._end()

    def _end(self) -> None:
        """Record the result of the try, and release the rule."""
        errors = [self.errors[number] for number in sorted(self.errors)]
        for error in errors:
            log.warning("%s to %s: %s", self.rule.dataset, self.rule.site, error)
        tries = self.rule.tries
        state = "done"
        if errors:
            tries += 1
            state = "failed" if tries >= TRIES else "waiting"
        result = replace(
            self.rule,
            state=state,
            tries=tries,
            error=errors[0] if errors else "",
            done=self.files - len(errors),
            files=self.files,
        )
        if recorded(self.catalog, self.rule) is not None:  # its dataset may have been dropped
            self.catalog.record(PutRule(**vars(result)))
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
    places = pfns(site, name.replace(":", "/", 1))
    fit = [pfn for pfn in places if "://" not in pfn or pfn.startswith("root")]
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
    readable = [(is_down, place) for is_down, place in places if is_remote(place) or os.path.isfile(place)]  # noqa: PTH113 - of a name that is too long Path's raises
    yield from dict.fromkeys(p for _, p in sorted(readable, key=lambda k: (k[0], is_remote(k[1]))))


def place_of(catalog: Catalog, replica: Replica, lfn: str = "") -> str:
    """The path or URL of a copy, as its site names it; `lfn` is the file's logical name."""
    return (places_of(catalog.site(replica.site), replica, lfn) or [replica.pfn])[0]
