"""The catalog of a workspace as a registry that others share.

Invariant: what it answers is what `Catalog` answers, and what it changes is in its journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

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
from tagsel.catalog.underway import as_it_is
from tagsel.catalog.values import Value
from tagsel.errors import CatalogError


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
        found: dict[str, list[FileRecord]] = {}
        for name in names:
            files = [f for record, _ in self.catalog.resolve(name) for f in self._own(record.name)]
            found[name] = sorted(files, key=lambda f: (f.lfn, f.guid))
        return found

    def _own(self, name: str) -> list[FileRecord]:
        """A dataset of TAGs holds its TAG files, any other all that it has."""
        files = self.catalog.files(name)
        return [f for f in files if f.kind == "TAG"] or files

    def copies(self, names: Sequence[str]) -> dict[str, list[Replica]]:
        """Where the files of datasets are, by GUID, sorted by site and name."""
        return self.catalog.replicas([f.guid for files in self.files(names).values() for f in files])

    def sites(self) -> list[Site]:
        """All sites, sorted by name."""
        return self.catalog.sites()

    def create(self, name: str, facts: DatasetFacts) -> None:
        """A new dataset, or a container of `facts.members`; refused where the name is taken."""
        said: dict[str, Any] = {f.name: getattr(facts, f.name) for f in fields(DatasetFacts)}
        self.catalog.record(PutDataset(name, **said, after=0))

    def attach(self, name: str, files: Sequence[FileRecord], site: str) -> None:
        """Add files to an open dataset, each with its copy at a site under its `pfn`, or its logical name."""
        self.catalog.need_open(name)
        held = {f.guid: f for f in (*self.catalog.files(name), *files)}
        copies = [(f.guid, f.pfn or f.lfn) for f in files]
        record = self.catalog.dataset(name)
        if record.members:
            raise CatalogError(f"{name} is a container: it holds datasets, not files", dataset=name)
        counted: Any = {
            "files": len(held),
            "events": sum(max(f.entries, 0) for f in held.values()),
            "bytes": sum(max(f.bytes, 0) for f in held.values()),
        }
        now = PutDataset(name, **{**record.facts(), **counted}, after=record.seq)
        self.catalog.record(now, PutFiles(name, files), PutReplicas(site, copies))

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
        """What is wished for of a dataset, and how far it is: copies are counted as they are now; sorted by site.

        One that is `moving` is being carried out now; whose process was killed is `waiting`, "interrupted".
        """
        found = []
        files = self.files([name])[name]
        copies = self.catalog.replicas([f.guid for f in files])
        for rule in (as_it_is(self.catalog, rule) for rule in self.catalog.rules(name)):
            done = sum(is_at(self.catalog, rule.site, copies[f.guid], f) for f in files)
            state = "done" if done == len(files) else "waiting" if rule.state == "done" else rule.state
            error = "" if state == "done" else rule.error
            found.append(replace(rule, done=done, files=len(files), state=state, error=error))
        return found

    def every_rule(self, dataset: str | None = None) -> list[Rule]:
        """The rules of one dataset or all, as `rules` has them."""
        names = sorted({rule.dataset for rule in self.catalog.rules(dataset)})
        return [rule for name in names for rule in self.rules(name)]

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
        found = path.stat()
    except OSError:
        return False
    return S_ISREG(found.st_mode) and size in (-1, found.st_size)
