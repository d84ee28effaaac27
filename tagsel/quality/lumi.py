"""Sets of luminosity blocks and their algebra.

Invariant: a set has one form. It is kept as *edges*: int64 keys `run << 32 | lumi`, strictly increasing,
where even positions open a range and odd ones close it just past its last block. So overlapping, touching,
repeated and unordered input all end as the same array, and equal sets are equal byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tagsel.errors import QualityError

LIMIT = 2**31 - 1
"""Largest run and luminosity block number: both are int32."""

Ints = npt.NDArray[np.int32]
Edges = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class LumiSet:
    """An immutable set of (run, luminosity block).

    >>> good = LumiSet.from_ranges([(7, 1, 10), (7, 11, 20), (8, 5, 5)])
    >>> good.ranges
    [(7, 1, 20), (8, 5, 5)]
    >>> len(good - LumiSet.from_ranges([(7, 3, 4)]))
    19
    """

    __slots__ = ("__dict__", "_edges")

    def __init__(self, edges: Edges | None = None) -> None:
        """From canonical edges (see above); people use `from_ranges` or `read_lumi`."""
        self._edges = np.empty(0, np.int64) if edges is None else edges.astype(np.int64, copy=True)
        self._edges.flags.writeable = False

    @classmethod
    def from_ranges(cls, ranges: Iterable[tuple[int, int, int]]) -> LumiSet:
        """From closed ranges (run, first, last) in any order; they may overlap.

        QualityError for a range that ends before it begins and for numbers outside 0 to 2³¹ − 1.
        """
        rows = list(ranges)
        for run, first, last in rows:
            check_range(run, first, last)
        table = np.array(rows, np.int64).reshape(-1, 3)
        start = table[:, 0] << 32 | table[:, 1]
        stop = (table[:, 0] << 32 | table[:, 2]) + 1
        order = np.argsort(start, kind="stable")
        start, stop = start[order], np.maximum.accumulate(stop[order])
        opens = np.ones(len(rows), bool)
        opens[1:] = start[1:] > stop[:-1]
        closes = np.ones(len(rows), bool)
        closes[:-1] = opens[1:]
        return cls(np.stack([start[opens], stop[closes]], axis=1).ravel())

    @classmethod
    def from_blocks(cls, run: npt.ArrayLike, lumi: npt.ArrayLike) -> LumiSet:
        """From the (run, luminosity block) of events: two (n,) integer arrays in any order; they may repeat.

        QualityError for numbers outside 0 to 2³¹ − 1.

        >>> LumiSet.from_blocks([7, 7, 8, 7], [2, 1, 5, 2]).ranges
        [(7, 1, 2), (8, 5, 5)]
        """
        runs, lumis = np.asarray(run, np.int64), np.asarray(lumi, np.int64)
        wrong = np.flatnonzero((runs < 0) | (runs > LIMIT) | (lumis < 0) | (lumis > LIMIT))
        for i in wrong[:1].tolist():
            check_range(int(runs[i]), int(lumis[i]), int(lumis[i]))
        keys = np.unique(runs << 32 | lumis)
        new = np.diff(keys) > 1
        starts, stops = keys[np.r_[True, new][: len(keys)]], keys[np.r_[new, True][: len(keys)]] + 1
        return cls(np.stack([starts, stops], axis=1).ravel())

    def _combine(self, other: LumiSet, rule: Callable[[Mask, Mask], Mask]) -> LumiSet:
        """The blocks for which `rule(in self, in other)` is true, by one sweep over the edges of both."""
        points = np.union1d(self._edges, other._edges)
        keep = rule(self._inside(points), other._inside(points))
        before = np.zeros_like(keep)
        before[1:] = keep[:-1]
        return LumiSet(points[keep != before])

    def _inside(self, keys: Edges) -> Mask:
        return (np.searchsorted(self._edges, keys, side="right") & 1).astype(bool)

    def __or__(self, other: LumiSet) -> LumiSet:
        return self._combine(other, np.logical_or)

    def __and__(self, other: LumiSet) -> LumiSet:
        return self._combine(other, np.logical_and)

    def __sub__(self, other: LumiSet) -> LumiSet:
        return self._combine(other, np.greater)

    def __xor__(self, other: LumiSet) -> LumiSet:
        return self._combine(other, np.logical_xor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LumiSet) and np.array_equal(self._edges, other._edges)

    def __hash__(self) -> int:
        return hash(self._edges.tobytes())

    def __len__(self) -> int:
        """Number of luminosity blocks."""
        return int((self._edges[1::2] - self._edges[::2]).sum())

    def __bool__(self) -> bool:
        return bool(self._edges.size)

    def __repr__(self) -> str:
        return f"<LumiSet: {len(self):,} luminosity blocks in {len(self.runs):,} runs>"

    def contains(self, run: npt.ArrayLike, lumi: npt.ArrayLike) -> Mask:
        """Which (run, lumi) pairs are in the set: two (n,) integer arrays in any order, (n,) bool back."""
        runs, lumis = np.asarray(run, np.int64), np.asarray(lumi, np.int64)
        possible = (runs >= 0) & (runs <= LIMIT) & (lumis >= 0) & (lumis <= LIMIT)
        return self._inside(runs << 32 | lumis) & possible

    @cached_property
    def runs(self) -> Ints:
        """Distinct runs, (n_runs,) int32, rising."""
        return np.unique(self.arrays()[0])

    @property
    def ranges(self) -> list[tuple[int, int, int]]:
        """Closed ranges (run, first, last), merged, rising."""
        run, first, last = self.arrays()
        return list(zip(run.tolist(), first.tolist(), last.tolist(), strict=True))

    def arrays(self) -> tuple[Ints, Ints, Ints]:
        """(run, first, last) of the merged closed ranges, rising: three (n_ranges,) int32 arrays."""
        start, last = self._edges[::2], self._edges[1::2] - 1
        low = np.int64(0xFFFF_FFFF)
        return (start >> 32).astype(np.int32), (start & low).astype(np.int32), (last & low).astype(np.int32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the ranges (run, first, last) in order, little-endian int32: 12 bytes each."""
        return hashlib.sha256(np.stack(self.arrays(), axis=1).astype("<i4").tobytes()).hexdigest()


def check_range(run: int, first: int, last: int) -> None:
    """Refuse, by a QualityError, a range that is inverted or not made of numbers from 0 to 2³¹ − 1."""
    for what, number in (("run", run), ("first block", first), ("last block", last)):
        if not 0 <= number <= LIMIT:
            message = f"run {run}: {what} {number} is not between 0 and {LIMIT}"
            raise QualityError(message, run=run, number=number)
    if last < first:
        raise QualityError(f"run {run}: range {first} to {last} ends before it begins", run=run, first=first, last=last)
