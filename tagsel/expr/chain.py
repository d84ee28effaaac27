"""The steps of a cut tied to memory: which kernels run, over which units (row groups), reading which addresses.

Invariant: whatever an address in a job points to is held by the job, so that it stays while the job runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.expr.nodes import Node
from tagsel.expr.source import Source
from tagsel.kernels import blocks, driver
from tagsel.kernels.native import Loaded

Array = npt.NDArray[np.generic]
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
        kernel: Callable[[str], Loaded],
    ) -> Chain:
        """The chain of `steps` with their sources, over columns of `types` ("f4"); `kernel` gives machine code."""
        counters = tuple(dict.fromkeys(c for s in sources for c in s.lists))
        lists = frozenset(name for s in sources for names in s.lists.values() for name in names)
        columns = frozenset(c for s in sources for c in s.columns).union(counters)
        kernels = tuple(kernel(s.text) for s in sources)
        functions = {text: kernel(text) for s in sources for text in s.functions}
        loop = kernel(driver.SOURCE)
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
        lists, steps = self.lists(units), len(self.steps)
        table = np.zeros((len(units.rows), driver.UNIT + lists.shape[1] + driver.STEP * steps), np.uint64)
        table[:, driver.UNIT : driver.UNIT + lists.shape[1]] = lists
        table[:, 0], table[:, 1] = units.rows, units.alive
        if left is not None:
            table[:, 2] = left
        if accepted is not None:
            table[:, 3] = accepted
        held: list[object] = [table, units]
        for n in range(steps):
            at = driver.UNIT + lists.shape[1] + driver.STEP * n
            table[:, at : at + 3], columns = self.step(n, units)
            held.append(columns)
            if needed is not None:
                table[:, at] *= needed[n]
            if notes is not None:
                table[:, at + 3 : at + 5] = notes[n]
        return Job(self, table, held)

    def lists(self, units: Units) -> Words:
        """What a loop must know of the lists in each unit, (U, 3 x counters)."""
        table = np.zeros((len(units.rows), blocks.LIST * len(self.counters)), np.uint64)
        for n, counter in enumerate(self.counters):
            at = blocks.LIST * n
            names = {name for s in self.sources for name in s.lists.get(counter, ())}
            table[:, at] = units.addresses[counter]
            table[:, at + 1] = int(self.types[counter][1:])
            table[:, at + 2] = np.minimum.reduce([units.sizes[name] for name in names])
        return table

    def step(self, n: int, units: Units) -> tuple[Words, Words]:
        """Code, table, and 1 where it may run dense, of a step in each unit, (U, 3); and the tables, to be held."""
        columns, count = self._step_table(self.sources[n], units), len(units.rows)
        found = np.empty((count, 3), np.uint64)
        found[:, 0], found[:, 2] = self.kernels[n].address, self.sources[n].dense
        found[:, 1] = address(columns) + columns.strides[0] * np.arange(count, dtype=np.uint64)
        return found, columns

    def _step_table(self, source: Source, units: Units) -> Words:
        """What each unit's kernel of a step finds in its table, (U, entries)."""
        slots = [self.counters.index(counter) + 3 for counter in source.lists]
        entries: list[Any] = [address(source.constants), *(units.addresses[c] for c in source.columns)]
        functions = [self.functions[text].address for text in source.functions]
        entries += [*(address(t) for t in source.tables), *functions, *slots]
        columns = np.empty((len(units.rows), len(entries)), np.uint64)
        for at, entry in enumerate(entries):
            columns[:, at] = entry
        return columns


@dataclass(frozen=True)
class Job:
    """A chain over units, ready to run in several threads at once, each its own range of units.

    `table` is the units' as the loop reads it; `run` writes the number of accepted rows of each unit into it.
    """

    chain: Chain
    table: Words
    held: Sequence[object] = field(repr=False)

    def run(self, begin: int, end: int, seen: Ints | None = None) -> int:
        """Run units `begin` … `end`: the number of accepted rows, or what `kernels.driver` gives for an error.

        `seen`, (steps, 2), counts the rows that reached each step and passed it.
        """
        seen = np.zeros((len(self.chain.steps), 2), np.int64) if seen is None else seen
        head = [address(self.table), self.table.shape[1], len(self.chain.counters), len(self.chain.steps)]
        job = np.array([*head, address(seen)], np.uint64)
        return self.chain.loop(address(job), scratch(len(self.chain.counters)), begin, end)

    @property
    def accepted(self) -> Ints:
        """Accepted rows of each unit that has run, (U,) int64."""
        return self.table[:, 4].astype(np.int64)


def address(array: Array) -> int:
    """Where an array's values begin."""
    return int(array.__array_interface__["data"][0])


_mine = threading.local()


def scratch(lists: int) -> int:
    """The address of this thread's scratch, with room for so many lists."""
    held = getattr(_mine, "held", ())
    if len(held) < lists + 3:
        _mine.table, _mine.held = blocks.scratch(max(lists, 8))
    return address(_mine.table)
