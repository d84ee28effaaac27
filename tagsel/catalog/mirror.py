"""Mirroring another registry: what a workspace needs of it is kept in its own catalog, so that work goes on offline.

A mirrored dataset has the registry's name for it without the scope, and free keys `catalog` (whose it is) and `scope`.
Invariant: after `sync` the catalog says of the datasets that were asked for what the registry said, no more and no
less; what is the workspace's own, or another catalog's, is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter

from tagsel.catalog.catalog import Catalog
from tagsel.catalog.changes import (
    Change,
    DropDataset,
    DropFiles,
    DropReplicas,
    PutCatalog,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutSite,
)
from tagsel.catalog.names import is_dataset_name
from tagsel.catalog.records import DatasetRecord, FileRecord, Replica, SharedCatalog
from tagsel.catalog.registry import NO_GUID, Registry
from tagsel.errors import CatalogError

BATCH = 200
"""How many datasets are asked for, and recorded, at once."""


PUBLISHED = "published"
"""The free key of a dataset of our own that says where it was registered, as `catalog:scope:name`."""


@dataclass
class Synced:
    """What a `sync` found: datasets, files and copies there are now; `new`, `changed` and `gone` datasets by name.

    `left_out` are datasets and sites whose name is taken here by something else, or cannot be one here, and files of
    datasets that have no GUID.
    """

    catalog: str
    datasets: int = 0
    files: int = 0
    copies: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def sync(catalog: Catalog, shared: SharedCatalog, registry: Registry, patterns: Sequence[str] = ()) -> Synced:
    """Make the catalog say what a registry says of the datasets that `patterns` match, by default all it mirrors.

    CatalogError where no pattern is known, or the registry does not answer: then nothing of a batch is changed.
    """
    globs = tuple(patterns) or shared.patterns
    if not globs:
        raise CatalogError(f"catalog {shared.name}: no datasets to mirror were named", hint="--datasets SCOPE:GLOB")
    done = Synced(shared.name)
    matches: set[str] = set()
    for glob in globs:
        matches.update(registry.names(glob))
    names = sorted(matches)
    done.left_out = [f"site {name}" for name in _sites(catalog, shared, registry)]
    mine = _Mine(catalog, shared.name)
    for start in range(0, len(names), BATCH):
        _batch(mine, registry, names[start : start + BATCH], done)
    if not patterns:
        unseen = sorted(mine.names - set(mine.seen))  # they may have been asked for once only
        done.gone = [n for n in unseen if not registry.names(theirs(mine.records[n]))]
        catalog.record(*(DropDataset(name) for name in _holders_first(catalog, done.gone)))
        synced = datetime.now(UTC).isoformat(timespec="seconds")
        catalog.record(PutCatalog(shared.name, shared.kind, shared.settings, shared.patterns, synced))
    return done


def local(name: str) -> str:
    """What a dataset of a registry is called here.

    >>> local("data18:data18.DoubleMuon.AOD")
    'data18.DoubleMuon.AOD'
    """
    return name.partition(":")[2] or name


def theirs(record: DatasetRecord) -> str:
    """What the registry calls a mirrored dataset."""
    scope = record.meta.get("scope", "")
    return f"{scope}:{record.name}" if scope else record.name


class _Mine:
    """What the catalog says of the datasets of one registry."""

    def __init__(self, catalog: Catalog, name: str) -> None:
        self.catalog, self.name = catalog, name
        self.records = {r.name: r for r in catalog.datasets()}
        self.names = {n for n, r in self.records.items() if r.meta.get("catalog") == name}
        self.seen: dict[str, str] = {}
        self._published = {str(r.meta.get(PUBLISHED, "")) for r in self.records.values()}

    def takes(self, name: str) -> bool:
        """Whether a dataset of the registry can have its name here; two scopes may have one name, the first has it."""
        here = local(name)
        if (here in self.records and here not in self.names) or not is_dataset_name(here):
            return False
        return self.seen.setdefault(here, name) == name

    def made(self, name: str) -> bool:
        """Whether a dataset of the registry is one of this workspace's own."""
        return f"{self.name}:{name}" in self._published


def _batch(mine: _Mine, registry: Registry, names: Sequence[str], done: Synced) -> None:
    catalog = mine.catalog
    records: list[DatasetRecord] = []
    for record in _with_members(registry, names, mine.seen):
        if mine.takes(record.name) and all(is_dataset_name(local(member)) for member in record.members):
            records.append(record)
        elif not mine.made(record.name):
            done.left_out.append(record.name)
    done.left_out += [f"{r.meta[NO_GUID]} files of {r.name}, which have no GUID" for r in records if NO_GUID in r.meta]
    plain = [r.name for r in records if not r.members]
    files, copies = registry.files(plain), registry.copies(plain)
    changes: list[Change] = []
    for record in records:
        here = _record(record, mine.name)
        old = mine.records.get(here.name)
        new = [*_facts(old, here), *_files(catalog, here.name, files.get(record.name, []), bool(old))]
        if new:
            (done.changed if old else done.new).append(here.name)
        changes += new
    sites = {s.name for s in catalog.sites() if s.meta.get("catalog") == mine.name}
    catalog.record(*changes, *_replicas(catalog.replicas(list(copies)), copies, sites))
    done.datasets += len(records)
    done.files += len(copies)
    done.copies += sum(map(len, copies.values()))


def _with_members(registry: Registry, names: Sequence[str], seen: Mapping[str, str]) -> list[DatasetRecord]:
    """Records of datasets and of all that they hold which was not seen yet, what a container holds before it."""
    records: dict[str, DatasetRecord] = {}
    names = list(dict.fromkeys(names))
    while names := [name for name in names if name not in records and seen.get(local(name)) != name]:
        members: dict[str, None] = {}
        for record in registry.datasets(names):
            records[record.name] = record
            members |= dict.fromkeys(record.members)
        names = list(members)
    graph = {name: set(record.members) & set(records) for name, record in records.items()}
    return [records[name] for name in TopologicalSorter(graph).static_order()]


def _record(record: DatasetRecord, catalog: str) -> DatasetRecord:
    scope = record.name.partition(":")[0] if ":" in record.name else ""
    facts: dict[str, object] = {
        **record.facts(),
        "members": tuple(map(local, record.members)),
        "meta": {**record.meta, "catalog": catalog, "scope": scope},
    }
    return DatasetRecord(name=local(record.name), **facts)  # type: ignore[arg-type]


def _facts(old: DatasetRecord | None, new: DatasetRecord) -> Iterator[Change]:
    if old is None or old.facts() != new.facts():
        yield PutDataset(new.name, **new.facts())  # type: ignore[arg-type]


def _files(catalog: Catalog, dataset: str, files: Sequence[FileRecord], known: bool) -> Iterator[Change]:
    old = {(f.kind, f.guid): f for f in catalog.files(dataset)} if known else {}
    new = {(f.kind, f.guid): f for f in files}
    if added := [f for key, f in new.items() if key not in old or not f.same(old[key])]:
        yield PutFiles(dataset, added)
    if removed := sorted(set(old) - set(new)):
        yield DropFiles(dataset, removed)


def _replicas(
    old: Mapping[str, Sequence[Replica]], new: Mapping[str, Sequence[Replica]], sites: Iterable[str]
) -> Iterator[Change]:
    """Changes that make copies at the registry's `sites` those that it said."""
    before, after = _by_site(old), _by_site(new)
    for site in sorted(sites):
        old_copies, new_copies = before.get(site, set()), after.get(site, set())
        if new_copies - old_copies:
            yield PutReplicas(site, sorted(new_copies - old_copies))
        if old_copies - new_copies:
            yield DropReplicas(site, sorted(old_copies - new_copies))


def _by_site(replicas: Mapping[str, Sequence[Replica]]) -> dict[str, set[tuple[str, str]]]:
    """The pairs (guid, pfn) of copies, by site."""
    pairs: dict[str, set[tuple[str, str]]] = {}
    for copies in replicas.values():
        for copy in copies:
            pairs.setdefault(copy.site, set()).add((copy.guid, copy.pfn))
    return pairs


def _sites(catalog: Catalog, shared: SharedCatalog, registry: Registry) -> list[str]:
    """Take over the registry's sites and their keys; prefix and other keys that were given here stay.

    Names of sites that hold files of the workspace's own are left alone, and returned.
    """
    sites, file_counts = {s.name: s for s in catalog.sites()}, catalog.site_counts()
    changes, conflicts = [], []
    for site in registry.sites():
        old = sites.get(site.name)
        if old is not None and old.meta.get("catalog") != shared.name and site.name in file_counts:
            conflicts.append(site.name)
            continue
        meta = {**(old.meta if old else {}), **site.meta, "catalog": shared.name}
        if old is None or meta != old.meta:
            changes.append(PutSite(site.name, old.prefix if old else site.prefix, meta))
    catalog.record(*changes)
    return conflicts


def _holders_first(catalog: Catalog, names: Sequence[str]) -> list[str]:
    """Names of datasets, containers before what they hold."""
    members = {n: set(catalog.dataset(n).members) for n in names}
    return sorted(names, key=lambda n: (not members[n], n))
