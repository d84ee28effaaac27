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
from tagsel.selection.eligible_rows import Filter, rows_that_count
from tagsel.selection.list_builder import event_list, events_of_rows, ids_of, stage_of
from tagsel.selection.query import Input, Query
from tagsel.store import Frame, lookup, watched

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Found:
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
) -> Found:
    """Where the events of a list are in the query's inputs.

    `former` are the AOD files that the list's own snapshots had; `samples` says what its samples are called now.
    """
    asked = wanted.distinct()
    seen = _candidates(query, wanted, asked, samples or {})
    nowhere = np.full((3, len(wanted)), -1, np.int64)
    found = Found(np.full(len(wanted), REPEATED, np.int8), nowhere[0], nowhere[1], nowhere[2], {})
    found.fate[asked] = VANISHED
    found.lumi[seen.member[~seen.agrees]] = seen.lumi[~seen.agrees]
    seen = seen.take(seen.agrees)
    exact = seen.exact(wanted)
    _settle(found, seen.take(exact), KEPT)
    left = seen.take(~_taken(seen, exact) & (found.fate[seen.member] != KEPT))
    if query.simulation:
        left = left.take(_possible(query, wanted, left, frozenset(former) | frozenset(wanted.guids)))
    _decide(found, left)
    found.ledger.check(len(wanted))
    return found


@watched
def gathered(query: Query, found: Found, wanted: EventList, provenance: Mapping[str, object]) -> EventList:
    """The new list: the rows that events were found in."""
    blocks = []
    for index, source in enumerate(query.inputs):
        mine = np.flatnonzero(found.source == index)
        mine = mine[np.argsort(found.row[mine])]
        if len(mine):
            blocks.append(events_of_rows(index, source.snapshot.frame, found.row[mine], wanted.event[mine]))
    return event_list(blocks, query.inputs, None, provenance)


def files_of(frame: Frame) -> frozenset[str]:
    """GUIDs of the AOD files that the rows of a snapshot point to. StoreError: a part is damaged, or gone."""
    known = frame.places("aod")
    if known is not None:
        return frozenset(known.names)
    names: set[str] = set()
    for part in frame.parts:
        for group in range(len(part.groups)) if "aod_guid" in part.columns else ():
            codes, table = part.read_codes(group, "aod_guid")
            names.update(table[k] for k in np.unique(codes).tolist())
    return frozenset(names)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Rows that have the numbers of events: list row, input, row, luminosity block, and file and entry, (n,) each."""

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
        """Which are in the file that the list says, (n,) bool."""
        code = {name: k for k, name in enumerate(self.files)}
        mine = np.array([code.get(guid, -1) if guid else -2 for guid in wanted.guids], np.int64)
        return np.asarray(mine[wanted.guid_codes[self.member]] == self.file) if len(mine) else np.zeros(0, np.bool_)

    def exact(self, wanted: EventList) -> Mask:
        """Which are in the file and at the entry that the list says, (n,) bool."""
        same: Mask = self.same_file(wanted) & (self.entry >= 0) & (wanted.entry[self.member] == self.entry)
        return same


def _candidates(query: Query, wanted: EventList, asked: Ints, samples: Mapping[str, str]) -> _Candidates:
    """All rows that count and have the numbers of an event that is asked for, each place of an event once."""
    run, event, key = lookup.distinct(wanted.run[asked], wanted.event[asked])
    members = asked[np.argsort(key, kind="stable")]
    counts = np.bincount(key, minlength=len(run))
    starts = np.cumsum(counts) - counts
    rows, files = rows_that_count(query, masked=False), dict[str, int]()
    found = [np.zeros((6, 0), np.int64)]
    agrees = [np.zeros(0, np.bool_)]
    for index, source in enumerate(query.inputs):
        keys, places = _rows(rows, index, source, run, event)
        reference = stage_of(source.snapshot.frame, "aod", places)
        lumi = ids_of(source.snapshot.frame, places)["lumi"]
        code = np.array([files.setdefault(g, len(files)) for g in reference.guid.values], np.int64)
        pair = np.repeat(np.arange(len(keys)), counts[keys])
        nth = np.arange(len(pair)) - np.repeat(np.cumsum(counts[keys]) - counts[keys], counts[keys])
        member = members[starts[keys][pair] + nth]
        file = code[reference.guid.codes[pair]] if len(code) else np.zeros(0, np.int64)
        columns = (member, np.full(len(pair), index), places[pair], lumi[pair], file, reference.entry[pair])
        found.append(np.stack([c.astype(np.int64) for c in columns]))
        known = wanted.lumi[member]
        agrees.append(((known < 0) | (known == lumi[pair])) & _of_sample(wanted, member, source, samples))
    all_ = np.concatenate(found, axis=1)
    made = _Candidates(all_[0], all_[1], all_[2], all_[3], all_[4], all_[5], np.concatenate(agrees), tuple(files))
    return made.take(_each_place(made))


def _rows(rows: Filter, index: int, source: Input, run: npt.NDArray[np.int32], event: Ints) -> tuple[Ints, Ints]:
    """Rows of an input that count and have one of the numbers: the places of these numbers, and the rows, rising."""
    parts, frame = source.snapshot.parts, source.snapshot.frame
    pieces = [(k, p.first_row + at) for p, k, at in lookup.find(parts, run, event)]
    keys, places = (np.concatenate([np.zeros(0, np.int64), *(p[n] for p in pieces)]) for n in (0, 1))
    order = np.argsort(places, kind="stable")
    keys, places = keys[order], places[order]
    counts = ~rows.repeated(index, frame, places)
    return keys[counts], places[counts]


def _of_sample(wanted: EventList, member: Ints, source: Input, samples: Mapping[str, str]) -> Mask:
    """Which events of the list are of the input's sample; all of them of data."""
    if wanted.sample is None:
        return np.ones(len(member), np.bool_)
    mine = source.sample or source.dataset
    same = np.array([samples.get(s, s) == mine for s in wanted.sample.values], np.bool_)
    return np.asarray(same[wanted.sample.codes[member]])


def _each_place(seen: _Candidates) -> Ints:
    """Of the rows of one event that say the same file and entry, the first; rows without a place are all different."""
    placed = np.array([bool(name) for name in seen.files] or [False], np.bool_)[seen.file] & (seen.entry >= 0)
    apart = np.where(placed, 0, np.arange(len(seen.row)) + 1)
    order = np.lexsort((seen.row, seen.source, apart, seen.entry, seen.file, seen.member))
    columns = [c[order] for c in (seen.member, seen.file, seen.entry, apart)]
    new = np.ones(len(order), np.bool_)
    new[1:] = np.any([c[1:] != c[:-1] for c in columns], axis=0)
    return np.sort(order[new])


def _taken(seen: _Candidates, exact: Mask) -> Mask:
    """Which rows are the very place of some event of the list: they are no other event's."""
    pairs = np.stack([seen.source, seen.row], axis=1)
    _, ids = np.unique(pairs, axis=0, return_inverse=True)
    held = np.zeros(len(pairs) + 1, np.bool_)
    held[ids.reshape(-1)[exact]] = True
    taken: Mask = held[ids.reshape(-1)]
    return taken


def _possible(query: Query, wanted: EventList, seen: _Candidates, former: frozenset[str]) -> Mask:
    """Which rows a simulated event may be in now: those of its file, or of files that came since it went."""
    present = frozenset[str]().union(*(files_of(i.snapshot.frame) for i in query.inputs))
    unknown = np.array([not g for g in wanted.guids] or [True], np.bool_)
    stays = np.array([g in present for g in wanted.guids] or [False], np.bool_) & ~unknown
    new = np.array([g not in former for g in seen.files] or [True], np.bool_)
    codes = wanted.guid_codes[seen.member]
    return np.where(stays[codes], seen.same_file(wanted), unknown[codes] | new[seen.file])


def _decide(found: Found, seen: _Candidates) -> None:
    """One row left: the event has moved there, unless another event has, too. Several: nobody can say."""
    each = np.bincount(seen.member, minlength=len(found.fate))
    single = each[seen.member] == 1
    pairs, ids, counts = np.unique(
        np.stack([seen.source, seen.row], axis=1)[single], axis=0, return_inverse=True, return_counts=True
    )
    del pairs
    alone = np.zeros(len(single), np.bool_)
    alone[single] = counts[ids.reshape(-1)] == 1
    _settle(found, seen.take(alone), MOVED)
    rest = seen.take(~alone)
    found.fate[rest.member] = AMBIGUOUS
    places: dict[int, list[tuple[str, int]]] = {}
    for member, file, entry in zip(rest.member.tolist(), rest.file.tolist(), rest.entry.tolist(), strict=True):
        places.setdefault(member, []).append((rest.files[file], entry))
    assert isinstance(found.places, dict)
    found.places.update({member: tuple(where) for member, where in places.items()})


def _settle(found: Found, seen: _Candidates, fate: int) -> None:
    found.fate[seen.member] = fate
    found.source[seen.member], found.row[seen.member] = seen.source, seen.row
