"""What will be read: every row group of every part with its verdict from the zones, before any data is read.

Invariant: a verdict NONE or ALL is proven; whatever is not proven is SOME. Planning reads the zones of the
columns in the cut and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tagsel.engine.cost import choose
from tagsel.engine.row_groups import Unit
from tagsel.engine.zones import Verdict, zone_verdict
from tagsel.language.bounds import ALL, NONE, SOME
from tagsel.selection.query import BoundInput


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
    verdicts = tuple(zone_verdict(b.input.snapshot.frame, b.cut, zones, allow_losses) for b in inputs)
    touched = tuple(sorted({c for b in inputs for c in b.cut.columns}))
    made = Plan(tuple(inputs), verdicts, tier, touched)
    if tier != "auto":
        return made
    cuts = [(b.cut.node, b.input.snapshot.frame) for b in inputs]
    return replace(made, tier=choose(cuts, made.open_rows()))
