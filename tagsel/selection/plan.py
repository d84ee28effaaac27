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
from tagsel.engine.evaluate import units_of
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
        units: list[Unit] = []
        for index, verdict in enumerate(self.verdicts):
            units += units_of(index, self.inputs[index].input.snapshot.frame, verdict)
        return tuple(units)

    def units_of(self, index: int, wanted: npt.NDArray[np.bool_]) -> list[Unit]:
        """The wanted row groups, (G,), of one input."""
        return units_of(index, self.inputs[index].input.snapshot.frame, self.verdicts[index], wanted)

    def rows(self, verdict: int) -> int:
        """Rows in row groups of this verdict."""
        return sum(
            int(b.input.snapshot.frame.rows[v.cut == verdict].sum())
            for b, v in zip(self.inputs, self.verdicts, strict=True)
        )

    def open_rows(self) -> list[list[tuple[int, int]]]:
        """For each input and step of its cut: rows, and row groups, that the zones leave open."""
        left = []
        for bound, verdict in zip(self.inputs, self.verdicts, strict=True):
            rows = bound.input.snapshot.frame.rows
            undecided = (verdict.steps == SOME) & (verdict.cut == SOME)
            left.append([(int(rows[some].sum()), int(np.count_nonzero(some))) for some in undecided])
        return left

    def __repr__(self) -> str:
        return "\n".join(f"{name:<10}  {value}" for name, value in self.to_json().items())

    def to_json(self) -> dict[str, object]:
        """The plan for people and machines."""
        verdicts = np.concatenate([np.empty(0, np.int8), *(verdict.cut for verdict in self.verdicts)])
        count = {verdict: int(np.count_nonzero(verdicts == verdict)) for verdict in (NONE, SOME, ALL)}
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
    touched = tuple(sorted(frozenset[str]().union(*(b.cut.columns for b in inputs))))
    made = Plan(tuple(inputs), verdicts, tier, touched)
    if tier != "auto":
        return made
    cuts = [(b.cut.node, b.input.snapshot.frame) for b in inputs]
    return replace(made, tier=choose(cuts, made.open_rows()))
