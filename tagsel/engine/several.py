"""Several cuts at once, tied to memory: their distinct steps as one chain, and which cuts have which step.

Invariant: whatever an address in a job points to is held by the job, so that it stays while the job runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tagsel.engine.chain import Chain, Units, scratch
from tagsel.kernels import several
from tagsel.kernels.layouts import CUT, LIST, SEVERAL_JOB, SEVERAL_STEP, SEVERAL_UNIT, Table, offset
from tagsel.kernels.memory import address_of
from tagsel.kernels.native import Loaded

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SeveralJob:
    """Cuts over units, ready to run in several threads at once, each its own range of units."""

    chain: Chain
    loop: Loaded
    table: Table
    members: tuple[Ints, Ints]
    cuts: int
    held: Sequence[object] = field(repr=False)

    @classmethod
    def of(
        cls,
        chain: Chain,
        loop: Loaded,
        cuts: Sequence[Sequence[int]],
        units: Units,
        *,
        needed: Flags,
        live: Flags,
        accepted: Words | None = None,
    ) -> SeveralJob:
        """`cuts` are, for each, the steps of the chain that it has; C cuts, U units.

        `needed` (steps, U): where a step is not, every row passes it; `live` (C, U): where a cut is not, no row does;
        `accepted` (C, U): addresses where its rows are noted, a bit a row, 0 for not.
        """
        lists, steps = (LIST, len(chain.counters)), (SEVERAL_STEP, len(chain.steps))
        dtype = SEVERAL_UNIT.followed_by(lists=lists, steps=steps, cuts=(CUT, len(cuts)))
        table = np.zeros(len(units.rows), dtype)
        table["rows"], table["alive"] = units.rows, units.alive
        chain.fill_lists(table["lists"], units)
        held: list[object] = [units]
        for n in range(len(chain.steps)):
            held.append(chain.fill_step(table["steps"][:, n], n, units))
        table["steps"]["code"] *= needed.T
        table["cuts"]["live"] = live.T
        if accepted is not None:
            table["cuts"]["out"] = accepted.T
        having = [[c for c, own in enumerate(cuts) if step in own] for step in range(len(chain.steps))]
        first = np.cumsum([0, *map(len, having)])
        members = first.astype(np.int64), np.array([c for own in having for c in own], np.int64)
        return cls(chain, loop, table, members, len(cuts), held)

    def run(self, begin: int, end: int, counts: Ints) -> int:
        """Run units `begin` … `end`, adding the accepted rows of each cut to `counts` (C,); 0, or an error's number."""
        room = np.empty((self.cuts + 2, several.WORDS), np.uint64)
        dtype, (first_of, cut_of) = self.table.dtype, self.members
        job = SEVERAL_JOB.filled(
            units=address_of(self.table),
            unit_bytes=dtype.itemsize,
            lists=len(self.chain.counters),
            lists_at=offset(dtype, "lists"),
            steps=len(self.chain.steps),
            steps_at=offset(dtype, "steps"),
            cuts=self.cuts,
            cuts_at=offset(dtype, "cuts"),
            first_of=address_of(first_of),
            cut_of=address_of(cut_of),
            counts=address_of(counts),
            room=address_of(room),
        )
        return self.loop(address_of(job), scratch(len(self.chain.counters)), begin, end)
