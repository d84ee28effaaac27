"""The failures of a job, grouped into few causes.

Invariant: every failed piece is in one group by its last failure; so is every file whose events a piece could not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tagsel.jobs.failures import Cause, Failure, unreadable_file
from tagsel.jobs.folder import PieceState

TAKEN_OUT = (
    (r"[a-z][\w+.-]*://[^\s'\",;)]*[^\s'\",;:.)]", "<address>"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
    (r"(?<![\w<])(?:~|\.{1,2})?/[^\s'\",:;()]+", "<path>"),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*(?::\d+)?", "<address>"),
    (r"\b[\w-]+(?:\.[\w-]+)+:\d+\b|\b(?=[\w-]*\d)[a-z][\w-]*(?:\.[\w-]+){2,}\b", "<address>"),
    (r"\b0x[0-9a-f]+\b|\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{12,}\b", "<id>"),
    (r"(?<![A-Za-z])[-+]?\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?", "<n>"),
)
"""What is taken out of a message, in this order, and what stands for it."""

_TAKEN_OUT = [(re.compile(pattern, re.IGNORECASE), word) for pattern, word in TAKEN_OUT]


def signature(message: str) -> str:
    """A message with what differs from piece to piece taken out: addresses, ids, paths, numbers.

    >>> signature("/data/a.root: cannot read tree: 17 of 0x7ffd2 at root://se01.example.org:1094//b.root")
    '<path>: cannot read tree: <n> of <id> at <address>'
    """
    text = " ".join(message.split())
    for pattern, word in _TAKEN_OUT:
        text = pattern.sub(word, text)
    return text[:300]


@dataclass(frozen=True)
class Group:
    """Failures of one cause and signature: `pieces` are their numbers, rising, `example` is one, and its message."""

    cause: Cause
    signature: str
    pieces: tuple[int, ...]
    events: int
    example: int
    message: str

    def to_json(self) -> dict[str, object]:
        """All of it by name."""
        return {
            "class": self.cause.kind,
            "cause": self.cause.words,
            "signature": self.signature,
            "pieces": len(self.pieces),
            "events": self.events,
            "example": self.example,
            "message": self.message,
            "owner": self.cause.owner,
            "action": self.cause.action,
            "numbers": list(self.pieces),
        }


def diagnose(states: Iterable[PieceState]) -> tuple[Group, ...]:
    """What is wrong with a job, by the states of its pieces: the group with most events first, then by signature.

    `events` are those of failed pieces, and those that could not be read.
    """
    by_cause: dict[tuple[str, str], list[tuple[int, int, Failure]]] = {}
    known: dict[str, str] = {}
    for piece, events, failure in _failures(states):
        message = failure.evidence.message
        sign = known.setdefault(message, "") or signature(message)
        known[message] = sign
        by_cause.setdefault((failure.cause.name, sign), []).append((piece, events, failure))
    groups = [_group(sign, rows) for (_, sign), rows in by_cause.items()]
    return tuple(sorted(groups, key=lambda g: (-g.events, g.signature, g.cause.name)))


def _failures(states: Iterable[PieceState]) -> Iterable[tuple[int, int, Failure]]:
    """(piece, events, failure) of every piece that failed and of every file that a piece could not read."""
    for state in states:
        failure = state.failure if state.header is None else None
        if failure is not None:
            yield state.number, state.events, failure
        for problem in state.header.problems if state.header is not None else ():
            yield state.number, int(str(problem["events"])), unreadable_file(str(problem["reason"]))


def _group(sign: str, rows: list[tuple[int, int, Failure]]) -> Group:
    rows.sort(key=lambda row: row[0])
    example, _, failure = rows[0]
    pieces = tuple(dict.fromkeys(row[0] for row in rows))
    return Group(failure.cause, sign, pieces, sum(row[1] for row in rows), example, failure.said)
