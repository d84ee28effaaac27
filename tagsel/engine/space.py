"""Where values of the interpreter live: the events of a block, the objects of a list, combinations of objects.

Invariant: the elements of a space are in the order of their events, and of one event in the order of its loops, the
last one running fastest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.kernels import segments
from tagsel.language.tree import Aggregate, Block, Loop, Node

Mask = npt.NDArray[np.bool_] | None
Value = tuple[Any, Mask]
Index = npt.NDArray[np.int64]

MOST_COMBINATIONS = 1 << 18
"""Combinations that are looked at together, so that memory is bounded; those of one element always are."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One object for each element of a space: `place` in its list, None where the elements are the list's objects.

    `gone`: where there is no such object.
    """

    loop: Loop
    place: Index | None = None
    gone: Mask = None


@dataclass(frozen=True, slots=True)
class Space:
    """Where values live.

    `memo` remembers, for one run over one block, where lists begin and which objects there are. `counts` are the
    elements of each element of the space around it (of each event for the objects of a list), int64; None for events.
    `events` is the event of each combination. `variables` are the objects of each element, the innermost last.
    """

    block: Block
    size: int
    memo: dict[Any, Any]
    counts: Index | None = None
    over: tuple[str, int] = ("", 0)
    events: Index | None = None
    variables: tuple[Variable, ...] = ()
    last: list[tuple[Node, Mask, Value]] = field(default_factory=list)  # the last call here: where it was asked for

    def known(self, node: Node, alive: Mask) -> Value | None:
        """The value of the same call, if it is the last one here and was asked for wherever it is asked for now."""
        for call, asked, value in self.last:
            covered = asked is None or (alive is not None and not np.any(alive & ~asked))
            if covered and call == node:
                return value
        return None

    def owner(self) -> Index:
        """The event of each element, `(size,) int64`; worked out when it is first asked for."""
        if self.events is not None:
            return self.events
        key = "owner", self.over
        if key not in self.memo:
            every = np.arange(self.block.rows)
            self.memo[key] = every if self.counts is None else np.repeat(every, self.counts)
        found: Index = self.memo[key]
        return found

    def event(self, element: int) -> int:
        """The event of one element."""
        return element if self.counts is None and self.events is None else int(self.owner()[element])

    def around(self) -> Space:
        """The space of the block's events."""
        return Space(self.block, self.block.rows, self.memo)

    def spread(self, value: Value) -> Value:
        """An event's value, repeated for each of its elements."""
        data, missing = value
        if (self.counts is None and self.events is None) or (missing is None and np.ndim(data) == 0):
            return value
        owner = self.owner()
        return (data[owner] if np.ndim(data) else data), (None if missing is None else missing[owner])

    def column(self, name: str) -> Any:
        """A column's array, 64-bit words as their signed pattern; None when the block lacks it."""
        array = self.block.columns.get(name)
        if array is not None and array.dtype == np.uint64:
            return array.view(np.int64)
        return array

    def nothing(self, kind: str) -> Value:
        """A value that is missing everywhere."""
        return ZEROS[kind], np.ones(self.size, np.bool_)

    def starts(self, counter: str) -> Any:
        """Where each event's list begins, `(rows + 1,)`."""
        if counter not in self.memo:
            self.memo[counter] = segments.offsets(self.block.columns[counter])
        return self.memo[counter]

    def number(self, loop: Loop) -> Index:
        """How many objects each event has, `(rows,) int64`; none where the counter is missing."""
        key = "number", loop.counter, loop.slots
        if key not in self.memo:
            counter = self.block.columns.get(loop.counter)
            stored = np.zeros(self.block.rows, np.int64) if counter is None else counter.astype(np.int64)
            self.memo[key] = np.clip(stored, 0, loop.slots or None)
        found: Index = self.memo[key]
        return found

    def lacking(self, over: Aggregate) -> Mask:
        """Where a counter is missing: everywhere, or None."""
        there = all(loop.counter in self.block.columns for loop in over.loops)
        return None if there else np.ones(self.size, np.bool_)

    def objects(self, over: Aggregate) -> Space:
        """The space of a collection's objects."""
        key = over.counter, over.slots
        if key not in self.memo:
            loop = over.loops[0]
            counts = self.number(loop)
            self.memo[key] = Space(self.block, int(counts.sum()), self.memo, counts, key, None, (Variable(loop),))
        found: Space = self.memo[key]
        return found

    def with_chosen(self, loops: Sequence[Loop], places: Sequence[Index], gone: Mask) -> Space:
        """The same elements, with a chosen object each for some loops."""
        chosen = tuple(Variable(loop, place, gone) for loop, place in zip(loops, places, strict=True))
        return replace(self, variables=(*self.variables, *chosen), last=[])

    def combinations(self, over: Aggregate, alive: Mask) -> Iterator[tuple[Index, Space]]:
        """Chunks of the combinations of the elements that are alive: (those elements, the space of theirs)."""
        if self.lacking(over) is not None:
            return
        elements = np.arange(self.size) if alive is None else np.flatnonzero(np.broadcast_to(alive, self.size))
        number = self._how_many(over, elements)
        ends = np.cumsum(number)
        start = 0
        while start < elements.size:
            reached = ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(ends, reached + MOST_COMBINATIONS, side="right")), start + 1)
            yield elements[start:stop], self._combined(over, elements[start:stop])
            start = stop

    def _how_many(self, over: Aggregate, elements: Index) -> Index:
        """Combinations of each element; no more than there are chunks for."""
        events = elements if self.counts is None and self.events is None else self.owner()[elements]
        total, within = np.ones(elements.size), 0
        for loop in over.loops:
            within = within + 1 if loop.after else 0
            total *= np.maximum(self.number(loop)[events] - within, 0) / (within + 1)
        return np.minimum(np.ceil(total), 2.0**40).astype(np.int64)

    def _combined(self, over: Aggregate, elements: Index) -> Space:
        """The space of all combinations of some elements."""
        events = elements if self.counts is None and self.events is None else self.owner()[elements]
        parent = np.arange(elements.size)
        places: list[Index] = []
        for loop in over.loops:
            first = places[-1] + 1 if loop.after else np.zeros(parent.size, np.int64)
            number = np.maximum(self.number(loop)[events[parent]] - first, 0)
            up = np.repeat(np.arange(parent.size), number)
            begin = np.cumsum(number) - number
            inner = np.arange(up.size) - (begin - first)[up]
            places = [*(place[up] for place in places), inner]
            parent = parent[up]
        counts = np.bincount(parent, minlength=elements.size).astype(np.int64)
        back = elements[parent]
        kept = tuple(replace(v, place=self._place(v, back), gone=_taken(v.gone, back)) for v in self.variables)
        new = tuple(Variable(loop, place) for loop, place in zip(over.loops, places, strict=True))
        return Space(self.block, parent.size, self.memo, counts, ("", 0), events[parent], (*kept, *new))

    def places(self, variable: Variable) -> Index:
        """Places in its list of a variable's objects."""
        return self._place(variable, np.arange(self.size)) if variable.place is None else variable.place

    def _place(self, variable: Variable, elements: Index) -> Index:
        """Places in its list of a variable's objects, of some elements."""
        if variable.place is not None:
            return variable.place[elements]
        assert self.counts is not None
        begin = np.cumsum(self.counts) - self.counts
        place: Index = elements - begin[self.owner()[elements]]
        return place


def _taken(mask: Mask, elements: Index) -> Mask:
    return None if mask is None else mask[elements]


ZEROS: dict[str, Any] = {
    "bool": np.bool_(False),
    "int": np.int64(0),
    "f32": np.float32(0),
    "f64": np.float64(0),
    "word": np.int64(0),
    "str": "",
}
"""What stands for a missing value of each kind."""
