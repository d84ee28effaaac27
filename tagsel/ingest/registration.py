"""What the catalog is told of a dataset: all that its newest snapshot says, and what is known of the files it names.

Invariant: registering again loses nothing that the catalog knew, and writes only what it did not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.catalog import (
    FORMER,
    Catalog,
    DropFiles,
    FileRecord,
    PutBookkeeping,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutRetraction,
    PutRuns,
    PutSite,
    RetractionRecord,
)
from tagsel.catalog.changes import Change
from tagsel.rootio import RootFile, is_remote, read_pool_file_catalog
from tagsel.store import Snapshot, Source

Files = dict[tuple[str, str], FileRecord]
"""Records of files by kind and GUID."""


def is_simulation(snapshot: Snapshot) -> bool:
    """Whether the snapshot's files are simulation."""
    return any(s.bookkeeping.get("simulation") for s in snapshot.sources)


def runs_of(snapshot: Snapshot) -> list[tuple[int, int, int]]:
    """(run, luminosity blocks, events) of a snapshot, by run, from the small tables."""
    tables = [part.lumi_counts(group) for part in snapshot.parts for group in range(len(part.groups))]
    if not tables:
        return []
    run, lumi, events = (np.concatenate([table[k] for table in tables]).astype(np.int64) for k in range(3))
    order = np.lexsort((lumi, run))
    run, lumi, events = run[order], lumi[order], events[order]
    new_run = np.diff(run, prepend=run[0] - 1) != 0
    new_block = new_run | (np.diff(lumi, prepend=lumi[0] - 1) != 0)
    starts = np.flatnonzero(new_run)
    blocks = np.add.reduceat(new_block.astype(np.int64), starts)
    return list(zip(run[starts].tolist(), blocks.tolist(), np.add.reduceat(events, starts).tolist(), strict=True))


def register(
    catalog: Catalog, dataset: str, snapshot: Snapshot, facts: Mapping[str, Any], *, site: str = "",
    pointed: Sequence[FileRecord] = (),
) -> None:  # fmt: skip
    """Say in the catalog what a snapshot knows: the dataset, its files, AOD files, replicas, runs, bookkeeping.

    `facts` are fields of `PutDataset` that replace what was said before; `pointed` are AOD files to be known by the
    rows that point to them, and the only ones that change what the catalog knows already.
    """
    known = dataset in catalog.names()
    runs = runs_of(snapshot)
    old: Files = {(f.kind, f.guid): f for f in catalog.files(dataset)} if known else {}
    own = _files(snapshot, old, pointed)
    files = _with_others(catalog, own)
    changes: list[Change] = [
        PutDataset(dataset, **_record(catalog, dataset, snapshot, facts, runs)),
        *_file_changes(dataset, files, old),
        *_gone_changes(dataset, files, old, {r.guid for r in snapshot.retractions}),
        *_run_changes(catalog, dataset, runs, known),
        *_bookkeeping(dataset, snapshot.sources, catalog.bookkeeping(dataset) if known else {}),
        *_retractions(dataset, snapshot, {r.snapshot: r for r in catalog.retractions(dataset)}),
        *(_replicas(catalog, site, own.values()) if site else ()),
    ]
    catalog.record(*changes)


def _record(
    catalog: Catalog, dataset: str, snapshot: Snapshot, facts: Mapping[str, Any], runs: Sequence[tuple[int, int, int]]
) -> dict[str, Any]:
    """The fields of the dataset's record: those of old, as `facts` change them, and what the snapshot counts."""
    old: dict[str, Any] = catalog.dataset(dataset).facts() if dataset in catalog.names() else {}
    record = {
        **old,
        **facts,
        "meta": {**old.get("meta", {}), **facts.get("meta", {})},
        "events": snapshot.rows,
        "files": len(snapshot.sources),
        "bytes": snapshot.bytes,
        "snapshot": snapshot.number,
        "simulation": is_simulation(snapshot) if snapshot.sources else old.get("simulation", False),
        "run_min": runs[0][0] if runs else None,
        "run_max": runs[-1][0] if runs else None,
    }
    if record["simulation"] and not record.get("sample"):
        record["sample"] = dataset
    return record


def _files(snapshot: Snapshot, old: Files, pointed: Sequence[FileRecord]) -> Files:
    """TAG files and the AOD files they point to: as `pointed` says, else the catalog, else the snapshot."""
    files: Files = {}
    simulation = is_simulation(snapshot)
    for s in snapshot.sources:
        keep: Mapping[str, Any] = s.bookkeeping
        tag = FileRecord(s.guid, s.lfn, str(keep.get("path", "")), "TAG", s.entries, simulation=simulation)
        files["TAG", tag.guid] = tag
        for a in keep.get("aod", ()):
            said = (a["guid"], a["lfn"], a.get("path", ""), "AOD", a["entries"], a["bytes"])
            aod = FileRecord(*said, simulation=simulation)
            files["AOD", aod.guid] = files.get(("AOD", aod.guid), aod).filled(aod)
    told = {("AOD", f.guid): f for f in pointed}  # a file catalog may name any others
    for key, file in files.items():
        before = old.get(key) or (old.get((FORMER, file.guid)) if file.kind == "AOD" else None)
        known = replace(before, kind=file.kind).filled(file) if before else file
        entries = file.entries if file.kind == "TAG" else known.entries  # of a TAG, rows that are there
        known = replace(known, entries=entries, simulation=simulation)
        files[key] = replace(told[key].filled(known), simulation=simulation) if key in told else known
    return files


def _with_others(catalog: Catalog, files: Files) -> Files:
    """The records with what other datasets know of the same files: an output points to the AOD of its parents."""
    unknown = [guid for (kind, guid), f in files.items() if kind == "AOD" and not (f.pfn and f.entries >= 0)]
    if not unknown:
        return files
    filled = dict(files)
    for other in catalog.files(guids=unknown, kind="AOD"):
        filled["AOD", other.guid] = filled["AOD", other.guid].filled(other)
    return filled


def _file_changes(dataset: str, files: Files, old: Files) -> list[Change]:
    """The records that the catalog does not have so."""
    new = [f for key, f in files.items() if key not in old or not f.same(old[key])]
    return [PutFiles(dataset, new)] if new else []


def _gone_changes(dataset: str, files: Files, old: Files, retracted: Collection[str]) -> list[Change]:
    """Of files that went, TAGs are forgotten, AODs kept as former ones.

    AODs go with TAGs, or by themselves where they were `retracted`; one that somebody made known by hand stays.
    """
    gone = [key for key in old if key[0] in ("TAG", "AOD") and key not in files]
    if not any(kind == "TAG" for kind, _ in gone):
        gone = [key for key in gone if key[1] in retracted]
    back = [(FORMER, guid) for kind, guid in files if kind == "AOD" and (FORMER, guid) in old]
    former = [replace(old[key], kind=FORMER) for key in gone if key[0] == "AOD"]
    changes: list[Change] = [PutFiles(dataset, former)] if former else []
    return [*changes, DropFiles(dataset, [*gone, *back])] if gone or back else changes


def _retractions(dataset: str, snapshot: Snapshot, old: Mapping[int, RetractionRecord]) -> list[PutRetraction]:
    """What the catalog does not know so of files that were taken out, and of those that are back."""
    changes = []
    for r in snapshot.retractions:
        known = old.get(r.snapshot)
        back = None if r.in_force(snapshot.source_guids) else (known and known.back) or snapshot.number
        said = PutRetraction(dataset, r.snapshot, r.guid, r.lfn, r.rows, r.reason, r.when, r.who, r.record, back)
        if known is None or known.back != back:
            changes.append(said)
    mine = {r.snapshot for r in snapshot.retractions}  # others were undone
    undone = [r for r in old.values() if r.snapshot not in mine and r.back is None]
    return [*changes, *(PutRetraction(**{**asdict(r), "back": snapshot.number}) for r in undone)]


def _run_changes(
    catalog: Catalog, dataset: str, runs: Sequence[tuple[int, int, int]], known: bool
) -> list[Change]:
    """The runs that the catalog does not have so; all of them anew where some are gone."""
    old = {(r.run, r.lumi_blocks, r.events) for r in catalog.runs(dataset)} if known else set()
    if {run for run, *_ in old} - {run for run, *_ in runs}:
        return [PutRuns(dataset, runs)]
    new = [row for row in runs if row not in old]
    return [PutRuns(dataset, new, keep=True)] if new else []


def _bookkeeping(
    dataset: str, sources: Iterable[Source], old: Mapping[str, Mapping[str, Any]]
) -> list[PutBookkeeping]:
    """What each source said of its own making, where the catalog does not have it so."""
    said = ((s.guid, _public(s.bookkeeping)) for s in sources)
    return [PutBookkeeping(dataset, guid, record) for guid, record in said if old.get(guid) != record]


def _public(bookkeeping: Mapping[str, Any]) -> dict[str, Any]:
    """The bookkeeping without what the catalog keeps as files."""
    return {k: v for k, v in bookkeeping.items() if k not in ("aod", "path", "simulation", "layout")}


def _replicas(catalog: Catalog, site: str, files: Iterable[FileRecord]) -> list[Change]:
    """Copies of AOD files at a site that it is not known to hold; the site, where it is new."""
    here = [(f.guid, f.pfn) for f in files if f.kind == "AOD" and f.pfn]
    held = catalog.replicas([guid for guid, _ in here])
    new = [(guid, pfn) for guid, pfn in here if not any((r.site, r.pfn) == (site, pfn) for r in held[guid])]
    changes: list[Change] = [] if site in {s.name for s in catalog.sites()} else [PutSite(site)]
    return [*changes, PutReplicas(site, new)] if new else changes


def aod_files(places: Sequence[Path | str]) -> list[FileRecord]:
    """AOD files by their GUID: ROOT files, paths or URLs, and those that PoolFileCatalogs (`.xml`) name.

    Of what such a catalog names, local files are opened where they are there; of files on other machines it is
    believed, for there may be thousands: each is opened and checked when events of it are read.
    """
    found = []
    for place in places:
        if isinstance(place, Path) and place.suffix == ".xml":
            found += _pool_files(place)
        else:
            found.append(_aod_file(place))
    return found


def _pool_files(catalog: Path) -> list[FileRecord]:
    """What a PoolFileCatalog knows, relative names taken from its folder."""
    found = []
    for file in read_pool_file_catalog(catalog):
        local = [path for pfn in file.pfns if "://" not in pfn and (path := catalog.parent / pfn).is_file()]
        found += [_aod_file(path) for path in local]
        remote = [pfn for pfn in file.pfns if is_remote(pfn)]
        found += [FileRecord(file.guid, file.lfn or pfn.rsplit("/", 1)[1], pfn, "AOD") for pfn in remote if not local]
    return found


def _aod_file(place: Path | str) -> FileRecord:
    pfn = str(place.resolve()) if isinstance(place, Path) else place
    lfn = str(place).rsplit("/", 1)[-1]  # of a link its own name
    with RootFile(place) as file:
        return FileRecord(file.guid, lfn, pfn, "AOD", file.events().entries, file.bytes)
