"""Results of some row groups that add up to the result of all: from a scan here, or from tasks on a cluster.

Invariant: adding is associative, so the answer does not depend on where rows were cut into tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, zip_longest
from operator import add
from typing import Any

import numpy.typing as npt

from tagsel.engine.row_groups import Fate
from tagsel.selection.list_builder import EventColumns
from tagsel.selection.yields import Yield

Keys = npt.NDArray[Any]
Top = tuple[int, str] | None
"""A top list's number of events, and the attribute that they are the highest of."""


@dataclass(frozen=True)
class Answer:
    """The result of some row groups.

    `yields` has the events that pass a count, or each way of a cutflow. `blocks` has the events of a list, in the
    order of the row groups, with the keys that order a top list.
    """

    fate: Fate
    yields: tuple[Yield, ...] = ()
    blocks: tuple[tuple[EventColumns, Keys], ...] = ()

    def __add__(self, other: Answer) -> Answer:
        yields = zip_longest(self.yields, other.yields, fillvalue=Yield())
        return Answer(self.fate + other.fate, tuple(a + b for a, b in yields), self.blocks + other.blocks)

    def of_input(self, source: int) -> Answer:
        """The same answer, with events of the query's input `source`."""
        return replace(self, blocks=tuple((replace(events, source=source), keys) for events, keys in self.blocks))


def merged(answers: Sequence[Answer]) -> Answer:
    """The sum of some answers."""
    if not answers:
        return Answer(Fate())
    whole = reduce(add, [replace(answer, blocks=()) for answer in answers])
    return replace(whole, blocks=tuple(chain.from_iterable(answer.blocks for answer in answers)))
