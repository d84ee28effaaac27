"""tagsel, through its Python face, over its own dataset."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.data import Copies, Data, good_ranges
from bench.plain import Unsupported
from bench.questions import Question
from bench.rivals import Answer
from tagsel import CutError, SchemaError
from tagsel.api import Workspace
from tagsel.quality import LumiSet

SETTLED = 8
"""Times that a cut is asked at most until its steps are compiled; each is worth it after five or so."""


def said(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call; a cut that the language cannot say (yet) is a reason to leave the row out, not an error."""

    def tried() -> Any:
        try:
            return call()
        except (CutError, SchemaError) as error:
            raise Unsupported(f"not in the language yet: {str(error).splitlines()[0]}") from None

    return tried


class Ours:
    """A new cut each time: no mask is remembered."""

    options: dict[str, bool] = {"remember": False}  # noqa: RUF012 - it is never changed

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        self.home, self.dataset, self.threads = Workspace(data.workspace), data.dataset, threads
        self.file = {guid: k for k, guid in enumerate(copies.guids)}
        self.good = LumiSet.from_ranges(good_ranges())

    def settle(self, call: Callable[[], Any]) -> None:
        """Ask again until compiled steps answer, where they will: what is timed then is the same tier each time."""
        for _ in range(SETTLED):
            for thread in threading.enumerate():
                if thread.name == "tagsel-compile":
                    thread.join()
            raw = call()
            if isinstance(raw, tuple) and raw[1].work.plan.tier == "kernel":
                return

    def ask(self, question: Question) -> Callable[[], Any]:
        cuts = [cut for cut, _ in question.steps]
        options: dict[str, Any] = {"threads": self.threads, **self.options}
        if question.good:
            options["lumi"] = self.good
        if question.fills:
            return said(lambda: self._filled(question, cuts))
        if question.weight:
            return said(lambda: self.home[self.dataset].cutflow(*cuts, weight=question.weight, **options))
        if question.regions:
            regions = {str(k): cut for k, cut in enumerate(cuts)}
            return said(lambda: [int(n) for n in self.home[self.dataset].regions(regions, **options).values()])
        return said(lambda: self.home[self.dataset].select_counted(*cuts, **options))

    def _filled(self, question: Question, cuts: list[str]) -> Any:
        """One histogram after another, summed."""
        asked = self.home[self.dataset].where(*cuts)
        return sum(asked.hist(expression, question.bins).values() for expression in question.fills)

    def answer(self, question: Question, raw: Any) -> Answer:
        if question.fills:
            return Answer((np.asarray(raw, np.float64),))
        if question.regions:
            return Answer((np.array(raw, np.float64),))
        if question.weight:
            ways = [[getattr(s, way).sumw for s in raw.steps] for way in ("alone", "sequential", "all_but")]
            return Answer((np.concatenate(ways),))
        events, counted = raw
        codes = np.array([self.file[g] for g in events.guids], np.int64)
        files = codes[events.guid_codes] if len(events) else events.entry
        return Answer.events(events.run, events.lumi, events.event, files, events.entry, bytes=counted.work.bytes)


class Remembering(Ours):
    """As users have it: what earlier selections found is remembered."""

    options: dict[str, bool] = {}  # noqa: RUF012 - it is never changed

    def settle(self, call: Callable[[], Any]) -> None:
        """Nothing is waited for between the questions of a session, but what is being compiled."""
        for thread in threading.enumerate():
            if thread.name == "tagsel-compile":
                thread.join()
