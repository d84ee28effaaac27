"""Whole numbers packed with as few bits as the largest of a block needs, each readable without its neighbours.

Blocks lie one after another in 64-bit words, little-endian, each beginning at a word. Invariant: what is read is
what was packed, for any width from 0 to 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tagsel.kernels import finding
from tagsel.store.columns import Array

BLOCK = finding.BLOCK
"""Numbers a block."""

PADDING = 2
"""Words after the last block: a number is read from two neighbouring words, even one of 0 bits."""

_MASKS = np.array([2**bits - 1 for bits in range(65)], np.uint64)
_ONE, _LAST = np.uint64(1), np.uint64(63)


def bits_of(largest: Array) -> Array:
    """Bits that numbers need, (n,) uint8, 0 to 64; `largest` is (n,) uint64."""
    left, bits = largest.astype(np.uint64), np.zeros(len(largest), np.uint8)
    for half in (32, 16, 8, 4, 2, 1):
        high = left >> np.uint64(half)
        more = high > 0
        bits += np.uint8(half) * more
        left = np.where(more, high, left)
    found: Array = bits + (left > 0)
    return found


def pack(values: Array, sizes: Array) -> tuple[Array, Array, Array]:
    """Words, and of each block its bits a number (uint8) and its first word (int64).

    `values` is (BLOCK, blocks) uint64; of a block of fewer numbers, by `sizes`, the rest is not kept.
    """
    bits = bits_of(values.max(axis=0)) if values.shape[1] else np.zeros(0, np.uint8)
    counts = words_of(bits, sizes)
    starts = np.cumsum(counts) - counts
    words = np.zeros(int(counts.sum()), np.uint64)
    for width in np.unique(bits[bits > 0]).tolist():
        blocks = np.flatnonzero(bits == width)
        packed = _packed(values[:, blocks], width)
        kept = np.arange(len(packed))[:, None] < counts[blocks]
        words[(starts[blocks] + np.arange(len(packed))[:, None])[kept]] = packed[kept]
    return words, bits, starts


def words_of(bits: Array, sizes: Array) -> Array:
    """Words that blocks of `sizes` numbers of `bits` bits take, (n,) int64."""
    counts: Array = (bits.astype(np.int64) * sizes + 63) >> 6
    return counts


def _packed(values: Array, width: int) -> Array:
    """Blocks of full length as columns: (BLOCK, k) uint64 in, (words, k) uint64 out."""
    words = np.zeros((BLOCK * width // 64 + 1, values.shape[1]), np.uint64)
    for i, row in enumerate(values):
        word, shift = divmod(i * width, 64)
        words[word] |= row << np.uint64(shift)
        if shift + width > 64:
            words[word + 1] |= row >> np.uint64(64 - shift)
    return words[:-1]


@dataclass(frozen=True)
class Packed:
    """Blocks of packed numbers: `words` uint64 with `PADDING`, and of each block its bits and its first word."""

    words: Array
    bits: Array
    starts: Array

    def lie_inside(self, sizes: Array) -> bool:
        """Whether blocks of `sizes` numbers, and the words that are read with them, lie in the words."""
        if bool((self.bits > 64).any()):
            return False
        last = len(self.words) - PADDING - words_of(self.bits, sizes)
        return bool(((self.starts >= 0) & (self.starts <= last)).all())

    def of(self, blocks: Array) -> Opened:
        """The given blocks, ready to be read from."""
        bits = self.bits[blocks]
        return Opened(self.words, bits.astype(np.int64), self.starts[blocks], _MASKS[bits])


@dataclass(frozen=True)
class Opened:
    """Some blocks of packed numbers, in the order of the question."""

    words: Array
    bits: Array
    starts: Array
    masks: Array

    def at(self, places: Array) -> Array:
        """One number of each block, (n,) int64: the one at its place, 0 to BLOCK - 1."""
        bit = places * self.bits
        word = self.starts + (bit >> 6)
        shift = (bit & 63).astype(np.uint64)
        low, high = self.words[word] >> shift, self.words[word + 1] << _ONE << (_LAST - shift)
        found: Array = ((low | high) & self.masks).view(np.int64)
        return found


def joined(pieces: Sequence[tuple[Array, Array, Array]]) -> Packed:
    """The blocks of several packings, one after another."""
    lengths = np.cumsum([0, *(len(words) for words, _, _ in pieces)])
    words = np.concatenate([*(words for words, _, _ in pieces), np.zeros(PADDING, np.uint64)])
    bits = np.concatenate([np.zeros(0, np.uint8), *(bits for _, bits, _ in pieces)])
    starts = [starts + length for (_, _, starts), length in zip(pieces, lengths.tolist(), strict=False)]
    return Packed(words, bits, np.concatenate([np.zeros(0, np.int64), *starts]))
