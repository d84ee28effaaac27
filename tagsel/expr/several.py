"""Several cuts at once, tied to memory: their distinct steps as one chain, and which cuts have which step.

Invariant: whatever an address in a job points to is held by the job, so that it stays while the job runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tagsel.expr.chain import Chain, Units, address, scratch
from tagsel.kernels import several
from tagsel.kernels.native import Loaded

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SeveralJob:
    """Cuts over units, ready to run in several threads at once, each its own range of units."""

    chain: Chain
    loop: Loaded
    table: Words
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
        lists, steps = chain.lists(units), len(chain.steps)
        at_steps = several.UNIT + lists.shape[1]
        at_cuts = at_steps + several.STEP * steps
        table = np.zeros((len(units.rows), at_cuts + several.CUT * len(cuts)), np.uint64)
        table[:, 0], table[:, 1] = units.rows, units.alive
        table[:, several.UNIT : at_steps] = lists
        held: list[object] = [units]
        for n in range(steps):
            at = at_steps + several.STEP * n
            table[:, at : at + several.STEP], columns = chain.step(n, units)
            table[:, at] *= needed[n]
            held.append(columns)
        table[:, at_cuts :: several.CUT] = live.T
        if accepted is not None:
            table[:, at_cuts + 1 :: several.CUT] = accepted.T
        having = [[c for c, own in enumerate(cuts) if step in own] for step in range(steps)]
        first = np.cumsum([0, *map(len, having)])
        members = first.astype(np.int64), np.array([c for own in having for c in own], np.int64)
        return cls(chain, loop, table, members, len(cuts), held)

    def run(self, begin: int, end: int, counts: Ints) -> int:
        """Run units `begin` … `end`, adding the accepted rows of each cut to `counts` (C,); 0, or an error's number."""
        room = np.empty((self.cuts + 2, several.WORDS), np.uint64)
        head = [address(self.table), self.table.shape[1], len(self.chain.counters), len(self.chain.steps), self.cuts]
        arrays = (*self.members, counts, room)
        job = np.array([*head, *map(address, arrays)], np.uint64)
        return self.loop(address(job), scratch(len(self.chain.counters)), begin, end)
