"""Taking a file's rows out of a dataset: which rows go, and the parts without them.

A row goes where it was ingested from the file, or where its AOD is the file. A part that loses some of its rows is
written anew with the others; one that loses all of them goes.

Invariant: rows that stay keep their order and their values; a part that loses none is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.errors import StoreError
from tagsel.schema import Schema
from tagsel.store import disk, log
from tagsel.store.bus_error import watch
from tagsel.store.columns import Array
from tagsel.store.layout import NewPart, Source, caches_of, write_part
from tagsel.store.log import PartRecord
from tagsel.store.parts import Part
from tagsel.store.retraction import EVERYTHING, spans_by
from tagsel.store.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

Rewritten = tuple[str, NewPart | None, Schema]
"""A part's name, the part in its place (None: it loses all rows), and that one's schema."""

Diminish = Callable[[Source, int], Mapping[str, object]]
"""The bookkeeping of an ingested file that stays without so many of its rows."""


@dataclass(frozen=True, eq=False)
class Losses:
    """What a snapshot loses with the file `guid`: `rows`, (n,) int64, are rows of the snapshot, rising."""

    snapshot: Snapshot
    guid: str
    rows: Array

    def before(self, row: int) -> int:
        """How many rows go before a row of the snapshot."""
        return int(np.searchsorted(self.rows, row))

    def of(self, first: int, rows: int) -> int:
        """How many go of the rows `first` … `first + rows`."""
        return self.before(first + rows) - self.before(first)

    def goes(self, source: Source) -> bool:
        """Whether an ingested file goes whole: it is the file, or all of its rows point to it."""
        return source.guid == self.guid or (0 < source.entries == self.of(source.first_row, source.entries))

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Ingested files that go whole."""
        return tuple(s for s in self.snapshot.sources if self.goes(s))

    @cached_property
    def partly(self) -> dict[str, int]:
        """By GUID, ingested files that stay without some of their rows, and how many these are."""
        lost = {s.guid: self.of(s.first_row, s.entries) for s in self.snapshot.sources if not self.goes(s)}
        return {guid: rows for guid, rows in lost.items() if rows}

    @property
    def parts(self) -> list[Part]:
        """Parts that lose rows."""
        return [p for p in self.snapshot.parts if self.of(p.first_row, p.rows)]

    def mask(self, part: Part) -> Array:
        """Which rows of a part go, (rows,) bool."""
        mask = np.zeros(part.rows, np.bool_)
        mask[self.rows[self.before(part.first_row) : self.before(part.first_row + part.rows)] - part.first_row] = True
        return mask

    def __bool__(self) -> bool:
        return bool(len(self.rows) or self.sources)


def losses(snapshot: Snapshot, guid: str) -> Losses:
    """What a snapshot loses with a file. StoreError: a part that may hold rows of it is damaged."""
    own = [s for s in snapshot.sources if s.guid == guid]
    rows = [np.zeros(0, np.int64)]
    for part in snapshot.parts:
        gone = np.zeros(part.rows, np.bool_)
        for source in own:
            low, high = source.first_row - part.first_row, source.first_row + source.entries - part.first_row
            gone[max(low, 0) : max(high, 0)] = True
        if not gone.all() and "aod_guid" in part.columns:  # one that goes whole may be damaged
            gone |= _points_to(part, guid)
        rows.append(np.flatnonzero(gone) + part.first_row)
    return Losses(snapshot, guid, np.concatenate(rows))


def _points_to(part: Part, guid: str) -> Array:
    """Which rows of a part have the file as their AOD, (rows,) bool."""
    places = part.places().get("aod")
    if places is not None:
        code = places.names.index(guid) if guid in places.names else -1
        return np.repeat(places.fields["code"] == code, np.diff(np.append(places.starts, part.rows)))
    groups = []
    for group in range(len(part.groups)):
        codes, names = part.read_codes(group, "aod_guid")
        groups.append(np.array([n == guid for n in names], np.bool_)[codes] if names else np.zeros(len(codes), bool))
    return np.concatenate(groups)


def rewrite(lost: Losses) -> list[Rewritten]:
    """Write the parts that lose some rows anew without them, one row group at a time; on an error none is left."""
    snapshot, rewritten = lost.snapshot, list[Rewritten]()
    there = {path.name for path in snapshot.folder.glob("*.parquet")}
    try:
        for part in lost.parts:
            schema = Schema(tuple(a for a in snapshot.schema if a.column in part.columns))
            stay = part.rows - lost.of(part.first_row, part.rows)
            batches = _batches(part, schema, ~lost.mask(part))
            new = write_part(snapshot.folder, schema, batches, _kept(lost, part)) if stay else None
            rewritten.append((part.name, new, schema))
            if (new.rows if new else 0) != stay:
                raise StoreError(f"rewriting part {part.name} of {snapshot.folder} lost rows: it is not used")
    except BaseException:
        discard(snapshot.folder, rewritten, there)
        raise
    return rewritten


def discard(folder: Path, rewritten: Sequence[Rewritten], there: set[str]) -> None:
    """Remove parts that were written and are not needed; not those that were `there` before."""
    for name in {new.name for _, new, _ in rewritten if new} - there:
        for path in (folder / name, *caches_of(folder / name)):
            path.unlink(missing_ok=True)


def _kept(lost: Losses, part: Part) -> list[Source]:
    """Ingested files that a part still holds rows of: with them in its footer it is no other part's twin."""
    end = part.first_row + part.rows
    return [
        s
        for s in lost.snapshot.sources
        if s.first_row < end and s.first_row + s.entries > part.first_row and not lost.goes(s)
    ]


def _batches(part: Part, schema: Schema, stay: Array) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    row = 0
    for group, rows in enumerate(part.groups):
        chosen, row = stay[row : row + rows], row + rows
        if chosen.any():
            mask = pa.array(chosen)
            arrays = [part.arrow(group, a.column).filter(mask) for a in schema]
            yield pa.RecordBatch.from_arrays(arrays, names=[a.column for a in schema])


def record(lost: Losses, parts: Sequence[tuple[str, PartRecord | None]], diminish: Diminish) -> dict[str, Any]:
    """What the commit says: the parts that give way, where the other files' rows are now, and where those gone were."""
    commits = log.commits_folder(lost.snapshot.folder)
    return {
        "op": "retract",
        "rows": len(lost.rows),
        "parts": [[old, asdict(new) if new else None] for old, new in parts],
        "sources": _sources(lost, diminish),
        "guids": sorted({s.guid for s in lost.sources}),
        "partly": lost.partly,
        "places": disk.write_document(commits, _places(lost)),
    }


def _sources(lost: Losses, diminish: Diminish) -> list[list[Any]]:
    """`State.sources` after the rows are gone: a commit's document gives way where its files did not only move up."""
    commits = log.commits_folder(lost.snapshot.folder)
    after: list[list[Any]] = []
    for name, base in lost.snapshot.state.sources:
        document: Any = disk.read_document(commits, name)
        first = base - lost.before(base)
        listed = []
        for offset, raw in document["sources"]:
            source = Source.from_json(raw)
            here = replace(source, first_row=base + offset + source.first_row)
            if not lost.goes(here):
                at = here.first_row - lost.before(here.first_row)
                listed.append([at - first - source.first_row, _left(lost, here, diminish, source.first_row)])
        if listed == document["sources"]:
            after.append([name, first])
        elif listed:
            after.append([disk.write_document(commits, {"sources": listed}), first])
    return after


def _left(lost: Losses, source: Source, diminish: Diminish, first_row: int) -> dict[str, object]:
    """What is kept of an ingested file that stays, JSON-ready."""
    gone = lost.of(source.first_row, source.entries)
    kept = diminish(source, gone) if gone else source.bookkeeping
    return replace(source, entries=source.entries - gone, first_row=first_row, bookkeeping=kept).to_json()


def _places(lost: Losses) -> dict[str, Any]:
    """Where the rows were, as `retraction.Places` reads it."""
    names: dict[str, int] = {"": 0}
    rows: dict[str, list[Array]] = {c: [np.zeros(0, np.int64)] for c in ("code", "entry", "run", "event")}
    whole: set[str] = set()
    for part in lost.parts:
        try:
            with watch:
                read = list(_read(part, lost.mask(part), names))
            for found in read:
                for column, values in found.items():
                    rows[column].append(values)
        except StoreError:  # of a damaged part it is not known: then all of the file is meant
            whole.add(lost.guid)
    code, entry, run, event = (np.concatenate(rows[c]) for c in ("code", "entry", "run", "event"))
    named, table = code > 0, list(names)
    files = {table[k]: found for k, found in spans_by(code[named], entry[named]).items()}
    runs = {str(k): found for k, found in spans_by(run[~named], event[~named]).items()}
    return {"files": {**files, **dict.fromkeys(whole, EVERYTHING)}, "runs": runs}


def _read(part: Part, gone: Array, names: dict[str, int]) -> Iterator[dict[str, Array]]:
    """Files (codes into `names`, which grows; 0: unknown), entries, runs and events of rows that go."""
    row = 0
    for group, rows in enumerate(part.groups):
        mask, row = gone[row : row + rows], row + rows
        if not mask.any():
            continue
        values = part.read(group, ("run", "event", "aod_entry"))
        code = np.zeros(rows, np.int64)
        if {"aod_guid", "aod_entry"} <= part.columns:
            codes, table = part.read_codes(group, "aod_guid")
            code = np.array([names.setdefault(n, len(names)) for n in table], np.int64)[codes]
            code[values["aod_entry"] < 0] = 0
        entry = values.get("aod_entry", np.full(rows, -1))
        found = {"code": code, "entry": entry, "run": values["run"], "event": values["event"]}
        yield {column: v[mask].astype(np.int64) for column, v in found.items()}
