"""What the SQL engines share: a question as SELECT, and Arrow tables as answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.data import ADDRESS
from bench.plain import Unsupported, text
from bench.questions import Question
from bench.rivals import Answer

GOOD = "(run, lumi) IN (SELECT run, lumi FROM good)"


def condition(question: Question, *dialects: str) -> str:
    """The question's condition: in the first of the dialects that has a form of its own, else from the common one."""
    for dialect in dialects:
        if dialect in question.forms:
            return question.forms[dialect]
    if not question.condition:
        raise Unsupported(f"the suite has no form for {dialects[0]}")
    return text(question.condition, dialects[0])


def query(question: Question, dialect: str, *, events: str = "events", good: str = GOOD) -> str:
    """The question as one SELECT over `events`; good blocks are the table `good` of (run, lumi)."""
    if question.fills:
        raise Unsupported("histograms of objects are asked of ROOT's users only")
    if question.sums:
        return sums(question, dialect, events)
    where = condition(question, dialect)
    if question.good:
        where = f"{good} AND {where}"
    return f"SELECT {', '.join(ADDRESS)} FROM {events} WHERE {where}"


def sums(question: Question, dialect: str, events: str) -> str:
    """All sums of a cutflow, or all counts of regions, as one row."""
    weight = text(f"double({question.weight})", dialect) if question.weight else "1.0"
    steps = [f"({text(plain, dialect)})" for _, plain in question.steps]
    ways = enumerate(question.ways(steps, " AND ".join))
    columns = (f"sum(CASE WHEN {way} THEN {weight} ELSE 0 END) AS s{k}" for k, way in ways)
    return f"SELECT {', '.join(columns)} FROM {events}"


def answer(question: Question, table: Any) -> Answer:
    """Of an Arrow table."""
    columns = [column.to_numpy() for column in table.columns]
    return Answer((np.concatenate(columns).astype(np.float64),)) if question.sums else Answer.events(*columns)
