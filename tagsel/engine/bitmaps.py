"""Rows as bits: what the loops write, a bit a row, and what is read from it.

Invariant: the bits of a row group begin at a word of 64 and fill whole words, zeros behind its last row, so that they
may be read in words.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.kernels.memory import address_of
from tagsel.store import Frame

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Bits:
    """Room for a bit a row of U row groups, zeros at first; each row group's begins at a word: `addresses` (U,)."""

    memory: Words
    addresses: Words

    @classmethod
    def of(cls, rows: Ints) -> Bits:
        """For row groups of so many rows."""
        words = (rows + 63) // 64
        memory = np.zeros(int(words.sum()), np.uint64)
        return cls(memory, np.uint64(address_of(memory)) + 8 * (np.cumsum(words) - words).astype(np.uint64))


@dataclass(frozen=True, eq=False)
class Taken:
    """The accepted rows of row groups that have some: their numbers in the frame, `groups` (U,), how many, `counts`
    (U,) int64, and where their bits begin, a bit a row, `addresses` (U,) uint64; `held` keeps the bits."""

    groups: Ints
    counts: Ints
    addresses: Words
    held: Sequence[object]

    @classmethod
    def of(cls, batches: Sequence[tuple[Ints, Ints, Words, object]]) -> Taken:
        """Of (row groups, counts, addresses, what holds them) of several runs; by row group."""
        if not batches:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64), ())
        groups = np.concatenate([batch[0] for batch in batches])
        counts = np.concatenate([batch[1] for batch in batches])
        places = np.concatenate([batch[2] for batch in batches])
        some = np.flatnonzero(counts)
        order = some[np.argsort(groups[some])]
        return cls(groups[order], counts[order], places[order], [b[3] for b in batches if b[1].any()])

    def rows(self, frame: Frame) -> Ints:
        """Their numbers in the snapshot, rising."""
        found = [
            np.flatnonzero(as_mask(words_at(at, size), size)) + first
            for at, size, first in zip(
                self.addresses.tolist(),
                frame.rows[self.groups].tolist(),
                frame.first_rows[self.groups].tolist(),
                strict=True,
            )
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)


def words_at(place: int, rows: int) -> Words:
    """The words at an address that hold the bits of so many rows; the caller keeps the memory alive."""
    return np.ctypeslib.as_array((ctypes.c_uint64 * -(-rows // 64)).from_address(place))


def as_mask(bits: Words, rows: int) -> npt.NDArray[np.bool_]:
    """Bits as a mask, (rows,) bool."""
    return np.unpackbits(bits.view(np.uint8), count=rows, bitorder="little").view(np.bool_)
