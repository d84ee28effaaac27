"""A snapshot: a numbered, unchanging state of a dataset, opened with JSON and NumPy alone.

Invariant: parts come in the order of commits, then in the order given to the commit; never in that of a
listing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from tagsel.base.cache import Cache, CacheGroup
from tagsel.errors import StoreError
from tagsel.schema import Menu, Schema
from tagsel.schema.attributes import IDENTITIES
from tagsel.store import disk, omissions
from tagsel.store.columns import Array
from tagsel.store.duplicates import Marks, SplitEvents, counted_rows, numbers_of, split_events
from tagsel.store.frame import Frame
from tagsel.store.layout import Source
from tagsel.store.log import PartRecord, State, commits_folder, entry_path, latest, newest_version
from tagsel.store.parts import Part
from tagsel.store.retraction import Retraction
from tagsel.store.retraction import read as read_retraction
from tagsel.store.zones import Kind


@dataclass(frozen=True)
class Snapshot:
    """A state of the dataset in `folder`; nothing is read before it is asked for."""

    folder: Path
    state: State = field(repr=False)

    @property
    def number(self) -> int:
        """Its number: 0 is the empty dataset, each commit adds one."""
        return self.state.number

    @property
    def rows(self) -> int:
        """Rows of all parts, duplicates included."""
        return self.state.rows

    @property
    def content(self) -> str:
        """The first 16 hex digits of a SHA-256 over its parts' names, which are hashes of what the parts hold."""
        return hashlib.sha256("\n".join(p.name for p in self.state.parts).encode()).hexdigest()[:16]

    @property
    def bytes(self) -> int:
        """Bytes of all parts."""
        return sum(p.bytes for p in self.state.parts)

    @cached_property
    def schema(self) -> Schema:
        """The attributes of the dataset; a part may lack some of them."""
        return Schema.from_json(self._document(self.state.schema))

    @cached_property
    def menus(self) -> Mapping[int, Menu]:
        """Trigger menus by id."""
        documents = [self._document(name) for name in self.state.menus]
        return {int(d["id"]): Menu.from_json(d["menu"]) for d in documents}

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Its parts in order."""
        marks = self._marks_of_no_part()
        types = {a.column: (a.type, a.is_list) for a in self.schema}
        counters = {a.column: a.counter for a in self.schema if a.is_list}
        documents: dict[str, tuple[dict[str, Kind], frozenset[str]]] = {}
        parts, row = [], 0
        for p in self.state.parts:
            if p.columns not in documents:
                listed = self._document(p.columns)
                documents[p.columns] = {c: types[c] for c in listed}, frozenset(listed)
            kinds, columns = documents[p.columns]
            parts.append(Part(p.name, self.folder, p.rows, p.bytes, p.groups, columns, row, kinds, marks, counters))
            row += p.rows
        marks.parts = tuple(parts)
        return marks.parts

    def only(self, parts: tuple[PartRecord, ...]) -> Snapshot:
        """The same, with these parts alone: for a process that is sent some of them, and opens no log."""
        part_of_it = Snapshot(self.folder, replace(self.state, parts=parts))
        part_of_it.__dict__.update(schema=self.schema, menus=self.menus)  # what was read of them is not read again
        part_of_it.__dict__["frame"] = Frame(part_of_it.parts)  # reads sidecars: stacks are those of the whole dataset
        return part_of_it

    @cached_property
    def memo(self) -> CacheGroup:
        """What others have worked out from this snapshot alone."""
        return CacheGroup()

    @cached_property
    def frame(self) -> Frame:
        """All row groups of all parts side by side."""
        return Frame(self.parts, self.folder)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Ingested files in order, those of 0 rows included; `first_row` is a row of the snapshot."""
        sources = []
        for name, base in self.state.sources:
            record = self._document(name)
            for first, raw in record["sources"]:
                source = Source.from_json(raw)
                sources.append(replace(source, first_row=base + first + source.first_row))
        return tuple(sources)

    @property
    def source_guids(self) -> frozenset[str]:
        """GUIDs of all ingested files, without reading their bookkeeping."""
        return frozenset(self.state.guids)

    @cached_property
    def omissions(self) -> tuple[omissions.Omission, ...]:
        """The columns of its files that the ingest left out, each once for each reason."""
        documents = dict.fromkeys(str(source.bookkeeping.get(omissions.KEY, "")) for source in self.sources)
        documents.pop("", None)
        left_out = chain.from_iterable(omissions.read(self.folder, document) for document in documents)
        return tuple(dict.fromkeys(left_out))

    @cached_property
    def retractions(self) -> tuple[Retraction, ...]:
        """Files that were taken out of the dataset, in order, those that came back since included."""
        return tuple(read_retraction(self.folder, name) for name in self.state.retractions)

    def duplicate_rows(self) -> int:
        """Rows that repeat the (run, event) of another row."""
        return len(self.marks.rows())

    def split_events(self) -> SplitEvents | None:
        """Repeated (run, event) that stand in several luminosity blocks; None where there are none."""
        if self.schema.identity != IDENTITIES[0]:
            return None
        return split_events(self.parts, self.marks.rows())

    def counted_rows(self, duplicates: Array) -> Array:
        """The rows that count of the events that these sorted, marked rows repeat."""
        return counted_rows(self.parts, self.marks.rows(), duplicates, self.marks.identity)

    def numbers_of(self, rows: Array) -> dict[str, Array]:
        """The numbers of the events in these sorted rows: run, event, and what else makes an event's identity."""
        return numbers_of(self.parts, rows, self.marks.identity)

    @property
    def marks(self) -> Marks:
        """Its duplicate marks."""
        marks = self.parts[0].marks if self.parts else None
        return marks or self._marks_of_no_part()

    def _marks_of_no_part(self) -> Marks:
        path = duplicates_path(self.folder, self.number)
        return Marks(path, self.number, identity=tuple(self.schema.identity.split()))

    def _document(self, name: str) -> Any:
        return disk.read_document(commits_folder(self.folder), name)


def duplicates_path(folder: Path, number: int) -> Path:
    """Where the duplicate marks of a snapshot lie."""
    return folder / "_tagsel" / f"duplicates-{number}.rows"


_newest: Cache[Path, tuple[tuple[int, int], Snapshot]] = Cache("snapshots", entries=256)
"""The newest snapshots of datasets, with what was read of them."""


def newest(folder: Path) -> Snapshot:
    """The dataset's newest snapshot, the same one again while the log has not gone on. StoreError: there is none."""
    stamp, snapshot = _newest.get(folder, ((0, 0), None))
    if snapshot is not None:
        version = snapshot.state.version
        if stamp == _stamp(folder, version) and newest_version(folder, version) == version:
            return snapshot
    state = latest(folder)
    snapshot = Snapshot(folder, state)
    _newest[folder] = _stamp(folder, state.version), snapshot
    return snapshot


def at_least(snapshot: Snapshot, number: int, rows: int) -> Snapshot:
    """A newest snapshot that was opened, or a newer one, where a catalog knows snapshot `number` with `rows` events.

    StoreError where the dataset's log ends before that number: entries are missing.
    """
    if snapshot.number < number:  # somebody may have added one since
        snapshot = newest(snapshot.folder)
    if snapshot.number >= number:
        return snapshot
    folder = snapshot.folder
    raise StoreError(
        f"dataset {folder.name}: the catalog knows snapshot {number} with {rows:,} events, its log "
        f"{folder / '_delta_log'} ends at snapshot {snapshot.number} with {snapshot.rows:,}: entries are missing",
        hint="put them back from a backup of _delta_log; else tagsel workspace recover says what is left",
        dataset=folder.name,
        path=str(folder / "_delta_log"),
    )


def _stamp(folder: Path, version: int) -> tuple[int, int]:
    """What tells a log entry from one that took its place."""
    try:
        state = entry_path(folder, version).stat()
    except OSError:
        return 0, 0
    return state.st_ino, state.st_mtime_ns
