"""`retract`: a file's rows taken out of the datasets that have them; and lists that touch a file that was.

Invariant: in each dataset a retraction is one commit, which says file, reason, who and when, and which `datasets
restore` undoes; the catalog learns of it from the commit, whatever happens in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.api.home import Home
from tagsel.api.inputs import DATA, caught_up
from tagsel.api.origins import own_snapshots
from tagsel.base.fail_points import fail_point
from tagsel.catalog import (
    FORMER,
    DatasetSpec,
    FileRecord,
    LogQuery,
    RetractionRecord,
    canonical_guid,
    parse_dataset_spec,
    who,
)
from tagsel.errors import CatalogError, TagselError, after, did_you_mean
from tagsel.events import EventList
from tagsel.ingest.registration import register
from tagsel.store import Source, Table, disk
from tagsel.store import log as commits
from tagsel.store.retract import Losses, losses
from tagsel.store.retraction import Places, read

_OF_ALL_ROWS = {"processed", "genEventCount", "sumw", "sumw2", "runs", "cutbookkeepers"}
_GUID = re.compile(r"\{?[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}?")


@dataclass(frozen=True)
class Loss:
    """What one dataset loses: `rows` of `of` rows; ingested files that go whole, and by name those that lose some.

    `snapshot` is the new one; None where nothing was done. `state` is that of the dataset: open, closed or frozen.
    """

    dataset: str
    rows: int
    of: int
    files: tuple[str, ...]
    partly: Mapping[str, int]
    snapshot: int | None = None
    state: str = "open"


@dataclass(frozen=True)
class Retracted:
    """What a retraction did, or would do: the file, the reason, and the loss of each dataset.

    `kept` are datasets that are closed or frozen: their rows of the file stay.
    """

    guid: str
    lfn: str
    reason: str
    losses: tuple[Loss, ...]
    kept: tuple[Loss, ...] = ()

    @property
    def name(self) -> str:
        """The file as people call it."""
        return self.lfn or self.guid

    @property
    def rows(self) -> int:
        """Rows of all datasets."""
        return sum(loss.rows for loss in self.losses)

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {**asdict(self), "rows": self.rows}


def retract(home: Home, file: str, dataset: str, reason: str, *, dry_run: bool) -> Retracted:
    """Take the rows of a file out of a dataset, or of every one that has it; see `Datasets.retract`."""
    if not reason.strip():
        raise CatalogError("a retraction needs a reason", hint='--reason "bad beam spot"')
    if dataset:
        home.catalog.dataset(dataset)
    guid, lfn = _file(home, file, dataset)
    found = _losses(home, guid, dataset)
    if not found:
        raise _nowhere(home, file, guid, dataset)
    closed = {name: state for name in found if (state := home.catalog.dataset(name).state) in ("closed", "frozen")}
    kept = tuple(replace(_said(name, found[name]), state=state) for name, state in closed.items())
    if len(kept) == len(found):
        raise _all_closed(lfn or guid, kept)
    said = {"guid": guid, "lfn": lfn, "reason": reason.strip(), "who": who(), "when": _now()}
    done: list[Loss] = []
    for name, lost in found.items():
        if name in closed:
            continue
        loss = _said(name, lost)
        if not dry_run:
            with _naming(done), disk.changing(home.folder / DATA / name):
                home.catalog.need_open(name)
                loss = replace(loss, snapshot=_commit(home, name, lost, said))
        done.append(loss)
    return Retracted(guid, lfn, reason.strip(), tuple(done), kept)


def _naming(done: Sequence[Loss]) -> AbstractContextManager[None]:
    """Have an error name the datasets that the file was taken out of before."""
    if not done:
        return nullcontext()
    return after(f"it is taken out of {', '.join(f'{one.dataset}@{one.snapshot}' for one in done)}")


def _all_closed(file: str, kept: Sequence[Loss]) -> CatalogError:
    """The error that every dataset with rows of the file is closed or frozen, with what each has."""
    rows = "; ".join(f"{k.rows:,} of {k.of:,} rows of {k.dataset}, which is {k.state}" for k in kept)
    return CatalogError(
        f"{file} is behind {rows}: the content cannot change",
        hint="ingest the other files into a new dataset, with another name",
        datasets=[k.dataset for k in kept],
    )


def _commit(home: Home, name: str, lost: Losses, said: Mapping[str, str]) -> int:
    """One commit, then the catalog; a crash between the two is mended when the dataset is asked for."""

    def diminish(source: Source, rows: int) -> Mapping[str, object]:
        return _diminished(source, rows, said["guid"], said["lfn"] or said["guid"])

    snapshot = home.table(name).retract(lost, said, diminish)
    fail_point("retract.register")
    register(home.catalog, name, snapshot, {})
    audit = LogQuery(
        "retract",
        name,
        snapshot.number,
        f"{said['lfn'] or said['guid']}: {said['reason']}",
        read=lost.snapshot.rows,
        accepted=snapshot.rows,
    )
    with after(f"{name}@{snapshot.number} is committed"):
        home.catalog.record(audit)
    return snapshot.number


def _diminished(source: Source, rows: int, guid: str, name: str) -> Mapping[str, object]:
    """The bookkeeping of a file that stays without some rows: which blocks and weights were theirs, nobody knows."""
    kept: dict[str, Any] = dict(source.bookkeeping)
    if "aod" in kept:
        kept["aod"] = [a for a in kept["aod"] if a["guid"] != guid]
    kept |= dict.fromkeys(_OF_ALL_ROWS & set(kept))
    return {**kept, "processed_reason": f"{rows:,} of {source.entries:,} rows were retracted with {name}"}


def _losses(home: Home, guid: str, dataset: str) -> dict[str, Losses]:
    """By name, what the datasets that have the file lose with it."""
    known = {f.dataset for f in home.catalog.files(guids=[guid]) if f.kind in ("TAG", "AOD")}
    names = [dataset] if dataset else sorted(known) or home.catalog.names()  # rows may name what no file told
    tables = {n: home.table(n) for n in names if Table.exists(home.folder / DATA / n)}
    for name, table in tables.items():
        caught_up(home.catalog, home.catalog.dataset(name), table.snapshot())
    found = {name: losses(table.snapshot(), guid) for name, table in tables.items()}
    return {name: lost for name, lost in found.items() if lost}


def _said(name: str, lost: Losses) -> Loss:
    lfns = {s.guid: s.lfn or s.guid for s in lost.snapshot.sources}
    partly = {lfns[g]: n for g, n in lost.partly.items()}
    return Loss(name, len(lost.rows), lost.snapshot.rows, tuple(lfns[s.guid] for s in lost.sources), partly)


def _file(home: Home, text: str, dataset: str) -> tuple[str, str]:
    """GUID and logical name of the file that a path, logical name or GUID means; CatalogError for none, or several."""
    if _GUID.fullmatch(text):
        guid = canonical_guid(text)
        return guid, next((f.lfn for f in home.catalog.files(guids=[guid]) if f.lfn), "")
    records = [f for f in home.catalog.files(dataset or None) if f.kind in ("TAG", "AOD", FORMER)]
    guids = {file.guid: file for file in _called(records, text)}
    if not guids and Path(text).is_file():
        return _opened(Path(text), records)
    if len(guids) > 1:
        which = ", ".join(f"{g} ({f.pfn or f.lfn}, {f.dataset})" for g, f in sorted(guids.items()))
        hint = "give its GUID or whole path, or name the dataset with --dataset"
        raise CatalogError(f"{text!r} is the name of {len(guids)} files: {which}", hint=hint, guids=sorted(guids))
    if not guids:
        names = {file.lfn for file in records} | {file.pfn for file in records}
        near = did_you_mean(text, names - {""})
        where = f"of {dataset}" if dataset else "in the catalog"
        hint = near or "a path, a logical name or a GUID; tagsel datasets show NAME lists the files of a dataset"
        raise CatalogError(f"no file {text!r} {where}", hint=hint, file=text)
    guid = next(iter(guids))
    return guid, next((f.lfn for f in records if f.guid == guid and f.lfn), "")


def _called(records: Sequence[FileRecord], text: str) -> list[FileRecord]:
    """The files at a path, or else those of a logical name, whole or without its folders."""
    path = str(Path(text).resolve())
    at_path = [file for file in records if file.pfn in (path, text)]
    return at_path or [file for file in records if file.lfn and text in (file.lfn, file.lfn.rsplit("/", 1)[-1])]


def _opened(path: Path, records: Sequence[FileRecord]) -> tuple[str, str]:
    """A file that lies elsewhere than the catalog knows, by its content."""
    from tagsel.ingest import open_source

    guid = open_source(path).guid
    return guid, next((f.lfn for f in records if f.guid == guid and f.lfn), path.name)


def _nowhere(home: Home, text: str, guid: str, dataset: str) -> CatalogError:
    """Why there is nothing to take out."""
    past = [r for r in home.catalog.retractions(dataset or None) if r.guid == guid and r.back is None]
    said = "; ".join(f"it was retracted from {r.dataset} at {r.retracted} by {r.who}: {r.reason}" for r in past)
    where = dataset or "any dataset"
    hint = said or "tagsel datasets show NAME lists the files of a dataset"
    return CatalogError(f"no row of {where} comes from {text} or points to it", hint=hint, guid=guid)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Touched:
    """A retracted file that a list still points to: `events` of the list, why, since when, and by whom."""

    file: str
    guid: str
    dataset: str
    snapshot: int
    events: int
    reason: str
    since: str
    who: str

    def __str__(self) -> str:
        events = "1 event" if self.events == 1 else f"{self.events:,} events"
        return (
            f"{events} of the list were in {self.file}, retracted from {self.dataset} since {self.since} (snapshot "
            f"{self.snapshot}, {self.who}): {self.reason}"
        )


def touched(home: Home, events: EventList) -> tuple[Touched, ...]:
    """The retracted files that a list touches, of the datasets that it came from (of any, where it names none)."""
    catalog = home.catalog
    homes = _homes(home, events)
    latest: dict[tuple[str, str], tuple[RetractionRecord, int]] = {}
    for r in catalog.retractions():
        mine = [spec.snapshot for spec in homes if spec.pattern == r.dataset]
        if r.back is None and (not homes or not all(_after(home, r, number) for number in mine)):
            count = _count(home, r, events)
            if count:
                latest[r.dataset, r.guid] = r, count
    return tuple(
        Touched(r.name, r.guid, r.dataset, r.snapshot, count, r.reason, r.retracted, r.who)
        for r, count in latest.values()
    )


def _homes(home: Home, events: EventList) -> list[DatasetSpec]:
    """The snapshots that a list came from, of datasets that are here; the catalog knows their newest ones then."""
    catalog, names = home.catalog, set(home.catalog.names())
    homes: list[DatasetSpec] = []
    for text in own_snapshots(events):
        homes += [spec for spec in parse_dataset_spec(text) if spec.pattern in names]
    for name in sorted({spec.pattern for spec in homes}):
        folder = home.folder / DATA / name
        if Table.exists(folder):
            caught_up(catalog, catalog.dataset(name), Table.open(folder).snapshot())
    return homes


def _after(home: Home, r: RetractionRecord, number: int | None) -> bool:
    """Whether the file was out of the dataset's snapshot already: then no list from there touches it."""
    folder = home.folder / DATA / r.dataset
    try:
        state = commits.at(folder, number or 0)
        return r.record in state.retractions and read(folder, r.record).in_force(state.guids)
    except TagselError:
        return False


def _count(home: Home, r: RetractionRecord, events: EventList) -> int:
    """How many events of a list were rows that went with a retraction."""
    try:
        places = Places.of(home.folder / DATA / r.dataset, r.record)
    except TagselError:  # the dataset's folder is gone: then the file says it
        return int(np.isin(events.guid_codes, [k for k, g in enumerate(events.guids) if g == r.guid]).sum())
    found = np.zeros(len(events), np.bool_)
    for code, guid in enumerate(events.guids):
        if guid in places.files:
            mine = np.flatnonzero(events.guid_codes == code)
            found[mine] = places.holds(guid, events.entry[mine])
    unplaced = ~events.stage("aod").guid.known() | (events.entry < 0)
    found[unplaced] = places.holds_ids(events.run[unplaced], events.event[unplaced])
    return int(found.sum())
