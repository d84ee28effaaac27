"""Splitting pieces that failed anew, inside their job.

Invariant: all or nothing. The new pieces' files come first; what counts is one record, written aside, which names them
and the pieces that they replace. New pieces have exactly the events of the old one, in its order, and new numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from tagsel.base.atomic_write import atomic_write
from tagsel.base.fail_points import fail_point
from tagsel.errors import JobError
from tagsel.jobs.executors import MODE
from tagsel.jobs.folder import JobFolder, PieceState
from tagsel.jobs.piece import piece_plan, read_piece, write_piece
from tagsel.jobs.split import split_piece


def resplit(
    folder: JobFolder,
    states: Sequence[PieceState],
    pieces: Sequence[int],
    *,
    into: int | None = None,
    events_per_job: int | None = None,
) -> dict[int, list[int]]:
    """Split pieces `into` so many parts, or into parts of at most `events_per_job` events; the numbers of the new ones
    by that of the old. Hold the job's lock.

    JobError, before anything is changed, for a piece that is not there, was split before, is done, or cannot be split.
    """
    replaced = folder.replaced
    plans = list(chain(folder.spec["pieces"], *replaced.values()))
    if not pieces:
        raise JobError("no piece was named", hint=f"tagsel jobs show {folder.path.name} names those that failed")
    for number in dict.fromkeys(pieces):
        _refuse(folder, states, number, replaced)
    following = max(plan["number"] for plan in plans) + 1
    made = {}
    for number in dict.fromkeys(pieces):
        parts = _write(folder, number, following, into, events_per_job)
        following += len(parts)
        replaced[number] = parts
        made[number] = [p["number"] for p in parts]
    fail_point("jobs.resplit")
    folder.write(folder.resplit, {"replaced": replaced}, step="jobs.resplit")
    fail_point("jobs.resplit")
    return made


def _refuse(
    folder: JobFolder, states: Sequence[PieceState], number: int, replaced: dict[int, list[dict[str, Any]]]
) -> None:
    """JobError where a piece cannot be split anew."""
    job = folder.path.name
    if number in replaced:
        parts = ", ".join(str(p["number"]) for p in replaced[number])
        raise JobError(f"job {job}: piece {number} was split before, into pieces {parts}", piece=number)
    state = next((s for s in states if s.number == number), None)
    if state is None:
        raise JobError(f"job {job} has no piece {number}", hint=f"tagsel jobs show {job}", piece=number)
    if state.output is not None:
        hint = f"tagsel jobs resubmit {job} tries what could not be read" if state.unreadable else "nothing is missing"
        raise JobError(f"job {job}: piece {number} is done", hint=hint, piece=number)
    if state.state not in ("failed", "waiting"):
        raise JobError(f"job {job}: piece {number} is {state.state}", hint=f"tagsel jobs kill {job}", piece=number)


def _write(
    folder: JobFolder, number: int, first: int, into: int | None, events_per_job: int | None
) -> list[dict[str, Any]]:
    """Write the files of a piece's parts, numbered from `first` on; their plans."""
    piece, recipe, digest = read_piece(folder.piece(number))
    plan = next(p for p in folder.pieces if p["number"] == number)
    if digest != plan["digest"]:
        raise JobError(f"{folder.piece(number)}: not the piece that was planned", path=str(folder.piece(number)))
    by = folder.spec["by"]
    parts = split_piece(piece, first, by=by, into=into, events_per_job=events_per_job)
    plans = []
    for part in parts:
        with atomic_write(folder.piece(part.number), MODE) as temporary:
            plans.append(piece_plan(part, write_piece(temporary, part, recipe)))
    return plans
