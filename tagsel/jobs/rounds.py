"""A round of attempts: from when somebody submits pieces, or submits them again, until each was delivered or given up.

    round.json   piece → how many attempts it had before the round; there while the round is open

Invariant: a piece is tried again at most `RETRIES` times in a round, by however many drivers: what counts is on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tagsel.errors import JobError
from tagsel.jobs.failures import TRIED_AGAIN, Cause, unreadable_file, worst
from tagsel.jobs.folder import JobFolder, PieceState
from tagsel.jobs.retries import RETRIES


def round_of(folder: JobFolder) -> dict[int, int]:
    """How many attempts each piece of the open round had before it; nothing where none is open."""
    path = _path(folder)
    if not path.exists():
        return {}
    record = folder.read(path, "tagsel jobs kill, then tagsel jobs resubmit, begin a new round")
    before = record["before"] if "version" in record else record
    try:
        return {int(piece): int(attempts) for piece, attempts in before.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise JobError(f"{path}: not a record of attempts: {error}", path=str(path)) from error


def open_round(folder: JobFolder, before: Mapping[int, int]) -> None:
    """Begin a round, or write down what belongs to it now."""
    folder.write(_path(folder), {"before": {str(piece): attempts for piece, attempts in before.items()}})


def close_round(folder: JobFolder) -> None:
    """No piece waits for another attempt, or to be submitted, any more."""
    _path(folder).unlink(missing_ok=True)
    folder.refused.unlink(missing_ok=True)


def still_tried(folder: JobFolder, states: Iterable[PieceState]) -> dict[int, Cause]:
    """The pieces that are to be tried again in the open round, and why their last attempts failed."""
    before = round_of(folder)
    if not before:
        return {}
    made = {piece: max(attempts, default=0) for piece, attempts in folder.attempts().items()}
    return {
        s.number: cause
        for s in states
        if s.number in before
        and 0 < made.get(s.number, 0) - before[s.number] <= RETRIES
        and (cause := _why(s)) is not None
        and cause.kind in TRIED_AGAIN
    }


def _why(state: PieceState) -> Cause | None:
    """Why a piece that has ended did not deliver all, None where it has not ended or did."""
    if state.state == "failed":
        return state.failure.cause if state.failure is not None else None
    problems = state.header.problems if state.header is not None else ()
    return worst([unreadable_file(str(p["reason"])).cause for p in problems])


def _path(folder: JobFolder) -> Path:
    return folder.path / "round.json"
