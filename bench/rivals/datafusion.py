"""DataFusion over Parquet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from datafusion import SessionConfig, SessionContext

from bench.data import Copies, Data, good_ranges
from bench.questions import Question
from bench.rivals import Answer, sql

GOOD = "EXISTS (SELECT 1 FROM good WHERE good.run = events.run AND good.lumi = events.lumi)"


class DataFusion:
    """Over the Parquet copy; filters are pushed into the scan."""

    def __init__(self, data: Data, copies: Copies, threads: int) -> None:
        config = SessionConfig().with_target_partitions(threads)
        config = config.set("datafusion.execution.parquet.pushdown_filters", "true")
        self.context = SessionContext(config)
        self.context.register_parquet("events", copies.parquet)
        blocks = [(run, block) for run, first, last in good_ranges() for block in range(first, last + 1)]
        columns = {n: pa.array(v, pa.int32()) for n, v in zip(("run", "lumi"), zip(*blocks, strict=True), strict=True)}
        self.context.register_record_batches("good", [pa.table(columns).to_batches()])

    def ask(self, question: Question) -> Callable[[], Any]:
        query = sql.query(question, "datafusion", good=GOOD)
        return lambda: self.context.sql(query).to_arrow_table()

    def answer(self, question: Question, raw: Any) -> Answer:
        return sql.answer(question, raw)
