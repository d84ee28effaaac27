"""Between the workspace's folder, its catalog and its datasets: make, open, heal, ingest, describe, map, keep up.

Invariant: the datasets' own commit logs are the truth of their rows; a catalog that a crash left behind them is
brought up to date when the workspace is opened (datasets that it does not know) or the dataset is asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tagsel.api import asked, delivery, trash
from tagsel.api.dataset import Dataset
from tagsel.api.inputs import DATA, caught_up, hidden, tables, unread
from tagsel.api.origins import CONTENTS, home_of_origin, origins
from tagsel.base import known_workspaces, settings
from tagsel.base.atomic_write import atomic_write
from tagsel.base.documents import read_toml
from tagsel.base.local_path import local_path
from tagsel.base.output_file import own_place
from tagsel.catalog import (
    FORMER,
    Catalog,
    DatasetRecord,
    DatasetSpec,
    FileRecord,
    Pin,
    PutDataset,
    PutSite,
    Replica,
    check_dataset_name,
    derive_facts,
    others,
    parse_dataset_spec,
    reader_pins,
)
from tagsel.catalog.sandbox import parse
from tagsel.errors import AccessError, CatalogError, IngestError, TagselError, after
from tagsel.events import EventList
from tagsel.selection.bookkeeping import totals
from tagsel.selection.table import Table as Selected
from tagsel.store import CompactPlan, Snapshot, Table, disk, unsettled
from tagsel.store.log import manifests, record_of
from tagsel.store.upkeep import left_by_the_killed

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from tagsel.aod import EventMap, Layout
    from tagsel.api.workspace import Workspace
    from tagsel.ingest.load import Ingested

log = logging.getLogger("tagsel")

LOCAL = "a workspace is a folder of a local or mounted file system"
"""What to say where a URL is given for a workspace."""

FACTS = ("type", "version", "stream", "sample", "parents", "state", "cut", "lumi")
"""What `ingest` may be told of a new dataset beside free keys."""

OWN_KEYS = frozenset({"catalog", "scope", "published", CONTENTS})
"""Free keys of datasets that are tagsel's own: whose a dataset is, and where it was published."""

_HEAD = """# A tagsel workspace. Settings may stand below, e.g. threads = 2; `tagsel config show` lists them.
format = {format}

[settings]
"""

_bare: dict[tuple[str, int, int], tuple[TemporaryDirectory[str], Dataset]] = {}
"""Bare files that were opened, by path, size and time, with the folder that goes when the process ends."""


def make_workspace(folder: Path) -> bool:
    """Make `folder` a workspace; False where it is one already. CatalogError for a folder that holds other things."""
    local_path(folder, LOCAL)
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
        with atomic_write(marker) as temporary:
            temporary.write_text(_HEAD.format(format=settings.FORMAT), encoding="utf-8")
    except OSError as error:
        raise AccessError(f"cannot make a workspace in {folder}: {error.strerror}", path=str(folder)) from error
    return True


def check_format(folder: Path) -> None:
    """CatalogError for a workspace of a version that this tagsel does not know."""
    path = folder / settings.WORKSPACE_FILE
    try:
        version = read_toml(path).get("format")
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
    if catalog.may_write():
        trash.settle(folder, catalog)
        heal(folder, catalog)
    return catalog


def heal(folder: Path, catalog: Catalog) -> list[str]:
    """Register datasets that the catalog does not know; the names that were mended.

    Of the others only those are opened that a commit left unsettled: whose newest snapshot the catalog may not know. A
    folder that cannot be read is said in the log, and holds up nothing else.
    """
    mended = settle(folder, catalog)
    known = set(catalog.names())
    again: list[str] = []
    for place in sorted((folder / DATA).glob("*/_delta_log")):
        name = place.parent.name
        if name in known or not Table.exists(place.parent):
            continue
        if catalog.is_held():  # the process that holds it may be registering that dataset
            break
        try:
            snapshot = Table.open(place.parent).snapshot()
            if snapshot.number:  # an empty dataset is one that an ingest is making, or was killed while it did
                from tagsel.ingest.registration import register

                register(catalog, name, snapshot, named_facts(name))
                again.append(name)
        except TagselError as error:
            log.warning("dataset %s cannot be registered: %s", name, error.message)
    if again:
        log.warning(
            "%s did not know %s: registered as the files say; tagsel catalog recover looks for what else it lacks",
            folder,
            ", ".join(again[:3]) + (f" and {len(again) - 3:,} more" if len(again) > 3 else ""),
        )
    return [*mended, *again]


def settle(folder: Path, catalog: Catalog) -> list[str]:
    """Tell the catalog of snapshots that were committed by processes that died before they did; the datasets' names."""
    data = folder / DATA
    mended = []
    for name in unsettled.unsettled(data):
        if name not in catalog.names() or not Table.exists(data / name):
            continue
        try:
            record = catalog.dataset(name)
            newest = Table.open(data / name).snapshot()
            if caught_up(catalog, record, newest).snapshot != record.snapshot:
                mended.append(name)
            unsettled.settle(data / name, catalog.dataset(name).snapshot)
        except TagselError as error:
            log.warning("dataset %s cannot be brought up to date in the catalog: %s", name, error.message)
    return mended


def named_facts(name: str) -> dict[str, Any]:
    """Type, year and stream as the name says them."""
    said = derive_facts(name)
    return {"type": said.type, "year": said.year, "stream": said.stream}


def ingest(
    workspace: Workspace,
    files: Sequence[Path],
    dataset: str,
    *,
    facts: dict[str, Any],
    meta: dict[str, Any],
    schema: str,
    profile: str,
    site: str,
    aod: Sequence[Path | str],
    evolve: bool,
    identity: str,
    processes: int,
    progress: Callable[[str], None] | None,
) -> Ingested:
    """Ingest files into a dataset of the workspace; see `Workspace.ingest`."""
    from tagsel.ingest.load import ingest as load

    check_dataset_name(dataset)
    refuse_keys(meta)
    for path in files:
        _refuse_own(workspace, path)
    if dataset in workspace.catalog.names():
        record = workspace.catalog.dataset(dataset)
        if record.meta.get("catalog"):
            raise CatalogError(f"dataset {dataset} mirrors another catalog's", hint="ingest under another name")
        if record.members:
            members = ", ".join(record.members[:3])
            raise CatalogError(
                f"{dataset} is a container: it holds datasets, not events",
                dataset=dataset,
                hint=f"ingest into one of {members}, or under another name",
            )
        if Table.exists(workspace.folder / DATA / dataset):
            workspace.table(dataset)  # its log is whole, or nothing is added
    else:
        _warn_of_hiding(workspace, dataset)
    unknown = sorted(set(facts) - set(FACTS))
    if unknown:
        raise CatalogError(f"{', '.join(unknown)} is nothing that ingest takes", hint=f"known: {', '.join(FACTS)}")
    said = {k: v for k, v in facts.items() if v}
    if dataset not in workspace.catalog.names():
        said = {**named_facts(dataset), **said}
    if meta:
        said["meta"] = meta
    site = site or workspace.setting("site")
    # All that may be refused is refused before a row is written.
    if workspace.catalog.is_open(dataset):
        workspace.catalog.check(PutDataset(dataset, **said), *((PutSite(site),) if site else ()))
    return load(
        files,
        dataset,
        workspace.folder / DATA / dataset,
        workspace.catalog,
        said,
        schema=schema,
        profile=profile,
        site=site,
        aod=aod,
        evolve=evolve,
        identity=identity,
        processes=processes,
        progress=progress,
    )


def _warn_of_hiding(workspace: Workspace, dataset: str) -> None:
    """Warn where a dataset that is about to be made hides one of its name in a workspace that this one names.

    One that cannot be read is named in a warning, too: the ingest needs nothing of it.
    """
    for place, catalog in others.unchecked(workspace.folder, workspace.catalog)[1:]:
        try:
            others.need_workspace(workspace.folder, place)
            names = catalog.names()
        except (TagselError, OSError) as error:
            log.warning("%s", unread(place, str(error)))
            continue
        if dataset in names:
            log.warning("%s", hidden(dataset, workspace.folder, place))


def _refuse_own(workspace: Workspace, path: Path) -> None:
    """IngestError for a file or folder that tagsel itself made in a workspace: its events are in a dataset already.

    The result of a job that could not become a dataset is taken: nothing else has its events.
    """
    file = Path(os.path.realpath(path))
    place = own_place(file)
    if place and not delivery.is_unregistered_result(workspace, file):
        raise IngestError(
            f"{path} is in {place}, and what tagsel made there is no input",
            hint="its events are in a dataset already; the setting datasets = [FOLDER] reads another workspace's",
            path=str(path),
        )


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
        known_workspaces.forget(workspace.folder)
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in path.name).lstrip(".-") or "file"
        load([path], name, workspace.folder / DATA / name, workspace.catalog, {})
        _bare[key] = (home, workspace[name])
    return _bare[key][1]


def describe(workspace: Workspace, dataset: str) -> dict[str, Any]:
    """All that is known of one dataset."""
    spec = one_dataset(dataset)
    place, catalog = others.home_of(workspace.folder, workspace.catalog, spec.pattern)
    record = catalog.dataset(spec.pattern)
    folder = place / DATA / record.name
    table = Table.open(folder) if Table.exists(folder) else None
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
        {
            "snapshot": r.snapshot,
            "file": r.name,
            "guid": r.guid,
            "events": r.events,
            "reason": r.reason,
            "since": r.retracted,
            "who": r.who,
            "back": r.back,
        }
        for r in catalog.retractions(record.name)
    ]
    known["tag_files"] = [
        {"guid": f.guid, "lfn": f.lfn, "pfn": f.pfn, "entries": f.entries}
        for f in catalog.files(record.name)
        if f.kind == "TAG"
    ]
    return known


def sql(workspace: Workspace, query: str) -> Any:
    """One SELECT over the catalogs and the datasets, of named workspaces, too, and over the questions that were asked.

    It is logged as a question.
    """
    return asked.ask(workspace, "sql", query, lambda: _sql(workspace, query))


def _sql(workspace: Workspace, query: str) -> Any:
    named = {table.lower() for table in parse(query).tables}
    given: dict[str, Any] = {**others.catalog_tables(workspace.folder, workspace.catalog, named)}
    for home, catalog in reversed(others.homes(workspace.folder, workspace.catalog)):
        given |= tables(home, catalog, named)
    if asked.TABLE in named and asked.TABLE not in {name.lower() for name in given}:
        given[asked.TABLE] = asked.table(workspace)
    return workspace.catalog.sql(query, given)


def listed(workspace: Workspace, where: str) -> Selected:
    """The datasets for which a condition is true, of named workspaces, too; a condition is logged as a question."""
    if not where.strip():
        return _listed(workspace, where)
    return asked.ask(workspace, "datasets", where, lambda: _listed(workspace, where))


def _listed(workspace: Workspace, where: str) -> Selected:
    if not others.named(workspace.folder):
        return Selected(COLUMNS, tuple(_row(record) for record in workspace.catalog.datasets(where)))
    records = others.records(workspace.folder, workspace.catalog, where)
    return Selected((*COLUMNS, "workspace"), tuple((*_row(record), str(home)) for record, home in records))


COLUMNS = ("name", "type", "version", "stream", "year", "events", "snapshot", "runs")
"""Columns of the list of datasets; where other workspaces are named, `workspace` is one more."""


def _row(r: DatasetRecord) -> tuple[Any, ...]:
    runs = ""
    if r.run_min is not None:
        runs = str(r.run_min) if r.run_min == r.run_max else f"{r.run_min}-{r.run_max}"
    return (r.name, r.type, r.version, r.stream, r.year, r.events, r.snapshot, runs)


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
    for name, number, table, catalog in _named_snapshots(workspace, events):
        if _may_pin(catalog, table):
            pin_snapshot(catalog, table, name, number, reason)


def pin_snapshot(catalog: Catalog, table: Table, name: str, number: int, reason: str) -> None:
    """Keep a snapshot readable: by the dataset's own pins, or as a reader by a file where its workspace says."""
    if not _may_write_pins(catalog, table):
        record = catalog.dataset(name)
        with table.keeping():
            gone = [part.path for part in table.snapshot(number).parts if not part.path.exists()]
            if gone:
                raise CatalogError(f"{name}@{number} cannot be pinned: {gone[0]} is gone", dataset=name)
            reader_pins.add(catalog.folder, record, number, reason)
        return
    table.pin(number, reason)
    said = {(p.snapshot, p.reason) for p in catalog.pins(name)}
    if name in catalog.names() and (number, reason) not in said:
        with after(f"{name}@{number} is pinned"):
            catalog.record(Pin(name, number, reason))


def check_pins(workspace: Workspace, events: EventList) -> None:
    """StoreError where `pin` would be refused: a snapshot that is gone, pins that are damaged. Nothing is written."""
    for _, number, table, catalog in _named_snapshots(workspace, events):
        if _may_pin(catalog, table):
            table.snapshot(number)
            table.pins()


def not_pinned(workspace: Workspace, events: EventList) -> dict[str, dict[str, object]]:
    """The snapshots of a list that this user may not pin, by `name@3`: the Delta version, commit record and parts.

    A part's name is its content's hash, so a list that carries them says what it rests on, whatever becomes of it.
    """
    found: dict[str, dict[str, object]] = {}
    for name, number, table, catalog in _named_snapshots(workspace, events):
        if _may_pin(catalog, table):
            continue
        state = table.snapshot(number).state
        found[f"{name}@{number}"] = {
            "version": state.version,
            "commit": record_of(table.folder, state.version),
            "parts": [part.name for part in state.parts],
        }
    return found


def _may_pin(catalog: Catalog, table: Table) -> bool:
    """Whether this user may keep a snapshot of a dataset that a catalog has."""
    return _may_write_pins(catalog, table) or reader_pins.may_add(catalog.folder)


def _may_write_pins(catalog: Catalog, table: Table) -> bool:
    """Whether this user may write the dataset's own pins."""
    pins = table.folder / "_tagsel"
    return catalog.may_write() and os.access(pins, os.W_OK, effective_ids=True)


def _named_snapshots(workspace: Workspace, events: EventList) -> Iterator[tuple[str, int, Table, Catalog]]:
    """Name, snapshot, table and catalog of the datasets that a list names, here or in named workspaces."""
    for origin in origins(events.provenance):
        home, catalog = home_of_origin(workspace, origin)
        folder = home / DATA / origin.name
        if origin.snapshot is not None and Table.exists(folder):
            yield origin.name, origin.snapshot, Table.open(folder), catalog


def snapshots_of(provenance: Mapping[str, object]) -> list[str]:
    """`name@snapshot` of all datasets in a list's provenance, those of the lists it was made from too."""
    return list(dict.fromkeys(map(str, origins(provenance))))


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
    names: dict[Path, set[str]] = {}
    for origin in origins(events.provenance):
        names.setdefault(home_of_origin(workspace, origin)[0], set()).add(origin.name)
    known: dict[str, FileRecord] = {}
    copies: dict[str, list[Replica]] = {}
    for folder, catalog in others.homes(workspace.folder, workspace.catalog):
        found = _files_in(catalog, events, stage, names.get(folder, set()))
        for guid, replicas in catalog.located(found.values()).items():
            copies[guid] = [*copies.get(guid, ()), *(r for r in replicas if r not in copies.get(guid, ()))]
        known = known_files([*known.values(), *found.values()])
    return known, copies, _layout(names)


def _files_in(catalog: Catalog, events: EventList, stage: str, names: set[str]) -> dict[str, FileRecord]:
    """What one catalog knows of the files of a list and of its datasets, by GUID."""
    kind = stage.upper()
    guids = [f.guid for n in sorted(names & set(catalog.names())) for f in catalog.files(n, kind=kind)]
    mine = [g for g in events.stage(stage).guid.values if g]
    known = known_files(catalog.files(guids=[*guids, *mine], kind=kind))
    if kind == "AOD" and (gone := [g for g in mine if g not in known]):  # of files that were retracted since
        known |= known_files(catalog.files(guids=gone, kind=FORMER))
    return known


def known_files(records: Iterable[FileRecord]) -> dict[str, FileRecord]:
    """One record a GUID: the one that knows most, filled with what only others know."""

    def knows(f: FileRecord) -> tuple[bool, ...]:
        return (bool(f.pfn) and Path(f.pfn).is_file(), bool(f.pfn), f.entries >= 0, f.bytes >= 0)

    by_guid: dict[str, list[FileRecord]] = {}
    for record in records:
        by_guid.setdefault(record.guid, []).append(record)
    best = (sorted(same, key=knows, reverse=True) if len(same) > 1 else same for same in by_guid.values())
    return {first.guid: reduce(FileRecord.filled, rest, first) for first, *rest in best}


def _layout(datasets: Mapping[Path, Iterable[str]]) -> Layout:
    """Tree and id names of the datasets' files, where a schema of the user's own named them at ingest.

    The datasets are listed by the folder of their workspace. One layout serves all files of a map: names of ids are
    looked for in turn; of several trees none is taken, and files that keep their events in an unusual one come out as
    unreadable. Such datasets are mapped one by one.
    """
    from tagsel.aod import Layout

    trees: set[str] = set()
    ids: dict[str, list[str]] = {}
    folders = sorted({home / DATA / name for home, names in datasets.items() for name in names})
    for folder in folders:
        for source in Table.open(folder).snapshot().sources if Table.exists(folder) else ():
            said = cast("dict[str, Any]", source.bookkeeping.get("layout", {}))
            trees |= {said["tree"]} if said.get("tree") else set()
            for key, columns in said.get("ids", {}).items():
                ids[key] = list(dict.fromkeys((*ids.get(key, ()), *columns)))
    return Layout(trees.pop() if len(trees) == 1 else "", ids)


def compact(workspace: Workspace, dataset: str, *, dry_run: bool) -> CompactPlan | Snapshot:
    """Pack small parts; the catalog learns of the new snapshot."""
    if not dry_run:
        workspace.catalog.need_writable()
    done = workspace.table(dataset).compact(dry_run=dry_run)
    if isinstance(done, Snapshot):
        _register(workspace, dataset, done)
    return done


def gc(workspace: Workspace, dataset: str, *, dry_run: bool, grace_s: float) -> list[Path]:
    """Remove what no snapshot needs of a dataset, or of all; a dataset that cannot be looked at holds up no other.

    AccessError, before anything is looked at, where this user may not change the workspace.
    """
    if not dry_run:
        workspace.catalog.need_writable()
    if dataset:
        return _gc_one(workspace, dataset, dry_run, grace_s)
    found: list[Path] = []
    for folder in sorted((workspace.folder / DATA).glob("*")):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not Table.exists(folder):
            if folder.name in workspace.catalog.names() or manifests(folder):
                log.warning("%s: nothing is removed: its log, _delta_log, is gone", folder.name)
                continue
            found += _gc_unborn(folder, dry_run, grace_s)
            continue
        try:
            found += _gc_one(workspace, folder.name, dry_run, grace_s)
        except TagselError as error:
            log.warning("%s: nothing is removed: %s", folder.name, error.message)
    return found


def _gc_one(workspace: Workspace, dataset: str, dry_run: bool, grace_s: float) -> list[Path]:
    record = workspace.catalog.dataset(dataset)

    def pinned() -> list[int]:
        own = [pin.snapshot for pin in workspace.catalog.pins(dataset)]
        return [*own, *(pin.snapshot for pin in reader_pins.read(workspace.folder, record))]

    return workspace.table(dataset).gc(dry_run=dry_run, grace_s=grace_s, keep=pinned)


def _gc_unborn(folder: Path, dry_run: bool, grace_s: float) -> list[Path]:
    """Remove what is left of a dataset that never came to be, with its folders as far as they are empty."""
    found = left_by_the_killed(folder, grace_s)
    if dry_run or not found:
        return found
    with disk.saying("clean up", folder):
        for path in found:
            path.unlink(missing_ok=True)
    own = folder / "_tagsel"
    for place in (own / "zones", own / "index", own, folder):
        with suppress(OSError):
            place.rmdir()
    return found


def restore(workspace: Workspace, dataset: str) -> Snapshot:
    """`name@3`: a new snapshot with the content of snapshot 3."""
    spec = one_dataset(dataset)
    if spec.snapshot is None:
        raise CatalogError(f"{dataset!r} names no snapshot", hint=f"as in {spec.pattern}@3")
    workspace.catalog.need_writable()
    with disk.changing(workspace.folder / DATA / spec.pattern):
        workspace.catalog.need_open(spec.pattern)
        snapshot = workspace.table(spec.pattern).restore(spec.snapshot)
        _register(workspace, spec.pattern, snapshot)
    return snapshot


def _register(workspace: Workspace, dataset: str, snapshot: Snapshot) -> None:
    from tagsel.ingest.registration import register

    register(workspace.catalog, dataset, snapshot, {})
