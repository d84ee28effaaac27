"""Polars: over Parquet (lazily), and over a DataFrame that lies in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import polars as pl

from bench.data import ADDRESS, Copies, Data, good_ranges
from bench.plain import Unsupported, evaluate
from bench.questions import Question
from bench.rivals import Answer

CALLS: dict[str, Callable[..., Any]] = {
    "double": lambda x: x.cast(pl.Float64),
    "bit": lambda x, n: (x & pl.lit(1 << n if n < 63 else -(1 << 63), pl.Int64)) != 0,
    "abs": lambda x: x.abs(),
    "cos": lambda x: x.cos(),
    "cosh": lambda x: x.cosh(),
    "sqrt": lambda x: x.sqrt(),
    "at": lambda x, k: x.list.get(k, null_on_oob=True),
}


class OnParquet:
    """Over the Parquet copy."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        if pl.thread_pool_size() != threads:
            raise Unsupported(f"Polars has {pl.thread_pool_size()} threads")
        blocks = [(run, block) for run, first, last in good_ranges() for block in range(first, last + 1)]
        self.good = pl.LazyFrame(blocks, schema={"run": pl.Int32, "lumi": pl.Int32}, orient="row")
        self.events = self._open(copies)

    def _open(self, copies: Copies) -> pl.LazyFrame:
        return pl.scan_parquet(copies.parquet)

    def ask(self, question: Question) -> Callable[[], Any]:
        if question.fills:
            raise Unsupported("histograms of objects are asked of ROOT's users only")
        if question.sums:
            return self._sums(question)
        if "polars" in question.forms:
            where = eval(question.forms["polars"], {"pl": pl})
        elif question.condition:
            where = evaluate(question.condition, pl.col, CALLS)
        else:
            raise Unsupported("the suite has no form for Polars")
        plan = self.events.filter(where)
        if question.good:
            plan = plan.join(self.good, on=["run", "lumi"], how="semi")
        return plan.select(ADDRESS).collect

    def _sums(self, question: Question) -> Callable[[], Any]:
        steps = [evaluate(plain, pl.col, CALLS) for _, plain in question.steps]
        ways = question.ways(steps, lambda some: reduce(and_, some))
        weight = pl.col(question.weight).cast(pl.Float64) if question.weight else pl.lit(1.0)
        sums = [pl.when(way).then(weight).otherwise(0.0).sum().alias(f"s{k}") for k, way in enumerate(ways)]
        return self.events.select(sums).collect

    def answer(self, question: Question, raw: Any) -> Answer:
        columns = [raw[c].to_numpy() for c in raw.columns]
        return Answer((np.concatenate(columns),)) if question.sums else Answer.events(*columns)


class InMemory(OnParquet):
    """Over a DataFrame, read before the clock starts: the mark of what the machine can do."""

    def _open(self, copies: Copies) -> pl.LazyFrame:
        return pl.read_parquet(copies.parquet).rechunk().lazy()
