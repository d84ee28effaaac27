"""Remembered masks: of a step and a part, which rows were judged and which of these passed, a bit a row.

A step that was judged before is not run on those rows again, in whatever cut it stands; a comparison with a tighter
threshold looks only at the rows that passed the looser one. Key: the part's name, which is its content, and the bound
step's fingerprint, which is all that its meaning hangs on. Invariant: a row that was not judged is evaluated, never
assumed. Masks are values: what is added takes the place of what was there, so threads may read meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from tagsel.base.cache import Cache, memoize
from tagsel.base.fork_lock import fork_lock
from tagsel.engine import bitmap_files
from tagsel.kernels.memory import address_of
from tagsel.language import Node, fingerprint
from tagsel.store import Frame, Part

Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.bool_]

MOST_BYTES = 256 << 20
"""Masks kept in the process; the least recently used go first."""

MOST_FAMILIES = 4096
"""Comparisons whose thresholds are known."""

LOOSER = {">": np.less_equal, ">=": np.less_equal, "<": np.greater_equal, "<=": np.greater_equal}
"""Whether a threshold (first) lets pass whatever another one (second) does, by the comparison."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Rows that were judged (None: all) and those that passed; each row group begins at a byte."""

    judged: Bits | None
    passed: Bits

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.passed.nbytes + (0 if self.judged is None else self.judged.nbytes)

    def may_pass(self) -> Bits:
        """Rows that passed, or were not judged; bits behind a row group's last row mean nothing."""
        return self.passed if self.judged is None else self.passed | ~self.judged


class Masks:
    """The masks of this process, and through `maskfiles` those of others; or (not `shared`) of one question alone."""

    def __init__(self, shared: bool = True) -> None:
        self._shared = shared
        self._masks: Cache[tuple[str, str], Mask] = Cache("masks", nbytes=MOST_BYTES, size=attrgetter("bytes"))
        self._lock = fork_lock()
        self._families: dict[str, dict[float, str]] = {}
        self._family_of: Cache[str, tuple[str, float] | None] = Cache("comparisons", entries=MOST_FAMILIES)

    def get(self, part: Part, step: str) -> Mask | None:
        """The mask of a step (its fingerprint) on a part."""
        key = part.name, step
        remembered = self._masks.get(key)
        if remembered is not None:
            return remembered
        kept = bitmap_files.read(part, step) if self._shared else None
        if kept is None:
            return None
        mask = Mask(*kept)
        self._masks[key] = mask
        return mask

    def add(self, part: Part, step: str, judged: Bits, passed: Bits) -> None:
        """Rows judged now, and which passed; joined to what is known already."""
        old = self.get(part, step)
        if old is not None:
            if old.judged is None:
                return
            judged, passed = judged | old.judged, passed | old.passed
        mask = Mask(None if bool((judged == full(part.groups)).all()) else judged, passed)
        self._masks[part.name, step] = mask
        if self._shared:
            bitmap_files.write_soon(part, step, mask.judged, mask.passed)

    def note_family(self, node: Node, step: str) -> None:
        """Remember which comparison with a threshold a step is."""
        family = self._family(node, step)
        with self._lock:
            if family is not None and len(self._families) < MOST_FAMILIES:
                thresholds = self._families.setdefault(family[0], {})
                if len(thresholds) < 64:
                    thresholds[family[1]] = step

    def _family(self, node: Node, step: str) -> tuple[str, float] | None:
        return self._family_of.get_or_create(step, lambda: family_of(node))

    def looser(self, node: Node, step: str) -> list[str]:
        """The step with the nearest threshold that lets pass whatever this one does; none where there is no such."""
        family = self._family(node, step)
        with self._lock:
            known = dict(self._families.get(family[0], {})) if family is not None else {}
        if family is None or not known:
            return []
        mine, at_least = family[1], LOOSER[node.value]
        wide = [(abs(t - mine), s) for t, s in known.items() if t != mine and at_least(t, mine)]
        return [s for _, s in sorted(wide)[:1]]

    def clear(self) -> None:
        """Forget all of them, in this process."""
        self._masks.clear()
        with self._lock:
            self._families.clear()


MASKS = Masks()
"""The masks of this process."""


def family_of(node: Node) -> tuple[str, float] | None:
    """A comparison with a number: what is compared and how, and the number; None for other steps and for NaN."""
    if node.op != "cmp" or node.value not in LOOSER or node.args[1].op != "const":
        return None
    threshold = node.args[1].value
    if isinstance(threshold, bool | str) or threshold != threshold:
        return None
    return f"{node.value} {fingerprint(node.args[0])}", threshold


@memoize("whole-masks", entries=4096)
def full(groups: tuple[int, ...]) -> Bits:
    """A bit for every row of row groups of these sizes, each from a byte on, none behind its last row."""
    bits = np.concatenate([np.packbits(np.ones(n, np.uint8), bitorder="little") for n in groups] or [_NONE])
    bits.flags.writeable = False
    return bits


_NONE = np.zeros(0, np.uint8)


@memoize("mask-offsets", entries=4096)
def byte_offsets(groups: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Where in such bits each row group begins, and at last their length: (groups + 1,) int64."""
    return np.concatenate([[0], np.cumsum((np.array(groups, np.int64) + 7) // 8)])


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
        looser = chain.from_iterable(masks.looser(step, p) for step, p in new)
        candidates = (*own, *(masks.get(part, w) for w in looser))
        known = [mask for mask in candidates if mask is not None]
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
