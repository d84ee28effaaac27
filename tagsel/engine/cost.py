"""Which tier answers: the interpreter, which starts at once, or compiled steps, which are faster and cost to make.

Compiled steps answer where they are made already (in the process, or on disk, if the work pays for loading them), or
where the interpreter would take longer than compiling them. Else the interpreter does, and what it spent on a step is
added up; once that comes to a part of what compiling costs, the step is compiled behind the answers, for the next one.
Invariant: both tiers give the same, so the choice is never seen in an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from tagsel.base.fork_lock import fork_lock
from tagsel.engine.compiler import steps_of
from tagsel.engine.steps import all_fit, known, source_of
from tagsel.kernels import driver, kernel_cache, listing
from tagsel.kernels.native import KernelSource
from tagsel.language import Node
from tagsel.store import Frame

A_ROW, A_GROUP = 1.5e-9, 100e-6
"""Seconds of the interpreter for a row and a comparison, and for a row group and a step."""

TO_COMPILE, TO_COMPILE_A_CALL = 0.3, 2.0
"""Seconds that a step takes to compile, and a function that it calls, which is compiled once for all steps."""

AN_ANSWER = 0.001
"""Seconds of the interpreter for the rest of an answer, which the loop over the steps spares."""

TO_LOAD = 0.03
"""Seconds of the interpreter above which kernels on disk are worth loading in a fresh process."""

PART = 0.01
"""Share of the time to compile a step after which it is compiled behind the answers."""

MOST_KNOWN = 4096

_spent: dict[KernelSource, float] = {}
_lock = fork_lock()


def choose(cuts: Sequence[tuple[Node, Frame]], open_rows: Sequence[Sequence[tuple[int, int]]]) -> str:
    """ "kernel" or "interpreter"; `open_rows` are, for each cut and step of it, the rows and row groups that the
    zones leave to it."""
    if not all(all_fit(cut) for cut, _ in cuts):
        return "interpreter"
    seconds: dict[KernelSource, float] = {}
    total = 0.0
    for (node, texts), (rows, groups) in zip(_steps(cuts), chain.from_iterable(open_rows), strict=True):
        if groups:
            spent = rows * A_ROW * known(node).cost + groups * A_GROUP
            total += spent
            seconds.update(dict.fromkeys(texts, spent))
    seconds[driver.run_steps] = max(total, AN_ANSWER)
    if all(map(kernel_cache.ready, seconds)):
        return "kernel"
    if total >= TO_LOAD:
        missing = [text for text in seconds if not kernel_cache.kept(text)]
        if total >= sum(_to_compile(text) for text in missing):
            return "kernel"
    _spend(seconds)
    return "interpreter"


def _steps(cuts: Sequence[tuple[Node, Frame]]) -> list[tuple[Node, tuple[str, ...]]]:
    """The steps of all cuts, with the sources of their kernels, as of parts that have all columns."""
    found = []
    for cut, frame in cuts:
        columns = frozenset[str]().union(*(c for c, _ in frame.kinds)) if len(frame.kinds) != 1 else frame.kinds[0][0]
        for step in steps_of(cut):
            source = source_of(step, frame, columns)
            found.append((step, (source.text, *source.functions)))
    return found


def _to_compile(source: KernelSource) -> float:
    calls = isinstance(source, str) and source.startswith("def function")
    return TO_COMPILE_A_CALL if calls else TO_COMPILE


def _spend(seconds: dict[KernelSource, float]) -> None:
    """Add up what the interpreter spends on steps; have those compiled that are worth it by now."""
    with _lock:
        if len(_spent) > MOST_KNOWN:
            _spent.clear()
        for text, more in seconds.items():
            _spent[text] = _spent.get(text, 0.0) + more
        worth = [text for text in seconds if _spent[text] >= PART * _to_compile(text)]
    if driver.run_steps in worth:
        worth.append(listing.write_events)  # what writes the lists is wanted next
    kernel_cache.soon(worth)
