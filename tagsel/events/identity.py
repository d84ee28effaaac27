"""What makes two events the same, on plain arrays: identity order, digests, and the rows that are kept.

Data are identified by (run, event); simulation by (sample, run, lumi, event, GUID, entry), because
simulated files reuse run 1 and its event numbers. Invariant: nothing here depends on the order of the rows
that come in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tagsel.errors import EventListError
from tagsel.events.names import UNKNOWN, Longs, Names, Reference

Ints = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
DATA = np.dtype([("run", "<i4"), ("event", "<i8")])
BY_LUMI = np.dtype([("run", "<i4"), ("lumi", "<i4"), ("event", "<i8")])
SIMULATION = np.dtype([("run", "<i4"), ("lumi", "<i4"), ("event", "<i8"), ("guid", "S16"), ("entry", "<i8")])


def pack(columns: Sequence[Ints]) -> Longs | None:
    """One int64 key a row that orders as the columns do (first is major), or None where 63 bits are too few.

    >>> pack([np.array([5, 5, 6]), np.array([9, 2, 0])]).tolist()
    [9, 2, 16]
    """
    if not columns[0].size:
        return np.empty(0, np.int64)
    lows = [int(c.min()) for c in columns]
    widths = [(int(c.max()) - low).bit_length() for c, low in zip(columns, lows, strict=True)]
    if sum(widths) > 63:
        return None
    key = np.zeros(columns[0].size, np.int64)
    for column, low, width in zip(columns, lows, widths, strict=True):
        key <<= width
        key |= column.astype(np.int64) - low
    return key


def order_of(columns: Sequence[Ints]) -> Longs | None:
    """The rows' order by the columns (first is major, ties in row order); None where they have it."""
    key = pack(columns)
    if key is None:
        return np.lexsort(columns[::-1])
    return None if bool((key[1:] >= key[:-1]).all()) else np.argsort(key, kind="stable")


def data_digest(run: Ints, event: Ints) -> str:
    """SHA-256 (hex) of data: a title, then by (run, event) its (<i4 run, <i8 event), 12 bytes each."""
    order = order_of([run, event])
    rows = np.empty(run.size, DATA)
    rows["run"], rows["event"] = (run, event) if order is None else (run[order], event[order])
    return hashlib.sha256(b"tagsel.events.1 data\n" + rows.tobytes()).hexdigest()


def by_lumi_digest(run: Ints, lumi: Ints, event: Ints) -> str:
    """SHA-256 (hex) of data whose events are (run, lumi, event): a title, then each in order, 16 bytes."""
    order = order_of([run, lumi, event])
    pick = slice(None) if order is None else order
    rows = np.empty(run.size, BY_LUMI)
    rows["run"], rows["lumi"], rows["event"] = run[pick], lumi[pick], event[pick]
    return hashlib.sha256(b"tagsel.events.1 data run lumi event\n" + rows.tobytes()).hexdigest()


def simulation_digest(sample: Names, run: Ints, lumi: Ints, event: Ints, aod: Reference) -> str:
    """SHA-256 (hex) of simulation: a title; for each sample its length, name, count and rows in order.

    A row is (run int32, lumi int32, event int64, GUID 16 bytes, entry int64), little-endian, 40 bytes;
    lengths are uint32, counts uint64; an unknown GUID is 16 zero bytes.
    """
    order = order_of([sample.codes, run, lumi, event, aod.guid.codes, aod.entry])
    pick = slice(None) if order is None else order
    guids = np.array([bytes.fromhex(g.replace("-", "")) or bytes(16) for g in aod.guid.values], "S16")
    rows = np.empty(run.size, SIMULATION)
    rows["run"], rows["lumi"], rows["event"] = run[pick], lumi[pick], event[pick]
    rows["entry"] = aod.entry[pick]
    if len(guids):
        rows["guid"] = guids[aod.guid.codes[pick]]
    bounds = np.searchsorted(sample.codes[pick], np.arange(len(sample.values) + 1)).tolist()
    state = hashlib.sha256(b"tagsel.events.1 simulation\n")
    for name, first, last in zip(sample.values, bounds, bounds[1:], strict=False):
        text = name.encode()
        state.update(len(text).to_bytes(4, "little") + text + (last - first).to_bytes(8, "little"))
        state.update(rows[first:last].tobytes())
    return state.hexdigest()


class Groups(NamedTuple):
    """Rows in identity order: `order` (n,), and where in it each identity starts, `starts` (n_identities,)."""

    order: Longs
    starts: Longs

    def sides(self, left: int) -> tuple[Mask, Mask]:
        """For each identity, whether it has rows below `left` (the left list's) and rows from there on."""
        from_left = self.order < left
        if not self.starts.size:
            return from_left, from_left
        return np.logical_or.reduceat(from_left, self.starts), np.logical_or.reduceat(~from_left, self.starts)


def identity_groups(columns: Sequence[Ints], preference: Sequence[Ints] = ()) -> Groups:
    """Rows by identity (`columns`); the rows of one identity by `preference`, lowest first, then as they
    came.
    """
    key = pack(columns)
    order = np.lexsort(columns[::-1]) if key is None else np.argsort(key, kind="stable")
    fresh = np.zeros(order.size, bool)
    fresh[:1] = True
    for column in columns if key is None else [key]:
        ordered = column[order]
        fresh[1:] |= ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(fresh)
    if preference and starts.size < order.size:  # only rows that share an identity need it looked at
        group = np.cumsum(fresh)
        shared = np.flatnonzero(np.bincount(group)[group] > 1)
        rows = order[shared]
        ranked = order_of([group[shared], *(p[rows] for p in preference)])
        if ranked is not None:
            order[shared] = rows[ranked]
    return Groups(order, starts)


def check_lumis(groups: Groups, run: Ints, lumi: Ints, event: Ints) -> None:
    """EventListError where one (run, event) of data is in two known luminosity blocks."""
    if groups.starts.size == groups.order.size:
        return
    blocks = lumi[groups.order]
    high = np.maximum.reduceat(blocks, groups.starts)
    low = np.minimum.reduceat(np.where(blocks == UNKNOWN, np.iinfo(blocks.dtype).max, blocks), groups.starts)
    clash = np.flatnonzero(low < high)
    if clash.size:
        first = groups.order[groups.starts[clash[0]]]
        raise EventListError(
            f"run {run[first]}, event {event[first]} is in luminosity block {low[clash[0]]} and in "
            f"{high[clash[0]]} ({clash.size} such events)",
            hint="lists of data agree on luminosity blocks; is one of them simulation?",
            run=int(run[first]),
            event=int(event[first]),
        )
