"""RDataFrame (PyROOT) over a ROOT file, with implicit multithreading; its own compilation is part of each run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel calls itself an alpha
    import ROOT

from bench.data import ADDRESS, Copies, Data, good_ranges
from bench.plain import Unsupported, text
from bench.questions import Question
from bench.rivals import Answer

GOOD = """
#include <unordered_set>
std::unordered_set<long long> bench_blocks{%s};
bool bench_good(int run, int lumi) { return bench_blocks.count((long long)run << 32 | lumi) > 0; }
"""


class RDataFrame:
    """Filters as strings, as its tutorials have them; a fresh graph for each run."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        ROOT.EnableImplicitMT(threads)
        blocks = [run << 32 | b for run, first, last in good_ranges() for b in range(first, last + 1)]
        ROOT.gInterpreter.Declare(GOOD % ",".join(f"{b}LL" for b in blocks))
        ROOT.gInterpreter.Declare(Path(__file__).with_name("physics.h").read_text(encoding="utf-8"))
        self.path = copies.root

    def ask(self, question: Question) -> Callable[[], Any]:
        if question.sums:
            return lambda: self._sums(question)
        if question.fills:
            return lambda: self._histogram(question)
        where = question.forms.get("cpp") or (text(question.condition, "cpp") if question.condition else "")
        if not where:
            raise Unsupported("the suite has no form for RDataFrame")

        def run() -> Any:
            frame = ROOT.RDataFrame("events", self.path).Filter(where)
            return (frame.Filter("bench_good(run, lumi)") if question.good else frame).AsNumpy(list(ADDRESS))

        return run

    def _sums(self, question: Question) -> list[float]:
        frame = ROOT.RDataFrame("events", self.path).Define("w", f"double({question.weight or 1})")
        steps = []
        for k, (_, plain) in enumerate(question.steps):
            frame = frame.Define(f"s{k}", text(plain, "cpp"))
            steps.append(f"s{k}")
        booked = [frame.Filter(way).Sum("w") for way in question.ways(steps, " && ".join)]
        return [b.GetValue() for b in booked]

    def _histogram(self, question: Question) -> Any:
        frame = ROOT.RDataFrame("events", self.path)
        if "cpp" in question.forms:
            frame = frame.Filter(question.forms["cpp"])
        return frame.Define("x", question.forms["cpp value"]).Histo1D(("h", "h", *question.bins), "x").GetValue()

    def answer(self, question: Question, raw: Any) -> Answer:
        if question.fills:
            return Answer((np.array([raw.GetBinContent(k + 1) for k in range(question.bins[0])]),))
        if question.sums:
            return Answer((np.array(raw),))
        return Answer.events(*(raw[n] for n in ADDRESS))
