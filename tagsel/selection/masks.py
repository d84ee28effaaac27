"""Remembered masks: of a step and a part, which rows were judged and which of these passed, a bit a row.

A step that was judged before is not run on those rows again, in whatever cut it stands; a comparison with a tighter
threshold looks only at the rows that passed the looser one. Key: the part's name, which is its content, and the bound
step's fingerprint, which is all that its meaning hangs on. Invariant: a row that was not judged is evaluated, never
assumed. Masks are values: what is added takes the place of what was there, so threads may read meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from tagsel.base.cache import Cache, memoize
from tagsel.base.fork_lock import fork_lock
from tagsel.language import Node, fingerprint
from tagsel.selection import maskfiles
from tagsel.store import Part

Bits = npt.NDArray[np.uint8]

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
        kept = maskfiles.read(part, step) if self._shared else None
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
            maskfiles.write_soon(part, step, mask.judged, mask.passed)

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
