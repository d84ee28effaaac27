"""Between the workspace's folder, its catalog and its datasets: make, open, heal, ingest, describe, map, keep up.

Invariant: the datasets' own commit logs are the truth of their rows; a catalog that a crash left behind them is
brought up to date when the workspace is opened (datasets that it does not know) or the dataset is asked for.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tagsel import settings
from tagsel.api import trash
from tagsel.api.dataset import Dataset
from tagsel.api.inputs import DATA, caught_up, tables
from tagsel.aside import aside
from tagsel.catalog import (
    FORMER,
    Catalog,
    DatasetSpec,
    FileRecord,
    Pin,
    PutDataset,
    PutSite,
    Replica,
    check_dataset_name,
    derive_facts,
    parse_dataset_spec,
)
from tagsel.errors import AccessError, CatalogError, TagselError
from tagsel.events import EventList
from tagsel.selection.bookkeeping import totals
from tagsel.store import CompactPlan, Snapshot, Table, disk

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from tagsel.aod import EventMap, Layout
    from tagsel.api.workspace import Workspace
    from tagsel.ingest.load import Ingested

log = logging.getLogger("tagsel")

FACTS = ("type", "version", "stream", "sample", "parents", "state", "cut", "lumi")
"""What `ingest` may be told of a new dataset beside free keys."""

OWN_KEYS = frozenset({"catalog", "scope", "published"})
"""Free keys of datasets that are tagsel's own: whose a dataset is, and where it was published."""

_HEAD = """# A tagsel workspace. Settings may stand below, e.g. threads = 2; `tagsel config show` lists them.
format = {format}

[settings]
"""

_bare: dict[tuple[str, int, int], tuple[TemporaryDirectory[str], Dataset]] = {}
"""Bare files that were opened, by path, size and time, with the folder that goes when the process ends."""


def make_workspace(folder: Path) -> bool:
    """Make `folder` a workspace; False where it is one already. CatalogError for a folder that holds other things."""
    marker = folder / settings.WORKSPACE_FILE
    if marker.is_file():
        return False
    if folder.is_dir() and any(folder.iterdir()):
        raise CatalogError(
            f"{folder} is not empty and no workspace", hint="name a missing or empty folder", path=str(folder)
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DATA).mkdir(exist_ok=True)
        with aside(marker) as temporary:
            temporary.write_text(_HEAD.format(format=settings.FORMAT), encoding="utf-8")
    except OSError as error:
        raise AccessError(f"cannot make a workspace in {folder}: {error.strerror}", path=str(folder)) from error
    return True


def check_format(folder: Path) -> None:
    """CatalogError for a workspace of a version that this tagsel does not know."""
    path = folder / settings.WORKSPACE_FILE
    try:
        version = tomllib.loads(path.read_text(encoding="utf-8")).get("format")
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}", path=str(path)) from error
    if version is None:
        hint = f"its first line is: format = {settings.FORMAT}"
        raise CatalogError(f"{path} says no format", hint=hint, path=str(path))
    if version != settings.FORMAT:
        raise CatalogError(
            f"{path} has format {version!r}; this tagsel reads format {settings.FORMAT}",
            hint="use a newer tagsel",
        )


def opened(folder: Path) -> Catalog:
    """The catalog, brought up to date with the datasets where a crash came between the two."""
    catalog = Catalog(folder)
    if os.access(folder, os.W_OK):
        trash.settle(folder, catalog)
        heal(folder, catalog)
    return catalog


def heal(folder: Path, catalog: Catalog) -> list[str]:
    """Register datasets that the catalog does not know; the names that were mended.

    No other dataset is opened: one whose newest snapshot the catalog does not know is brought up to date when it is
    asked for (`inputs.caught_up`). A folder that cannot be read is said in the log, and holds up nothing else.
    """
    mended = []
    known = set(catalog.names())
    for place in sorted((folder / DATA).glob("*/_delta_log")):
        name = place.parent.name
        if name in known or not Table.exists(place.parent):
            continue
        try:
            snapshot = Table.open(place.parent).snapshot()
            if snapshot.number:  # an empty dataset is one that an ingest is making, or was killed while it did
                from tagsel.ingest.registration import register

                register(catalog, name, snapshot, _named_facts(name))
                mended.append(name)
        except TagselError as error:
            log.warning("dataset %s cannot be registered: %s", name, error.message)
    return mended


def _named_facts(name: str) -> dict[str, Any]:
    """Type, year and stream as the name says them."""
    said = derive_facts(name)
    return {"type": said.type, "year": said.year, "stream": said.stream}


def ingest(
    workspace: Workspace, files: Sequence[Path], dataset: str, *, facts: dict[str, Any], meta: dict[str, Any],
    schema: str, site: str, aod: Sequence[Path | str], evolve: bool, processes: int,
    progress: Callable[[str], None] | None,
) -> Ingested:  # fmt: skip
    """Ingest files into a dataset of the workspace; see `Workspace.ingest`."""
    from tagsel.ingest.load import ingest as load

    check_dataset_name(dataset)
    workspace.catalog.need_open(dataset)
    refuse_keys(meta)
    if dataset in workspace.catalog.names():
        record = workspace.catalog.dataset(dataset)
        if record.meta.get("catalog"):
            raise CatalogError(f"dataset {dataset} mirrors another catalog's", hint="ingest under another name")
        if record.members:
            others = ", ".join(record.members[:3])
            raise CatalogError(f"{dataset} is a container: it holds datasets, not events", dataset=dataset,
                               hint=f"ingest into one of {others}, or under another name")  # fmt: skip
    unknown = sorted(set(facts) - set(FACTS))
    if unknown:
        raise CatalogError(f"{', '.join(unknown)} is nothing that ingest takes", hint=f"known: {', '.join(FACTS)}")
    said = {k: v for k, v in facts.items() if v}
    if dataset not in workspace.catalog.names():
        said = {**_named_facts(dataset), **said}
    if meta:
        said["meta"] = meta
    site = site or workspace.setting("site")
    # All that may be refused is refused before a row is written.
    workspace.catalog.check(PutDataset(dataset, **said), *((PutSite(site),) if site else ()))
    return load(
        files, dataset, workspace.folder / DATA / dataset, workspace.catalog, said, schema=schema,
        site=site, aod=aod, evolve=evolve, processes=processes, progress=progress,
    )  # fmt: skip


def refuse_keys(meta: Mapping[str, Any]) -> None:
    """CatalogError for free keys by which tagsel itself says whose a dataset is."""
    if taken := sorted(set(map(str.lower, meta)) & OWN_KEYS):
        raise CatalogError(f"{taken[0]} is a key of tagsel's own", hint="choose another name for it", key=taken[0])


def bare(path: Path) -> Dataset:
    """A file as a dataset of its own, in a workspace that lasts as long as this process."""
    from tagsel.api.workspace import Workspace
    from tagsel.ingest.load import ingest as load

    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _bare:
        from tempfile import TemporaryDirectory

        home = TemporaryDirectory(prefix="tagsel-")
        workspace = Workspace.init(Path(home.name) / "W")
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in path.name).lstrip(".-") or "file"
        load([path], name, workspace.folder / DATA / name, workspace.catalog, {})
        _bare[key] = (home, workspace[name])
    return _bare[key][1]


def describe(workspace: Workspace, dataset: str) -> dict[str, Any]:
    """All that is known of one dataset."""
    spec = one_dataset(dataset)
    catalog = workspace.catalog
    record = catalog.dataset(spec.pattern)
    table = Table.open(home) if Table.exists(home := workspace.folder / DATA / record.name) else None
    if table is not None:
        record = caught_up(catalog, record, table.snapshot())
    known: dict[str, Any] = {
        "name": record.name,
        "id": record.id,
        **record.facts(),
        "updated": record.updated,
        "who": record.who,
    }
    if table is not None:
        snapshot = table.snapshot(spec.snapshot)
        known |= {
            "snapshot": snapshot.number,
            "snapshots": table.snapshots(),
            "events": snapshot.rows,
            "bytes": snapshot.bytes,
            "bytes_per_event": round(snapshot.bytes / snapshot.rows, 1) if snapshot.rows else None,
            "duplicates": snapshot.duplicate_rows(),
            "attributes": len(snapshot.schema),
            "menus": [{"id": i, "key": m.key, "chains": len(m.bits)} for i, m in snapshot.menus.items()],
            "bookkeeping": totals(snapshot.sources),
            "pins": {number: list(reasons) for number, reasons in table.pins().items()},
        }
    known["runs"] = [
        {"run": r.run, "lumi_blocks": r.lumi_blocks, "events": r.events} for r in catalog.runs(record.name)
    ]
    known["retractions"] = [
        {"snapshot": r.snapshot, "file": r.name, "guid": r.guid, "events": r.events, "reason": r.reason,
         "since": r.retracted, "who": r.who, "back": r.back}
        for r in catalog.retractions(record.name)
    ]  # fmt: skip
    known["tag_files"] = [
        {"guid": f.guid, "lfn": f.lfn, "pfn": f.pfn, "entries": f.entries}
        for f in catalog.files(record.name) if f.kind == "TAG"
    ]  # fmt: skip
    return known


def sql(workspace: Workspace, query: str) -> Any:
    """One SELECT over the catalog and the datasets."""
    return workspace.catalog.sql(query, tables(workspace.folder, workspace.catalog, query))


def one_dataset(dataset: str) -> DatasetSpec:
    """The one dataset that `name` or `name@3` asks for; CatalogError for a glob or several."""
    specs = parse_dataset_spec(dataset)
    if len(specs) != 1 or specs[0].is_glob:
        raise CatalogError(f"{dataset!r}: one dataset is asked for here", hint="no glob, no comma")
    return specs[0]


def pin(workspace: Workspace, events: EventList) -> None:
    """Pin every snapshot that a list's provenance names, for the list's digest.

    The dataset keeps the pin, which is what counts; the catalog is told, for its queries and audit.
    """
    reason = f"event list {events.digest[:16]}"
    for text in snapshots_of(events.provenance):
        spec = parse_dataset_spec(text)[0]
        name, number = spec.pattern, spec.snapshot
        folder = workspace.folder / DATA / name
        if number is None or not Table.exists(folder):
            continue
        Table.open(folder).pin(number, reason)
        said = {(p.snapshot, p.reason) for p in workspace.catalog.pins(name)}
        if name in workspace.catalog.names() and (number, reason) not in said:
            workspace.catalog.record(Pin(name, number, reason))


def snapshots_of(provenance: Mapping[str, object]) -> list[str]:
    """`name@snapshot` of all datasets in a list's provenance, those of the lists it was made from too."""
    found = provenance.get("datasets", [])
    names = [str(d) for d in found] if isinstance(found, list) else []
    lists = provenance.get("lists", {})
    for inner in lists.values() if isinstance(lists, Mapping) else ():
        names += snapshots_of(inner) if isinstance(inner, Mapping) else []
    return list(dict.fromkeys(names))


def home_of(events: EventList) -> list[str]:
    """`name@snapshot` of the datasets that a list itself is of: by its own record, else by those of its parents."""
    return snapshots_of({"datasets": events.provenance.get("datasets", [])}) or snapshots_of(events.provenance)


def map_list(workspace: Workspace, events: EventList, stage: str, refresh: bool = False) -> EventMap:
    """Files, entries and sites of a list's events; of each file what all datasets together know."""
    from tagsel.aod import map_events

    if refresh:
        from tagsel.api import shared

        shared.refresh(workspace, [g for g in events.stage(stage).guid.values if g])
    known, replicas, layout = files_of(workspace, events, stage)
    return map_events(events, list(known.values()), replicas, stage=stage, layout=layout)


def files_of(
    workspace: Workspace, events: EventList, stage: str
) -> tuple[dict[str, FileRecord], dict[str, list[Replica]], Layout]:
    """All files of the datasets of a list and those that it points to, their copies by GUID, and their layout."""
    catalog = workspace.catalog
    kind = stage.upper()
    names = {parse_dataset_spec(d)[0].pattern for d in snapshots_of(events.provenance)}
    guids = [f.guid for n in sorted(names & set(catalog.names())) for f in catalog.files(n, kind=kind)]
    mine = [g for g in events.stage(stage).guid.values if g]
    known = known_files(catalog.files(guids=[*guids, *mine], kind=kind))
    if kind == "AOD" and (gone := [g for g in mine if g not in known]):  # of files that were retracted since
        known |= known_files(catalog.files(guids=gone, kind=FORMER))
    return known, catalog.located(known.values()), _layout(workspace, names)


def known_files(records: Iterable[FileRecord]) -> dict[str, FileRecord]:
    """One record a GUID: the one that knows most, filled with what only others know."""

    def knows(f: FileRecord) -> tuple[bool, ...]:
        return (bool(f.pfn) and Path(f.pfn).is_file(), bool(f.pfn), f.entries >= 0, f.bytes >= 0)

    by_guid: dict[str, list[FileRecord]] = {}
    for record in records:
        by_guid.setdefault(record.guid, []).append(record)
    best = (sorted(same, key=knows, reverse=True) if len(same) > 1 else same for same in by_guid.values())
    return {first.guid: reduce(FileRecord.filled, others, first) for first, *others in best}


def _layout(workspace: Workspace, names: Iterable[str]) -> Layout:
    """Tree and id names of the datasets' files, where a schema of the user's own named them at ingest.

    One layout serves all files of a map: names of ids are looked for in turn; of several trees none is taken, and
    files that keep their events in an unusual one come out as unreadable. Such datasets are mapped one by one.
    """
    from tagsel.aod import Layout

    trees: set[str] = set()
    ids: dict[str, list[str]] = {}
    for name in sorted(names):
        folder = workspace.folder / DATA / name
        for source in Table.open(folder).snapshot().sources if Table.exists(folder) else ():
            said = cast("dict[str, Any]", source.bookkeeping.get("layout", {}))
            trees |= {said["tree"]} if said.get("tree") else set()
            for key, columns in said.get("ids", {}).items():
                ids[key] = list(dict.fromkeys((*ids.get(key, ()), *columns)))
    return Layout(trees.pop() if len(trees) == 1 else "", ids)


def compact(workspace: Workspace, dataset: str, *, dry_run: bool) -> CompactPlan | Snapshot:
    """Pack small parts; the catalog learns of the new snapshot."""
    done = workspace.table(dataset).compact(dry_run=dry_run)
    if isinstance(done, Snapshot):
        _register(workspace, dataset, done)
    return done


def restore(workspace: Workspace, dataset: str) -> Snapshot:
    """`name@3`: a new snapshot with the content of snapshot 3."""
    spec = one_dataset(dataset)
    if spec.snapshot is None:
        raise CatalogError(f"{dataset!r} names no snapshot", hint=f"as in {spec.pattern}@3")
    with disk.changing(workspace.folder / DATA / spec.pattern):
        workspace.catalog.need_open(spec.pattern)
        snapshot = workspace.table(spec.pattern).restore(spec.snapshot)
        _register(workspace, spec.pattern, snapshot)
    return snapshot


def _register(workspace: Workspace, dataset: str, snapshot: Snapshot) -> None:
    from tagsel.ingest.registration import register

    register(workspace.catalog, dataset, snapshot, {})
