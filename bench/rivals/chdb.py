"""ClickHouse in the process (chdb), over Parquet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chdb.session import Session

from bench.data import Copies, Data, good_ranges
from bench.questions import Question
from bench.rivals import Answer, sql


class Chdb:
    """Over the Parquet copy."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        self.session = Session()
        self.settings = f"SETTINGS max_threads = {threads}"
        blocks = [(run, block) for run, first, last in good_ranges() for block in range(first, last + 1)]
        self.session.query("CREATE DATABASE IF NOT EXISTS b")
        self.session.query("CREATE TABLE b.good (run Int32, lumi Int32) ENGINE = Memory")
        self.session.query(f"INSERT INTO b.good VALUES {', '.join(map(str, blocks))}")
        self.events = f"file('{copies.parquet}', Parquet)"

    def ask(self, question: Question) -> Callable[[], Any]:
        good = "(run, lumi) IN (SELECT run, lumi FROM b.good)"
        query = f"{sql.query(question, 'clickhouse', events=self.events, good=good)} {self.settings}"
        return lambda: self.session.query(query, "ArrowTable")

    def answer(self, question: Question, raw: Any) -> Answer:
        return sql.answer(question, raw)
