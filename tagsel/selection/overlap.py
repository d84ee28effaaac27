"""Overlaps of sets of events: datasets by identity, trigger chains and cuts row by row; N x N, and events in one alone.

Counts are products of matrices of zeros and ones, in blocks of fewer rows than float32 can count.

Invariant: an event is counted once, by the rules of every verb; the diagonal has the events of each set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.row_groups import Unit
from tagsel.errors import CatalogError
from tagsel.events import EventList
from tagsel.events.identity import check_lumis, identity_groups
from tagsel.events.names import Names, Reference
from tagsel.language import Block
from tagsel.selection.event_list import select
from tagsel.selection.query import Query
from tagsel.selection.question import Outcome, question
from tagsel.selection.regions import regions
from tagsel.selection.run import Count, Prepared, Progress
from tagsel.selection.triggers import ROWS, chain_names, decoder, scanned
from tagsel.store import watched

Ints = npt.NDArray[np.int64]
Shared = tuple[Ints, Ints, int]
"""What each two of N sets share (N, N), what is in one alone (N,), and what is in any."""

AT_ONCE = 1 << 20
"""Identities that are looked at together, a byte for each and list."""


@dataclass(frozen=True, repr=False)
class Overlaps:
    """N sets of events: `shared` (N, N) int64, a set's own events on its diagonal; `alone` (N,) int64, those in no
    other set; `events` in any of them; `kind` of set: dataset, chain or region. `counts` are the selections behind."""

    kind: str
    names: tuple[str, ...]
    shared: Ints
    alone: Ints
    events: int
    counts: tuple[Count, ...] = ()

    def table(self) -> Table:
        """A row a set: its events, those in no other set and their share, and how many it shares with each."""
        return Table((self.kind, "events", "alone", "alone of own", *self.names), tuple(self._rows()))

    def _rows(self) -> list[tuple[Any, ...]]:
        rows = []
        events = self.shared.diagonal().tolist()
        for name, own, alone, shared in zip(self.names, events, self.alone.tolist(), self.shared.tolist(), strict=True):
            share = round(alone / own, 6) if own else None
            rows.append((name, own, alone, share, *shared))
        return rows

    def nearest(self) -> Table:
        """A row a set: its events, those in no other set and their share, and the set that it shares most with."""
        others = self.shared.copy()
        np.fill_diagonal(others, -1)
        most = others.argmax(axis=1).tolist() if len(others) else []
        rows = []
        for row, at in zip(self._rows(), most, strict=True):
            nearest = (self.names[at], row[4 + at]) if len(self.names) > 1 else ("", None)
            rows.append((*row[:4], *nearest))
        return Table((self.kind, "events", "alone", "alone of own", "most shared with", "shared"), tuple(rows))

    @property
    def losses(self) -> tuple[str, ...]:
        """Why rows were unreadable, each reason once."""
        return tuple(dict.fromkeys(chain.from_iterable(count.losses for count in self.counts)))

    @property
    def unreadable(self) -> int:
        """Rows that could not be read."""
        return sum(c.ledger.unreadable for c in self.counts)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "shared": self.shared.tolist(),
            "alone": self.alone.tolist(),
            "events": self.events,
            "counts": [c.to_json() for c in self.counts],
        }


def shared_rows(inside: npt.NDArray[Any]) -> Shared:
    """Of rows by sets, `(n, N)` of 0 and 1: how many rows each two share, how many are in one alone, and in any.

    >>> shared_rows(np.array([[1, 1], [0, 1], [0, 0]]))[1].tolist()
    [0, 1]
    """
    shared = np.zeros((inside.shape[1],) * 2, np.int64)
    alone, anywhere = np.zeros(inside.shape[1], np.int64), 0
    for begin in range(0, len(inside), ROWS):
        some = inside[begin : begin + ROWS]
        ones = some.astype(np.float32)
        shared += (ones.T @ ones).astype(np.int64)  # sums of at most ROWS ones: exact
        times = ones.sum(axis=1)
        alone += some[times == 1].sum(axis=0, dtype=np.int64)
        anywhere += int(np.count_nonzero(times))
    return shared, alone, anywhere


def _outcome(answer: Overlaps) -> Outcome:
    """The log entry of an overlap: the events that are in any of the sets."""
    read = sum(count.read for count in answer.counts) if answer.kind == "dataset" else answer.counts[0].read
    return Outcome("", read, answer.events, subject=f"{len(answer.names)} {answer.kind}s")


@question("overlap", _outcome)
def chain_overlap(query: Query, pattern: str = "*", *, progress: Progress = None) -> Overlaps:
    """The trigger chains that `pattern` matches among the events that pass the query; a chain that a row's menu lacks
    did not fire there. SchemaError for a pattern that matches none."""
    chains = chain_names(query, pattern)
    nothing = shared_rows(np.zeros((0, len(chains)), np.uint8))

    def work(prepared: Prepared, unit: Unit, block: Block, rows: Ints) -> Shared:
        decoded = decoder(prepared, unit, chains).decisions(block, rows)
        return reduce(_add, (shared_rows(decisions) for _, decisions, _ in decoded), nothing)

    count, shared = scanned(query, work, _add, nothing, size=8 * len(chains) ** 2, progress=progress)
    return Overlaps("chain", chains, *shared, (count,))


def _add(one: Shared, other: Shared) -> Shared:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


@question("overlap", _outcome)
def region_overlap(query: Query, cuts: Mapping[str, str], *, progress: Progress = None) -> Overlaps:
    """Cuts by name, each a set of the events that pass it and the query."""
    counted = regions(query, cuts, overlap=True, progress=progress)
    assert counted.overlap is not None and counted.alone is not None and counted.anywhere is not None  # by overlap=True
    return Overlaps("region", tuple(counted), counted.overlap, counted.alone, counted.anywhere, tuple(counted.values()))


@question("overlap", _outcome)
@watched
def dataset_overlap(query: Query, *, progress: Progress = None) -> Overlaps:
    """The query's datasets, by the identity of the events that pass it in each.

    CatalogError for a single one; EventListError where two have one event in different luminosity blocks.
    """
    if len(query.inputs) < 2:
        one = "".join(source.dataset for source in query.inputs)
        raise CatalogError(
            f"an overlap takes two datasets or more, here is {one}",
            hint="NAME,NAME or a glob; --chains PATTERN overlaps chains within one",
            dataset=one,
        )
    lists, counts = [], []
    for source in query.inputs:
        events, count = select(replace(query, inputs=(source,), weight=""), progress=progress)
        lists.append(events)
        counts.append(count)
    names = tuple(source.dataset for source in query.inputs)
    return Overlaps("dataset", names, *_by_identity(lists), tuple(counts))


def _by_identity(lists: Sequence[EventList]) -> Shared:
    """How many identities lists share."""
    run = np.concatenate([events.run for events in lists])
    lumi = np.concatenate([events.lumi for events in lists])
    event = np.concatenate([events.event for events in lists])
    by_lumi = any(events.by_lumi for events in lists)
    columns = [run, lumi, event] if by_lumi else [run, event]
    samples = [events.sample for events in lists if events.sample is not None]
    if samples:
        aod = reduce(Reference.join, (events.references["aod"] for events in lists))
        columns = [reduce(Names.join, samples).codes, run, lumi, event, aod.guid.codes, aod.entry]
    groups = identity_groups(columns)
    if not samples and not by_lumi:
        check_lumis(groups, run, lumi, event)
    of_row = np.repeat(np.arange(len(lists)), [len(events) for events in lists])[groups.order]
    ends = np.append(groups.starts[1:], [len(of_row)] * bool(len(of_row))).astype(np.int64)
    shared = shared_rows(np.zeros((0, len(lists)), np.uint8))
    for begin in range(0, len(ends), AT_ONCE):
        here = ends[begin : begin + AT_ONCE]
        first, last = int(groups.starts[begin]), int(here[-1])
        number = np.searchsorted(here, np.arange(first, last), side="right")
        inside = np.zeros((len(here), len(lists)), np.uint8)
        inside[number, of_row[first:last]] = 1
        shared = _add(shared, shared_rows(inside))
    return shared
