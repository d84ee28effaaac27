"""Looks events up by identity, one or ten million, and lists every miss.

Invariant: found + missing + named twice = asked. An event of data is found once, in the row that counts; an event of
simulation in every row with its numbers. A luminosity block that is given must agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tagsel.errors import TagselError
from tagsel.events import EventList
from tagsel.selection.eligible_rows import Filter, rows_that_count
from tagsel.selection.list_builder import EventColumns, event_list, events_of_rows, ids_of
from tagsel.selection.query import Input, Query, named_inputs
from tagsel.selection.question import Outcome, question
from tagsel.store import lookup, watched

Ints = npt.NDArray[np.int64]

_NAMED_MISSES = 1_000
"""Misses that a list's provenance names; it counts them all."""

Runs = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Picked:
    """The events found, and those that no input has, in the order of the request.

    `missed` is (n, 4) int64: run, lumi (-1: not given), event, and the luminosity block that the data have the event
    in where it is another one (else -1). `named_twice` counts ids that name an event which an id before them names.
    """

    events: EventList
    missed: Ints
    asked: int
    named_twice: int = 0

    @property
    def found(self) -> int:
        """How many different events of the request were found."""
        return self.asked - len(self.missed) - self.named_twice

    def check(self) -> None:
        """TagselError unless the sum closes: of data, no event that was found may lack in the answer."""
        if self.events.simulation:
            return
        distinct = len(self.events.distinct())
        if distinct < self.found:
            sum_ = f"{distinct} found + {len(self.missed)} missed + {self.named_twice} named twice"
            raise TagselError(f"the sum of pick does not close: {sum_} is not {self.asked} asked")

    @property
    def misses(self) -> tuple[tuple[int, int, int], ...]:
        """The identities (run, lumi or -1, event) that were not found, in the order of the request."""
        return tuple((run, lumi, event) for run, lumi, event, _ in self.missed.tolist())

    @property
    def elsewhere(self) -> dict[tuple[int, int, int], int]:
        """Of those not found, those that are there in another luminosity block: the block."""
        return {(run, lumi, event): there for run, lumi, event, there in self.missed.tolist() if there >= 0}

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "asked": self.asked,
            "found": self.found,
            "missed": len(self.missed),
            "named_twice": self.named_twice,
            "rows": len(self.events),
            "misses": [
                {"run": r, "lumi": lumi if lumi >= 0 else None, "event": e, "in_lumi": there if there >= 0 else None}
                for r, lumi, e, there in self.missed.tolist()
            ],
            "digest": self.events.digest,
        }


def _outcome(answer: Picked) -> Outcome:
    """The log entry of events that were looked up."""
    return Outcome(accepted=answer.found, subject=f"{answer.asked} events by identity")


@question("pick", _outcome)
@watched
def pick(query: Query, wanted: EventList) -> Picked:
    """The rows of the query's inputs that hold the wanted identities (run, event; and lumi where it is given)."""
    request = _Request(wanted)
    rows = rows_that_count(query, masked=False)
    blocks: list[EventColumns] = []
    for index, source in enumerate(query.inputs):
        frame = source.snapshot.frame
        keys, places = rows_of_events(rows, index, source, request.run, request.event)
        answers = request.answered(keys, ids_of(frame, places)["lumi"])
        if answers.any():
            blocks.append(events_of_rows(index, frame, places[answers], request.event[keys[answers]]))
    missed = request.missed()
    history = {
        "operation": "pick",
        **named_inputs(query.inputs),
        "asked": len(wanted),
        "missed": len(missed),
        "misses": missed[:_NAMED_MISSES, :3].tolist(),
    }
    events = event_list(blocks, query.inputs, None, history)
    return Picked(events, missed, len(wanted), 0 if query.simulation else request.named_twice())


def rows_of_events(rows: Filter, index: int, source: Input, run: Runs, event: Ints) -> tuple[Ints, Ints]:
    """The rows of an input that count and hold one of the events, rising; and which event each holds.

    `run` and `event` rise together and repeat nothing.
    """
    keys, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part, keys_of_part, row in lookup.find(source.snapshot.parts, run, event):
        keys.append(keys_of_part)
        places.append(part.first_row + row)
    key, place = np.concatenate(keys), np.concatenate(places)
    order = np.argsort(place, kind="stable")
    key, place = key[order], place[order]
    counts = ~rows.repeated(index, source.snapshot.frame, place)
    return key[counts], place[counts]


@dataclass
class _Request:
    """The wanted events, and those that rows have answered so far."""

    wanted: EventList
    run: Runs = field(init=False)  # of each key: a wanted (run, event), once
    event: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.run, self.event, self.key = lookup.distinct(self.wanted.run, self.wanted.event)
        key = self.key
        self.members = np.argsort(key, kind="stable")  # the wanted events of each key, key by key
        self.counts = np.bincount(key, minlength=len(self.run))
        self.starts = np.cumsum(self.counts) - self.counts
        self.hit = np.zeros(len(self.wanted), np.bool_)
        self.there = np.full(len(self.wanted), -1, np.int32)
        self.block = np.full(len(self.wanted), -1, np.int32)  # the luminosity block of the answer

    def answered(self, keys: Ints, lumi: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which rows, of these keys and luminosity blocks, are wanted events; and note these as found."""
        if len(self.run) == len(self.wanted):  # no two wanted events share a key
            member = self.members[keys]
            wanted = self.wanted.lumi[member]
            agrees: npt.NDArray[np.bool_] = (wanted < 0) | (wanted == lumi)
            self.hit[member[agrees]] = True
            self.block[member[agrees]] = lumi[agrees]
            self.there[member[~agrees]] = lumi[~agrees]
            return agrees
        counts = self.counts[keys]
        row = np.repeat(np.arange(len(keys)), counts)
        first = np.repeat(self.starts[keys] - (np.cumsum(counts) - counts), counts)
        member = self.members[first + np.arange(len(row))]
        wanted = self.wanted.lumi[member]
        agrees = (wanted < 0) | (wanted == lumi[row])
        self.hit[member[agrees]] = True
        self.block[member[agrees]] = lumi[row[agrees]]
        self.there[member[~agrees]] = lumi[row[~agrees]]
        return np.bincount(row[agrees], minlength=len(keys)) > 0

    def named_twice(self) -> int:
        """How many of the events found name one that another of them names, too."""
        if len(self.run) == len(self.wanted):
            return 0
        answers = np.stack([self.key[self.hit], self.block[self.hit]])
        distinct: int = np.unique(answers, axis=1).shape[1]
        return int(self.hit.sum()) - distinct

    def missed(self) -> Ints:
        """As `Picked.missed`."""
        left = np.flatnonzero(~self.hit)
        columns = (self.wanted.run, self.wanted.lumi, self.wanted.event, self.there)
        return np.stack([c[left].astype(np.int64) for c in columns], axis=1)
