"""A dataset whose columns are arithmetic on the event's number, questions about it, and their right answers.

Event e has MET_pt = 7 e mod 100 GeV, nMuon = e mod 4, the k-th muon's pt = (e + 10 k) mod 50 GeV, weight =
(1 + e mod 3) / 2, flag = (e mod 5 = 0), run 7 + e div 400, luminosity block 1 + e div 100. Every right answer is a sum
over a range of events.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from builders import GUIDS, IDS, batch

from tagsel.events import EventList
from tagsel.schema import Attribute, Schema
from tagsel.selection import Input, Query, count, cutflow, pick, select, why
from tagsel.selection.binning import read_specs
from tagsel.selection.contents import contents
from tagsel.selection.head import head
from tagsel.selection.histogram import histograms
from tagsel.selection.regions import regions
from tagsel.selection.sweep import sweep
from tagsel.store import NewPart, Snapshot, Source, Table, write_part

SCHEMA = Schema(
    (
        *IDS,
        Attribute("MET_pt", "float32", unit="GeV"),
        Attribute("weight", "float64", role="weight"),
        Attribute("flag", "bool"),
        Attribute("nMuon", "int32", role="counter"),
        Attribute("Muon.pt", "float32", unit="GeV", is_list=True, counter="nMuon"),
    ),
    "memory",
)


def met(e: int) -> int:
    """MET_pt of an event, GeV."""
    return 7 * e % 100


def muons(e: int) -> list[int]:
    """The muons' pt of an event, GeV."""
    return [(e + 10 * k) % 50 for k in range(e % 4)]


def run(e: int) -> int:
    """The run of an event."""
    return 7 + e // 400


def part(folder: Path, first: int, rows: int) -> NewPart:
    """A part of the events from `first` on, not yet in the dataset."""
    events = range(first, first + rows)
    numbers = np.array(events, np.int64)
    lists = np.empty(rows, object)
    for at, e in enumerate(events):
        lists[at] = np.array(muons(e), np.float32)
    columns = {
        "run": np.array([run(e) for e in events], np.int32),
        "lumi": (1 + numbers // 100).astype(np.int32),
        "event": numbers,
        "aod_guid": np.full(rows, GUIDS[first % 7], object),
        "aod_entry": numbers,
        "menu": np.zeros(rows, np.int64),
        "MET_pt": np.array([met(e) for e in events], np.float32),
        "weight": (1 + numbers % 3) / 2,
        "flag": numbers % 5 == 0,
        "nMuon": (numbers % 4).astype(np.int32),
        "Muon_pt": list(lists),
    }
    source = Source(f"00000000-0000-4000-9000-{first:012X}", str(first), rows, 0, {})
    written = write_part(folder, SCHEMA, [batch(columns, SCHEMA)], [source])
    assert written is not None
    return written


def make(folder: Path, sizes: Sequence[int]) -> Table:
    """A dataset of parts of so many events each, all in one commit."""
    table, parts, first = Table.create(folder, SCHEMA), [], 0
    for rows in sizes:
        parts.append(part(folder, first, rows))
        first += rows
    table.append(parts, SCHEMA, {})
    return table


@dataclass(frozen=True)
class Asking:
    """How a question is asked: of a snapshot, by chance."""

    snapshot: Snapshot
    chance: random.Random
    tiers: tuple[str, ...] = ("kernel", "interpreter")

    @property
    def rows(self) -> range:
        """The events of the snapshot."""
        return range(self.snapshot.rows)

    def query(self, *cuts: str, **more: Any) -> Query:
        """Some cuts, by either evaluator, in one to three threads, with and without what is remembered."""
        return Query(
            (Input("d", self.snapshot, False, "d"),),
            tuple(("", cut) for cut in cuts),
            tier=self.chance.choice(self.tiers),
            threads=self.chance.randint(1, 3),
            remember=self.chance.random() < 0.5,
            **more,
        )


Answers = tuple[Any, Any]
"""What was answered, and what is right."""


def _counted(a: Asking) -> Answers:
    x = a.chance.randint(0, 99)
    return count(a.query(f"MET_pt > {x} GeV")).accepted, sum(met(e) > x for e in a.rows)


def _counted_weights(a: Asking) -> Answers:
    x = a.chance.randint(0, 99)
    found = count(a.query(f"MET_pt > {x} GeV && flag", weight="weight")).weighted
    assert found is not None
    passing = [e for e in a.rows if met(e) > x and e % 5 == 0]
    return (found.n, float(found.sumw)), (len(passing), sum((1 + e % 3) / 2 for e in passing))


def _objects(a: Asking) -> Answers:
    x = a.chance.randint(0, 49)
    right = sum(sum(pt > x for pt in muons(e)) >= 2 for e in a.rows)
    return count(a.query(f"count(Muon.pt > {x} GeV) >= 2")).accepted, right


def _selected(a: Asking) -> Answers:
    x = a.chance.randint(0, 49)
    events, counted = select(a.query(f"nMuon >= 2 && Muon.pt[1] > {x} GeV"))
    right = [e for e in a.rows if e % 4 >= 2 and muons(e)[1] > x]
    return (sorted(events.event.tolist()), counted.accepted), (right, len(right))


def _selected_weights(a: Asking) -> Answers:
    x = a.chance.randint(0, 99)
    events, counted = select(a.query(f"MET_pt >= {x} GeV", weight="weight * 2"))
    right = [e for e in a.rows if met(e) >= x]
    assert counted.weighted is not None
    found = sorted(zip(events.run.tolist(), events.event.tolist(), strict=True))
    return (found, float(counted.weighted.sumw)), ([(run(e), e) for e in right], float(sum(1 + e % 3 for e in right)))


def _flow(a: Asking) -> Answers:
    x, y = a.chance.randint(0, 99), a.chance.randint(0, 3)
    flow = cutflow(a.query(f"MET_pt > {x} GeV", f"nMuon > {y}", "flag"))
    cuts = (lambda e: met(e) > x, lambda e: e % 4 > y, lambda e: e % 5 == 0)
    alone = [sum(map(cut, a.rows)) for cut in cuts]
    left, sequential = list(a.rows), []
    for cut in cuts:
        left = [e for e in left if cut(e)]
        sequential.append(len(left))
    return [(s.alone.n, s.sequential.n) for s in flow.steps], list(zip(alone, sequential, strict=True))


def _filled(a: Asking) -> Answers:
    x = a.chance.randint(0, 3)
    (events, objects), _ = histograms(a.query(f"nMuon >= {x}"), read_specs(["MET_pt: 10, 0, 100", "Muon.pt: 5, 0, 50"]))
    passing = [e for e in a.rows if e % 4 >= x]
    by_met = [sum(met(e) // 10 == k for e in passing) for k in range(10)]
    by_pt = [sum(pt // 10 == k for e in passing for pt in muons(e)) for k in range(5)]
    return (events.values.tolist(), objects.values.tolist()), ([0, *by_met, 0], [0, *by_pt, 0])


def _regions(a: Asking) -> Answers:
    x = a.chance.randint(0, 99)
    found = regions(a.query("flag"), {"low": f"MET_pt < {x} GeV", "high": f"MET_pt >= {x} GeV"})
    low = sum(e % 5 == 0 and met(e) < x for e in a.rows)
    return [c.accepted for c in found.values()], [low, sum(e % 5 == 0 for e in a.rows) - low]


def _swept(a: Asking) -> Answers:
    values = sorted(a.chance.sample(range(100), 3))
    found = sweep(a.query("nMuon > 0"), "MET_pt > {x} GeV", [str(x) for x in values])
    return [p.passing.n for p in found.points], [sum(e % 4 > 0 and met(e) > x for e in a.rows) for x in values]


def _why(a: Asking) -> Answers:
    e, x = a.chance.randrange(len(a.rows) + 5), a.chance.randint(0, 99)
    right = "not in dataset" if e not in a.rows else "accepted" if met(e) > x else "rejected"
    return why(a.query(f"MET_pt > {x} GeV"), run(e), e).verdict, right


def _picked(a: Asking) -> Answers:
    wanted = sorted(a.chance.sample(range(len(a.rows) + 50), 60))
    ids = EventList.from_arrays([run(e) for e in wanted], [-1] * 60, wanted)
    found = pick(a.query("true"), ids)
    right = [e for e in wanted if e in a.rows]
    return (sorted(found.events.event.tolist()), len(found.missed)), (right, 60 - len(right))


def _contents(a: Asking) -> Answers:
    runs = sorted({run(e) for e in a.rows})
    right = [(r, sum(run(e) == r for e in a.rows)) for r in runs]
    return [(r.run, r.events) for r in contents(a.snapshot).by_run()], right


def _first(a: Asking) -> Answers:
    x = a.chance.randint(0, 99)
    found = head(a.query(f"MET_pt > {x} GeV"), 20, ["event", "Muon.pt"])
    right = [e for e in a.rows if met(e) > x][:20]
    if not right:
        return len(found), 0
    return (found["event"].tolist(), found["Muon.pt"].tolist()), (right, [[float(p) for p in muons(e)] for e in right])


QUESTIONS: tuple[Callable[[Asking], Answers], ...] = (
    _counted,
    _counted_weights,
    _objects,
    _selected,
    _selected_weights,
    _flow,
    _filled,
    _regions,
    _swept,
    _why,
    _picked,
    _contents,
    _first,
)
"""Each gives what was answered, and what is right."""


COMPILED = (_counted, _objects, _selected)
"""Those whose kernels a short run compiles; the others are left to the interpreter there."""

few_kernels = False
"""Whether this is a short run."""


def ask(snapshot: Snapshot, chance: random.Random) -> str:
    """A question by chance; "" where the answer is right, else what is wrong with it."""
    question = chance.choice(QUESTIONS)
    asking = Asking(snapshot, chance)
    if few_kernels:
        asking = Asking(snapshot, chance, ("kernel",) if question in COMPILED else ("interpreter",))
    answered, right = question(asking)
    if answered == right:
        return ""
    return f"{question.__name__[1:]} gives {str(answered)[:200]} where {str(right)[:200]} is right"
