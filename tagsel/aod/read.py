"""Reading the AOD branches of just the events of a list, in the list's order.

Invariant: every event that is asked for is either in a batch, with the ids of the list, or unreadable in
the report; a file that cannot be read, or is not the one that is meant, costs its own events and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from tagsel.base.memory_limit import memory_for
from tagsel.errors import AccessError
from tagsel.events import DeliveryLedger, EventList
from tagsel.rootio import Meter, RootFile, is_remote, metered, plain_name
from tagsel.schema.type_union import concatenate, leaf_type, union_type, with_types

BATCH = 10_000
"""Events read at once by default."""


Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Events read together: record array `events`; its row i is position `rows[i]` of what was asked,
    rising."""

    rows: Ints
    events: Any


def batches_of(wanted: Sequence[Wanted], batch: int) -> Iterator[tuple[int, dict[int, tuple[Ints, Ints]]]]:
    """The batches in which wanted entries are read: where each begins, and by file, in the order of reading, positions
    in the batch and places among the file's wanted entries."""
    # Positions that no file has (events without an address) stay -1.
    count = max((int(w.rows.max()) + 1 for w in wanted if len(w)), default=0)
    file_of, place = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    for i, w in enumerate(wanted):
        file_of[w.rows], place[w.rows] = i, np.arange(len(w))
    for start in range(0, count, batch):
        files = file_of[start : start + batch]
        places = place[start : start + batch]
        by_file = {}
        for i in dict.fromkeys(files[files >= 0].tolist()):
            mine = np.flatnonzero(files == i)
            by_file[i] = mine, places[mine]
        yield start, by_file


@dataclass
class Visits:
    """How a reading comes to one file: how often it opens it, and the entries that it reads at a time."""

    opens: int = 0
    entries: list[Ints] = field(default_factory=list)


def visits_of(wanted: Sequence[Wanted], batch: int) -> list[Visits]:
    """How a reading in batches comes to each file: one that it turns back to is opened anew."""
    visits = [Visits() for _ in wanted]
    last = -1
    for _, by_file in batches_of(wanted, batch):
        for i, (_, places) in by_file.items():
            visits[i].opens += i != last
            visits[i].entries.append(wanted[i].entries[places])
            last = i
    return visits


@dataclass(frozen=True)
class FileCost:
    """Bytes that a reading asks of one file: of its baskets or pages, and to open it and find these."""

    read: int
    opened: int


def cost_of(opened: OpenFile, columns: Mapping[str, str], entries: Ints, visits: Visits) -> FileCost:
    """What a reading that wants these entries of a file, and comes to it so, asks of it; the file has just been opened,
    and nothing but ids was read of it."""
    opening = opened.file.bytes_asked - opened.tree.bytes_read
    read = visits.opens * opened.bytes_of_ids(entries)
    for part in visits.entries:
        read += opened.bytes_of(columns, part)
    return FileCost(read, visits.opens * opening)


class Reading:
    """One reading of wanted entries, batch by batch; iterate it once, then look at `report`.

    `branches`: patterns; `unmapped`: events that have no address and count as unreadable. AccessError for a
    pattern without a match, or where files differ in the branches that the patterns take. Types that differ widen to
    one that holds all values exactly (at least to `types`, by branch); AccessError where there is none.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        branches: str | Sequence[str],
        batch: int = BATCH,
        *,
        unmapped: int = 0,
        layout: Layout = USUAL,
        types: Mapping[str, str] | None = None,
    ) -> None:
        self.wanted = tuple(wanted)
        self.branches = branches
        self.batch = max(1, batch)
        self.columns: dict[str, str] = {}  # of the first good file: plain name -> column
        self.id_names: dict[str, tuple[str, str]] = {}  # of the first good file: id -> (name, type)
        self.tree_name = ""
        self.branch_names: list[str] = []  # plain names of all branches of the first good file
        self.types: dict[str, str] = dict(types or {})  # of each branch, wide enough for all files so far
        self._first_types: dict[str, tuple[str, str]] = {}  # type and file of each branch where it was met first
        self._unmapped = unmapped
        self._layout = layout
        self._delivered = 0
        self._bytes = {"bytes_read": 0, "bytes_branches": 0, "bytes_total": 0}
        self._read_files: set[int] = set()
        self._problems: dict[int, str] = {}
        self._lost: dict[int, int] = {}
        self._unchecked: list[str] = []
        self._meter = Meter()
        self._open: tuple[int, OpenFile, dict[str, str]] | None = None
        self._typed: OpenFile | None = None  # the file whose types are in `types` already
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
            **self._bytes,
            files=len(self._read_files),
            ledger=ledger,
            problems=tuple(problems),
            unchecked=tuple(self._unchecked),
            bytes_opened=max(0, self._meter.bytes - self._bytes["bytes_read"]),
        )

    def __iter__(self) -> Iterator[Batch]:
        try:
            for start, by_file in batches_of(self.wanted, self.batch):
                part = self._batch(start, by_file)
                if part is not None:
                    self._delivered += len(part.rows)
                    yield part
        finally:
            self._close()

    def _batch(self, start: int, by_file: Mapping[int, tuple[Ints, Ints]]) -> Batch | None:
        """The readable events of a batch, of which `by_file` says places in it and in each file; None where none is."""
        import awkward as ak

        rows, parts = [], []
        for i, (mine, places) in by_file.items():
            part = self._part(i, self.wanted[i].take(places))
            if part is None:
                self._lost[i] = self._lost.get(i, 0) + len(mine)
            else:
                rows.append(start + mine)
                parts.append(part)
        if not parts:
            return None
        parts = [with_types(part, self.types) for part in parts]
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
        self._widen(opened, part)
        return part

    def _widen(self, opened: OpenFile, part: Any) -> None:
        """Make `types` wide enough for a file; AccessError, naming both files, where no type holds both."""
        for name in part.fields if opened is not self._typed else ():
            kind = leaf_type(part[name])
            first, place = self._first_types.setdefault(name, (kind, opened.wanted.pfn))
            type_so_far = self.types.setdefault(name, kind)
            union = type_so_far if type_so_far == kind else union_type(type_so_far, kind)
            if union is None:
                raise AccessError(
                    f"branch {name} is {first} in {place} and {kind} in {opened.wanted.pfn}: no type holds both",
                    hint=f"leave it out (--branches '…,-{name}'), or take the files one by one",
                    path=opened.wanted.pfn,
                    branches=[name],
                )
            self.types[name] = union
        self._typed = opened

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

    def probe(self, i: int, visits: Visits) -> None:
        """Open and check file `i` and count its bytes, as if its events had been read as `visits` says."""
        wanted = self.wanted[i]
        asked, read = self._meter.bytes, self._bytes["bytes_read"]
        try:
            opened = self._opened(i)
            columns = self._columns(i, opened)
            self._count(i, opened, columns)
            cost = cost_of(opened, columns, wanted.entries, visits)
            self._delivered += len(wanted)
        except AccessError as error:
            if "pattern" in error.fields or "branches" in error.fields:
                raise
            self._problems[i], self._lost[i] = error.message, len(wanted)
            self._close()
        else:
            self._close()
            self._meter.bytes = asked + cost.read + cost.opened
            self._bytes["bytes_read"] = read + cost.read

    def _opened(self, i: int) -> OpenFile:
        if self._open is None or self._open[0] != i:
            self._close()
            first, *others = self._other_places.get(i) or (self.wanted[i].pfn, *self.wanted[i].others)
            wanted = replace(self.wanted[i], pfn=first, others=tuple(others))
            with metered(self._meter):
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
                self.branch_names = [plain_name(column) for column in opened.tree.columns()]
            if columns.keys() != self.columns.keys():
                odd = sorted(columns.keys() ^ self.columns.keys())
                has = "has" if odd[0] in columns else "lacks"
                raise AccessError(
                    f"{self.wanted[i].pfn}: it {has} branch {odd[0]}, unlike the first file ({len(odd)} such branches)",
                    hint="name only branches that all files have",
                    path=self.wanted[i].pfn,
                    branches=odd,
                )
            self._open = (i, opened, columns)
        return self._open[2]

    def _count(self, i: int, opened: OpenFile, columns: Mapping[str, str]) -> None:
        """Count a file, once."""
        if i in self._read_files:
            return
        self._read_files.add(i)
        if not opened.ids:
            self._unchecked.append(self.wanted[i].name)
        self._bytes["bytes_branches"] += opened.bytes_of_all(columns)
        self._bytes["bytes_total"] += opened.file.bytes

    def _close(self) -> None:
        if self._open is not None:
            _, opened, _ = self._open
            self._bytes["bytes_read"] += opened.tree.bytes_read
            opened.close()
            self._open = None


def reading(
    event_map: EventMap,
    events: EventList,
    branches: str | Sequence[str],
    batch: int = BATCH,
    types: Mapping[str, str] | None = None,
) -> Reading:
    """A reading of the events of a list, by its map."""
    return Reading(
        wanted_of(event_map, events),
        branches,
        batch,
        unmapped=len(event_map.unmapped),
        layout=event_map.layout,
        types=types,
    )


def iterate(event_map: EventMap, events: EventList, branches: str | Sequence[str], batch: int = BATCH) -> Iterator[Any]:
    """The AOD branches of just these events as awkward arrays of at most `batch` events, in the list's order.

    Each has the fields run, lumi, event and then the branches. AccessError, after the batches that could be
    read, where some events could not; use `reading` to go on without an error and look at its report.
    """
    with memory_for(f"the branches of {len(events):,} events"):
        source = reading(event_map, events, branches, batch)
        for made in source:
            yield made.events
        _refuse_losses(source.report)


def arrays(event_map: EventMap, events: EventList, branches: str | Sequence[str]) -> Any:
    """The AOD branches of just these events as one awkward array, in the list's order, with run, lumi, event.

    AccessError for a pattern that matches no branch, where files differ in their branches, and where some
    events cannot be read (each bad file is named).
    """
    with memory_for(f"the branches of {len(events):,} events"):
        found = list(iterate(event_map, events, branches))
        if not found:
            return template(example_of(event_map, branches), branches, event_map.layout)
        return concatenate(found)


def _refuse_losses(report: ReadReport) -> None:
    lost = report.ledger.unreadable
    if not lost:
        return
    named = "; ".join(p.reason for p in report.problems[:3])
    more = f" and {len(report.problems) - 3} more files" if len(report.problems) > 3 else ""
    raise AccessError(
        f"{lost:,} of {report.ledger.accepted:,} events cannot be read: {named or 'they have no address'}{more}",
        hint="skim and jobs deliver the rest and account for these",
        ledger=report.ledger.to_json(),
        problems=[p.pfn or p.guid for p in report.problems],
    )


def example_of(event_map: EventMap, branches: str | Sequence[str] = ()) -> str:
    """The first file of a map from which the branches can be read, local ones first; "" where there is none.

    AccessError for a pattern that a readable file does not have.
    """
    candidates: dict[str, None] = {}
    for file in event_map.files:
        candidates.update(dict.fromkeys((file.pfn, *file.others)))
    candidates[event_map.example] = None
    for place in sorted(candidates, key=is_remote):
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


def forecast(event_map: EventMap, events: EventList, branches: str | Sequence[str], batch: int = BATCH) -> ReadReport:
    """What reading would do: files are opened and checked, bytes counted, of the events only ids read.

    The ledger is the one to expect; files that cannot be had are its problems.
    """
    source = reading(event_map, events, branches, batch)
    for i, visits in enumerate(visits_of(source.wanted, source.batch)):
        source.probe(i, visits)
    return source.report
