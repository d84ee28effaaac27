"""What will be read: every row group of every part with its verdict from the zones, before any data is read.

Invariant: a verdict NONE or ALL is proven; whatever is not proven is SOME. Planning reads the zones of the
columns in the cut and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tagsel.errors import StoreError
from tagsel.expr.bounds import ALL, NONE, SOME, bounds
from tagsel.expr.lower import fits
from tagsel.selection.query import BoundInput, atoms
from tagsel.store import Part

KERNEL_FROM = 60_000_000
"""Rows x atoms above which compiling a kernel pays: numba's import and compile cost about a second (PERFORMANCE)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One row group of one part of one input, with its verdict."""

    source: int  # index of the input
    part: Part
    group: int
    rows: int
    verdict: int
    first_row: int  # of the group within its input


@dataclass(frozen=True, repr=False)
class Plan:
    """All units in order, and which tier evaluates them."""

    units: tuple[Unit, ...]
    tier: str
    columns: tuple[str, ...]

    def rows(self, verdict: int) -> int:
        """Rows in row groups of this verdict."""
        return sum(u.rows for u in self.units if u.verdict == verdict)

    def __repr__(self) -> str:
        return "\n".join(f"{name:<10}  {value}" for name, value in self.to_json().items())

    def to_json(self) -> dict[str, object]:
        """The plan for people and machines."""
        count = {v: sum(u.verdict == v for u in self.units) for v in (NONE, SOME, ALL)}
        return {
            "parts": len({(u.source, u.part.name) for u in self.units}),
            "row_groups": {"none": count[NONE], "some": count[SOME], "all": count[ALL]},
            "rows": {"none": self.rows(NONE), "some": self.rows(SOME), "all": self.rows(ALL)},
            "columns": list(self.columns),
            "tier": self.tier,
        }


def plan(inputs: Sequence[BoundInput], *, tier: str = "auto", zones: bool = True, allow_losses: bool = False) -> Plan:
    """Verdicts for every row group; `zones=False` makes all SOME (what the tests compare with)."""
    units: list[Unit] = []
    for index, bound in enumerate(inputs):
        first_row = 0
        for part in bound.input.snapshot.parts:
            columns = bound.cut.columns
            verdicts = [SOME] * len(part.groups)
            if zones and part.groups:
                absent = frozenset(c for c in columns if c not in part.columns)
                try:
                    verdicts = list(bounds(bound.cut.node, part.zones(columns), len(part.groups), absent=absent))
                except StoreError:
                    if not allow_losses:
                        raise
            for group, (rows, verdict) in enumerate(zip(part.groups, verdicts, strict=True)):
                units.append(Unit(index, part, group, rows, int(verdict), first_row))
                first_row += rows
    touched = sorted({c for b in inputs for c in b.cut.columns})
    if tier == "auto":
        terms = max((atoms(b.cut.node) for b in inputs), default=0)
        work = terms * sum(u.rows for u in units if u.verdict == SOME)
        tier = "kernel" if work >= KERNEL_FROM and all(fits(b.cut.node) for b in inputs) else "interpreter"
    return Plan(tuple(units), tier, tuple(touched))
