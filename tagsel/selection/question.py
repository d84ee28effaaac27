"""The log of questions: `question` decorates the functions that answer one, and names it where memory is short.

Invariant: a question is logged once, when it is answered or refused, whatever other questions it asks on the way; and
only in a workspace whose settings allow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from tagsel.base import question_log, settings
from tagsel.base.memory_limit import memory_for
from tagsel.errors import TagselError
from tagsel.selection.query import Query

P = ParamSpec("P")
R = TypeVar("R")

_inside: ContextVar[bool] = ContextVar("inside a question", default=False)


@dataclass(frozen=True)
class Outcome:
    """What the log keeps of an answer: its cut in canonical text, rows read, events accepted, hash of the selection.

    `subject` is the rest of the question, such as the axes of a histogram; `error` says why there is no answer.
    """

    cut: str = ""
    read: int | None = None
    accepted: int | None = None
    digest: str = ""
    subject: str = ""
    error: str = ""


def question(
    verb: str, outcome: Callable[[R], Outcome]
) -> Callable[[Callable[Concatenate[Query, P], R]], Callable[Concatenate[Query, P], R]]:
    """Log the query that the decorated function takes, and the `outcome` of its answer or its error.

    A refusal of memory becomes a MemoryLimitError that names the question.
    """

    def decorate(function: Callable[Concatenate[Query, P], R]) -> Callable[Concatenate[Query, P], R]:
        @wraps(function)
        def ask(query: Query, *args: P.args, **kwargs: P.kwargs) -> R:
            if _inside.get():
                return function(query, *args, **kwargs)
            started = time.perf_counter()
            try:
                with unlogged(), memory_for(f"{verb} of {', '.join(i.pinned for i in query.inputs)}"):
                    answer = function(query, *args, **kwargs)
            except BaseException as error:
                with suppress(TagselError):  # a setting that cannot be read is not why there is no answer
                    _log(query, verb, Outcome(error=question_log.reason(error)), started)
                raise
            _log(query, verb, outcome(answer), started)
            return answer

        return cast("Callable[Concatenate[Query, P], R]", ask)

    return decorate


@contextmanager
def unlogged() -> Iterator[None]:
    """Log no question inside the context: it is a part of another, or tagsel's own."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def _log(query: Query, verb: str, outcome: Outcome, started: float) -> None:
    if query.home is None or not settings.resolve("questions", None, query.home).value:
        return
    seconds = round(time.perf_counter() - started, 6)
    cut = outcome.cut or " && ".join(text for _, text in query.cuts)
    text = f"{outcome.subject} if {cut}" if outcome.subject else cut
    masks = f", masked by {','.join(lumi.digest[:16] for lumi in query.lumi)}" if query.lumi else ""
    pinned = tuple(source.pinned for source in query.inputs)
    question_log.record(
        question_log.Question(
            home=str(query.home),
            verb=verb,
            datasets=pinned,
            text=text + masks,
            read=outcome.read,
            accepted=outcome.accepted,
            digest=outcome.digest,
            seconds=seconds,
            error=outcome.error,
        )
    )
