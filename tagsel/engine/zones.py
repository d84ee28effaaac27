"""What the zone maps say of row groups: whether none, all or some of their rows pass a cut, and each of its steps.

Invariant: a verdict NONE or ALL is proven; whatever is not proven is SOME. Only the zones of the columns in the cut are
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from tagsel.engine.compiler import steps_of
from tagsel.engine.steps import print_of
from tagsel.errors import StoreError
from tagsel.language import Bound, Node
from tagsel.language.bounds import SOME, bounds
from tagsel.language.tree import columns_of
from tagsel.store import Frame

MOST_KNOWN = 64
"""Cuts, and steps, whose verdicts stay with a snapshot in the process."""

Verdicts = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the zones say of one input's G row groups: of the cut, (G,), and of each of its steps, (steps, G)."""

    cut: Verdicts
    steps: npt.NDArray[np.int8]


def zone_verdict(frame: Frame, cut: Bound, zones: bool = True, allow_losses: bool = False) -> Verdict:
    """Judge the row groups of a frame by their zones; `zones=False` leaves all of them SOME.

    A damaged part raises StoreError; with `allow_losses` its row groups stay SOME.
    """
    steps = steps_of(cut.node)
    undecided = Verdict(np.full(len(frame), SOME, np.int8), np.full((len(steps), len(frame)), SOME, np.int8))
    if not zones:
        return undecided
    try:
        make = partial(_by_zones, frame, cut, steps)
        return frame.memo.get_or_create("zone-verdicts", cut.fingerprint, make, MOST_KNOWN)
    except StoreError:
        if not allow_losses:
            raise
    for part in range(len(frame.parts)):
        groups = np.arange(frame.starts[part], frame.starts[part + 1])
        try:
            verdict = _by_zones(Frame(frame.parts[part : part + 1]), cut, steps)
        except StoreError:
            continue
        undecided.cut[groups], undecided.steps[:, groups] = verdict.cut, verdict.steps
    return undecided


def _by_zones(frame: Frame, cut: Bound, steps: Sequence[Node]) -> Verdict:
    """The verdicts of the zones of all row groups at once, for each set of columns that parts have."""
    verdict = Verdict(np.full(len(frame), SOME, np.int8), np.full((len(steps), len(frame)), SOME, np.int8))
    ordered = any(step.raises for step in steps)  # then what a term comes to hangs on those before it
    for columns, members in frame.kinds:
        if ordered:
            verdict.cut[members] = _bounds(frame, cut.node, cut.columns, columns, members)
            continue
        for at, step in enumerate(steps):
            make = partial(_step_bounds, frame, step, columns, members)
            key = print_of(step), columns
            verdict.steps[at, members] = frame.memo.get_or_create("zone-bounds", key, make, MOST_KNOWN)
        verdict.cut[members] = verdict.steps[:, members].min(axis=0)
    return verdict


def _step_bounds(frame: Frame, step: Node, columns: frozenset[str], members: Ints) -> npt.NDArray[np.int8]:
    return _bounds(frame, step, columns_of(step), columns, members)


def _bounds(
    frame: Frame, node: Node, reads: frozenset[str], columns: frozenset[str], members: Ints
) -> npt.NDArray[np.int8]:
    """What the zones of some row groups, of parts that have `columns`, say of a condition."""
    zones = {c: z for c in reads & columns if (z := frame.zone(c, members)) is not None}
    return bounds(node, zones, len(members), reads - columns)
