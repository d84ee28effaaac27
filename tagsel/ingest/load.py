"""From input files to a registered dataset: open, write parts in parallel, one commit, then the catalog.

Invariant: a file is in the dataset whole or not at all; one that fails is named and leaves nothing behind, and
the others land. What the catalog says of a dataset can be derived again from its snapshot (`register`).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.catalog import (
    Catalog,
    FileRecord,
    PutBookkeeping,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutRuns,
    PutSite,
)
from tagsel.catalog.changes import Change
from tagsel.errors import IngestError, StoreError, TagselError
from tagsel.ingest.find import open_source
from tagsel.rootio import RootFile, read_pool_file_catalog
from tagsel.schema import Menu, Schema
from tagsel.schema.source import load_source_schema
from tagsel.schema.sourcetypes import SourceSchema
from tagsel.selection.bookkeeping import totals
from tagsel.store import NewPart, Snapshot, Source, Table, write_part

PARALLEL_FROM = 64_000_000
"""Bytes of input above which a second process pays for its start of about a second."""


@dataclass(frozen=True)
class Written:
    """What one input file came to: its part in the dataset's folder, schema, menus, and AOD files that it names."""

    path: str
    format: str
    part: NewPart | None
    source: Source
    schema: Schema
    menus: Mapping[int, Menu]
    simulation: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """One input file that could not be ingested, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Ingested:
    """What an ingest did: the snapshot, files that landed, were there already, or failed."""

    dataset: str
    snapshot: int
    events: int
    bytes: int
    landed: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    duplicates: int = 0
    simulation: bool = False
    formats: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    bookkeeping: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self)


def write_source(path: str, folder: str, schema: SourceSchema | None) -> Written:
    """Turn one input file into a part in `folder`; runs in a process of its own for large inputs."""
    source = open_source(Path(path), schema)
    keep = {
        "path": str(Path(path).resolve()),
        "format": source.format,
        "simulation": source.is_simulation,
        "aod": [{**asdict(f), "path": str(Path(path).resolve()) if f.guid == source.guid else ""} for f in source.aod],
        **({"layout": {"tree": schema.tree, "ids": _id_names(schema)}} if schema else {}),
        **source.bookkeeping,
    }
    record = Source(source.guid, source.lfn, source.entries, 0, keep)
    part = write_part(Path(folder), source.schema, source.batches(), [record]) if source.entries else None
    return Written(
        str(path),
        source.format,
        part,
        record,
        source.schema,
        source.menus,
        source.is_simulation,
        tuple(source.warnings),
    )


def _id_names(schema: SourceSchema) -> dict[str, list[str]]:
    """Columns of the ids as a schema names them; one that is a constant has none."""
    return {name: list(columns) for name, columns in schema.ids.items() if not isinstance(columns, int)}


def ingest(
    files: Sequence[Path], dataset: str, folder: Path, catalog: Catalog, facts: Mapping[str, Any], *,
    schema: str = "", site: str = "", aod: Sequence[Path] = (), evolve: bool = False, processes: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Ingested:  # fmt: skip
    """Ingest `files` into `dataset` (its Delta table lies in `folder`), and register all in the catalog.

    `facts` are fields of `PutDataset` for a new dataset and keys to update for an old one; `aod` are AOD files that the
    rows point to, or PoolFileCatalogs of such. IngestError when every file failed; else failures are in the answer.
    """
    pointed = aod_files(aod)
    source_schema = load_source_schema(schema) if schema else None
    table = Table.open(folder) if (folder / "_delta_log").exists() else None
    known = {s.guid: s for s in table.snapshot().sources} if table else {}
    new, already, failed = _sort_out(files, known, source_schema)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Written] = []
    for path, result in _write_all(new, folder, source_schema, processes):
        if progress is not None:
            progress(path)
        if isinstance(result, Failure):
            failed.append(result)
        else:
            written.append(result)
    _refuse_mixture(written, table, dataset, failed)
    if written:
        table, failed_here = _commit(written, table, folder, evolve, dataset)
        failed += failed_here
        written = [w for w in written if w.path not in {f.path for f in failed_here}]
    if failed and not written and not already:
        _sweep(folder)
        reasons = "; ".join(f.reason if f.path in f.reason else str(f) for f in failed)
        raise IngestError(f"nothing was ingested into {dataset}: {reasons}", files=[asdict(f) for f in failed])
    snapshot = Table.open(folder).snapshot()
    register(catalog, dataset, snapshot, facts, site=site, pointed=pointed)
    return Ingested(
        dataset, snapshot.number, snapshot.rows, snapshot.bytes,
        tuple(w.path for w in written), tuple(already), tuple(failed), snapshot.duplicate_rows(),
        is_simulation(snapshot), tuple(sorted({w.format for w in written})),
        tuple(dict.fromkeys(x for w in written for x in w.warnings)), totals(snapshot.sources),
    )  # fmt: skip


def _sort_out(
    files: Sequence[Path], known: Mapping[str, Source], schema: SourceSchema | None
) -> tuple[list[Path], list[str], list[Failure]]:
    """Files to ingest, files that are in the dataset already (or given twice), and files that cannot be opened."""
    new: list[Path] = []
    already: list[str] = []
    failed: list[Failure] = []
    guids = set(known)
    for path in files:
        try:
            guid = open_source(path, schema).guid
        except TagselError as error:
            failed.append(Failure(str(path), error.message))
            continue
        if guid in guids:
            already.append(str(path))
        else:
            guids.add(guid)
            new.append(path)
    return new, already, failed


def _write_all(
    files: Sequence[Path], folder: Path, schema: SourceSchema | None, processes: int
) -> Iterator[tuple[str, Written | Failure]]:
    """Write every file's part, in the order given; processes are spawned, never forked, where the input is large."""
    size = sum(f.stat().st_size for f in files)
    workers = min(len(files), processes or multiprocessing.cpu_count())
    if workers < 2 or (size < PARALLEL_FROM and not processes):
        for path in files:
            yield str(path), _tried(write_source, str(path), str(folder), schema)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(_tried, write_source, str(p), str(folder), schema) for p in files]
        for path, task in zip(files, tasks, strict=True):
            try:
                yield str(path), task.result()
            except BrokenPipeError as error:
                yield str(path), Failure(str(path), f"its process died: {error}")


def _tried(write: Callable[..., Written], path: str, folder: str, schema: SourceSchema | None) -> Written | Failure:
    """The file's part, or why there is none."""
    try:
        return write(path, folder, schema)
    except TagselError as error:
        return Failure(path, error.message)


def _refuse_mixture(written: list[Written], table: Table | None, dataset: str, failed: list[Failure]) -> None:
    """Move files of the other kind (data, simulation) to the failures: one dataset is one or the other."""
    if not written:
        return
    kind = is_simulation(table.snapshot()) if table and table.snapshot().sources else written[0].simulation
    for w in [w for w in written if w.simulation != kind]:
        written.remove(w)
        wrong, right = ("simulation", "data") if w.simulation else ("data", "simulation")
        failed.append(Failure(w.path, f"is {wrong}, and {dataset} holds {right}"))


def _differences(schema: Schema, base: Schema) -> list[str]:
    """Attributes that one schema has and the other lacks; words of trigger bits are the menus' business."""
    ours = {a.name for a in base if a.role not in ("trigger", "flag")}
    theirs = {a.name for a in schema if a.role not in ("trigger", "flag")}
    return [*(f"lacks {n}" for n in sorted(ours - theirs)), *(f"adds {n}" for n in sorted(theirs - ours))]


def _commit(
    written: Sequence[Written], table: Table | None, folder: Path, evolve: bool, dataset: str
) -> tuple[Table | None, list[Failure]]:
    """One commit of all files whose attributes fit the dataset; the others fail, named, unless `evolve`."""
    base = table.snapshot().schema if table and len(table.snapshot().schema) else written[0].schema
    fitting: list[Written] = []
    failed: list[Failure] = []
    merged = base
    for w in written:
        differences = _differences(w.schema, base)
        try:
            if differences and not evolve:
                said = ", ".join(differences[:6]) + (" …" if len(differences) > 6 else "")
                raise IngestError(f"its attributes differ from those of {dataset} ({said}); --evolve takes what "
                                  "lacks as missing")  # fmt: skip
            merged = merged.union(w.schema)
        except TagselError as error:
            failed.append(Failure(w.path, error.message))
            if w.part is not None:
                (folder / w.part.name).unlink(missing_ok=True)
            continue
        fitting.append(w)
    if not fitting:
        return table, failed
    if table is None:
        table = _created(folder, merged)
        if table is None:  # another ingest was first: its attributes are the dataset's now
            return _commit(fitting, Table.open(folder), folder, evolve, dataset)
    menus = {i: m for w in fitting for i, m in w.menus.items()}
    parts = [w.part for w in fitting if w.part is not None]
    empty = [w.source for w in fitting if w.part is None]
    table.append(parts, merged, menus, empty, evolve=True)
    return table, failed


def _created(folder: Path, schema: Schema) -> Table | None:
    """A new dataset; None where another process made it meanwhile."""
    try:
        return Table.create(folder, schema)
    except StoreError:
        if (folder / "_delta_log").is_dir():
            return None
        raise


def _sweep(folder: Path) -> None:
    """Remove the folder of a dataset that never came to be; one that is a dataset is not touched."""
    if (folder / "_delta_log").is_dir():
        return
    for path in folder.glob("*"):
        if path.is_file():
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def is_simulation(snapshot: Snapshot) -> bool:
    """Whether the snapshot's files are simulation."""
    return any(s.bookkeeping.get("simulation") for s in snapshot.sources)


def runs_of(snapshot: Snapshot) -> list[tuple[int, int, int]]:
    """(run, luminosity blocks, events) of a snapshot, from the small tables."""
    events: dict[tuple[int, int], int] = {}
    for part in snapshot.parts:
        for group in range(len(part.groups)):
            run, lumi, n = part.lumi_counts(group)
            for key, count in zip(zip(run.tolist(), lumi.tolist(), strict=True), n.tolist(), strict=True):
                events[key] = events.get(key, 0) + count
    runs = sorted({run for run, _ in events})
    by_run = np.array([(r, n) for (r, _), n in events.items()], np.int64).reshape(-1, 2)
    return [(run, int((by_run[:, 0] == run).sum()), int(by_run[by_run[:, 0] == run, 1].sum())) for run in runs]


def register(
    catalog: Catalog, dataset: str, snapshot: Snapshot, facts: Mapping[str, Any], *, site: str = "",
    pointed: Sequence[FileRecord] = (),
) -> None:  # fmt: skip
    """Say in the catalog all that a snapshot knows: the dataset, its files, AOD files, replicas, runs, bookkeeping."""
    runs = runs_of(snapshot)
    old = catalog.dataset(dataset).facts() if dataset in catalog.names() else {}
    meta = {**old.pop("meta", {}), **facts.get("meta", {})}  # type: ignore[dict-item]
    simulation = is_simulation(snapshot)
    record = {
        **old,
        **facts,
        "meta": meta,
        "events": snapshot.rows,
        "files": len(snapshot.sources),
        "bytes": snapshot.bytes,
        "snapshot": snapshot.number,
        "simulation": simulation,
        "run_min": runs[0][0] if runs else None,
        "run_max": runs[-1][0] if runs else None,
    }
    if simulation and not record.get("sample"):
        record["sample"] = dataset
    files: dict[tuple[str, str], FileRecord] = {}
    for s in snapshot.sources:
        keep: Mapping[str, Any] = s.bookkeeping
        path = str(keep.get("path", ""))
        files["TAG", s.guid] = FileRecord(s.guid, s.lfn, path, "TAG", s.entries, simulation=simulation)
        for aod in keep.get("aod", ()):
            files["AOD", aod["guid"]] = FileRecord(
                aod["guid"],
                aod["lfn"],
                aod.get("path", ""),
                "AOD",
                aod["entries"],
                aod["bytes"],
                simulation=simulation,
            )
    files |= {("AOD", f.guid): f for f in pointed if ("AOD", f.guid) in files}  # a file catalog may name any others
    changes: list[Change] = [
        PutDataset(dataset, **record),
        PutFiles(dataset, list(files.values())),
        PutRuns(dataset, runs),
        *(PutBookkeeping(dataset, s.guid, _public(s.bookkeeping)) for s in snapshot.sources),
    ]
    if site:
        copies = [(f.guid, f.pfn) for (kind, _), f in files.items() if kind == "AOD" and f.pfn]
        if site not in {s.name for s in catalog.sites()}:
            changes.append(PutSite(site))
        changes.append(PutReplicas(site, copies))
    catalog.record(*changes)


def _public(bookkeeping: Mapping[str, Any]) -> dict[str, Any]:
    """The bookkeeping without what the catalog keeps as files."""
    return {k: v for k, v in bookkeeping.items() if k not in ("aod", "path", "simulation", "layout")}


def aod_files(places: Sequence[Path]) -> list[FileRecord]:
    """AOD files by their GUID: ROOT files, and those that PoolFileCatalogs (`.xml`) name and that are there."""
    found = []
    for place in places:
        if place.suffix == ".xml":
            found += [_aod_file(path) for path in _pool_files(place)]
        else:
            found.append(_aod_file(place))
    return found


def _pool_files(catalog: Path) -> list[Path]:
    """The local files that a PoolFileCatalog names, relative names taken from the catalog's folder."""
    named = [catalog.parent / pfn for file in read_pool_file_catalog(catalog) for pfn in file.pfns if "://" not in pfn]
    return [path for path in named if path.is_file()]


def _aod_file(path: Path) -> FileRecord:
    with RootFile(path) as file:
        return FileRecord(file.guid, path.name, str(path.resolve()), "AOD", file.events().entries, path.stat().st_size)
