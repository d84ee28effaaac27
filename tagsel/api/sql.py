"""SQL over the catalogs and the TAG datasets, and the table `queries`: the questions that this user asked.

Invariant: the table has the columns of the catalog's own `queries`, and `error`; a question has no `seq`, for no
journal holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from tagsel.api.home import Home
from tagsel.api.inputs import tables
from tagsel.base import question_log
from tagsel.base.question_log import Question
from tagsel.catalog import others
from tagsel.catalog.sandbox import parse
from tagsel.catalog.tables import TABLES
from tagsel.errors import TagselError

if TYPE_CHECKING:
    import pyarrow as pa

Answer = TypeVar("Answer", bound=Sized)


TABLE = "queries"
"""The table's name."""


def sql(home: Home, query: str) -> Any:
    """One SELECT over the catalogs and the datasets, of named workspaces, too, and over the questions that were asked.

    It is logged as a question.
    """
    return ask(home, "sql", query, lambda: _sql(home, query))


def _sql(home: Home, query: str) -> Any:
    named = {table.lower() for table in parse(query).tables}
    given: dict[str, Any] = {**others.catalog_tables(home.folder, home.catalog, named)}
    for folder, catalog in reversed(others.homes(home.folder, home.catalog)):
        given |= tables(folder, catalog, named)
    if TABLE in named and TABLE not in {name.lower() for name in given}:
        given[TABLE] = table(home)
    return home.catalog.sql(query, given)


def ask(home: Home, verb: str, text: str, function: Callable[[], Answer]) -> Answer:
    """The function's answer to a question to the catalog: a condition on datasets, or SQL. The question is logged."""
    started = time.perf_counter()
    try:
        answer = function()
    except BaseException as error:
        with suppress(TagselError):  # a setting that cannot be read is not why there is no answer
            _log(home, verb, text, started, error=question_log.reason(error))
        raise
    _log(home, verb, text, started, rows=len(answer))
    return answer


def _log(home: Home, verb: str, text: str, started: float, rows: int | None = None, error: str = "") -> None:
    if home.setting("questions"):
        seconds = round(time.perf_counter() - started, 6)
        question = Question(str(home.folder), verb, text=text, accepted=rows, seconds=seconds, error=error)
        question_log.record(question)


def table(home: Home) -> pa.Table:
    """Questions and changes, in the order of time; a question to several datasets has a row for each."""
    import pyarrow as pa

    types = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}
    columns = {**TABLES[TABLE].columns, "error": "VARCHAR"}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    rows = home.catalog.rows(TABLE, {}, "seq, part")
    for question in question_log.read(home.folder):
        rows += _rows(question)
    rows.sort(key=lambda row: str(row["updated"]))
    return pa.Table.from_pylist(rows, schema=schema)


def _rows(question: Question) -> list[dict[str, Any]]:
    """A row for each dataset of a question; one for a question that named none."""
    answer = {
        "seq": None,
        "verb": question.verb,
        "text": question.text,
        "read": question.read,
        "accepted": question.accepted,
        "digest": question.digest,
        "seconds": question.seconds,
        "updated": question.asked,
        "who": question.who,
        "error": question.error or None,
    }
    rows = []
    for part, pinned in enumerate(question.datasets or ("",)):
        name, _, snapshot = pinned.partition("@")
        rows.append({**answer, "part": part, "dataset": name, "snapshot": int(snapshot) if snapshot else None})
    return rows
