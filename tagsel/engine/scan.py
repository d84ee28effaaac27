"""The one loop over row groups: which rows count (not unreadable, duplicate, masked), then what the caller asks.

Invariant: every row of every unit ends in exactly one tally, in the order unreadable, duplicate, masked, alive;
results come back in the order of the units, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tagsel.base.thread_pool import parallel_map
from tagsel.engine.interpreter import interpret
from tagsel.engine.row_groups import Columns, Fate, Rows, Unit
from tagsel.errors import CutError, StoreError
from tagsel.language import Block, Bound
from tagsel.language.bounds import ALL, NONE
from tagsel.store import watch, watched

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tally(Generic[T]):
    """What one unit came to: rows by fate, the caller's result, bytes touched, and why it was lost if it was."""

    unit: Unit
    duplicate: int = 0
    masked: int = 0
    unreadable: int = 0
    alive: int = 0
    result: T | None = None
    bytes: int = 0
    loss: str = ""


Work = Callable[[Unit, Block, Mask | None], T]
"""What a caller does with a row group: `alive` says which rows count (None: all of them)."""


def visit(unit: Unit, rows: Rows, work: Work[T], needs_rows: bool) -> Tally[T]:
    """Tally one unit; where the verdict is NONE (and the caller does not need rows) the small tables suffice."""
    columns = Columns(unit.part, unit.group)
    with watch:
        judged = rows.judge(unit, columns)
        tally: Tally[T] = Tally(unit, judged.duplicate, judged.masked, alive=judged.alive)
        if judged.alive and (needs_rows or unit.verdict != NONE):
            tally = replace(tally, result=work(unit, Block(unit.rows, columns), judged.mask))
    return replace(tally, bytes=columns.bytes)


def scan(
    units: Sequence[Unit],
    rows: Rows,
    work: Work[T],
    *,
    threads: int = 0,
    allow_losses: bool = False,
    needs_rows: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Tally[T]]:
    """Tally every unit, in their order; a damaged part raises, or is *unreadable* with `allow_losses`."""

    def one(unit: Unit) -> Tally[T]:
        try:
            return visit(unit, rows, work, needs_rows)
        except StoreError as error:
            if not allow_losses:
                raise with_hint(error) from error
            return Tally(unit, unreadable=unit.rows, loss=error.message)

    return parallel_map(watched(one), units, threads, None if progress is None else lambda unit: progress(unit.rows))


def with_hint(error: StoreError) -> StoreError:
    """The error of a damaged part, with what to try."""
    hint = error.hint or "--allow-losses goes on without its rows and names them"
    return StoreError(error.message, hint=hint, **error.fields)


def evaluate(cut: Bound, unit: Unit, block: Block, alive: Mask | None, tier: str) -> Mask:
    """Rows that are alive and pass the cut; ALL evaluates nothing; an error names the event."""
    if unit.verdict == ALL:
        return np.ones(unit.rows, np.bool_) if alive is None else alive
    return judge(cut, block, alive, tier)


def judge(cut: Bound, block: Block, alive: Mask | None, tier: str = "interpreter") -> Mask:
    """Rows that are alive and pass the cut, evaluated by the tier; an error of arithmetic names run and event."""
    with naming_the_event(cut, block):
        if tier == "kernel":
            from tagsel.engine.compiler import compile_cut

            passed = compile_cut(cut.node)(block, alive)
        else:
            passed = interpret(cut.node, block, alive)
    return passed if alive is None else np.logical_and(passed, alive)


@contextmanager
def naming_the_event(bound: Bound, block: Block) -> Iterator[None]:
    """An error of arithmetic in the block says at which event, and in which expression."""
    try:
        yield
    except CutError as error:
        row = error.fields.get("row")
        if not isinstance(row, int):
            raise
        run, event = int(block.columns["run"][row]), int(block.columns["event"][row])
        reason = error.message.removesuffix(f" at row {row}")
        raise CutError(
            f"{reason} at event {run}:{event}",
            cut=error.cut or bound.text,
            position=error.position,
            length=error.length,
            hint=error.hint,
            run=run,
            event=event,
        ) from error


def losses(tallies: Sequence[Tally[Any]]) -> list[str]:
    """Why row groups were unreadable, each said once."""
    return list(dict.fromkeys(t.loss for t in tallies if t.loss))


def fate_of(tallies: Sequence[Tally[Any]]) -> Fate:
    """The rows of a scan by their end before the cut."""
    return Fate(
        sum(t.duplicate for t in tallies),
        sum(t.masked for t in tallies),
        sum(t.unreadable for t in tallies),
        sum(t.alive for t in tallies),
        sum(t.bytes for t in tallies),
        tuple(losses(tallies)),
    )
