"""The backbone: the meanings of a cut agree, on generated cuts and tables, each with and without zones.

Oracle = interpreter = kernel = SQL. The oracle is the slow one of tests/oracle.py. SQL is compared where it can say
the cut, on rows whose verdict does not hang on the last bits of an elementary function: those where the oracle's
verdict is the same with every such function moved by 4 ulp (DuckDB's are the machine's, ours are our own).
Kernels of long cuts take seconds to compile, so in CI they are made for the first 36 cuts that are small (all that fit
one, with `--profile more`), and run on all of their tables. A case comes from its seed alone: what fails here fails
everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import oracle as slow
import pyarrow as pa
import pytest
from cut_writer import ELEMENTARY
from hypothesis import settings
from slow_zones import groups_of, zones_of
from strategies import MENUS, NUMBERS, SCHEMA, Case, Table, lumi, make_case

from tagsel.engine.compiler import compile as compile_kernel
from tagsel.engine.interpreter import interpret
from tagsel.engine.sql import to_sql
from tagsel.errors import CutError
from tagsel.language import FUNCTIONS, Bound, Scope, bind
from tagsel.language.bounds import ALL, NONE, RULES, SOME, bounds
from tagsel.language.tree import AGGREGATES, COMPARISONS, LOOPING_OPS, Block, Node, walk

SCOPE = Scope(SCHEMA, MENUS, lumi)
MANY = settings.default.max_examples > 1000  # --profile more
CUTS = settings.default.max_examples if MANY else 300
SHARES = 6
"""Tests that the cuts are dealt to, so that workers can run them side by side."""
KERNELS = 0 if MANY else 6
"""Kernels that a share compiles at least; with `--profile more` each cut that fits one."""
SMALL = 45
"""Nodes of a cut whose kernel is compiled in CI: a second each, where the largest take twelve."""
WORDS = frozenset(a.column for a in SCHEMA if a.type == "bits32")

Verdicts = list[bool | None]
"""A verdict for each row; None where the row has no answer."""


def by_oracle(node: Node, table: Table) -> Verdicts:
    """The oracle's verdicts."""
    found: Verdicts = []
    for at in range(table.rows):
        try:
            found.append(slow.oracle(node, table.row(at)))
        except slow.Unanswerable:
            found.append(None)
    return found


def check_mask(meaning: Any, table: Table, truth: Verdicts) -> None:
    """`meaning(block)` gives the oracle's verdicts, or raises for the first row without answer."""
    if None in truth:
        with pytest.raises(CutError) as caught:
            meaning(table.block())
        assert caught.value.fields["row"] == truth.index(None)
    else:
        assert meaning(table.block()).tolist() == truth


def check_alive(node: Node, table: Table, truth: Verdicts) -> None:
    """Rows that are not asked for are false, and their errors do not count."""
    alive = np.array([verdict is not None and row % 3 != 1 for row, verdict in enumerate(truth)], np.bool_)
    asked = interpret(node, table.block(), alive)
    assert asked.tolist() == [bool(verdict) and bool(keep) for verdict, keep in zip(truth, alive, strict=True)]


def check_zones(node: Node, table: Table, truth: Verdicts, known: int) -> Counter[int]:
    """Bounds on groups of 3 rows are never wrong; `known` says how much of the zones is there."""
    groups = groups_of(table, 3)
    verdicts = bounds(node, zones_of(table, groups, known), len(groups), table.absent)
    assert verdicts.shape == (len(groups),)
    for verdict, rows in zip(verdicts, groups, strict=True):
        inside = [truth[r] for r in rows]
        if verdict == NONE:
            assert not any(inside) and None not in inside
        elif verdict == ALL:
            assert all(inside) and None not in inside
    return Counter(verdicts.tolist())


# SQL

ARROW = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bits32": pa.int32(),
    "bits64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}


def to_arrow(table: Table, columns: frozenset[str]) -> pa.Table:
    """The table as a TAG part stores it: words as signed patterns, lists as lists, absent columns null."""
    arrays = {"row__": pa.array(np.arange(table.rows))}
    for a in (SCHEMA.by_column[c] for c in sorted(columns)):
        kind = pa.list_(ARROW[a.type]) if a.is_list else ARROW[a.type]
        if a.column in table.absent:
            arrays[a.column] = pa.nulls(table.rows, kind)
            continue
        values = table.columns[a.column]
        if a.type.startswith("bits"):
            values = values.view(np.int32 if a.type == "bits32" else np.int64)
        flat = pa.array(values, ARROW[a.type])
        if a.is_list:
            ends = np.cumsum(table.lengths[a.counter], dtype=np.int32)
            flat = pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), flat)
        arrays[a.column] = flat
    return pa.table(arrays)


@contextmanager
def moved_functions(pattern: int) -> Iterator[None]:
    """Inside, the oracle's elementary functions are off by 4 ulp, in one of four patterns of signs."""
    plain, calls = slow.VALUES["call"], [0]

    def call(node: Node, *args: float) -> float:
        calls[0] += 1
        up = (pattern & 1) ^ (calls[0] * (pattern >> 1) & 1)
        exact = plain(node, *args)
        if node.value in ("deltaR", "deltaPhi"):  # a difference of angles, so not good to ulps; and -π is π
            near_pi = abs(abs(exact) - math.pi) < 1e-9
            return -exact if near_pi and up else exact + (1e-12 if up else -1e-12)
        for _ in range(4):
            exact = math.nextafter(exact, math.inf if up else -math.inf)
        return exact

    slow.VALUES["call"] = call
    try:
        yield
    finally:
        slow.VALUES["call"] = plain


def check_sql(bound: Bound, table: Table, truth: Verdicts, connection: duckdb.DuckDBPyConnection) -> bool:
    """DuckDB passes the rows that the oracle passes, where no threshold is near; False where SQL cannot say it."""
    try:
        sql = to_sql(bound.node, WORDS)
    except CutError as error:
        assert "not supported in SQL" in error.message
        return False
    connection.register("part", to_arrow(table, bound.columns))
    answers = connection.execute(f"SELECT {sql} FROM part ORDER BY row__").fetchall()
    connection.unregister("part")
    sure = [True] * table.rows
    if any(n.op == "call" for n in walk(bound.node)):
        for pattern in range(4):
            with moved_functions(pattern):
                moved = by_oracle(bound.node, table)
            sure = [s and m == t for s, m, t in zip(sure, moved, truth, strict=True)]
    assert [a for (a,), s in zip(answers, sure, strict=True) if s] == [t for t, s in zip(truth, sure, strict=True) if s]
    return True


# all together


class Tally:
    """What the generated cuts use, and how often each comparison was made, so that neither can shrink unseen."""

    def __init__(self) -> None:
        self.pairs = self.sql = self.kernels = self.unanswerable = 0
        self.texts: set[str] = set()
        self.seen: set[object] = set()
        self.verdicts: Counter[int] = Counter()

    def note(self, bound: Bound) -> None:
        self.texts.add(bound.text)
        for n in walk(bound.node):
            self.seen |= {n.op, (n.op, n.kind)}
            if n.op in ("call", "cmp", "test", "pick"):
                self.seen.add(n.value)
            if n.op in LOOPING_OPS:
                self.seen |= {n.value.function, (n.value.function, n.kind), ("slots", n.value.slots > 0)}
                self.seen |= {(n.op, len(n.value.loops)), ("after", *(loop.after for loop in n.value.loops))}
            if n.op in ("outer", "chosen"):
                self.seen.add((n.op, n.value[1]))


def case_of(number: int) -> Case:
    """The generated case of a number below CUTS; above, one that calls an elementary function."""
    case = make_case(number)
    if number < CUTS:
        return case
    name = ELEMENTARY[number - CUTS]
    values = ("x", "y", "Muon.eta[0]")[: FUNCTIONS[name].fewest]
    return Case(f"{name}({', '.join(values)}) > 0.5", case.tables)


def kernel_of(node: Node, tally: Tally) -> Any:
    """The kernel of a cut; None where it fits none, is large, or this share has compiled its number."""
    small = MANY or sum(1 for _ in walk(node)) <= SMALL
    enough = not MANY and tally.kernels >= KERNELS
    if enough or not small:
        return None
    kernel = compile_kernel(node)
    tally.kernels += kernel is not None
    return kernel


def check_case(case: Case, tally: Tally, connection: duckdb.DuckDBPyConnection) -> None:
    """All meanings of one cut agree on each of its tables."""
    bound = bind(case.cut, SCOPE)
    kernel = kernel_of(bound.node, tally)
    for at, table in enumerate(case.tables):
        truth = by_oracle(bound.node, table)
        tally.pairs += 1
        check_mask(lambda block: interpret(bound.node, block), table, truth)
        check_alive(bound.node, table, truth)
        tally.verdicts += check_zones(bound.node, table, truth, at % 4)
        if kernel is not None:
            check_mask(kernel, table, truth)
        if None not in truth:
            tally.sql += check_sql(bound, table, truth, connection)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_feature_04_all_meanings_agree(share: int) -> None:
    """Rows 4 and 111 of the features: object cuts, and every engine gives the same events."""
    tally = Tally()
    connection = duckdb.connect()
    numbers = range(share, CUTS + len(ELEMENTARY), SHARES)
    for number in numbers:
        case = case_of(number)
        try:
            check_case(case, tally, connection)
        except Exception as error:
            error.add_note(f"case_of({number}): {case}")
            raise
    assert tally.pairs == 10 * len(numbers)
    assert tally.sql >= 0.3 * tally.pairs
    assert tally.kernels >= KERNELS
    assert min(tally.verdicts[v] for v in (NONE, SOME, ALL)) > 0.04 * tally.verdicts.total()


@pytest.mark.slow
def test_the_cuts_use_the_whole_language() -> None:
    """Every rule, function and form of the language occurs in the generated cuts."""
    tally = Tally()
    for number in range(CUTS + len(ELEMENTARY)):
        case = case_of(number)
        bound = bind(case.cut, SCOPE)
        tally.note(bound)
        tally.unanswerable += any(None in by_oracle(bound.node, table) for table in case.tables[:2])
    assert len(tally.texts) >= 0.8 * CUTS
    assert tally.unanswerable >= 0.01 * CUTS
    functions = {n for n, row in FUNCTIONS.items() if row.form in ("elementary", "object")}
    wanted = {*RULES, *functions, *COMPARISONS, *AGGREGATES, "isnan", "isinf", "isfinite", "min2", "max2"}
    wanted -= {"python"}  # no text of a cut: test_python_cuts.py
    wanted |= {"argmin", "argmax", ("aggregate", 2), ("aggregate", 3), ("let", 1), ("let", 2), ("let_value", 2)}
    wanted |= {("after", False, True, True), ("after", False, False), ("after", False, True, False)}
    wanted |= {("outer", 1), ("outer", 2), ("chosen", 0), ("chosen", 1)}
    wanted |= {("sum", "int"), ("sum", "f64"), ("max", "f32"), ("slots", True), ("shr", "word"), ("mul", "int")}
    assert wanted <= tally.seen, f"never generated: {sorted(map(str, wanted - tally.seen))}"


def test_the_tables_hurt() -> None:
    """Every value that hurts occurs: the pools hold NaN, infinities, -0.0, 2^53 + 1, the ends of each type."""
    assert any(v != v for v in NUMBERS["float32"]) and math.inf in NUMBERS["float64"]
    assert 2**53 + 1 in NUMBERS["int64"] and 2**64 - 1 in NUMBERS["bits64"]
    assert any(v == 0 and math.copysign(1, v) < 0 for v in NUMBERS["float64"])


def test_no_rows() -> None:
    """A block of no rows has no verdicts, whatever the cut, and a part of no groups none either."""
    bound = bind("any(Muon.pt > 25 GeV) && !(x / i < 2) || HLT_a", SCOPE)
    empty = {c: np.zeros(0, np.float32 if c.endswith(("pt", "x")) else np.int64) for c in bound.columns}
    assert interpret(bound.node, Block(0, empty)).tolist() == []
    assert bounds(bound.node, {}, 0).tolist() == []
