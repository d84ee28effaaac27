"""Generated cuts through every verb, over tables of many parts: all numbers are those of the oracle.

A cut is a generated one joined to a comparison whose threshold is a stored value, so that `<` and `<=` differ. Its
events are found by a plain loop over rows with tests/oracle.py; count, select, cutflow, regions, sweep, hist, why,
estimate and overlap must each say the same of them. The workers of large data are on (`masks_pay`), parts are small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle as slow
import pytest
from strategies import SCHEMA, Table, lumi, make_table, write_cut
from tag_parts import by_hand, dataset, numbered, opened

from tagsel.errors import CutError
from tagsel.selection import Input, Query, count, cutflow, select
from tagsel.selection.binning import read_specs
from tagsel.selection.histogram import histograms
from tagsel.selection.overlap import region_overlap
from tagsel.selection.query import bind_query
from tagsel.selection.regions import regions
from tagsel.selection.sample import estimate
from tagsel.selection.sweep import sweep
from tagsel.selection.why import why

PARTS, CUTS = 12, 30
COMPILED = 20
"""One cut in so many is compiled, too."""

STORED = ("x", "y", "i", "j", "MET_pt", "nMuon")


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    """Twelve parts of 0 to 14 rows; each lacks other columns."""
    random = np.random.default_rng(5)
    made, first = [], 1
    for _ in range(PARTS):
        table = make_table(int(random.integers(0, 15)), int(random.integers(2**32)))
        made.append(numbered(table, first, repeat=False))
        first += table.rows
    return made


@pytest.fixture(scope="module")
def source(tables: Sequence[Table], tmp_path_factory: pytest.TempPathFactory) -> Input:
    return opened("a.TAG", dataset(tmp_path_factory.mktemp("verbs") / "T", tables))


def threshold(random: np.random.Generator, tables: Sequence[Table]) -> str:
    """A comparison with a value that is stored somewhere."""
    name = str(random.choice(STORED))
    stored = [v for t in tables if name not in t.absent for v in t.columns[name].tolist() if math.isfinite(v)]
    value = stored[int(random.integers(len(stored)))]
    return f"{name} {random.choice(['<', '<=', '>', '>=', '==', '!='])} {value!r}"


def cut_of(random: np.random.Generator, tables: Sequence[Table]) -> str:
    word = random.choice(["&&", "||"])
    return f"({write_cut(int(random.integers(2**63)), 1)}) {word} {threshold(random, tables)}"


def asked(source: Input, *cuts: str) -> Query:
    """The question; the interpreter answers it, for a kernel takes a second to compile."""
    named = tuple((f"c{k}", cut) for k, cut in enumerate(cuts))
    return Query((source,), named, duplicates="all", tables=lumi, tier="interpreter")


Passing = set[int] | None
"""Event numbers that pass, by the oracle; None where a row has no answer (then every verb must say so)."""


def passing(source: Input, tables: Sequence[Table], cut: str) -> Passing:
    """The events that pass a cut."""
    (bound,) = bind_query(asked(source, cut))
    try:
        rows, _ = by_hand(bound.cut.node, tables, "all", None)
    except slow.Unanswerable:
        return None
    return {event for _, _, event, _, _ in rows}


def passing_both(source: Input, tables: Sequence[Table], first: str, second: str) -> tuple[Passing, Passing, Passing]:
    """The events that pass both cuts, the first alone, and the second alone."""
    alone, other = passing(source, tables, first), passing(source, tables, second)
    if alone is None or other is None:  # a row that the first cut keeps from the second
        return passing(source, tables, f"({first}) && ({second})"), alone, other
    return alone & other, alone, other


def answers(source: Input, first: str, second: str, rows: int) -> dict[str, Any]:
    """What each verb says of the events that pass both cuts."""
    query, both = asked(source, first, second), f"({first}) && ({second})"
    flow = cutflow(query)
    many = regions(asked(source, first), {"both": second, "one": "true"}, overlap=True)
    filled, _ = histograms(query, read_specs([f"event: 1, 0, {rows + 1}"]))
    swept = sweep(asked(source, first), f"({second}) && run > {{x}}", ["-1", "1e6"])
    over = region_overlap(asked(source, "true"), {"both": both, "one": first})
    assert many.overlap is not None
    return {
        "count": count(query).accepted,
        "unremembered": count(replace(query, remember=False)).accepted,
        "select": len(select(query)[0]),
        "cutflow": flow[1].sequential.n,
        "cutflow, all but the first": flow[0].all_but.n,
        "cutflow, alone": flow[0].alone.n,
        "regions": many["both"].accepted,
        "regions, overlap": int(many.overlap[0, 1]),
        "hist": filled[0].entries,
        "sweep": [p.passing.n for p in swept.points],
        "estimate": round(estimate(query, sample=1).estimate),
        "overlap": int(over.shared[0, 1]),
        "overlap, one": int(over.shared[1, 1]),
    }


def test_generated_cuts_through_every_verb(source: Input, tables: Sequence[Table]) -> None:
    rows = sum(t.rows for t in tables)
    random, answered, some_pass = np.random.default_rng(11), 0, 0
    for _ in range(CUTS):
        first, second = cut_of(random, tables), cut_of(random, tables)
        both, alone, other = passing_both(source, tables, first, second)
        if both is None:
            with pytest.raises(CutError):
                count(asked(source, first, second))
            continue
        if alone is None or other is None:
            assert count(asked(source, first, second)).accepted == len(both)
            continue
        n = len(both)
        guarded = bind_query(asked(source, second))[0].cut.node.raises  # then all-but counts what reaches it, and warns
        assert answers(source, first, second, rows) == {
            **dict.fromkeys(
                (
                    "count",
                    "unremembered",
                    "select",
                    "cutflow",
                    "regions",
                    "regions, overlap",
                    "hist",
                    "estimate",
                    "overlap",
                ),
                n,
            ),
            "sweep": [n, 0],
            "cutflow, all but the first": n if guarded else len(other),
            "cutflow, alone": len(alone),
            "overlap, one": len(alone),
        }, (first, second)
        if answered % COMPILED == 0:
            assert count(replace(asked(source, first, second), tier="kernel")).accepted == n
        answered += 1
        some_pass += 0 < n < rows
    assert answered >= 0.5 * CUTS
    assert some_pass >= 0.3 * CUTS


def test_why_says_of_each_event_what_the_oracle_says(source: Input, tables: Sequence[Table]) -> None:
    random, verdicts = np.random.default_rng(3), set()
    for _ in range(6):
        cut = cut_of(random, tables)
        truth = passing(source, tables, cut)
        if truth is None:
            continue
        for table in tables[::3]:
            for row in [table.row(k) for k in range(min(4, table.rows))]:
                said = why(asked(source, cut), row["run"], row["event"]).verdict
                assert said == ("accepted" if row["event"] in truth else "rejected"), cut
                verdicts.add(said)
    assert verdicts == {"accepted", "rejected"}


def test_names_of_the_schema_are_those_of_the_tables(tables: Sequence[Table]) -> None:
    assert all(name in SCHEMA.by_column for name in STORED)
    assert len([t for t in tables if t.rows]) >= 8


def test_the_order_of_parts_does_not_move_the_digest(source: Input, tmp_path: Path, tables: Sequence[Table]) -> None:
    backward = opened("a.TAG", dataset(tmp_path / "T", tables[::-1]))
    cut = "nMuon >= 1 || x > 0"
    assert select(asked(source, cut))[0].digest == select(asked(backward, cut))[0].digest
