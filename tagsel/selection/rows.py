"""Which rows count: readable, no duplicate of an event that stands first elsewhere, in a good luminosity block.

Invariant: the same rule for every verb; what a verb counts, another picks and explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.errors import StoreError
from tagsel.quality import LumiSet
from tagsel.selection.columns import Columns
from tagsel.selection.duplicates import Across, across_inputs
from tagsel.selection.plan import Unit
from tagsel.selection.query import Query

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Filter:
    """Good luminosity blocks (None: all), and the rows that repeat an event; `damaged` parts cannot be judged."""

    lumi: LumiSet | None
    drop_duplicates: bool
    across: Mapping[tuple[int, str], Mask]
    damaged: Mapping[tuple[int, str], StoreError]

    def duplicates(self, unit: Unit) -> Mask | None:
        """Rows of the unit that repeat an event which stands first elsewhere; None: none."""
        key = unit.source, unit.part.name
        if key in self.damaged:
            raise self.damaged[key]
        if not self.drop_duplicates:
            return None
        within = unit.part.duplicates(unit.group)
        across = self.across.get(key)
        if across is None:
            return within
        start = sum(unit.part.groups[: unit.group])
        here = across[start : start + unit.rows]
        return here if within is None else here | within

    def good(self, unit: Unit, columns: Columns) -> Mask | bool:
        """Rows in good luminosity blocks; True or False where the small table already decides for all of them."""
        if self.lumi is None:
            return True
        run, lumi, _ = unit.part.lumi_counts(unit.group)
        verdict = self.lumi.contains(run, lumi)
        if verdict.all():
            return True
        return False if not verdict.any() else self.lumi.contains(columns["run"], columns["lumi"])


def rows_that_count(query: Query, *, masked: bool = True) -> Filter:
    """The rows that count by the query's policy, and (unless not `masked`) its good-run lists.

    StoreError where the policy is `error` and an event stands in several rows, and for a damaged part unless losses
    are allowed: its rows are unreadable then.
    """
    found = Across({}, {})
    if query.policy != "all" and not (query.simulation and query.policy == "first"):
        found = across_inputs(query.inputs, query.allow_losses)
    if query.policy == "error":
        _refuse(query, found)
    return Filter(query.mask if masked else None, query.policy == "first", found.rows, found.damaged)


def _refuse(query: Query, found: Across) -> None:
    within = sum(i.snapshot.duplicate_rows() for i in query.inputs)
    across = sum(int(np.count_nonzero(m)) for m in found.rows.values())
    if within + across:
        raise StoreError(
            f"{within:,} rows repeat an event of their dataset, {across:,} one of another dataset",
            hint="--duplicates first takes each event once, --duplicates all every row",
            within=within,
            across=across,
        )
