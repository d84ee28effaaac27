"""What is known of the steps of cuts in this process: fingerprints, chains that were made, how many rows they pass.

Invariant: nothing here changes an answer: an order that was learned, or a chain that is found again, gives the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from tagsel.base.cache import Cache
from tagsel.base.fork_lock import fork_lock
from tagsel.engine.chain import Chain
from tagsel.engine.codegen import emit
from tagsel.engine.compiler import fits, steps_of
from tagsel.engine.source import Source
from tagsel.kernels import kernel_cache
from tagsel.language import Bound, Node, fingerprint
from tagsel.language.tree import columns_of, walk
from tagsel.store import Frame

MOST = 1024
"""Steps, and chains, that are known at a time."""

DEAR = {"call": 50, "aggregate": 30, "element": 10, "trigger": 5, "in_lumi": 10}
"""What an op costs beside a comparison, roughly."""

FREE = ("const", "column", "slot", "member")
"""Ops that cost nothing of their own."""

USUAL = {"==": 0.1, "!=": 0.9, "in": 0.1}
"""How many rows pass a step of which nothing is known; else a third."""


@dataclass(frozen=True, eq=False)
class Step:
    """What a step is: its tree, fingerprint, what a row of it costs in comparisons, and whether it fits a kernel."""

    node: Node
    fingerprint: str
    cost: float
    fits: bool


_steps: Cache[int, Step] = Cache("steps", entries=MOST)
_seen: OrderedDict[str, tuple[int, int]] = OrderedDict()
_lock = fork_lock()


def known(step: Node) -> Step:
    """What a step is, worked out once for a tree."""
    found = _steps.get(id(step))
    if found is None or found.node is not step:
        cost = sum(DEAR.get(n.op, 1) for n in walk(step) if n.op not in FREE)
        found = Step(step, fingerprint(step), float(max(cost, 1)), fits(step))
        _steps[id(step)] = found  # holds the tree, so that its id stays its own
    return found


def all_fit(cut: Node) -> bool:
    """Whether every step of a cut can be a kernel."""
    return all(known(step).fits for step in steps_of(cut))


def able(cuts: Iterable[Bound]) -> bool:
    """Whether every step of some cuts can be a kernel, and no row can be without an answer."""
    return all(all_fit(cut.node) and not cut.node.raises for cut in cuts)


def print_of(step: Node) -> str:
    """The fingerprint of a step."""
    return known(step).fingerprint


def chain_of(steps: Sequence[Node], prints: Sequence[str], frame: Frame, columns: frozenset[str]) -> Chain:
    """The chain of steps over parts that have `columns`, the same one again for the same steps and types."""

    def make() -> Chain:
        sources = [source_of(step, frame, columns) for step in steps]
        columns_read = chain.from_iterable(source.columns for source in sources)
        types = {name: frame.type(name) for name in columns_read}
        return Chain.of(steps, sources, types, kernel_cache.function)

    return frame.memo.get_or_create("kernel-chains", (columns, *prints), make)


def source_of(step: Node, frame: Frame, columns: frozenset[str]) -> Source:
    """The kernel's source of a step over parts that have `columns`, written once."""

    def make() -> Source:
        return emit(step, {name: frame.type(name) for name in sorted(columns_of(step)) if name in columns})

    return frame.memo.get_or_create("kernel-sources", (columns, print_of(step)), make)


def learn(prints: Sequence[str], seen: npt.NDArray[np.int64]) -> None:
    """Keep how many rows reached each step and passed it, (steps, 2)."""
    with _lock:
        for name, (reached, passed) in zip(prints, seen.tolist(), strict=True):
            if reached:
                _seen[name] = reached, passed
        while len(_seen) > MOST:
            _seen.popitem(last=False)


def rank(step: Node) -> float:
    """Where a step stands in a chain, lowest first: the cost of a row over the chance that it ends there."""
    reached, passed = _seen.get(print_of(step), (0, 0))
    share = passed / reached if reached else USUAL.get(step.value if step.op == "cmp" else step.op, 0.33)
    return known(step).cost / max(1.0 - share, 1e-3)
