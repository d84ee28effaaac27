"""Find events by their identity: one or ten million, every miss listed.

Invariant: found + missing + named twice = asked; of data an event is found once (the row that counts), of simulation in
every row that carries its numbers. A luminosity block that is given must agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tagsel.errors import TagselError
from tagsel.events import EventList
from tagsel.selection.eligible_rows import rows_that_count
from tagsel.selection.list_builder import EventColumns, event_list, events_of_rows, ids_of
from tagsel.selection.query import Query, named_inputs
from tagsel.selection.question import Outcome, question
from tagsel.store import lookup, watched

Ints = npt.NDArray[np.int64]

_SAID = 1_000
"""Misses that a list's provenance names; it counts them all."""


@dataclass(frozen=True)
class Picked:
    """The events found, and those that no input has, in the order asked.

    `missed` is (n, 4) int64: run, lumi (-1: not given), event, and the luminosity block that the data have the event
    in where it is another one (else -1). `named_twice` counts ids that name an event which an id before them names.
    """

    events: EventList
    missed: Ints
    asked: int
    named_twice: int = 0

    @property
    def found(self) -> int:
        """How many different events that were asked for are there."""
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
        """The identities (run, lumi or -1, event) that were not found, in the order asked."""
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
    """What the log of questions keeps of events that were looked up."""
    return Outcome(accepted=answer.found, subject=f"{answer.asked} events by identity")


@question("pick", _outcome)
@watched
def pick(query: Query, wanted: EventList) -> Picked:
    """The rows of the query's inputs that hold the wanted identities (run, event; and lumi where it is given)."""
    asked = _Asked(wanted)
    rows = rows_that_count(query, masked=False)
    blocks: list[EventColumns] = []
    for index, source in enumerate(query.inputs):
        frame = source.snapshot.frame
        found = [(k, p.first_row + at) for p, k, at in lookup.find(source.snapshot.parts, asked.run, asked.event)]
        keys, places = (np.concatenate([f[n] for f in found]) if found else np.empty(0, np.int64) for n in (0, 1))
        order = np.argsort(places, kind="stable")
        keys, places = keys[order], places[order]
        counts = ~rows.repeated(index, frame, places)
        keys, places = keys[counts], places[counts]
        answers = asked.answered(keys, ids_of(frame, places)["lumi"])
        if answers.any():
            blocks.append(events_of_rows(index, frame, places[answers], asked.event[keys[answers]]))
    missed = asked.missed()
    history = {
        "operation": "pick",
        **named_inputs(query.inputs),
        "asked": len(wanted),
        "missed": len(missed),
        "misses": missed[:_SAID, :3].tolist(),
    }
    events = event_list(blocks, query.inputs, None, history)
    return Picked(events, missed, len(wanted), 0 if query.simulation else asked.named_twice())


@dataclass
class _Asked:
    """What is wanted, and what has been answered of it so far."""

    wanted: EventList
    run: npt.NDArray[np.int32] = field(init=False)  # of each key: a (run, event) that is asked for, once
    event: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.run, self.event, self.key = lookup.distinct(self.wanted.run, self.wanted.event)
        key = self.key
        self.members = np.argsort(key, kind="stable")  # who asks for each key, key by key
        self.counts = np.bincount(key, minlength=len(self.run))
        self.starts = np.cumsum(self.counts) - self.counts
        self.hit = np.zeros(len(self.wanted), np.bool_)
        self.there = np.full(len(self.wanted), -1, np.int32)
        self.block = np.full(len(self.wanted), -1, np.int32)  # the luminosity block of the answer

    def answered(self, keys: Ints, lumi: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which rows, of these keys and in these luminosity blocks, answer someone; it is noted whom."""
        if len(self.run) == len(self.wanted):  # each asks for another one
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
        """How many of those answered name an event that another one answered names, too."""
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
