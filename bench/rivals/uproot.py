"""uproot and NumPy (awkward, where there are lists) over a ROOT file, in threads over its baskets."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import and_
from typing import Any

import awkward as ak
import numpy as np
import uproot

from bench.data import ADDRESS, ROW_GROUP, Copies, Data, good_ranges
from bench.plain import Unsupported, columns, evaluate
from bench.questions import Question
from bench.rivals import Answer, physics

CALLS: dict[str, Callable[..., Any]] = {
    "double": lambda x: np.asarray(x, np.float64),
    "bit": lambda x, n: (x >> n) & 1 == 1,
    "abs": np.abs,
    "cos": np.cos,
    "cosh": np.cosh,
    "sqrt": np.sqrt,
    "at": lambda x, k: ak.to_numpy(ak.fill_none(ak.pad_none(x, k + 1)[:, k], np.nan)),
}


class Uproot:
    """Reads the columns of the question a row group at a time, and takes the address where it holds."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        self.tree = uproot.open(copies.root, array_cache=None)["events"]  # else a second reading reads nothing
        self.pool = ThreadPoolExecutor(threads)
        self.good = np.sort([run << 32 | b for run, first, last in good_ranges() for b in range(first, last + 1)])

    def ask(self, question: Question) -> Callable[[], Any]:
        kind = "_histogram" if question.fills else "_sums" if question.sums else "_select"
        work = getattr(self, kind)(question)
        starts = range(0, self.tree.num_entries, ROW_GROUP)
        return lambda: list(self.pool.map(work, starts))

    def _read(self, names: list[str], start: int, library: str = "np") -> Any:
        return self.tree.arrays(names, entry_start=start, entry_stop=start + ROW_GROUP, library=library)

    def _select(self, question: Question) -> Callable[[int], Any]:
        form = question.forms.get("awkward")
        if not form and not question.condition:
            raise Unsupported("the suite has no form for awkward")
        lists = bool(question.forms) or "[" in question.condition
        names = self._names(form or question.condition, *ADDRESS)
        code = compile(form, "form", "eval") if form else None

        def work(start: int) -> list[Any]:
            read = self._read(names, start, "ak" if lists else "np")
            passed = (
                eval(code, {"ak": ak, "np": np}, {n: read[n] for n in names})
                if code
                else evaluate(question.condition, read.__getitem__, CALLS)
            )
            if question.good:
                passed = passed & np.isin(read["run"].astype(np.int64) << 32 | read["lumi"], self.good)
            return [np.asarray(read[n][passed]) for n in ADDRESS]

        return work

    def _names(self, *texts: str) -> list[str]:
        return sorted({*columns(*texts)} & {*self.tree.keys()})

    def _histogram(self, question: Question) -> Callable[[int], Any]:
        value, where = question.forms["awkward value"], question.forms.get("awkward", "")
        names = self._names(value, where)
        number, low, high = question.bins

        def work(start: int) -> Any:
            read = self._read(names, start, "ak")
            scope = {**vars(physics), **{n: read[n] for n in names}}
            found = eval(value, scope)
            flat = np.asarray(ak.flatten(found[eval(where, scope)] if where else found, axis=None), np.float64)
            inside = flat[(flat >= low) & (flat < high)]
            return np.bincount(((inside - low) * (number / (high - low))).astype(np.int64), minlength=number)

        return work

    def _sums(self, question: Question) -> Callable[[int], Any]:
        names = columns(question.condition, question.weight)

        def work(start: int) -> list[float]:
            read = self._read(names, start)
            steps = [evaluate(plain, read.__getitem__, CALLS) for _, plain in question.steps]
            weight = read[question.weight].astype(np.float64) if question.weight else np.ones(len(steps[0]))
            return [float(weight[way].sum()) for way in question.ways(steps, lambda some: reduce(and_, some))]

        return work

    def answer(self, question: Question, raw: Any) -> Answer:
        if question.sums:
            return Answer((np.sum(raw, axis=0),))
        if question.fills:
            return Answer((np.sum(raw, axis=0).astype(np.float64),))
        return Answer.events(*(np.concatenate(c) for c in zip(*raw, strict=True)))
