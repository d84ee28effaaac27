"""What row groups come to, as sums that can be added up: by a scan here, or by pieces on a cluster.

Invariant: adding is associative, so where rows were cut into pieces does not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Any

import numpy.typing as npt

from tagsel.engine.compiled_scan import Passing
from tagsel.engine.scan import Tally, losses
from tagsel.selection.list_builder import Accepted
from tagsel.selection.yields import Yield

Keys = npt.NDArray[Any]
Top = tuple[int, str] | None
"""A top list's number of events, and the attribute that they are the highest of."""


@dataclass(frozen=True)
class Fate:
    """How many rows came to which end, bytes of the columns touched, and why rows were unreadable."""

    duplicate: int = 0
    masked: int = 0
    unreadable: int = 0
    alive: int = 0
    bytes: int = 0
    losses: tuple[str, ...] = ()
    remembered: int = 0

    @classmethod
    def of_tallies(cls, tallies: Sequence[Tally[Any]]) -> Fate:
        """Of a scan row group by row group."""
        counts = (sum(getattr(t, n) for t in tallies) for n in ("duplicate", "masked", "unreadable", "alive", "bytes"))
        duplicate, masked, unreadable, alive, size = counts
        return cls(duplicate, masked, unreadable, alive, size, tuple(losses(tallies)))

    @classmethod
    def of_passing(cls, found: Sequence[Passing]) -> Fate:
        """Of compiled steps."""
        rows = (sum(int(getattr(a.fates, n).sum()) for a in found) for n in ("duplicate", "masked", "alive"))
        duplicate, masked, alive = rows
        return cls(duplicate, masked, 0, alive, sum(a.bytes for a in found), (), sum(a.spared for a in found))

    def __add__(self, other: Fate) -> Fate:
        return Fate(
            self.duplicate + other.duplicate,
            self.masked + other.masked,
            self.unreadable + other.unreadable,
            self.alive + other.alive,
            self.bytes + other.bytes,
            tuple(dict.fromkeys((*self.losses, *other.losses))),
            self.remembered + other.remembered,
        )


@dataclass(frozen=True)
class Answer:
    """What row groups came to.

    `yields`: of a count the events that pass; of a cutflow those of each of its ways. `blocks`: of a list its events,
    in the order of the row groups, with the keys by which a top list is ordered.
    """

    fate: Fate
    yields: tuple[Yield, ...] = ()
    blocks: tuple[tuple[Accepted, Keys], ...] = ()

    def __add__(self, other: Answer) -> Answer:
        yields = zip_longest(self.yields, other.yields, fillvalue=Yield())
        return Answer(self.fate + other.fate, tuple(a + b for a, b in yields), self.blocks + other.blocks)

    def of_input(self, source: int) -> Answer:
        """The same, its events being those of the query's input `source`."""
        return replace(self, blocks=tuple((replace(ids, source=source), keys) for ids, keys in self.blocks))


def merged(answers: Sequence[Answer]) -> Answer:
    """What all of them come to."""
    if not answers:
        return Answer(Fate())
    whole = reduce(add, [replace(a, blocks=()) for a in answers])
    return replace(whole, blocks=tuple(block for a in answers for block in a.blocks))
