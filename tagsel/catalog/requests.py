"""Requests of group members for another's job: kill it, resubmit it, split its failed pieces anew.

A job's folder is its submitter's, so only they change it. Other members of the group ask in the journal, which records
their names as the kernel knows them; the submitter's next command, or the process that drives the job, carries it out.

Invariant: a request has one answer: it is open until the submitter answers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tagsel.catalog.records import AnswerRecord, RequestRecord
from tagsel.catalog.tables import Rows, from_row

VERBS = ("kill", "resubmit", "resplit")
"""The verbs of requests."""

OPEN, DONE, REFUSED = "open", "done", "refused"
"""States of a request."""


@dataclass(frozen=True)
class JobRequest:
    """A request with its answer: `options` are those of `resplit`, `note` says why it was refused."""

    job: str
    seq: int
    verb: str
    options: Mapping[str, Any]
    state: str
    note: str
    who: str
    updated: str


def requests(state: Rows, job: str) -> list[JobRequest]:
    """Return the requests for a job, in order, each with its answer."""
    answers = {row["seq"]: from_row(AnswerRecord, row) for row in state.of("answers", job)}
    no_answer = AnswerRecord(job, 0, OPEN, "")
    joined = []
    for row in state.ordered("requests", job, "seq"):
        request = from_row(RequestRecord, row)
        answer = answers.get(request.seq, no_answer)
        joined.append(
            JobRequest(
                job,
                request.seq,
                request.verb,
                request.options,
                answer.state,
                answer.note,
                request.who,
                request.updated,
            )
        )
    return joined
