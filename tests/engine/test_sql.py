"""The SQL meaning in DuckDB itself: the guards, and what SQL refuses. (Agreement on generated cuts: the backbone.)"""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from strategies import MENUS, SCHEMA, lumi

from tagsel.engine.sql import to_sql
from tagsel.errors import CutError
from tagsel.language import Scope, bind

SCOPE = Scope(SCHEMA, MENUS, lumi)
NAN, INF = float("nan"), float("inf")


def sql(cut: str) -> str:
    return to_sql(bind(cut, SCOPE).node, frozenset({"bits"}))


def passed(cut: str, **columns: pa.Array) -> list[bool]:
    connection = duckdb.connect()
    connection.register("part", pa.table(columns))
    return [row[0] for row in connection.execute(f"SELECT {sql(cut)} FROM part").fetchall()]


def test_nan_is_not_above_all_numbers() -> None:
    """DuckDB has NaN = NaN and NaN > 1; the language has neither."""
    x, y = pa.array([1.0, NAN, NAN, 2.0]), pa.array([NAN, NAN, 1.0, 2.0])
    f32 = {"x": x.cast(pa.float32()), "y": y}
    assert passed("x < y", **f32) == [False, False, False, False]
    assert passed("x <= y", **f32) == [False, False, False, True]
    assert passed("x > y", **f32) == [False, False, False, False]
    assert passed("x == y", **f32) == [False, False, False, True]
    assert passed("x != y", **f32) == [True, True, True, False]
    assert passed("max2(x, y) == 1.0", **f32) == [True, False, True, False]
    assert passed("min2(x, y) == 1.0", **f32) == [True, False, True, False]


def test_missing_is_null_and_never_passes() -> None:
    """NULL OR true is true in SQL: NaN != missing must stay false (found by the backbone)."""
    x, y = pa.array([NAN, None, 1.0], pa.float32()), pa.array([None, NAN, 2.0])
    assert passed("x != y", x=x, y=y) == [False, False, True]
    assert passed("!(x != y)", x=x, y=y) == [True, True, False]
    assert passed("present(x)", x=x) == [True, False, True]


def test_aggregates_of_nothing() -> None:
    """DuckDB sums an empty list to NULL; ours is 0. A missing counter is another matter."""
    lists = {
        "nMuon": pa.array([0, 2, None], pa.int32()),
        "Muon_pt": pa.array([[], [NAN, 5.0], None], pa.list_(pa.float32())),
        "Muon_d": pa.array([[], [1.0, 2.0], None], pa.list_(pa.float64())),
    }
    assert passed("sum(Muon.d) == 0", **lists) == [True, False, False]
    assert passed("sum(Muon.d) == 3", **lists) == [False, True, False]
    assert passed("max(Muon.pt) == 5 GeV", **lists) == [False, True, False]
    assert passed("all(Muon.pt > 100 GeV)", **lists) == [True, False, False]
    assert passed("count(Muon.pt > 1 GeV) == 1", **lists) == [False, True, False]


def test_words_and_wide_integers() -> None:
    columns = {"bits": pa.array([-1, 1], pa.int32()), "word": pa.array([-1, 1]), "j": pa.array([2**53 + 1, 2**53])}
    assert passed("bits == 4294967295", **columns) == [True, False]
    assert passed("(word >> 63) == 1", **columns) == [True, False]
    assert passed("j == 9007199254740993", **columns) == [True, False]


def test_quotes_do_not_break_out() -> None:
    """Fault 29 in small: a text is a text."""
    names = pa.array(["it's", "'; DROP TABLE part; --"])
    assert passed('name == "it\'s"', name=names) == [True, False]
    assert passed('name == "\'; DROP TABLE part; --"', name=names) == [False, True]


@pytest.mark.parametrize(
    "cut",
    [
        "j * j > 3",  # may overflow: SQL could fail on a row that is never reached
        "event % i == 1",
        "sum(Muon.big) > 3",
        "(word << 3) == 8",
        "mass(Muon[0], Muon[1]) > 60 GeV",  # an empty cell of the table of functions
    ],
)
def test_what_sql_cannot_say_raises(cut: str) -> None:
    with pytest.raises(CutError, match="not supported in SQL"):
        sql(cut)


def test_more_than_500_terms_raise() -> None:
    assert sql(" || ".join(f"i == {k}" for k in range(500)))
    with pytest.raises(CutError, match="501 terms, more than 500"):
        sql(" || ".join(f"i == {k}" for k in range(501)))
