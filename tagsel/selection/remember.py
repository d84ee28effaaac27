"""What remembered masks spare a run, and what the run notes for the next one.

Invariant: a step is left out for a row group only if each of its rows that is left was judged before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.kernels.memory import address_of
from tagsel.language import Node
from tagsel.selection.masks import Bits, Masks, byte_offsets, full
from tagsel.store import Frame, Part

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recalled:
    """What masks say of a frame: rows that are left, a bit a row, by part (None: all); and which steps need not run,
    (steps, G) bool."""

    left: Mapping[int, Bits | None]
    done: npt.NDArray[np.bool_]

    def addresses(self, frame: Frame, groups: Ints) -> Words:
        """Where the bits of some row groups begin; 0 where all rows are left."""
        return _addresses(frame, groups, self.left)


def recall(
    masks: Masks,
    frame: Frame,
    alive: Mapping[int, Rows],
    parts: Iterable[int],
    steps: Sequence[Node],
    prints: Sequence[str],
) -> Recalled:
    """What is remembered of the steps on the given parts (numbers in the frame).

    `alive`: the rows that count, (rows,) bool, of the row groups where only some do: the others are never judged.
    """
    left: dict[int, Bits | None] = {}
    done = np.zeros((len(steps), len(frame)), np.bool_)
    for at in parts:
        part = frame.parts[at]
        own = [masks.get(part, p) for p in prints]
        new = [(step, p) for mask, step, p in zip(own, steps, prints, strict=True) if mask is None]
        looser = [w for step, p in new for w in masks.looser(step, p)]
        known = [m for m in (*own, *(masks.get(part, w) for w in looser)) if m is not None]
        left[at] = None
        if not known:
            continue
        rest = left[at] = full(part.groups).copy()
        for mask in known:
            rest &= mask.may_pass()
        groups = slice(frame.starts[at], frame.starts[at + 1])
        offsets = byte_offsets(part.groups)
        for group in [g for g in alive if groups.start <= g < groups.stop]:
            place = slice(*offsets[group - groups.start : group - groups.start + 2])
            rest[place] &= np.packbits(alive[group], bitorder="little")
        for n, found in enumerate(own):
            if found is not None:
                done[n, groups] = found.judged is None or _none(part, rest & ~found.judged)
    return Recalled(left, done)


def _none(part: Part, bits: Bits) -> npt.NDArray[np.bool_]:
    """Whether no bit is set, by row group."""
    return np.asarray(np.bitwise_or.reduceat(bits, byte_offsets(part.groups)[:-1]) == 0)


@dataclass(frozen=True, eq=False)
class Notes:
    """Room for what a run notes: by step and part the rows judged and passed; addresses as `Chain.job` takes them."""

    frame: Frame
    steps: Sequence[Node]
    prints: Sequence[str]
    bits: Mapping[tuple[int, int], tuple[Bits, Bits]]
    addresses: Words

    @classmethod
    def on(
        cls,
        frame: Frame,
        groups: Ints,
        steps: Sequence[Node],
        prints: Sequence[str],
        needed: npt.NDArray[np.bool_],
    ) -> Notes:
        """Room for the steps on the row groups where they run, `needed` (steps, len(groups))."""
        part_of = frame.part_of[groups]
        bits = {}
        addresses = np.zeros((len(steps), len(groups), 2), np.uint64)
        for n in range(len(steps)):
            for at in np.unique(part_of[needed[n]]).tolist():
                size = int(byte_offsets(frame.parts[at].groups)[-1])
                bits[n, at] = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
            for which in (0, 1):
                mine = {at: pair[which] for (step, at), pair in bits.items() if step == n}
                addresses[n, :, which] = _addresses(frame, groups, mine)
        return cls(frame, steps, prints, bits, addresses)

    def keep(self, masks: Masks) -> None:
        """Remember what was noted."""
        for (n, at), (judged, passed) in self.bits.items():
            if judged.any():
                masks.add(self.frame.parts[at], self.prints[n], judged, passed)
                masks.note_family(self.steps[n], self.prints[n])


def _addresses(frame: Frame, groups: Ints, bits: Mapping[int, Bits | None]) -> Words:
    """Where each row group's bits begin in those of its part; 0 where the part has none."""
    found = np.zeros(len(groups), np.uint64)
    part_of = frame.part_of[groups]
    for at, held in bits.items():
        if held is not None:
            mine = part_of == at
            offsets = byte_offsets(frame.parts[at].groups)[frame.group_of[groups[mine]]]
            found[mine] = np.uint64(address_of(held)) + offsets.astype(np.uint64)
    return found
