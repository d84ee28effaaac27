"""Questions that follow each other: a threshold changed, cuts refined step by step, many regions at once.

Here tagsel remembers, as users have it. The clock runs over the first time that each question is asked, planning and
compiling included; a sequence is done several times with other thresholds, and the first of them is not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from bench import data as made
from bench.apart import Apart, Here
from bench.context import Context, wanted_columns
from bench.plain import Unsupported
from bench.questions import Question, select
from bench.rivals import RIVALS, Entry
from bench.timing import OURS, Row, WrongAnswer, measure

REMEMBERING = Entry(OURS, "ours", "bench.rivals.ours:Remembering")
OWN = RIVALS[0]
KINDS = ("files", "memory")


def threshold(k: int) -> list[Question]:
    """Two muons, six columns; then the same with another threshold."""
    return [_two_muons(4000 + 64 * k), _two_muons(4032 + 64 * k)]


def _two_muons(low: int) -> Question:
    both = [
        "NLooseMuon >= 2",
        f"abs(LooseMuonPt1) > {low}",
        "abs(LooseMuonPt2) > 2500",
        "abs(LooseMuonEta1) < 2",
        "abs(LooseMuonEta2) < 2",
        "NVtx >= 1",
    ]
    return select("threshold", "", " && ".join(both), " and ".join(both))


REFINEMENTS = (
    "NVtx >= 1",
    "NTrk >= {5}",
    "NLooseMuon >= 1",
    "abs(LooseMuonPt1) > {3000}",
    "abs(LooseMuonEta1) < 2",
    "NJet <= 2",
    "CellMissingET < {30000}",
    "abs(LooseMuonPt1) > {4500}",
    "CellMissingET > {4000}",
    "abs(VtxZ) < 100",
)


def refinements(k: int) -> list[Question]:
    """Ten cuts, each the one before and one condition more."""
    numbers = {f"{{{n}}}": str(n + (k if n < 100 else 16 * k)) for n in (5, 3000, 30000, 4500, 4000)}
    terms = []
    for term in REFINEMENTS:
        for mark, number in numbers.items():
            term = term.replace(mark, number)
        terms.append(term)
    steps = [terms[: n + 1] for n in range(len(terms))]
    return [select("refinements", "", " && ".join(step), " and ".join(step)) for step in steps]


def _region(k: int) -> tuple[str, str]:
    terms = (
        "NLooseMuon >= 1",
        f"abs(LooseMuonPt1) > {3000 + 500 * (k % 10)}",
        f"CellMissingET > {2000 * (k // 10)}",
        "NJet <= 3",
    )
    return " && ".join(terms), " and ".join(terms)


REGIONS = Question("regions", "50 regions: the events of each", tuple(map(_region, range(50))), regions=True)
REGION = Question("region", "one of them", (_region(0),), regions=True)
ALL = [q for make in (threshold, refinements) for q in make(0)] + [REGIONS]
"""Questions that name all columns of this section."""


def again(context: Context) -> list[Row]:
    """The rows of the section."""
    tags = made.tags(context.folder, context.events, context.say)
    copies = made.copies(tags, wanted_columns(ALL), context.say)
    rivals = [e for e in context.rivals if e.kind in KINDS]
    rows = []
    with Context(**{**vars(context), "rivals": [REMEMBERING, *rivals]}).opened(tags, copies) as (running, without):
        if context.wants("threshold"):
            rows.append(session("threshold", "one threshold changed", running, context.repeat, threshold, 1))
        if context.wants("refinements"):
            rows.append(session("refinements", "ten refinements in a row", running, context.repeat, refinements, 0))
    with Context(**{**vars(context), "rivals": [OWN, *rivals]}).opened(tags, copies) as (running, _):
        for question in (REGION, REGIONS):
            if context.wants(question.name):
                rows.append(measure(question, running, context.threads, context.repeat))
    return [Row(**{**vars(row), "without": {**row.without, **without}}) for row in rows]


def session(
    name: str,
    what: str,
    running: dict[str, Apart | Here],
    repeat: int,
    make: Callable[[int], list[Question]],
    skip: int,
) -> Row:
    """The time of the questions of `make(k)` after the first `skip`, summed; median over the sequences after one."""
    times: dict[str, list[float]] = {rival: [] for rival in running}
    without: dict[str, str] = {}
    found = 0
    for k in range(repeat + 1):
        sums = dict.fromkeys(times, 0.0)
        for place, question in enumerate(make(k)):
            took, found = _asked(question, [n for n in times if n not in without], running, without)
            for rival, seconds in took.items():
                sums[rival] += seconds if place >= skip else 0.0
        for rival, total in sums.items():
            times[rival] += [total] if k else []
    return Row(name, what, found, {n: statistics.median(t) for n, t in times.items() if n not in without}, without)


def _asked(
    question: Question, names: Sequence[str], running: dict[str, Apart | Here], without: dict[str, str]
) -> tuple[dict[str, float], int]:
    """Seconds of each, and how many events were found; answers are compared."""
    took, answers = {}, {}
    for name in names:
        try:
            took[name], answers[name] = running[name].ask(question)
        except Unsupported as reason:
            without[name] = str(reason)
    right = answers[OURS]
    for name, answer in answers.items():
        if wrong := right.differs(answer):
            raise WrongAnswer(f"{question.name}: {name} differs: {wrong}")
    return took, right.size
