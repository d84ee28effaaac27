"""Which cuts an event passes, as a pattern of bits, and the events of each pattern: all that a cutflow needs to know.

Of n cuts there are 1 + 3 n sums (the start; each cut alone, all but it, and all up to it), but each event is looked at
once: it is counted, with its weight, under its pattern, and every sum is one over patterns. Invariant: sums are exact,
so neither the patterns nor the order of row groups change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.kernels import exact
from tagsel.selection.yields import Weights, Yield, total

Mask = npt.NDArray[np.bool_]
Patterns = Mapping[int, Yield]
"""The events of each pattern that occurs: bit k is set where cut k passes."""

FEW = 12
"""Cuts whose patterns are counted in one table; those of more cuts are found by sorting."""


def by_pattern(masks: Sequence[Mask], counted: Mask, weights: Weights | None) -> Patterns:
    """The events that count by the pattern of cuts that they pass; `masks` are the cuts' own, (rows,) bool each."""
    if not counted.all():
        masks, weights = [mask[counted] for mask in masks], None if weights is None else weights[counted]
    size = int(np.count_nonzero(counted))
    if len(masks) > 62:
        return _by_sorting(masks, weights)
    kind = np.uint8 if len(masks) <= 8 else np.uint16 if len(masks) <= FEW else np.int64
    pattern: npt.NDArray[Any] = np.zeros(size, kind)
    for k, mask in enumerate(masks):
        pattern += mask.astype(pattern.dtype) << k
    if len(masks) <= FEW:
        counts = np.bincount(pattern, minlength=1 << len(masks))
        return _yields(range(len(counts)), pattern, counts, weights)
    names, groups, counts = np.unique(pattern, return_inverse=True, return_counts=True)
    return _yields(names.tolist(), groups, counts, weights)


def _by_sorting(masks: Sequence[Mask], weights: Weights | None) -> Patterns:
    """The same for more cuts than an integer has bits."""
    table = np.packbits(np.array(masks, np.bool_).T, axis=1, bitorder="little")
    names, groups, counts = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    wide = [int.from_bytes(name.tobytes(), "little") for name in names]
    return _yields(wide, groups.reshape(-1), counts, weights)


def _yields(
    names: Sequence[int], groups: npt.NDArray[Any], counts: npt.NDArray[np.int64], weights: Weights | None
) -> Patterns:
    there = np.flatnonzero(counts).tolist()
    if weights is None:
        return {names[k]: Yield.unweighted(int(counts[k])) for k in there}
    with np.errstate(over="ignore"):
        squares = weights * weights
    place = np.zeros(len(counts), np.int32)
    place[there] = np.arange(len(there))
    dense = place[groups]
    sums, sums2 = exact.sums(weights, dense, len(there)), exact.sums(squares, dense, len(there))
    return {names[k]: Yield(int(counts[k]), sums[n], sums2[n]) for n, k in enumerate(there)}


def ways_of(found: Iterable[Patterns], cuts: int) -> list[Yield]:
    """The start, then every cut alone, every cut left out, and the cuts in sequence: 1 + 3 x cuts."""
    both: dict[int, Yield] = {}
    for patterns in found:
        for name, events in patterns.items():
            both[name] = both[name] + events if name in both else events
    return [total(events for name, events in both.items() if name & bits == bits) for bits in wanted(cuts)]


def wanted(cuts: int) -> list[int]:
    """The cuts that each way of a cutflow asks for, as bits: none, then each alone, all but each, all up to each."""
    whole = (1 << cuts) - 1
    ways = [0, *(1 << k for k in range(cuts)), *(whole & ~(1 << k) for k in range(cuts))]
    return ways + [(1 << (k + 1)) - 1 for k in range(cuts)]
