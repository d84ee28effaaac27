"""Requests of group members for another's job: kill it, resubmit it, split its failed pieces anew.

A job's folder is its submitter's, so only they change it. Other members of the group ask in the journal, which records
their names as the kernel knows them; the submitter's next command, or the process that drives the job, carries it out.

Invariant: a request is answered once: it is open until the submitter says what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tagsel.catalog.changes import Change, Stamp, as_json
from tagsel.catalog.tables import Op, Put, Rows
from tagsel.errors import CatalogError

VERBS = ("kill", "resubmit", "resplit")
"""What may be asked for."""

OPEN, DONE, REFUSED = "open", "done", "refused"
"""States of a request."""


@dataclass(frozen=True)
class JobRequest:
    """What a member of the group asked for: `options` are those of `resplit`, `note` says why it was refused."""

    job: str
    seq: int
    verb: str
    options: Mapping[str, Any]
    state: str
    note: str
    who: str
    updated: str


@dataclass(frozen=True)
class RequestJob(Change):
    """Ask the submitter of a job for a verb."""

    job: str
    verb: str
    options: Mapping[str, Any]

    def check(self, state: Rows) -> None:
        """The verb may be asked for."""
        if self.verb not in VERBS:
            raise CatalogError(f"nobody can ask for {self.verb!r} of a job", hint=", ".join(VERBS))
        as_json(self.options)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of requests."""
        row = {"job": self.job, "seq": stamp.seq, "verb": self.verb, "options": as_json(self.options)}
        yield Put("requests", {**row, "who": stamp.who, "updated": stamp.when})


@dataclass(frozen=True)
class AnswerRequest(Change):
    """Say what became of a request: done, or refused and why. Who asked, and when, stays."""

    job: str
    seq: int
    state: str
    note: str

    def check(self, state: Rows) -> None:
        """There is such a request, and it is open."""
        is_open = {request.seq for request in requests(state, self.job) if request.state == OPEN}
        if self.seq not in is_open:
            raise CatalogError(f"job {self.job} has no open request {self.seq}", job=self.job)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of answers."""
        yield Put(
            "answers",
            {
                "job": self.job,
                "seq": self.seq,
                "state": self.state,
                "note": self.note,
                "who": stamp.who,
                "updated": stamp.when,
            },
        )


KINDS = (RequestJob, AnswerRequest)
"""Every kind of change of this module."""


def requests(state: Rows, job: str) -> list[JobRequest]:
    """The requests for a job, in order, each with its answer."""
    answers = {row["seq"]: row for row in state.of("answers", job)}
    found = []
    for row in sorted(state.of("requests", job), key=lambda row: int(row["seq"])):
        answer = answers.get(row["seq"], {"state": OPEN, "note": ""})
        asked = (row["seq"], row["verb"], json.loads(row["options"]))
        found.append(JobRequest(job, *asked, answer["state"], answer["note"], row["who"], row["updated"]))
    return found
