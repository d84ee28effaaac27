"""Reading the AOD branches of just the events of a list, in the list's order.

Invariant: every event that is asked for is either in a batch, with the ids of the list, or unreadable in
the report; a file that cannot be read, or is not the one that is meant, costs its own events and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.aod.branches import resolve
from tagsel.aod.ids import id_names
from tagsel.aod.mapping import USUAL, EventMap, Layout
from tagsel.aod.openfile import OpenFile, id_fields, read_entries
from tagsel.aod.report import FileProblem, ReadReport
from tagsel.aod.wanted import Wanted, wanted_of
from tagsel.errors import AccessError
from tagsel.events import DeliveryLedger, EventList
from tagsel.rootio import RootFile, is_remote

BATCH = 10_000
"""Events read at once by default."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Events read together: record array `events`; its row i is position `rows[i]` of what was asked,
    rising."""

    rows: npt.NDArray[np.int64]
    events: Any


class Reading:
    """One reading of wanted entries, batch by batch; iterate it once, then look at `report`.

    `branches`: patterns; `unmapped`: events that have no address and count as unreadable. AccessError for a
    pattern without a match, or where files differ in the branches that the patterns take.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        branches: str | Sequence[str],
        batch: int = BATCH,
        *,
        unmapped: int = 0,
        layout: Layout = USUAL,
    ) -> None:
        self.wanted = tuple(wanted)
        self.branches = branches
        self.batch = max(1, batch)
        self.columns: dict[str, str] = {}  # of the first good file: plain name -> column
        self.id_names: dict[str, tuple[str, str]] = {}  # of the first good file: id -> (name, type)
        self.tree_name = ""
        self._unmapped = unmapped
        self._layout = layout
        self._delivered = 0
        self._bytes = {"bytes_read": 0, "bytes_branches": 0, "bytes_total": 0}
        self._read_files: set[int] = set()
        self._problems: dict[int, str] = {}
        self._lost: dict[int, int] = {}
        self._unchecked: list[str] = []
        self._open: tuple[int, OpenFile, dict[str, str]] | None = None
        self._other_places: dict[int, tuple[str, ...]] = {}  # of a file whose first copies broke while they were read
        self._broken: dict[int, list[str]] = {}  # what these said

    @property
    def report(self) -> ReadReport:
        """What was done so far."""
        lost = sum(self._lost.values()) + self._unmapped
        problems = [
            FileProblem(w.guid, w.lfn, w.pfn, self._problems[i], self._lost.get(i, 0))
            for i, w in enumerate(self.wanted)
            if i in self._problems
        ]
        ledger = DeliveryLedger(accepted=self._delivered + lost, delivered=self._delivered, unreadable=lost)
        return ReadReport(
            **self._bytes, files=len(self._read_files), ledger=ledger,
            problems=tuple(problems), unchecked=tuple(self._unchecked),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Batch]:
        # Positions that no file has (events without an address) stay -1.
        count = max((int(w.rows.max()) + 1 for w in self.wanted if len(w)), default=0)
        file_of, place = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        for i, w in enumerate(self.wanted):
            file_of[w.rows], place[w.rows] = i, np.arange(len(w))
        try:
            for start in range(0, count, self.batch):
                made = self._batch(start, file_of[start : start + self.batch], place[start : start + self.batch])
                if made is not None:
                    self._delivered += len(made.rows)
                    yield made
        finally:
            self._close()

    def _batch(self, start: int, file_of: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> Batch | None:
        """The readable events among positions start, start + 1, … ; None where there is none."""
        import awkward as ak

        rows, parts = [], []
        for i in dict.fromkeys(file_of[file_of >= 0].tolist()):
            mine = np.flatnonzero(file_of == i)
            part = self._part(i, self.wanted[i].take(place[mine]))
            if part is None:
                self._lost[i] = self._lost.get(i, 0) + len(mine)
            else:
                rows.append(start + mine)
                parts.append(part)
        if not parts:
            return None
        joined = ak.concatenate(parts) if len(parts) > 1 else parts[0]
        positions = np.concatenate(rows)
        order = np.argsort(positions, kind="stable")
        in_order = bool((order == np.arange(len(order))).all())
        return Batch(positions[order], joined if in_order else joined[order])

    def _part(self, i: int, wanted: Wanted) -> Any:
        """Entries of one file, or None where the file is bad; why is kept for the report."""
        if i in self._problems:
            return None
        try:
            opened = self._opened(i)
        except AccessError as error:
            self._problems[i] = "; ".join((*self._broken.get(i, ()), error.message))
            return None
        columns = self._columns(i, opened)
        try:
            part = opened.read(columns, wanted)
            self._count(i, opened, columns)
        except AccessError as error:
            return self._part(i, wanted) if self._next_copy(i, opened, error) else None
        return part

    def _next_copy(self, i: int, opened: OpenFile, error: AccessError) -> bool:
        """Go on with the next copy of a file that broke while it was read; else say why, and that it is bad."""
        places = self._other_places.get(i) or (self.wanted[i].pfn, *self.wanted[i].others)
        rest = places[places.index(opened.wanted.pfn) + 1 :]
        self._broken.setdefault(i, []).append(error.message)
        self._close()
        if rest:
            self._other_places[i] = rest
        else:
            self._problems[i] = "; ".join(self._broken[i])
        return bool(rest)

    def probe(self, i: int, count: int) -> None:
        """Open and check file `i` and count its bytes, as if its `count` events had been read."""
        try:
            opened = self._opened(i)
            self._count(i, opened, self._columns(i, opened))
            self._delivered += count
        except AccessError as error:
            if "pattern" in error.fields or "branches" in error.fields:
                raise
            self._problems[i], self._lost[i] = error.message, count
        finally:
            self._close()

    def _opened(self, i: int) -> OpenFile:
        if self._open is None or self._open[0] != i:
            self._close()
            first, *others = self._other_places.get(i) or (self.wanted[i].pfn, *self.wanted[i].others)
            wanted = replace(self.wanted[i], pfn=first, others=tuple(others))
            self._open = (i, OpenFile(wanted, self._layout), {})
        return self._open[1]

    def _columns(self, i: int, opened: OpenFile) -> dict[str, str]:
        """The columns of an open file; AccessError where its branches are not those of the first file."""
        assert self._open is not None
        if not self._open[2]:
            columns = opened.columns(self.branches)
            if not self.tree_name:
                self.columns, self.tree_name = columns, opened.tree.name
                self.id_names = id_names(opened.tree, opened.ids)
            if columns.keys() != self.columns.keys():
                odd = sorted(columns.keys() ^ self.columns.keys())
                has = "has" if odd[0] in columns else "lacks"
                raise AccessError(
                    f"{self.wanted[i].pfn}: it {has} branch {odd[0]}, unlike the first file "
                    f"({len(odd)} such branches)",
                    hint="name only branches that all files have", path=self.wanted[i].pfn, branches=odd,
                )  # fmt: skip
            self._open = (i, opened, columns)
        return self._open[2]

    def _count(self, i: int, opened: OpenFile, columns: Mapping[str, str]) -> None:
        """Add a file's bytes, once a file."""
        if i in self._read_files:
            return
        self._read_files.add(i)
        if not opened.ids:
            self._unchecked.append(self.wanted[i].name)
        self._bytes["bytes_read"] += opened.bytes_of(columns, self.wanted[i].entries)
        self._bytes["bytes_branches"] += opened.bytes_of(columns, None)
        self._bytes["bytes_total"] += opened.file.bytes

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def reading(event_map: EventMap, events: EventList, branches: str | Sequence[str], batch: int = BATCH) -> Reading:
    """A reading of the events of a list, by its map."""
    return Reading(
        wanted_of(event_map, events),
        branches,
        batch,
        unmapped=len(event_map.unmapped),
        layout=event_map.layout,
    )


def iterate(event_map: EventMap, events: EventList, branches: str | Sequence[str], batch: int = BATCH) -> Iterator[Any]:
    """The AOD branches of just these events as awkward arrays of at most `batch` events, in the list's order.

    Each has the fields run, lumi, event and then the branches. AccessError, after the batches that could be
    read, where some events could not; use `reading` to go on without an error and look at its report.
    """
    source = reading(event_map, events, branches, batch)
    for made in source:
        yield made.events
    _refuse_losses(source.report)


def arrays(event_map: EventMap, events: EventList, branches: str | Sequence[str]) -> Any:
    """The AOD branches of just these events as one awkward array, in the list's order, with run, lumi, event.

    AccessError for a pattern that matches no branch, where files differ in their branches, and where some
    events cannot be read (each bad file is named).
    """
    import awkward as ak

    found = list(iterate(event_map, events, branches))
    if not found:
        return template(example_of(event_map, branches), branches, event_map.layout)
    return ak.concatenate(found) if len(found) > 1 else found[0]


def _refuse_losses(report: ReadReport) -> None:
    lost = report.ledger.unreadable
    if not lost:
        return
    named = "; ".join(p.reason for p in report.problems[:3])
    more = f" and {len(report.problems) - 3} more files" if len(report.problems) > 3 else ""
    raise AccessError(
        f"{lost:,} of {report.ledger.accepted:,} events cannot be read: "
        f"{named or 'they have no address'}{more}",
        hint="skim and jobs deliver the rest and account for these",
        ledger=report.ledger.to_json(), problems=[p.pfn or p.guid for p in report.problems],
    )  # fmt: skip


def example_of(event_map: EventMap, branches: str | Sequence[str] = ()) -> str:
    """The first file of a map from which the branches can be read, local ones first; "" where there is none.

    AccessError for a pattern that a readable file does not have.
    """
    known = dict.fromkeys([*(p for f in event_map.files for p in (f.pfn, *f.others)), event_map.example])
    for place in sorted(known, key=is_remote):
        try:
            if place and (is_remote(place) or Path(place).is_file()):
                template(place, branches, event_map.layout)
                return place
        except AccessError as error:  # its events are unreadable where they are read, and its name is said there
            if "pattern" in error.fields:
                raise
    return ""


def template(example: str, branches: str | Sequence[str], layout: Layout = USUAL) -> Any:
    """An empty array with the fields and types that reading would give, taken from an example file; "" =
    ids alone."""
    import awkward as ak

    none = np.empty(0, np.int64)
    nothing = Wanted("", example, "", -1, none, none, none.astype(np.int32), none.astype(np.int32), none)
    if not example:
        return ak.zip(id_fields(nothing), depth_limit=1)
    with RootFile(example) as file:
        tree = file.events(layout.tree or None)
        return read_entries(tree, resolve(tree, branches), nothing)


def forecast(event_map: EventMap, events: EventList, branches: str | Sequence[str]) -> ReadReport:
    """What reading would do: files are opened and checked, bytes counted, of the events only ids read.

    The ledger is the one to expect; files that cannot be had are its problems.
    """
    source = reading(event_map, events, branches)
    for i, wanted in enumerate(source.wanted):
        source.probe(i, len(wanted))
    return source.report
