"""What a snapshot holds: runs, luminosity blocks and files, and the AOD entries that its rows point to.

`contents` reads no columns where the parts know their stretches (rows of one run and luminosity block); `addresses`
reads ids and addresses of every row.

Invariant: the events of all runs, and of all files, add up to the snapshot's rows; so do the rows with a GUID, without
one, and of parts that cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.errors import StoreError
from tagsel.events import Names
from tagsel.store import Part, Snapshot, Source, watch, watched
from tagsel.store.places import stretches

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class InRun:
    """One run: its luminosity blocks that have events, its events (rows), and the ingested files they came from."""

    run: int
    lumi_blocks: int
    events: int
    files: int


@dataclass(frozen=True)
class InFile:
    """One ingested file: its runs, luminosity blocks that have events, and events (rows)."""

    file: str
    guid: str
    runs: int
    lumi_blocks: int
    events: int


@dataclass(frozen=True)
class Contents:
    """Stretches of rows, n of them: `source` (the ingested file, by number), `run`, `lumi`, `rows`, (n,) int64 each."""

    sources: Sequence[Source]
    source: Ints
    run: Ints
    lumi: Ints
    rows: Ints

    def by_run(self) -> list[InRun]:
        """The runs, rising."""
        order = np.argsort(self.run, kind="stable")
        runs, starts = np.unique(self.run[order], return_index=True)
        events = np.add.reduceat(self.rows[order], starts) if len(runs) else starts
        blocks, files = self._each(self.run, self.lumi), self._each(self.run, self.source)
        in_runs = []
        for run, rows in zip(runs.tolist(), events.tolist(), strict=True):
            in_runs.append(InRun(run, blocks[run], int(rows), files[run]))
        return in_runs

    def by_file(self) -> list[InFile]:
        """The ingested files in order, those without rows too."""
        events = np.bincount(self.source, self.rows, len(self.sources)).astype(np.int64).tolist()
        runs = self._each(self.source, self.run)
        blocks = self._each(self.source, self.run, self.lumi)
        in_files = []
        for at, file in enumerate(self.sources):
            in_files.append(InFile(file.lfn, file.guid, runs.get(at, 0), blocks.get(at, 0), events[at]))
        return in_files

    def blocks(self) -> npt.NDArray[np.int64]:
        """The luminosity blocks that have events: (n_blocks, 2), run and block, rising."""
        return _distinct(self.run, self.lumi)

    @staticmethod
    def _each(of: Ints, *counted: Ints) -> dict[int, int]:
        """How many different values the counted columns have, for each value of `of`."""
        values, counts = np.unique(_distinct(of, *counted)[:, 0], return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))


@watched
def contents(snapshot: Snapshot) -> Contents:
    """What a snapshot holds. StoreError: a part is damaged."""
    sources = snapshot.sources
    starts, run, lumi = _ids(snapshot)
    firsts = np.array([s.first_row for s in sources if s.entries], np.int64)
    numbers = np.array([at for at, s in enumerate(sources) if s.entries], np.int64)
    edges = np.unique(np.concatenate([starts, firsts]))
    within = np.searchsorted(starts, edges, side="right") - 1
    order = np.argsort(firsts, kind="stable")
    source = numbers[order][np.searchsorted(firsts[order], edges, side="right") - 1] if len(edges) else edges
    rows = np.diff(np.append(edges, snapshot.rows)) if len(edges) else edges
    return Contents(sources, source, run[within].astype(np.int64), lumi[within].astype(np.int64), rows)


def _ids(snapshot: Snapshot) -> tuple[Ints, Ints, Ints]:
    """First rows of the stretches of one run and luminosity block, with these."""
    places = snapshot.frame.places("ids")
    if places is not None:
        return places.starts, places.fields["run"], places.fields["lumi"]
    empty = np.zeros(0, np.int64)
    starts, runs, lumis, first_row = [empty], [empty], [empty], 0
    for part in snapshot.parts:
        for group, rows in enumerate(part.groups):
            ids = part.read(group, ["run", "lumi"])
            begin = stretches(ids)
            starts.append(begin + first_row)
            runs.append(ids["run"][begin])
            lumis.append(ids["lumi"][begin])
            first_row += rows
    return np.concatenate(starts), np.concatenate(runs), np.concatenate(lumis)


def _distinct(*columns: Ints) -> Ints:
    """The different rows of columns, sorted: (n, columns)."""
    if not len(columns[0]):
        return np.zeros((0, len(columns)), np.int64)
    order = np.lexsort(columns[::-1])
    ordered = np.stack([c[order] for c in columns], axis=1).astype(np.int64)
    fresh = np.ones(len(ordered), np.bool_)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.asarray(ordered[fresh])


@dataclass(frozen=True)
class Spans:
    """Entries of one file that rows point to, as `first` and `length` of neighbours, (n,) int64 each."""

    first: Ints
    length: Ints

    def __add__(self, other: Spans) -> Spans:
        return Spans(np.concatenate([self.first, other.first]), np.concatenate([self.length, other.length]))

    @property
    def rows(self) -> int:
        """Rows that point into the file."""
        return int(self.length.sum())

    def covered(self) -> int:
        """How many different entries they point to.

        >>> Spans(np.array([0, 2, 9]), np.array([4, 3, 1])).covered()
        6
        """
        order = np.argsort(self.first, kind="stable")
        first, end = self.first[order], (self.first + self.length)[order]
        reached = np.maximum.accumulate(np.append(0, end))[:-1] if len(end) else end
        return int(np.maximum(end - np.maximum(first, reached), 0).sum())

    def beyond(self, entries: int) -> int:
        """Rows that point to an entry from `entries` on."""
        end = self.first + self.length
        return int(np.maximum(end - np.maximum(self.first, entries), 0).sum())


@dataclass(frozen=True)
class Addresses:
    """What reading every part gave: `spans` by GUID of the AOD, rows `without` one, the luminosity `blocks` that have
    rows (n, 2), and `lost`, by part, the rows that cannot be read and why."""

    rows: int
    spans: dict[str, Spans]
    without: int
    blocks: Ints
    lost: dict[str, tuple[int, str]]


def addresses(snapshot: Snapshot, *, deep: bool = False) -> Addresses:
    """Read ids and addresses of all rows, with `deep` every column; a part that is damaged is noted, with its rows."""
    spans: dict[str, Spans] = {}
    lost: dict[str, tuple[int, str]] = {}
    blocks = [np.zeros((0, 2), np.int64)]
    for part in snapshot.parts:
        try:
            with watch:
                groups = list(_read(part, deep))
        except StoreError as error:
            lost[part.name] = part.rows, error.message
            continue
        for blocks_of_group, spans_of_group in groups:
            blocks.append(blocks_of_group)
            for guid, more in spans_of_group.items():
                spans[guid] = spans[guid] + more if guid in spans else more
    nowhere = spans.pop("", None)
    every = np.unique(np.concatenate(blocks), axis=0)
    return Addresses(snapshot.rows, spans, nowhere.rows if nowhere is not None else 0, every, lost)


def _read(part: Part, deep: bool) -> Iterator[tuple[Ints, dict[str, Spans]]]:
    """Luminosity blocks and spans of each row group. StoreError: it is damaged."""
    for group, rows in enumerate(part.groups):
        columns = part.read(group, ["run", "lumi", "event", "aod_entry"])
        if deep:
            for column in sorted(part.columns):
                part.read(group, [column])
            part.check_lists(group)
        at = stretches({name: columns[name] for name in ("run", "lumi")})
        ids = np.stack([columns["run"][at], columns["lumi"][at]], axis=1).astype(np.int64)
        yield np.unique(ids, axis=0), _spans(part, group, rows, columns.get("aod_entry"))


def _spans(part: Part, group: int, rows: int, entry: npt.NDArray[np.int64] | None) -> dict[str, Spans]:
    """The spans of a row group by GUID; "" has the rows without one."""
    if entry is None or "aod_guid" not in part.columns:
        return {"": Spans(np.zeros(1, np.int64), np.array([rows], np.int64))}
    guid = Names.of(*part.read_codes(group, "aod_guid"))
    names = (*(name for name in guid.values if name), "")  # "" sorts first
    code = guid.codes.astype(np.int64) - (len(guid.values) - len(names) + 1)
    code[(code < 0) | (entry < 0)] = len(names) - 1
    at = stretches({"code": code, "entry": entry}, "entry")
    first, length, of = entry[at].astype(np.int64), np.diff(np.append(at, rows)), code[at]
    order = np.argsort(of, kind="stable")
    ends = np.searchsorted(of[order], np.arange(len(names) + 1))
    pieces = {name: order[ends[k] : ends[k + 1]] for k, name in enumerate(names)}
    return {name: Spans(first[some], length[some]) for name, some in pieces.items() if len(some)}
