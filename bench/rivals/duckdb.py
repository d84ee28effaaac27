"""DuckDB: over its own table, and over Parquet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb

from bench.data import Copies, Data, good_ranges
from bench.questions import Question
from bench.rivals import Answer, sql


class OnParquet:
    """Over the Parquet copy."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        self.connection = self._open(copies, threads)
        self.connection.execute("CREATE TEMP TABLE good (run INTEGER, lumi INTEGER)")
        blocks = [(run, block) for run, first, last in good_ranges() for block in range(first, last + 1)]
        self.connection.executemany("INSERT INTO good VALUES (?, ?)", blocks)

    def _open(self, copies: Copies, threads: int) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config={"threads": threads})
        connection.sql(f"SELECT * FROM read_parquet('{copies.parquet}')").create_view("events")
        return connection

    def ask(self, question: Question) -> Callable[[], Any]:
        query = sql.query(question, "duckdb")
        return lambda: self.connection.sql(query).to_arrow_table()

    def answer(self, question: Question, raw: Any) -> Answer:
        return sql.answer(question, raw)


class OwnTable(OnParquet):
    """Over a DuckDB file that has the columns of the questions."""

    def _open(self, copies: Copies, threads: int) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(copies.table, read_only=True, config={"threads": threads})
