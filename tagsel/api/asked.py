"""The table `queries` of `--sql`: the questions that this user asked in a workspace, and what its journal records.

Invariant: the table has the columns of the catalog's own `queries`, and `error`; a question has no `seq`, for no
journal holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from tagsel.base import question_log, settings
from tagsel.base.question_log import Question
from tagsel.catalog.tables import TABLES
from tagsel.errors import TagselError

if TYPE_CHECKING:
    import pyarrow as pa

    from tagsel.api.workspace import Workspace

Answer = TypeVar("Answer", bound=Sized)

TABLE = "queries"
"""The table's name."""


def ask(workspace: Workspace, verb: str, text: str, function: Callable[[], Answer]) -> Answer:
    """The function's answer to a question to the catalog: a condition on datasets, or SQL. The question is logged."""
    started = time.perf_counter()
    try:
        answer = function()
    except BaseException as error:
        with suppress(TagselError):  # a setting that cannot be read is not why there is no answer
            _log(workspace, verb, text, started, error=question_log.reason(error))
        raise
    _log(workspace, verb, text, started, rows=len(answer))
    return answer


def _log(workspace: Workspace, verb: str, text: str, started: float, rows: int | None = None, error: str = "") -> None:
    if settings.resolve("questions", None, workspace.folder).value:
        seconds = round(time.perf_counter() - started, 6)
        question = Question(str(workspace.folder), verb, text=text, accepted=rows, seconds=seconds, error=error)
        question_log.record(question)


def table(workspace: Workspace) -> pa.Table:
    """Questions and changes, in the order of time; a question to several datasets has a row for each."""
    import pyarrow as pa

    types = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}
    columns = {**TABLES[TABLE].columns, "error": "VARCHAR"}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    rows = workspace.catalog.rows(TABLE, {}, "seq, part")
    for question in question_log.read(workspace.folder):
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
