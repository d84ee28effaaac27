"""Look-ups by identity: one, a hundred and a hundred thousand events, of which half do not exist."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import data as made
from bench.context import Context
from bench.data import ADDRESS, Copies, Data
from bench.rivals import Answer
from bench.timing import OURS, Row, WrongAnswer, in_turns, seconds_of

SIZES = {"pick1": 1, "pick100": 100, "pick100k": 100_000}


def lookups(context: Context) -> list[Row]:
    """The rows of the section."""
    tags = made.tags(context.folder, context.events, context.say)
    copies = made.copies(tags, ["NTrk"], context.say)
    rows = []
    for name, size in SIZES.items():
        if context.wants(name):
            run, event = wanted(copies, size)
            calls = callers(tags, copies, run, event, context.threads)
            what = f"{size:,} identities, half of them absent" if size > 1 else "one identity"
            rows.append(_row(name, what, calls, context.repeat))
    return rows


def wanted(copies: Copies, size: int) -> tuple[Any, Any]:
    """Identities, (size,) run and event, distinct: every other one is an event's, the rest are nobody's."""
    import pyarrow.parquet as pq

    table = pq.read_table(copies.parquet, columns=["run", "event"])
    run, event = (table[c].to_numpy() for c in ("run", "event"))
    rows = np.random.default_rng(7).permutation(len(run))[:size]
    run, event = run[rows].astype(np.int32), event[rows].astype(np.int64)
    event[1::2] += 1 << 30  # above all numbers of the generator
    return run, event


def callers(
    tags: Data, copies: Copies, run: Any, event: Any, threads: int
) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Answer]]]:
    """By name, the call that looks up and what makes an answer of it."""
    import duckdb
    import polars as pl
    import pyarrow as pa

    from tagsel.api import Workspace
    from tagsel.events import EventList

    home, ids = Workspace(tags.workspace), EventList.from_arrays(run, np.full(len(run), -1), event)
    number = {guid: k for k, guid in enumerate(copies.guids)}
    asked = pa.table({"run": run, "event": event})
    frame = pl.from_arrow(asked).lazy()
    names = ", ".join(f"events.{c}" for c in ADDRESS)
    query = f"SELECT {names} FROM events SEMI JOIN asked ON events.run = asked.run AND events.event = asked.event"

    def ours(picked: Any) -> Answer:
        found = picked.events
        assert picked.asked == len(run) and len(picked.misses) == len(run) // 2
        codes = np.array([number[g] for g in found.guids], np.int64)
        return Answer.events(found.run, found.lumi, found.event, codes[found.guid_codes], found.entry)

    def arrow(table: Any) -> Answer:
        return Answer.events(*(c.to_numpy() for c in table.columns))

    def connected(database: str) -> Any:
        connection = duckdb.connect(database, read_only=database != ":memory:", config={"threads": threads})
        connection.register("asked", asked)
        return connection

    own, files = connected(copies.table), connected(":memory:")
    files.sql(f"SELECT * FROM read_parquet('{copies.parquet}')").create_view("events")
    plan = pl.scan_parquet(copies.parquet).select(ADDRESS).join(frame, on=["run", "event"], how="semi")
    return {
        OURS: (lambda: home[tags.dataset].pick(ids, threads=threads), ours),
        "DuckDB table": (lambda: own.sql(query).to_arrow_table(), arrow),
        "DuckDB": (lambda: files.sql(query).to_arrow_table(), arrow),
        "Polars": (plan.collect, lambda table: arrow(table.to_arrow())),
    }


def _row(name: str, what: str, calls: dict[str, tuple[Callable[[], Any], Callable[[Any], Answer]]], repeat: int) -> Row:
    """Compare, then time in turns."""
    answers = {n: answer(call()) for n, (call, answer) in calls.items()}
    for thread in threading.enumerate():
        if thread.name == "tagsel-compile":  # the search, the first time on a machine
            thread.join()
    for rival, its in answers.items():
        if wrong := answers[OURS].differs(its):
            raise WrongAnswer(f"{name}: {rival} differs: {wrong}")
    seconds = in_turns({n: (lambda c=call: seconds_of(c)) for n, (call, _) in calls.items()}, repeat)
    return Row(name, what, answers[OURS].size, seconds)
