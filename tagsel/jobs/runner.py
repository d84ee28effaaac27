"""Driving a job: run what is missing, try again what may be mended by it, merge at the end.

Invariant: a piece that delivered all its events is never run again; a piece whose script failed is not tried again by
itself.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tagsel.aside import aside
from tagsel.errors import JobError
from tagsel.jobs.executors import Ended, Executor, Task
from tagsel.jobs.folder import JobFolder, good_header, piece_states
from tagsel.jobs.merge import merge
from tagsel.jobs.output import Header, read_header, write_output
from tagsel.jobs.values import NONE

RETRIES = 2
"""How often a piece is tried again after failures that may pass: killed, timed out, disk or network."""


def run(folder: JobFolder, executor: Executor) -> None:
    """Run what is missing or could not be read, and merge; a job with failed pieces is left without a result.

    JobError where another process drives the job, or results do not merge: then the folder says why.
    """
    with folder.locked():
        if folder.result.exists():
            return
        folder.unmerged.unlink(missing_ok=True)
        folder.kill_workers()  # of a submitter that died: their pieces are run again
        plans = {plan["number"]: plan for plan in folder.pieces}
        last = {number: max(tries, default=0) for number, tries in folder.attempts().items()}
        tries = {s.number: 0 for s in piece_states(folder) if s.incomplete}
        for number in tries:
            last[number] = _submit(folder, executor, number, last.get(number, 0) + 1)
        try:
            _drive(folder, executor, plans, last, tries)
        except BaseException:
            executor.kill()
            raise
        if all(s.output is not None for s in piece_states(folder)):
            _merge(folder)


def _merge(folder: JobFolder) -> None:
    """Merge; results that do not fit together leave the reason in the folder."""
    try:
        merge(folder)
    except JobError as error:
        with aside(folder.unmerged) as temporary:
            temporary.write_text(error.message, "utf-8")
        raise


def _drive(
    folder: JobFolder, executor: Executor, plans: dict[int, Any], last: dict[int, int], tries: dict[int, int]
) -> None:
    """See all submitted pieces to their ends; `last` attempt of each, and how many `tries` were repeated."""
    outstanding = len(tries)
    while outstanding:
        ended = executor.ended()
        number = ended.task.piece
        if folder.killed.exists():
            executor.kill()
        may_pass = _settle(folder, ended, plans[number])
        if may_pass and tries[number] < RETRIES and not folder.killed.exists():
            tries[number] += 1
            last[number] = _submit(folder, executor, number, last[number] + 1)
        else:
            outstanding -= 1


def _submit(folder: JobFolder, executor: Executor, number: int, attempt: int) -> int:
    stem = folder.stem(number, attempt)
    command = (sys.executable, "-P", "-m", "tagsel.jobs.worker", str(folder.piece(number)), str(stem), str(attempt))
    executor.submit(
        Task(number, attempt, command, folder.log(number, attempt, "out"), folder.log(number, attempt, "err"))
    )
    return attempt


def _settle(folder: JobFolder, ended: Ended, plan: dict[str, object]) -> bool:
    """Record how an attempt ended; whether trying again may help."""
    task = ended.task
    stem = folder.stem(task.piece, task.attempt)
    outputs = [p for p in (stem.with_name(f"{stem.name}{s}") for s in (".json", ".parquet")) if p.exists()]
    for path in outputs:
        if good_header(path, plan, folder.spec["script"])[0] is not None:
            return False
        header = _header(path)
        if header is not None and header.status == "failed":
            return header.error.get("class") == "transient"
    error = {"class": "transient", "message": ended.error or "no output", "trace": _tail(folder, task)}
    record = Header(task.piece, str(plan["digest"]), folder.spec["script"], task.attempt, "failed", error=error)
    for path in outputs:  # damaged: kept for whoever looks into it, out of the way of the record
        path.rename(path.with_name(f"{path.name}.bad"))
    write_output(stem, replace(record, events=int(str(plan["events"]))), NONE)
    return True


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except JobError:
        return None


def _tail(folder: JobFolder, task: Task) -> str:
    """The end of what the worker complained."""
    try:
        return folder.log(task.piece, task.attempt, "err").read_text("utf-8", "replace")[-2000:]
    except OSError:
        return ""
