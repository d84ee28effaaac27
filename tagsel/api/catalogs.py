"""Catalogs that others share: which there are, mirroring them, and registering what was made here with them.

Invariant: a dataset is published whole or can be published again: what is at the other catalog already stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.home import Home
from tagsel.base.text_table import Table
from tagsel.catalog import (
    DatasetFacts,
    DatasetRecord,
    DropCatalog,
    FileRecord,
    PutCatalog,
    PutReplicas,
    PutSite,
    SetMeta,
    SharedCatalog,
)
from tagsel.catalog.mirror import PUBLISHED, Synced, sync, theirs
from tagsel.catalog.registry import Embedded
from tagsel.catalog.rucio import keys_of
from tagsel.errors import CatalogError, after, did_you_mean

if TYPE_CHECKING:
    from tagsel.catalog.rucio import Rucio

SETTINGS = ("config", "account", "scope")
"""What is kept of a catalog of Rucio's: its rucio.cfg ("": as Rucio finds it), account, and scope for new names."""


def _rucio(settings: Mapping[str, Any]) -> Rucio:
    from tagsel.catalog.rucio import Rucio

    return Rucio(str(settings.get("config", "")), str(settings.get("account", "")))


KINDS: Mapping[str, Callable[[Mapping[str, Any]], Rucio]] = {"rucio": _rucio}
"""Kinds of catalogs, and how each is opened."""


@dataclass(frozen=True)
class Published:
    """A dataset that was registered with another catalog: its name there, files, where, and keys that were not kept."""

    name: str
    site: str
    files: int
    bytes: int
    unsaid: tuple[str, ...] = ()


def add(home: Home, kind: str, name: str, patterns: Sequence[str], settings: Mapping[str, str]) -> SharedCatalog:
    """Mirror a catalog from now on; it is asked first whether it answers, so that a mistake shows at once.

    One that is mirrored already is mirrored for these patterns, too.
    """
    if kind not in KINDS:
        raise CatalogError(f"unknown kind of catalog {kind!r}", hint=did_you_mean(kind, KINDS) or ", ".join(KINDS))
    kept = {k: str(Path(v).resolve()) if k == "config" else v for k, v in settings.items() if v}
    KINDS[kind](kept).sites()
    old = {c.name: c for c in home.catalog.catalogs()}.get(name)
    wanted = dict.fromkeys((*(old.patterns if old else ()), *patterns))
    home.catalog.record(PutCatalog(name, kind, kept, tuple(wanted), old.synced if old else ""))
    return find(home, name)


def find(home: Home, name: str = "") -> SharedCatalog:
    """The catalog of that name; "" is the only one that there is."""
    known = {c.name: c for c in home.catalog.catalogs()}
    if not name and len(known) == 1:
        return next(iter(known.values()))
    if not known:
        raise CatalogError("no other catalog is mirrored here", hint="tagsel catalogs add rucio")
    if name not in known:
        said = f"no catalog {name!r}" if name else f"{len(known)} catalogs are mirrored here: which?"
        raise CatalogError(said, hint=did_you_mean(name, known) or f"known: {', '.join(known)}")
    return known[name]


def opened(shared: SharedCatalog) -> Rucio:
    """The registry of a catalog."""
    return KINDS[shared.kind](shared.settings)


def forget(home: Home, name: str) -> None:
    """Mirror a catalog no more; what was mirrored of it stays."""
    home.catalog.record(DropCatalog(find(home, name).name))


def table(home: Home) -> Table:
    """The catalogs that are mirrored, and how old what is known of each is."""
    mirrored = Counter(r.meta.get("catalog") for r in home.catalog.datasets())
    rows = [
        (c.name, c.kind, " ".join(c.patterns), mirrored[c.name], c.synced, age(c.synced))
        for c in home.catalog.catalogs()
    ]
    return Table(("name", "kind", "datasets", "mirrored", "synced", "age"), tuple(rows))


def age(when: str) -> str:
    """How long ago a time is, for people; "never" for no time."""
    if not when:
        return "never"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def mirror(home: Home, name: str = "", datasets: Sequence[str] = ()) -> Synced:
    """Take over what a catalog says now of all datasets that it is mirrored for, or of those that patterns match."""
    shared = find(home, name)
    return sync(home.catalog, shared, opened(shared), datasets)


def refresh(home: Home, guids: Sequence[str]) -> list[Synced]:
    """Ask again for the mirrored datasets that hold some files."""
    mirrored: dict[str, set[str]] = {}
    names = {f.dataset for f in home.catalog.files(guids=guids)}
    for record in (home.catalog.dataset(n) for n in sorted(names)):
        if catalog := str(record.meta.get("catalog", "")):
            mirrored.setdefault(catalog, set()).add(theirs(record))
    return [mirror(home, catalog, sorted(wanted)) for catalog, wanted in mirrored.items()]


def ages(home: Home, sites: Collection[str]) -> dict[str, str]:
    """When each catalog that told of copies at some sites was last asked, by name."""
    whose = {str(s.meta.get("catalog", "")) for s in home.catalog.sites() if s.name in sites}
    return {c.name: c.synced for c in home.catalog.catalogs() if c.name in whose}


def publish(home: Home, dataset: str, *, to: str = "", site: str, scope: str = "") -> Published:
    """Copy the files of a dataset to a site of another catalog, verified, and register them there with its provenance.

    The dataset is closed there: what was selected, from what, with which cut and ledger, goes with it. CatalogError
    where the name is taken there by another, or the dataset has no files of its own here.
    """
    shared = find(home, to)
    registry = opened(shared)
    record = home.catalog.dataset(dataset)
    scope = scope or str(shared.settings.get("scope", ""))
    if not scope:
        raise CatalogError(f"catalog {shared.name}: in which scope is {dataset} to be?", hint="--scope user.jdoe")
    if record.meta.get("catalog"):
        raise CatalogError(f"dataset {dataset} is a mirror of catalog {record.meta['catalog']}: it is there already")
    name = f"{scope}:{dataset}"
    files = _own_files(home, dataset, scope)
    facts, unsaid = _facts(home, record, registry.keeps_keys)
    places = {f.guid: registry.place(f.lfn, site) for f in files}  # before all else: a site may not be there
    there = _there(registry, name, facts, set(places))
    _refuse_elsewhere(registry, name, site, there)
    placed = [_placed(f, places[f.guid]) for f in files if f.guid not in there]
    if placed:
        registry.attach(name, placed, site)
    registry.close(name)
    public = f"{shared.name}:{name}"
    with after(f"{public} is published at {site}, and closed", "the same command again records it here, too"):
        sites = {s.name for s in home.catalog.sites()}
        here = [PutSite(site, "", {"catalog": shared.name})] if site not in sites else []
        copies = []
        for replicas in registry.copies([name]).values():
            copies += [(copy.guid, copy.pfn) for copy in replicas if copy.site == site]
        home.catalog.record(*here, PutReplicas(site, copies), SetMeta(dataset, {PUBLISHED: public}))
    return Published(name, site, len(files), sum(f.bytes for f in files), unsaid)


def _own_files(home: Home, dataset: str, scope: str) -> list[FileRecord]:
    """The dataset's files, named for the other catalog, with sizes and checksums of what is on disk."""
    from tagsel.rootio.copying import checksum

    files = Embedded(home.catalog).files([dataset])[dataset]
    if not files:
        raise CatalogError(f"dataset {dataset} has no files", dataset=dataset)
    named = []
    for number, file in enumerate(files):
        path = Path(file.pfn)
        if not path.is_file():
            raise CatalogError(f"{file.lfn} of {dataset}: there is no file {file.pfn!r}", dataset=dataset)
        lfn = f"{scope}:{dataset}._{number:06d}{path.suffix}"
        found = replace(file, lfn=lfn, bytes=path.stat().st_size, checksum=checksum(file.pfn))
        if file.bytes not in (-1, found.bytes) or file.checksum not in ("", found.checksum):
            raise CatalogError(
                f"{file.pfn} is not the file of {dataset} that was registered: {found.bytes:,} B, {found.checksum}; "
                f"expected {file.bytes:,} B, {file.checksum or 'any checksum'}",
                dataset=dataset,
            )
        named.append(found)
    return named


def _facts(home: Home, record: DatasetRecord, keeps: bool) -> tuple[DatasetFacts, tuple[str, ...]]:
    """What goes with the dataset; and what the other catalog cannot keep."""
    parents = tuple(
        theirs(home.catalog.dataset(p)) if p in home.catalog.names() and "@" not in p else p for p in record.parents
    )
    recorded = DatasetFacts(**record.facts())  # type: ignore[arg-type]
    facts = replace(
        recorded,
        parents=parents,
        members=(),
        state="open",
        meta={k: v for k, v in record.meta.items() if k != PUBLISHED},
    )
    if keeps:
        return facts, ()
    said = {"cut": facts.cut, "lumi": facts.lumi, "sample": facts.sample, "parents": facts.parents, **facts.meta}
    bare = replace(facts, cut="", lumi="", sample="", parents=(), meta={})
    return bare, tuple(key for key, value in said.items() if value)


def _there(registry: Rucio, name: str, facts: DatasetFacts, mine: set[str]) -> set[str]:
    """GUIDs that a dataset of the other catalog has; it is made where it is not there, and finished where it was begun.

    CatalogError where it has other files than `mine`, or says of itself something else.
    """
    if name not in registry.names(name):
        registry.create(name, facts)
        return set()
    (found,) = registry.datasets([name])
    held = {f.guid for f in registry.files([name])[name]}
    keys = keys_of(facts)
    said = keys_of(found)
    if held - mine or found.type != facts.type or any(said.get(key, value) != value for key, value in keys.items()):
        raise CatalogError(f"there is another dataset {name} already", hint="choose another --scope", dataset=name)
    if lacking := {key: value for key, value in keys.items() if key not in said}:
        registry.describe(name, lacking)  # the process that made it died before it described it
    return held


def _refuse_elsewhere(registry: Rucio, name: str, site: str, there: set[str]) -> None:
    """CatalogError where a dataset that was published has files without a copy at a site."""
    copies = list(chain.from_iterable(registry.copies([name]).values())) if there else []
    if lacking := there - {c.guid for c in copies if c.site == site}:
        sites = ", ".join(sorted({c.site for c in copies})) or "no site"
        raise CatalogError(
            f"{name} is there already, at {sites}; {len(lacking)} of its files have no copy at {site}",
            hint=f"rucio rule add --copies 1 --rses {site} {name}",
            dataset=name,
        )


def _placed(file: FileRecord, place: str) -> FileRecord:
    from tagsel.rootio.copying import copy

    copy(file.pfn, place, file.checksum)
    return replace(file, pfn=place)


class Catalogs:
    """Other people's catalogs that a workspace mirrors; `ws.catalogs`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def add(
        self,
        kind: str,
        name: str = "",
        datasets: Sequence[str] = (),
        *,
        config: str = "",
        account: str = "",
        scope: str = "",
    ) -> SharedCatalog:
        """Mirror another catalog, kind `rucio`, from now on: those of its datasets that globs (`scope:name`) match.

        `config` is a rucio.cfg, by default the one that Rucio's own commands find; `scope` is for what is published.
        """
        settings = {"config": config, "account": account, "scope": scope}
        return add(self._home, kind, name or kind, datasets, settings)

    def sync(self, name: str = "", datasets: Sequence[str] = ()) -> Synced:
        """Take over what another catalog says now: datasets, files, copies, sites. Work then goes on without it."""
        return mirror(self._home, name, datasets)

    def publish(self, dataset: str, *, site: str, to: str = "", scope: str = "") -> Published:
        """Copy the files of a dataset to a site of another catalog, verified, and register them there, closed."""
        return publish(self._home, dataset, to=to, site=site, scope=scope)

    def forget(self, name: str) -> None:
        """Mirror a catalog no more; what was mirrored of it stays."""
        forget(self._home, name)

    def list(self) -> Table:
        """List the catalogs that are mirrored, and how old what is known of each is."""
        return table(self._home)

    def __repr__(self) -> str:
        return f"<Catalogs of {self._home.folder}>"
