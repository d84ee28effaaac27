"""Who answers: a table of rivals, tagsel among them, each an adapter of a few lines in a module of its own.

An adapter makes of a question a call without arguments, which is what is timed, and of what the call gives an
`Answer`, which is compared. It is made and called in a process of its own (`bench.apart`). What it cannot say raises
`Unsupported`; what is not installed raises ImportError; both are shown and the table goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.data import Copies, Data
from bench.questions import Question

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """What is compared: (run, lumi, event, file, entry), or the numbers of a cutflow; `bytes` where it is known."""

    arrays: tuple[Array, ...]
    bytes: int = 0

    @classmethod
    def events(cls, *columns: Any, bytes: int = 0) -> Answer:  # noqa: A002 - what it is
        """Accepted events in the order of (file, entry)."""
        arrays = [np.asarray(c).astype(np.int64) for c in columns]
        order = np.lexsort((arrays[4], arrays[3]))
        return cls(tuple(a[order] for a in arrays), bytes)

    @property
    def size(self) -> int:
        """How many events, or the length of a row of numbers."""
        return len(self.arrays[0])

    def differs(self, other: Answer) -> str:
        """How another answer differs from this one, "" where it does not; sums may differ by rounding, 1e-9."""
        if len(self.arrays) != len(other.arrays) or self.size != other.size:
            return f"{other.size:,} where {self.size:,} are right"
        for mine, its in zip(self.arrays, other.arrays, strict=True):
            same = np.isclose(its, mine, rtol=1e-9, atol=0) if mine.dtype.kind == "f" else its == mine
            if not same.all():
                k = int(np.argmin(same))
                return f"{int((~same).sum()):,} of {self.size:,} are wrong, first {its[k]} where {mine[k]} is right"
        return ""


class Rival(Protocol):
    """An adapter. One that compiles behind its answers also has `settle(call)`, which returns when that is done."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None: ...

    def ask(self, question: Question) -> Callable[[], Any]:
        """The call that answers."""

    def answer(self, question: Question, raw: Any) -> Answer:
        """What the call gave, to compare."""


@dataclass(frozen=True)
class Entry:
    """A row of the table of rivals; `where` is `module:class`.

    `kind`: "ours"; "files", of which the best is the one to beat; "memory", whose columns lie in RAM already; "root",
    which reads ROOT files.
    """

    name: str
    kind: str
    where: str

    def load(self) -> type[Rival]:
        """The adapter's class; ImportError where its library is not installed."""
        module, _, name = self.where.partition(":")
        return getattr(import_module(module), name)  # type: ignore[no-any-return]


RIVALS = (
    Entry("tagsel", "ours", "bench.rivals.ours:Ours"),
    Entry("DuckDB table", "files", "bench.rivals.duckdb:OwnTable"),
    Entry("DuckDB", "files", "bench.rivals.duckdb:OnParquet"),
    Entry("Polars", "files", "bench.rivals.polars:OnParquet"),
    Entry("DataFusion", "files", "bench.rivals.datafusion:DataFusion"),
    Entry("chdb", "files", "bench.rivals.chdb:Chdb"),
    Entry("Polars in RAM", "memory", "bench.rivals.polars:InMemory"),
    Entry("RDataFrame", "root", "bench.rivals.rdataframe:RDataFrame"),
    Entry("uproot", "root", "bench.rivals.uproot:Uproot"),
)
