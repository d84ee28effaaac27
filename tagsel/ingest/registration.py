"""What the catalog is told of a dataset: all that its newest snapshot says, and what is known of the files it names.

Invariant: registering again loses nothing that the catalog knew, and writes only what it did not know.
"""

from __future__ import annotations

import os
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
from tagsel.errors import after
from tagsel.rootio import PoolFile, RootFile, is_remote, read_pool_file_catalog
from tagsel.store import Snapshot, Source, at_least, omissions, unsettled

Files = dict[tuple[str, str], FileRecord]
"""Records of files by kind and GUID."""


def is_simulation(snapshot: Snapshot) -> bool:
    """Whether the snapshot's files are simulation."""
    return any(s.bookkeeping.get("simulation") for s in snapshot.sources)


def runs_of(snapshot: Snapshot) -> list[tuple[int, int, int]]:
    """(run, luminosity blocks, events) of a snapshot, by run, from the small tables."""
    tables = []
    for part in snapshot.parts:
        tables += [part.lumi_counts(group) for group in range(len(part.groups))]
    if not tables:
        return []
    run, lumi, events = (np.concatenate(column).astype(np.int64) for column in zip(*tables, strict=True))
    order = np.lexsort((lumi, run))
    run, lumi, events = run[order], lumi[order], events[order]
    new_run = np.diff(run, prepend=run[0] - 1) != 0
    new_block = new_run | (np.diff(lumi, prepend=lumi[0] - 1) != 0)
    starts = np.flatnonzero(new_run)
    blocks = np.add.reduceat(new_block.astype(np.int64), starts)
    return list(zip(run[starts].tolist(), blocks.tolist(), np.add.reduceat(events, starts).tolist(), strict=True))


def register(
    catalog: Catalog,
    dataset: str,
    snapshot: Snapshot,
    facts: Mapping[str, Any],
    *,
    site: str = "",
    pointed: Sequence[FileRecord] = (),
    named: Collection[str] = (),
) -> None:
    """Say in the catalog what a snapshot knows: the dataset, its files, AOD files, replicas, runs, bookkeeping.

    `facts` are fields of `PutDataset` that replace what was said before; `pointed` are AOD files to be known by the
    rows that point to them, and the only ones that change what the catalog knows already. `named` are the GUIDs of the
    input files that the user named: see `_at_site` for what is booked at `site`. Where another process has registered a
    later snapshot meanwhile, the newest one is registered. StoreError: the log ends before that.
    """
    is_registered = dataset in catalog.names()
    if is_registered:
        record = catalog.dataset(dataset)
        snapshot = at_least(snapshot, record.snapshot, record.events)
    runs = runs_of(snapshot)
    old: Files = {(f.kind, f.guid): f for f in catalog.files(dataset)} if is_registered else {}
    own = _files(snapshot, old, pointed)
    files = _with_others(catalog, own)
    changes: list[Change] = [
        PutDataset(dataset, **_record(catalog, dataset, snapshot, facts, runs)),
        *_file_changes(dataset, files, old),
        *_gone_changes(dataset, files, old, {r.guid for r in snapshot.retractions}),
        *_run_changes(catalog, dataset, runs, is_registered),
        *_bookkeeping(dataset, snapshot.sources, catalog.bookkeeping(dataset) if is_registered else {}),
        *_retractions(dataset, snapshot, {r.snapshot: r for r in catalog.retractions(dataset)}),
        *(_replicas(catalog, site, _at_site(own, snapshot, pointed, named)) if site else ()),
    ]
    done = f"{dataset}@{snapshot.number} is committed with {snapshot.rows:,} events"
    with after(done, "the next question to the dataset registers it in the catalog"):
        catalog.record(*changes)
    unsettled.settle(snapshot.folder, snapshot.number)


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
    by_key = {("AOD", f.guid): f for f in pointed}  # a file catalog may name any others
    for key, file in files.items():
        before = old.get(key) or (old.get((FORMER, file.guid)) if file.kind == "AOD" else None)
        known = replace(before, kind=file.kind).filled(file) if before else file
        entries = file.entries if file.kind == "TAG" else known.entries  # of a TAG, rows that are there
        known = replace(known, entries=entries, simulation=simulation)
        files[key] = replace(_told(by_key[key], known), simulation=simulation) if key in by_key else known
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
    gone = _gone(files, old, retracted)
    back = [(FORMER, guid) for kind, guid in files if kind == "AOD" and (FORMER, guid) in old]
    former = [replace(old[key], kind=FORMER) for key in gone if key[0] == "AOD"]
    changes: list[Change] = []
    if former:
        changes.append(PutFiles(dataset, former))
    if gone or back:
        changes.append(DropFiles(dataset, [*gone, *back]))
    return changes


def _gone(files: Files, old: Files, retracted: Collection[str]) -> list[tuple[str, str]]:
    """TAG and AOD files that went; AOD files alone only where they were retracted."""
    gone = [key for key in old if key[0] in ("TAG", "AOD") and key not in files]
    if any(kind == "TAG" for kind, _ in gone):
        return gone
    return [key for key in gone if key[1] in retracted]


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


def _run_changes(catalog: Catalog, dataset: str, runs: Sequence[tuple[int, int, int]], known: bool) -> list[Change]:
    """The runs that the catalog does not have so; all of them anew where some are gone."""
    old = {(r.run, r.lumi_blocks, r.events) for r in catalog.runs(dataset)} if known else set()
    if {run for run, *_ in old} - {run for run, *_ in runs}:
        return [PutRuns(dataset, runs)]
    new = [row for row in runs if row not in old]
    return [PutRuns(dataset, new, keep=True)] if new else []


def _bookkeeping(dataset: str, sources: Iterable[Source], old: Mapping[str, Mapping[str, Any]]) -> list[PutBookkeeping]:
    """What each source said of its own making, where the catalog does not have it so."""
    said = ((s.guid, _public(s.bookkeeping)) for s in sources)
    return [PutBookkeeping(dataset, guid, record) for guid, record in said if old.get(guid) != record]


def _public(bookkeeping: Mapping[str, Any]) -> dict[str, Any]:
    """The bookkeeping without what the catalog keeps as files."""
    own = ("aod", "path", "simulation", "layout", "profile", omissions.KEY)
    return {k: v for k, v in bookkeeping.items() if k not in own}


def _at_site(own: Files, snapshot: Snapshot, pointed: Sequence[FileRecord], named: Collection[str]) -> list[FileRecord]:
    """The AOD files that the user named for a site.

    These are input files that hold their own events, and those of `pointed`; without any `pointed`, the files that the
    rows of the named input files point to.
    """
    guids = {f.guid for f in pointed}
    for source in snapshot.sources:
        if source.guid not in named:
            continue
        guids.add(source.guid)
        if not pointed:
            keep: Mapping[str, Any] = source.bookkeeping
            guids |= {a["guid"] for a in keep.get("aod", ())}
    return [f for (kind, guid), f in own.items() if kind == "AOD" and guid in guids]


def _replicas(catalog: Catalog, site: str, files: Iterable[FileRecord]) -> list[Change]:
    """Copies of AOD files at a site that it is not known to hold; the site, where it is new."""
    here = [(f.guid, f.pfn) for f in files if f.kind == "AOD" and f.pfn]
    held = catalog.replicas([guid for guid, _ in here])
    new = []
    for guid, pfn in here:
        if (site, pfn) not in [(replica.site, replica.pfn) for replica in held[guid]]:
            new.append((guid, pfn))
    changes: list[Change] = [] if site in {s.name for s in catalog.sites()} else [PutSite(site)]
    return [*changes, PutReplicas(site, new)] if new else changes


def aod_files(places: Sequence[Path | str]) -> tuple[list[FileRecord], list[str]]:
    """AOD files by their GUID, and warnings: ROOT files, paths or URLs, and those that PoolFileCatalogs (`.xml`) name.

    Of the files that such a catalog names, those on this machine are opened. Others are kept as the catalog names them,
    for there may be thousands: each is opened and checked when its events are read. A warning counts those whose paths
    are not on this machine.
    """
    records: list[FileRecord] = []
    warnings: list[str] = []
    for place in places:
        if isinstance(place, Path) and place.suffix == ".xml":
            in_catalog, away, total = _pool_files(place)
            records += in_catalog
            if away:
                warnings.append(_away_text(place, away, total))
        else:
            records.append(_aod_file(place))
    return records, warnings


def _pool_files(catalog: Path) -> tuple[list[FileRecord], list[str], int]:
    """What a PoolFileCatalog knows (relative names are in its folder), paths that are not here, number of files."""
    records: list[FileRecord] = []
    away: list[str] = []
    files = read_pool_file_catalog(catalog)
    for file in files:
        paths = [str(catalog.parent / pfn) for pfn in file.pfns if "://" not in pfn]
        present = _present(file, paths)
        records += present
        if not present:
            pfn = next((name for name in (*paths, *file.pfns) if name), "")
            records.append(FileRecord(file.guid, file.lfn or pfn, pfn, "AOD"))
            if pfn:  # a file that has a logical name only claims no place
                away.append(pfn)
    return records, away, len(files)


def _present(file: PoolFile, paths: Sequence[str]) -> list[FileRecord]:
    """The records of a file's copies on this machine; where there are none, those of its remote copies."""
    local = [Path(path) for path in paths if os.path.isfile(path)]  # noqa: PTH113 - a name that is too long is none
    if local:
        return [_aod_file(path) for path in local]
    remote = [pfn for pfn in file.pfns if is_remote(pfn)]
    return [FileRecord(file.guid, file.lfn or pfn.rsplit("/", 1)[1], pfn, "AOD") for pfn in remote]


def _away_text(catalog: Path, away: Sequence[str], total: int) -> str:
    names = ", ".join(away[:3]) + (f" and {len(away) - 3:,} more" if len(away) > 3 else "")
    return (
        f"{catalog}: {len(away):,} of {total:,} files are not at their paths on this machine ({names}); they are kept "
        "by name: --site NAME says which site has them, or a site's rules make paths of their logical names"
    )


def _told(new: FileRecord, before: FileRecord) -> FileRecord:
    """What a file catalog says of a file; a path that is not on this machine takes no other's place."""
    merged = new.filled(before)
    is_away = bool(new.pfn) and not is_remote(new.pfn) and not os.path.isfile(new.pfn)  # noqa: PTH113 - as above
    return replace(merged, pfn=before.pfn) if is_away and before.pfn else merged


def _aod_file(place: Path | str) -> FileRecord:
    pfn = str(place.resolve()) if isinstance(place, Path) else place
    lfn = str(place).rsplit("/", 1)[-1]  # of a link its own name
    with RootFile(place) as file:
        return FileRecord(file.guid, lfn, pfn, "AOD", file.events().entries, file.bytes)
