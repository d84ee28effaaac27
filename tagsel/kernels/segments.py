"""Values by event: lists held flat with their lengths, their elements, and what is summed up over each.

    >>> import numpy as np
    >>> from tagsel.kernels import segments
    >>> pt, counter = np.array([30.0, 20.0, 10.0], np.float32), np.array([2, 0, 1], np.int32)
    >>> segments.element(pt, counter, 1)
    (array([20.,  0.,  0.], dtype=float32), array([False,  True,  True]))
    >>> segments.total(pt.astype(float), counter)
    array([50.,  0., 10.])

`values` are flat, (sum of the counters,); `counter` is (n_events,) int; a negative counter counts as 0;
`skip` marks values to be left out, flat bools, or None. A result is (n_events,), and a mask of the events
where it is missing where there may be such. Invariant: the elements of an event are taken in list order, one
after another, so that a sum is what a plain loop over the list gives, bit by bit. (Work runs over positions
in the list, all events at a time.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tagsel.kernels import integers

Values: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float64]
Counter: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]
Index: TypeAlias = npt.NDArray[np.int64]


def lengths(counter: Counter) -> Index:
    """The counters as int64, negative ones as 0."""
    return np.maximum(counter.astype(np.int64), 0)


def offsets(counter: Counter) -> Index:
    """Where each event's values begin, and at last where all end: (n_events + 1,) int64."""
    ends = np.zeros(counter.size + 1, np.int64)
    np.cumsum(lengths(counter), out=ends[1:])
    return ends


def element(values: Values, counter: Counter, k: int, starts: Index | None = None) -> tuple[Values, Mask]:
    """Element k ≥ 0 of each list, and where it is missing (the value is zero there).

    `starts` are the `offsets`, if they are known.
    """
    starts = offsets(counter) if starts is None else starts
    missing = counter <= k
    present = np.flatnonzero(counter > k)
    result = np.zeros(counter.size, values.dtype)
    result[present] = values[starts[present] + k]
    return result, missing


def join_slots(slots: Sequence[Values], counter: Counter) -> tuple[Values, Index]:
    """Slot columns, each (n_events,), as one flat list of the slots that are filled, and its lengths."""
    filled = np.minimum(lengths(counter), len(slots))
    table = np.stack(slots, axis=1)
    return table[np.arange(len(slots)) < filled[:, None]], filled


def _positions(counter: Counter, skip: Mask | None) -> Iterator[tuple[int, Index, Index]]:
    """(k, events that have an element k, its place in `values`), for k = 0, 1, …, without those to skip."""
    lists = lengths(counter)
    events = np.flatnonzero(lists)
    places = offsets(counter)[events]
    k = 0
    while events.size:
        if skip is None:
            yield k, events, places
        else:
            kept = np.flatnonzero(np.logical_not(skip[places]))
            yield k, events[kept], places[kept]
        k += 1
        longer = lists[events] > k
        events, places = events[longer], places[longer] + 1


def count(passed: Mask, counter: Counter) -> Index:
    """How many values of each event are true, int64."""
    before = np.zeros(passed.size + 1, np.int64)
    np.cumsum(passed, out=before[1:])
    bounds = offsets(counter)
    return before[bounds[1:]] - before[bounds[:-1]]


def any_true(passed: Mask, counter: Counter) -> Mask:
    """Whether a value of the event is true; false of nothing."""
    return np.greater(count(passed, counter), 0)


def all_true(passed: Mask, counter: Counter) -> Mask:
    """Whether all values of the event are true; true of nothing."""
    return np.equal(count(passed, counter), lengths(counter))


def total(values: Numbers, counter: Counter, skip: Mask | None = None) -> Numbers:
    """Sum of each event's float64 values, from 0.0 and from left to right."""
    result = np.zeros(counter.size)
    with np.errstate(all="ignore"):
        for _, events, places in _positions(counter, skip):
            result[events] += values[places]
    return result


def total_of_integers(values: Values, counter: Counter, skip: Mask | None = None) -> tuple[Index, Mask]:
    """Sum of each event's integers, int64, and where it left the range of int64 on the way."""
    values = values.astype(np.int64, copy=False)
    result, wrong = np.zeros(counter.size, np.int64), np.zeros(counter.size, np.bool_)
    for _, events, places in _positions(counter, skip):
        result[events], overflow = integers.FUNCTIONS["add"](result[events], values[places])
        wrong[events] |= overflow
    return result, wrong


def _first_extreme(values: Values, counter: Counter, skip: Mask | None, largest: bool) -> tuple[Index, Index, Mask]:
    """Place in `values`, place in the list, of each event's first extreme value, NaN aside; where none."""
    best = np.zeros(counter.size, np.int64)
    index = np.zeros(counter.size, np.int64)
    missing = np.ones(counter.size, np.bool_)
    for k, events, places in _positions(counter, skip):
        new, old = values[places], values[best[events]]
        better = (new > old) if largest else (new < old)
        better = (new == new) & (better | missing[events])
        events, places = events[better], places[better]
        best[events], index[events], missing[events] = places, k, False
    return best, index, missing


def _extreme(values: Values, counter: Counter, skip: Mask | None, largest: bool) -> tuple[Values, Mask]:
    best, _, missing = _first_extreme(values, counter, skip, largest)
    result = np.zeros(counter.size, values.dtype)
    result[~missing] = values[best[~missing]]
    return result, missing


def smallest(values: Values, counter: Counter, skip: Mask | None = None) -> tuple[Values, Mask]:
    """Smallest value of each event, of the values' type; NaN is passed over; missing of nothing."""
    return _extreme(values, counter, skip, largest=False)


def largest(values: Values, counter: Counter, skip: Mask | None = None) -> tuple[Values, Mask]:
    """Largest value of each event, of the values' type; NaN is passed over; missing of nothing."""
    return _extreme(values, counter, skip, largest=True)


def index_of_smallest(values: Values, counter: Counter, skip: Mask | None = None) -> tuple[Index, Mask]:
    """Index in its list of each event's first smallest value; NaN is passed over; missing of nothing."""
    return _first_extreme(values, counter, skip, largest=False)[1:]


def index_of_largest(values: Values, counter: Counter, skip: Mask | None = None) -> tuple[Index, Mask]:
    """Index in its list of each event's first largest value; NaN is passed over; missing of nothing."""
    return _first_extreme(values, counter, skip, largest=True)[1:]
