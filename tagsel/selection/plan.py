"""What will be read: every row group of every part with its verdict from the zones, before any data is read.

Invariant: a verdict NONE or ALL is proven; whatever is not proven is SOME. Planning reads the zones of the
columns in the cut and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from tagsel.engine.compiler import steps_of
from tagsel.errors import StoreError
from tagsel.language import Bound, Node
from tagsel.language.bounds import ALL, NONE, SOME, bounds
from tagsel.language.tree import columns_of
from tagsel.selection.query import BoundInput
from tagsel.selection.steps import print_of
from tagsel.selection.tiers import choose
from tagsel.store import Frame, Part

MOST_KNOWN = 64
"""Cuts, and steps, whose verdicts stay with a snapshot in the process."""

Verdicts = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Unit:
    """One row group of one part of one input, with its verdict."""

    source: int  # index of the input
    part: Part
    group: int
    rows: int
    verdict: int
    first_row: int  # of the group within its input


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the zones say of one input's G row groups: of the cut, (G,), and of each of its steps, (steps, G)."""

    cut: Verdicts
    steps: npt.NDArray[np.int8]


@dataclass(frozen=True, repr=False, eq=False)
class Plan:
    """The verdicts of each input's row groups, and which tier evaluates them."""

    inputs: tuple[BoundInput, ...]
    verdicts: tuple[Verdict, ...]
    tier: str
    columns: tuple[str, ...]

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """All row groups in order, one by one."""
        every = [np.ones(len(found.cut), np.bool_) for found in self.verdicts]
        return tuple(unit for index, wanted in enumerate(every) for unit in self.units_of(index, wanted))

    def units_of(self, index: int, wanted: npt.NDArray[np.bool_]) -> list[Unit]:
        """The wanted row groups, (G,), of one input."""
        frame, groups = self.inputs[index].input.snapshot.frame, np.flatnonzero(wanted)
        told = (frame.part_of, frame.group_of, frame.rows, self.verdicts[index].cut, frame.first_rows)
        return [
            Unit(index, frame.parts[part], *rest)
            for part, *rest in zip(*(a[groups].tolist() for a in told), strict=True)
        ]

    def rows(self, verdict: int) -> int:
        """Rows in row groups of this verdict."""
        return sum(
            int(b.input.snapshot.frame.rows[v.cut == verdict].sum())
            for b, v in zip(self.inputs, self.verdicts, strict=True)
        )

    def open_rows(self) -> list[list[tuple[int, int]]]:
        """For each input and step of its cut: rows, and row groups, that the zones leave open."""
        return [
            [(int(frame.rows[some].sum()), int(np.count_nonzero(some))) for some in (v.steps == SOME) & (v.cut == SOME)]
            for b, v in zip(self.inputs, self.verdicts, strict=True)
            for frame in [b.input.snapshot.frame]
        ]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<10}  {value}" for name, value in self.to_json().items())

    def to_json(self) -> dict[str, object]:
        """The plan for people and machines."""
        count = {v: sum(int(np.count_nonzero(f.cut == v)) for f in self.verdicts) for v in (NONE, SOME, ALL)}
        return {
            "parts": sum(len(b.input.snapshot.parts) for b in self.inputs),
            "row_groups": {"none": count[NONE], "some": count[SOME], "all": count[ALL]},
            "rows": {"none": self.rows(NONE), "some": self.rows(SOME), "all": self.rows(ALL)},
            "columns": list(self.columns),
            "tier": self.tier,
        }


def plan(inputs: Sequence[BoundInput], *, tier: str = "auto", zones: bool = True, allow_losses: bool = False) -> Plan:
    """Verdicts for every row group; `zones=False` makes all SOME (what the tests compare with)."""
    verdicts = tuple(_verdict(bound, zones, allow_losses) for bound in inputs)
    touched = tuple(sorted({c for b in inputs for c in b.cut.columns}))
    made = Plan(tuple(inputs), verdicts, tier, touched)
    return made if tier != "auto" else replace(made, tier=choose(made.inputs, made.open_rows()))


def _verdict(bound: BoundInput, zones: bool, allow_losses: bool) -> Verdict:
    """One input's verdicts; a damaged part raises StoreError, or with `allow_losses` stays SOME."""
    frame, steps = bound.input.snapshot.frame, steps_of(bound.cut.node)
    undecided = Verdict(np.full(len(frame), SOME, np.int8), np.full((len(steps), len(frame)), SOME, np.int8))
    if not zones:
        return undecided
    try:
        make = partial(_by_zones, frame, bound.cut, steps)
        return frame.memo.get_or_create("zone-verdicts", bound.cut.fingerprint, make, MOST_KNOWN)
    except StoreError:
        if not allow_losses:
            raise
    for part in range(len(frame.parts)):
        groups = np.arange(frame.starts[part], frame.starts[part + 1])
        try:
            found = _by_zones(Frame(frame.parts[part : part + 1]), bound.cut, steps)
        except StoreError:
            continue
        undecided.cut[groups], undecided.steps[:, groups] = found.cut, found.steps
    return undecided


def _by_zones(frame: Frame, cut: Bound, steps: Sequence[Node]) -> Verdict:
    """The verdicts of the zones of all row groups at once, for each set of columns that parts have."""
    found = Verdict(np.full(len(frame), SOME, np.int8), np.full((len(steps), len(frame)), SOME, np.int8))
    ordered = any(step.raises for step in steps)  # then what a term comes to hangs on those before it
    for columns, members in frame.kinds:
        if ordered:
            found.cut[members] = _bounds(frame, cut.node, cut.columns, columns, members)
            continue
        for at, step in enumerate(steps):
            make = partial(_step_bounds, frame, step, columns, members)
            key = print_of(step), columns
            found.steps[at, members] = frame.memo.get_or_create("zone-bounds", key, make, MOST_KNOWN)
        found.cut[members] = found.steps[:, members].min(axis=0)
    return found


def _step_bounds(frame: Frame, step: Node, columns: frozenset[str], members: Ints) -> npt.NDArray[np.int8]:
    return _bounds(frame, step, columns_of(step), columns, members)


def _bounds(
    frame: Frame, node: Node, reads: frozenset[str], columns: frozenset[str], members: Ints
) -> npt.NDArray[np.int8]:
    """What the zones of some row groups, of parts that have `columns`, say of a condition."""
    zones = {c: z for c in reads & columns if (z := frame.zone(c, members)) is not None}
    return bounds(node, zones, len(members), reads - columns)
