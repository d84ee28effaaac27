"""A snapshot: a numbered, unchanging state of a dataset, opened with JSON and NumPy alone.

Invariant: parts come in the order of commits, then in the order given to the commit; never in that of a
listing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tagsel.schema import Menu, Schema
from tagsel.store import disk
from tagsel.store.duplicates import Marks
from tagsel.store.frame import Frame
from tagsel.store.layout import Source
from tagsel.store.log import PartRecord, State, commits_folder, entry_path, latest, newest_version
from tagsel.store.memo import Memo
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
        marks = Marks(duplicates_path(self.folder, self.number))
        types = {a.column: (a.type, a.is_list) for a in self.schema}
        known: dict[str, tuple[dict[str, Kind], frozenset[str]]] = {}
        made, row = [], 0
        for p in self.state.parts:
            if p.columns not in known:
                listed = self._document(p.columns)
                known[p.columns] = {c: types[c] for c in listed}, frozenset(listed)
            kinds, columns = known[p.columns]
            made.append(Part(p.name, self.folder, p.rows, p.bytes, p.groups, columns, row, kinds, marks))
            row += p.rows
        marks.parts = tuple(made)
        return marks.parts

    def only(self, parts: tuple[PartRecord, ...]) -> Snapshot:
        """The same, with these parts alone: for a process that is sent some of them, and opens no log."""
        found = Snapshot(self.folder, replace(self.state, parts=parts))
        found.__dict__.update(schema=self.schema, menus=self.menus)  # what was read of them is not read again
        found.__dict__["frame"] = Frame(found.parts)  # reads sidecars: stacks are those of the whole dataset
        return found

    @cached_property
    def memo(self) -> Memo:
        """What others have worked out from this snapshot alone."""
        return Memo()

    @cached_property
    def frame(self) -> Frame:
        """All row groups of all parts side by side."""
        return Frame(self.parts, self.folder)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Ingested files in order, those of 0 rows included; `first_row` is a row of the snapshot."""
        found = []
        for name, base in self.state.sources:
            record = self._document(name)
            for first, raw in record["sources"]:
                source = Source.from_json(raw)
                found.append(replace(source, first_row=base + first + source.first_row))
        return tuple(found)

    @property
    def source_guids(self) -> frozenset[str]:
        """GUIDs of all ingested files, without reading their bookkeeping."""
        return frozenset(self.state.guids)

    @cached_property
    def retractions(self) -> tuple[Retraction, ...]:
        """Files that were taken out of the dataset, in order, those that came back since included."""
        return tuple(read_retraction(self.folder, name) for name in self.state.retractions)

    def duplicate_rows(self) -> int:
        """Rows that repeat the (run, event) of another row."""
        return len(self.marks.rows())

    @property
    def marks(self) -> Marks:
        """Its duplicate marks."""
        held = self.parts[0].marks if self.parts else None
        return held or Marks(duplicates_path(self.folder, self.number))

    def _document(self, name: str) -> Any:
        return disk.read_document(commits_folder(self.folder), name)


def duplicates_path(folder: Path, number: int) -> Path:
    """Where the duplicate marks of a snapshot lie."""
    return folder / "_tagsel" / f"duplicates-{number}.rows"


_newest: dict[Path, tuple[tuple[int, int], Snapshot]] = {}
MOST_OPEN = 256
"""Datasets whose newest snapshot stays open in the process, with what was read of it."""


def newest(folder: Path) -> Snapshot:
    """The dataset's newest snapshot, the same one again while the log has not gone on. StoreError: there is none."""
    stamp, snapshot = _newest.get(folder, ((0, 0), None))
    if snapshot is not None:
        version = snapshot.state.version
        if stamp == _stamp(folder, version) and newest_version(folder, version) == version:
            return snapshot
    state = latest(folder)
    snapshot = Snapshot(folder, state)
    while len(_newest) >= MOST_OPEN:
        _newest.pop(next(iter(_newest)), None)
    _newest[folder] = _stamp(folder, state.version), snapshot
    return snapshot


def _stamp(folder: Path, version: int) -> tuple[int, int]:
    """What tells a log entry from one that took its place."""
    try:
        state = entry_path(folder, version).stat()
    except OSError:
        return 0, 0
    return state.st_ino, state.st_mtime_ns
