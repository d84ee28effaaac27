"""A list's events where they are now: looked up by identity in a dataset after files were reprocessed, merged or moved.

Of data an event is the row of its (run, event) that counts. A simulated event stays in its file while the dataset has
that; once the file is gone it can only be in one that has come since, for files that were there before hold other
events of the same numbers.

Invariant: kept + moved + vanished + ambiguous + repeated = list, and no row is in the new list twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.events import EventList, RebaseLedger
from tagsel.selection.eligible_rows import rows_that_count
from tagsel.selection.list_builder import event_list, events_of_rows, ids_of, stage_of
from tagsel.selection.lookup import rows_of_events
from tagsel.selection.query import Input, Query
from tagsel.store import Frame, lookup, watched

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Locations:
    """Where the events of a list are, by list row: `fate` (n,) int8, and the row that an event is now in.

    `source` and `row`, (n,) int64, are the input and its row, -1 where there is none; `lumi` is the luminosity block
    that a vanished event is in now, -1: none; `places` are, of ambiguous events, the files and entries of all rows.
    """

    fate: npt.NDArray[np.int8]
    source: Ints
    row: Ints
    lumi: Ints
    places: Mapping[int, tuple[tuple[str, int], ...]]

    @property
    def ledger(self) -> RebaseLedger:
        """How many events met each fate."""
        return RebaseLedger(*np.bincount(self.fate, minlength=5).tolist())

    def rows(self, fate: int) -> Ints:
        """List rows of a fate, rising."""
        return np.flatnonzero(self.fate == fate)


KEPT, MOVED, VANISHED, AMBIGUOUS, REPEATED = range(5)


@watched
def find(
    query: Query, wanted: EventList, former: Collection[str] = (), samples: Mapping[str, str] | None = None
) -> Locations:
    """Where the events of a list are in the query's inputs.

    `former` are the AOD files that the list's own snapshots had; `samples` are the present names of its samples.
    """
    distinct = wanted.distinct()
    candidates = _candidates(query, wanted, distinct, samples or {})
    nowhere = np.full((3, len(wanted)), -1, np.int64)
    locations = Locations(np.full(len(wanted), REPEATED, np.int8), nowhere[0], nowhere[1], nowhere[2], {})
    locations.fate[distinct] = VANISHED
    locations.lumi[candidates.member[~candidates.agrees]] = candidates.lumi[~candidates.agrees]
    candidates = candidates.take(candidates.agrees)
    exact = candidates.exact(wanted)
    _settle(locations, candidates.take(exact), KEPT)
    left = candidates.take(~_occupied(candidates, exact) & (locations.fate[candidates.member] != KEPT))
    if query.simulation:
        left = left.take(_possible(query, wanted, left, frozenset(former) | frozenset(wanted.guids)))
    _decide(locations, left)
    locations.ledger.check(len(wanted))
    return locations


@watched
def rebased_list(query: Query, locations: Locations, wanted: EventList, provenance: Mapping[str, object]) -> EventList:
    """The new list: the rows that the events are in."""
    blocks = []
    for index, source in enumerate(query.inputs):
        members = np.flatnonzero(locations.source == index)
        members = members[np.argsort(locations.row[members])]
        if len(members):
            rows = locations.row[members]
            blocks.append(events_of_rows(index, source.snapshot.frame, rows, wanted.event[members]))
    return event_list(blocks, query.inputs, None, provenance)


def files_of(frame: Frame) -> frozenset[str]:
    """GUIDs of the AOD files that the rows of a snapshot point to. StoreError: a part is damaged, or gone."""
    files = frame.places("aod")
    if files is not None:
        return frozenset(files.names)
    names: set[str] = set()
    for part in frame.parts:
        if "aod_guid" in part.columns:
            for group in range(len(part.groups)):
                codes, table = part.read_codes(group, "aod_guid")
                names.update(table[code] for code in np.unique(codes).tolist())
    return frozenset(names)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Rows with the numbers of wanted events: list row, input, row, luminosity block, and file and entry, (n,) each."""

    member: Ints
    source: Ints
    row: Ints
    lumi: Ints
    file: Ints  # into `files`
    entry: Ints
    agrees: Mask  # luminosity block and sample are those of the event
    files: tuple[str, ...]

    def take(self, which: Mask | Ints) -> _Candidates:
        """Only these."""
        return _Candidates(
            self.member[which],
            self.source[which],
            self.row[which],
            self.lumi[which],
            self.file[which],
            self.entry[which],
            self.agrees[which],
            self.files,
        )

    def same_file(self, wanted: EventList) -> Mask:
        """Which are in the file that the list names, (n,) bool."""
        code = {name: at for at, name in enumerate(self.files)}
        code[""] = -2  # an unknown file is none of them
        of_list = np.array([code.get(guid, -1) for guid in wanted.guids], np.int64)
        if not len(of_list):
            return np.zeros(0, np.bool_)
        return np.asarray(of_list[wanted.guid_codes[self.member]] == self.file)

    def exact(self, wanted: EventList) -> Mask:
        """Which are in the file and at the entry that the list names, (n,) bool."""
        same: Mask = self.same_file(wanted) & (self.entry >= 0) & (wanted.entry[self.member] == self.entry)
        return same


def _candidates(query: Query, wanted: EventList, distinct: Ints, samples: Mapping[str, str]) -> _Candidates:
    """All rows that count and have the numbers of a wanted event, each place of an event once."""
    run, event, key = lookup.distinct(wanted.run[distinct], wanted.event[distinct])
    members = distinct[np.argsort(key, kind="stable")]
    counts = np.bincount(key, minlength=len(run))
    starts = np.cumsum(counts) - counts
    rows, files = rows_that_count(query, masked=False), dict[str, int]()
    tables = [np.zeros((6, 0), np.int64)]
    agrees = [np.zeros(0, np.bool_)]
    for index, source in enumerate(query.inputs):
        keys, places = rows_of_events(rows, index, source, run, event)
        reference = stage_of(source.snapshot.frame, "aod", places)
        lumi = ids_of(source.snapshot.frame, places)["lumi"]
        code = np.array([files.setdefault(g, len(files)) for g in reference.guid.values], np.int64)
        pair = np.repeat(np.arange(len(keys)), counts[keys])
        nth = np.arange(len(pair)) - np.repeat(np.cumsum(counts[keys]) - counts[keys], counts[keys])
        member = members[starts[keys][pair] + nth]
        file = code[reference.guid.codes[pair]] if len(code) else np.zeros(0, np.int64)
        columns = (member, np.full(len(pair), index), places[pair], lumi[pair], file, reference.entry[pair])
        tables.append(np.stack([column.astype(np.int64) for column in columns]))
        wanted_lumi = wanted.lumi[member]
        same_lumi = (wanted_lumi < 0) | (wanted_lumi == lumi[pair])
        agrees.append(same_lumi & _of_sample(wanted, member, source, samples))
    members_of_rows, sources, places, lumis, file_codes, entries = np.concatenate(tables, axis=1)
    candidates = _Candidates(
        members_of_rows, sources, places, lumis, file_codes, entries, np.concatenate(agrees), tuple(files)
    )
    return candidates.take(_each_place(candidates))


def _of_sample(wanted: EventList, member: Ints, source: Input, samples: Mapping[str, str]) -> Mask:
    """Which events of the list are of the input's sample; all of them of data."""
    if wanted.sample is None:
        return np.ones(len(member), np.bool_)
    sample = source.sample or source.dataset
    same = np.array([samples.get(name, name) == sample for name in wanted.sample.values], np.bool_)
    return np.asarray(same[wanted.sample.codes[member]])


def _each_place(seen: _Candidates) -> Ints:
    """The first of the rows of an event with one file and entry; rows without a place are all different."""
    placed = np.array([bool(name) for name in seen.files] or [False], np.bool_)[seen.file] & (seen.entry >= 0)
    apart = np.where(placed, 0, np.arange(len(seen.row)) + 1)
    order = np.lexsort((seen.row, seen.source, apart, seen.entry, seen.file, seen.member))
    columns = [c[order] for c in (seen.member, seen.file, seen.entry, apart)]
    new = np.ones(len(order), np.bool_)
    new[1:] = np.any([c[1:] != c[:-1] for c in columns], axis=0)
    return np.sort(order[new])


def _occupied(candidates: _Candidates, exact: Mask) -> Mask:
    """Which rows are the exact place of an event of the list, and so of no other event."""
    pairs = np.stack([candidates.source, candidates.row], axis=1)
    _, ids = np.unique(pairs, axis=0, return_inverse=True)
    occupied = np.zeros(len(pairs) + 1, np.bool_)
    occupied[ids.reshape(-1)[exact]] = True
    return np.asarray(occupied[ids.reshape(-1)])


def _possible(query: Query, wanted: EventList, candidates: _Candidates, former: frozenset[str]) -> Mask:
    """Which rows a simulated event may be in now: those of its file, or of files that came after it went."""
    present = frozenset[str]().union(*(files_of(source.snapshot.frame) for source in query.inputs))
    unknown = np.array([not guid for guid in wanted.guids] or [True], np.bool_)
    stays = np.array([guid in present for guid in wanted.guids] or [False], np.bool_) & ~unknown
    new = np.array([guid not in former for guid in candidates.files] or [True], np.bool_)
    codes = wanted.guid_codes[candidates.member]
    return np.where(stays[codes], candidates.same_file(wanted), unknown[codes] | new[candidates.file])


def _decide(locations: Locations, candidates: _Candidates) -> None:
    """An event with one row left has moved there, unless another event has, too; one with several is ambiguous."""
    rows_of_event = np.bincount(candidates.member, minlength=len(locations.fate))
    single = rows_of_event[candidates.member] == 1
    pairs = np.stack([candidates.source, candidates.row], axis=1)[single]
    _, ids, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    alone = np.zeros(len(single), np.bool_)
    alone[single] = counts[ids.reshape(-1)] == 1
    _settle(locations, candidates.take(alone), MOVED)
    rest = candidates.take(~alone)
    locations.fate[rest.member] = AMBIGUOUS
    places: dict[int, list[tuple[str, int]]] = {}
    for member, file, entry in zip(rest.member.tolist(), rest.file.tolist(), rest.entry.tolist(), strict=True):
        places.setdefault(member, []).append((rest.files[file], entry))
    assert isinstance(locations.places, dict)
    locations.places.update({member: tuple(where) for member, where in places.items()})


def _settle(locations: Locations, candidates: _Candidates, fate: int) -> None:
    """Give the events of some rows a fate, and the place of their row."""
    locations.fate[candidates.member] = fate
    locations.source[candidates.member] = candidates.source
    locations.row[candidates.member] = candidates.row
