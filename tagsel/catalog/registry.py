"""Registries of datasets: what a catalog that others share must be able to do, and our own catalog as one.

Rucio (`rucio`) is used alike. A registry spells names its own way: Rucio's are `scope:name`. A process that carries out
a rule of our own catalog holds the rule's lock in `transfers/`.

Invariants: a method that changes something returns only when the registry has confirmed it. The lock is the truth: a
rule that the catalog calls `moving` and that nobody holds was interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, Protocol

from tagsel.base.lock_file import holder
from tagsel.catalog.catalog import Catalog
from tagsel.catalog.changes import (
    DropSubscription,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutRule,
    PutSubscription,
    SetMeta,
)
from tagsel.catalog.records import DatasetFacts, DatasetRecord, FileRecord, Replica, Rule, Site, Subscription
from tagsel.catalog.values import Value
from tagsel.errors import CatalogError

NO_GUID = "files_without_guid"
"""The free key of a dataset that says how many of its files are left out, for no row of a TAG can point to them."""


class Registry(Protocol):
    """Datasets, containers, their files, copies of these at sites, and wishes for copies. Errors are CatalogErrors."""

    def names(self, pattern: str = "*") -> list[str]:
        """Datasets and containers that the glob `pattern` matches, sorted."""

    def datasets(self, names: Sequence[str]) -> list[DatasetRecord]:
        """Their records, in the order asked: `events`, `files` and `bytes` are those of the files."""

    def files(self, names: Sequence[str]) -> dict[str, list[FileRecord]]:
        """The files of each dataset or container, sorted by logical name."""

    def copies(self, names: Sequence[str]) -> dict[str, list[Replica]]:
        """Where the files of datasets are, by GUID, sorted by site and name; a file without any has an empty list."""

    def sites(self) -> list[Site]:
        """All sites, sorted by name."""

    def create(self, name: str, facts: DatasetFacts) -> None:
        """A new dataset, or a container of `facts.members`; refused where the name is taken."""

    def attach(self, name: str, files: Sequence[FileRecord], site: str) -> None:
        """Add files to an open dataset, each with its copy at a site as its `pfn` says ("": as the site does)."""

    def describe(self, name: str, meta: Mapping[str, Value]) -> None:
        """Set free keys of a dataset."""

    def close(self, name: str) -> None:
        """Nothing is added to the dataset any more."""

    def wish(self, name: str, site: str) -> None:
        """Ask for complete copies of a dataset at a site; asked again, nothing changes."""

    def rules(self, name: str) -> list[Rule]:
        """What is wished for of a dataset, and how far it is; sorted by site."""

    def every_rule(self) -> list[Rule]:
        """All that is wished for, by subscriptions too, sorted by dataset and site."""

    def subscribe(self, pattern: str, site: str) -> None:
        """Ask for complete copies, at a site, of all datasets that a glob matches, those to come too."""

    def subscriptions(self) -> list[Subscription]:
        """What is subscribed to, sorted."""

    def unsubscribe(self, pattern: str, site: str) -> None:
        """End a subscription; copies and rules that it made stay. CatalogError where there is none."""


FOLDER = "transfers"
"""The folder of these locks, beside the catalog; there is one only while it is held, or where its holder was killed."""

INTERRUPTED = "interrupted"
"""The error of a rule whose copies were being made when their process ended."""


def lock_of(folder: Path, rule: Rule) -> Path:
    """The lock of a rule of the catalog in `folder`."""
    name = hashlib.sha256(f"{rule.dataset}\0{rule.site}".encode()).hexdigest()[:32]
    return folder / FOLDER / f"{name}.lock"


def as_it_is(catalog: Catalog, rule: Rule) -> Rule:
    """A rule of the catalog as it is now: `waiting` where it was interrupted."""
    if not _left(catalog, rule):
        return rule
    now = recorded(catalog, rule) or rule  # it may have ended between the two looks
    return replace(now, state="waiting", error=INTERRUPTED) if _left(catalog, now) else now


def recorded(catalog: Catalog, rule: Rule) -> Rule | None:
    """What the catalog says now of a rule; None where its dataset was dropped."""
    return next((current for current in catalog.rules(rule.dataset) if current.site == rule.site), None)


def _left(catalog: Catalog, rule: Rule) -> bool:
    return rule.state == "moving" and holder(lock_of(catalog.folder, rule)) is None


class Embedded:
    """A `Registry` over the catalog of a workspace. Wishes are carried out by `transfers`."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def names(self, pattern: str = "*") -> list[str]:
        """Datasets and containers that the glob `pattern` matches, sorted."""
        return self.catalog.names(pattern)

    def datasets(self, names: Sequence[str]) -> list[DatasetRecord]:
        """Their records, in the order asked."""
        return [self.catalog.dataset(name) for name in names]

    def files(self, names: Sequence[str]) -> dict[str, list[FileRecord]]:
        """The files that each dataset or container holds, not those that its rows point to; sorted by logical name."""
        by_name: dict[str, list[FileRecord]] = {}
        for name in names:
            files: list[FileRecord] = []
            for record, _ in self.catalog.resolve(name):
                files += self._own(record.name)
            by_name[name] = sorted(files, key=lambda file: (file.lfn, file.guid))
        return by_name

    def _own(self, name: str) -> list[FileRecord]:
        """A dataset of TAGs holds its TAG files, any other all that it has."""
        files = self.catalog.files(name)
        return [f for f in files if f.kind == "TAG"] or files

    def copies(self, names: Sequence[str]) -> dict[str, list[Replica]]:
        """Where the files of datasets are, by GUID, sorted by site and name."""
        guids: list[str] = []
        for files in self.files(names).values():
            guids += [file.guid for file in files]
        return self.catalog.replicas(guids)

    def sites(self) -> list[Site]:
        """All sites, sorted by name."""
        return self.catalog.sites()

    def create(self, name: str, facts: DatasetFacts) -> None:
        """A new dataset, or a container of `facts.members`; refused where the name is taken."""
        values: dict[str, Any] = {f.name: getattr(facts, f.name) for f in fields(DatasetFacts)}
        self.catalog.record(PutDataset(name, **values, after=0))

    def attach(self, name: str, files: Sequence[FileRecord], site: str) -> None:
        """Add files to an open dataset, each with its copy at a site under its `pfn`, or its logical name."""
        self.catalog.need_open(name)
        all_files = {file.guid: file for file in (*self.catalog.files(name), *files)}.values()
        copies = [(f.guid, f.pfn or f.lfn) for f in files]
        record = self.catalog.dataset(name)
        if record.members:
            raise CatalogError(f"{name} is a container: it holds datasets, not files", dataset=name)
        counts: Any = {
            "files": len(all_files),
            "events": sum(max(file.entries, 0) for file in all_files),
            "bytes": sum(max(file.bytes, 0) for file in all_files),
        }
        dataset = PutDataset(name, **{**record.facts(), **counts}, after=record.seq)
        self.catalog.record(dataset, PutFiles(name, files), PutReplicas(site, copies))

    def describe(self, name: str, meta: Mapping[str, Value]) -> None:
        """Set free keys of a dataset."""
        self.catalog.record(SetMeta(name, meta))

    def close(self, name: str) -> None:
        """Nothing is added to the dataset any more."""
        self.catalog.alter(name, state="closed")

    def wish(self, name: str, site: str) -> None:
        """Ask for complete copies of a dataset at a site; asked again, nothing changes."""
        if site not in {rule.site for rule in self.catalog.rules(name)}:
            self.catalog.record(PutRule(name, site))

    def rules(self, name: str) -> list[Rule]:
        """Return the rules of a dataset, sorted by site, with the number of copies that are there now.

        A process carries out a rule that is `moving`. A rule whose process was killed is `waiting`, "interrupted".
        """
        rules = []
        files = self.files([name])[name]
        copies = self.catalog.replicas([file.guid for file in files])
        for recorded_rule in self.catalog.rules(name):
            rule = as_it_is(self.catalog, recorded_rule)
            done = sum(is_at(self.catalog, rule.site, copies[file.guid], file) for file in files)
            state, error = rule.state, rule.error
            if done == len(files):
                state, error = "done", ""
            elif state == "done":  # a copy has gone since
                state = "waiting"
            rules.append(replace(rule, done=done, files=len(files), state=state, error=error))
        return rules

    def every_rule(self, dataset: str | None = None) -> list[Rule]:
        """The rules of one dataset or all, as `rules` has them."""
        names = sorted({rule.dataset for rule in self.catalog.rules(dataset)})
        rules: list[Rule] = []
        for name in names:
            rules += self.rules(name)
        return rules

    def subscribe(self, pattern: str, site: str) -> None:
        """Ask for complete copies, at a site, of all datasets that a glob matches, those to come too."""
        self.catalog.record(PutSubscription(pattern, site))

    def subscriptions(self) -> list[Subscription]:
        """What is subscribed to, sorted."""
        return self.catalog.subscriptions()

    def unsubscribe(self, pattern: str, site: str) -> None:
        """End a subscription; copies and rules that it made stay."""
        self.catalog.record(DropSubscription(pattern, site))


def is_at(catalog: Catalog, site: str, copies: Sequence[Replica], file: FileRecord) -> bool:
    """Whether a copy of a file is at a site: of one on this machine there is a file, of the size that is known of it.

    Others are believed.
    """
    places = [catalog.local_path(c, file.lfn) for c in copies if c.site == site]
    return any(path is None or _is_file(path, file.bytes) for path in places)


def _is_file(path: Path, size: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return S_ISREG(status.st_mode) and size in (-1, status.st_size)
