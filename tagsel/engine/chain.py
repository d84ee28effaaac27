"""The steps of a cut tied to memory: which kernels run, over which units (row groups), reading which addresses.

Invariant: whatever an address in a job points to is held by the job, so that it stays while the job runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from tagsel.engine.source import Source
from tagsel.kernels import blocks, driver
from tagsel.kernels.layouts import LIST, STEP, STEPS_JOB, STEPS_UNIT, Table, offset
from tagsel.kernels.memory import address_of
from tagsel.kernels.native import KernelSource, Loaded
from tagsel.language.tree import Node

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """Row groups in memory, U of them.

    `rows`: their sizes, (U,) int64; `alive`: addresses of a uint8 a row, or 0 for all; `addresses` and `sizes` of the
    columns that there are: bytes begin at, values, (U,) each. `held` keeps the memory.
    """

    rows: Ints
    alive: Words
    addresses: Mapping[str, Words]
    sizes: Mapping[str, Ints]
    held: Sequence[object] = ()


@dataclass(frozen=True)
class Chain:
    """Steps with their kernels, made for one set of column types; `counters` are those of all their lists."""

    steps: tuple[Node, ...]
    sources: tuple[Source, ...]
    kernels: tuple[Loaded, ...]
    functions: Mapping[str, Loaded]
    loop: Loaded
    types: Mapping[str, str]
    counters: tuple[str, ...]
    columns: frozenset[str]
    list_columns: frozenset[str]

    @classmethod
    def of(
        cls,
        steps: Sequence[Node],
        sources: Sequence[Source],
        types: Mapping[str, str],
        kernel: Callable[[KernelSource], Loaded],
    ) -> Chain:
        """The chain of `steps` with their sources, over columns of `types` ("f4"); `kernel` gives machine code."""
        counters = tuple(dict.fromkeys(chain.from_iterable(s.lists for s in sources)))
        lists = frozenset[str]()
        functions = {}
        for source in sources:
            lists = lists.union(*source.lists.values())
            functions.update({text: kernel(text) for text in source.functions})
        columns = frozenset(counters).union(*(s.columns for s in sources))
        kernels = tuple(kernel(s.text) for s in sources)
        loop = kernel(driver.run_steps)
        return cls(tuple(steps), tuple(sources), kernels, functions, loop, types, counters, columns, lists)

    def job(
        self,
        units: Units,
        *,
        needed: npt.NDArray[np.bool_] | None = None,
        left: Words | None = None,
        notes: Words | None = None,
        accepted: Words | None = None,
    ) -> Job:
        """The chain over `units`; `needed` (steps, U) says which step each unit needs (None: all).

        Addresses of a bit a row, 0 for not: `left`, (U,), rows that earlier answers leave; `notes`, (steps, U, 2),
        where it is noted which rows a step judged and which passed; `accepted`, (U,), where the accepted rows are.
        """
        dtype = STEPS_UNIT.followed_by(lists=(LIST, len(self.counters)), steps=(STEP, len(self.steps)))
        table = np.zeros(len(units.rows), dtype)
        table["rows"], table["alive"] = units.rows, units.alive
        if left is not None:
            table["left"] = left
        if accepted is not None:
            table["out"] = accepted
        self.fill_lists(table["lists"], units)
        steps = table["steps"]
        held: list[object] = [table, units]
        for n in range(len(self.steps)):
            held.append(self.fill_step(steps[:, n], n, units))
        if needed is not None:
            steps["code"] *= needed.T
        if notes is not None:
            steps["judged"], steps["passed"] = notes[:, :, 0].T, notes[:, :, 1].T
        return Job(self, table, held)

    def fill_lists(self, lists: Table, units: Units) -> None:
        """Fill what a loop must know of the lists in each unit, LIST (U, counters)."""
        for n, counter in enumerate(self.counters):
            names = set[str]().union(*(s.lists.get(counter, ()) for s in self.sources))
            lists["counter"][:, n] = units.addresses[counter]
            lists["width"][:, n] = int(self.types[counter][1:])
            lists["values"][:, n] = np.minimum.reduce([units.sizes[name] for name in names])

    def fill_step(self, entries: Table, n: int, units: Units) -> Table:
        """Fill code, table, and whether it may run dense, of step `n` in each unit, (U,); the tables are to be held."""
        tables = self._step_tables(self.sources[n], units)
        entries["code"], entries["dense"] = self.kernels[n].address, self.sources[n].dense
        entries["table"] = address_of(tables) + tables.itemsize * np.arange(len(tables), dtype=np.uint64)
        return tables

    def _step_tables(self, source: Source, units: Units) -> Table:
        """What each unit's kernel of a step finds in its table, (U,) of its layout."""
        tables = np.zeros(len(units.rows), source.layout.dtype)
        tables["constants"] = address_of(source.constants)
        for n, name in enumerate(source.columns):
            tables[f"c{n}"] = units.addresses[name]
        for n, array in enumerate(source.tables):
            tables[f"t{n}"] = address_of(array)
        for n, text in enumerate(source.functions):
            tables[f"f{n}"] = self.functions[text].address
        for n, counter in enumerate(source.lists):
            tables[f"g{n}"] = blocks.SCRATCH_WORDS + self.counters.index(counter)
        return tables


@dataclass(frozen=True)
class Job:
    """A chain over units, ready to run in several threads at once, each its own range of units.

    `table` is the units' as the loop reads it; `run` writes the number of accepted rows of each unit into it.
    """

    chain: Chain
    table: Table
    held: Sequence[object] = field(repr=False)

    def run(self, begin: int, end: int, seen: Ints | None = None) -> int:
        """Run units `begin` … `end`: the number of accepted rows, or what `kernels.driver` gives for an error.

        `seen`, (steps, 2), counts the rows that reached each step and passed it.
        """
        seen = np.zeros((len(self.chain.steps), 2), np.int64) if seen is None else seen
        dtype = self.table.dtype
        job = STEPS_JOB.filled(
            units=address_of(self.table),
            unit_bytes=dtype.itemsize,
            lists=len(self.chain.counters),
            lists_at=offset(dtype, "lists"),
            steps=len(self.chain.steps),
            steps_at=offset(dtype, "steps"),
            seen=address_of(seen),
        )
        return self.chain.loop(address_of(job), scratch(len(self.chain.counters)), begin, end)

    @property
    def accepted(self) -> Ints:
        """Accepted rows of each unit that has run, (U,) int64."""
        return self.table["accepted"].astype(np.int64)


_mine = threading.local()


def scratch(lists: int) -> int:
    """The address of this thread's scratch, with room for so many lists."""
    held = getattr(_mine, "held", ())
    if len(held) < blocks.SCRATCH_WORDS + lists:
        _mine.table, _mine.held = blocks.scratch(max(lists, 8))
    return address_of(_mine.table)
