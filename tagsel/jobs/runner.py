"""Driving a job: run what is missing, try again what may be mended by it, merge at the end.

Invariant: a piece that delivered all its events is never run again; a piece whose script failed is not tried again by
itself.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tagsel.aside import aside
from tagsel.errors import JobError
from tagsel.jobs.executors import Ended, Executor, Task
from tagsel.jobs.folder import JobFolder, good_header, piece_states
from tagsel.jobs.merge import merge
from tagsel.jobs.output import Header, read_header, write_output
from tagsel.jobs.values import NONE

RETRIES = 2
"""How often a piece is tried again after failures that may pass: killed, timed out, disk or network."""


def run(folder: JobFolder, executor: Executor, *, again: bool = True) -> None:
    """Run what is missing or could not be read, and merge; a job with failed pieces is left without a result.

    Pieces that an engine still has from an earlier process are waited for; without `again` no failed piece is run.
    JobError where another process drives the job, or results do not merge: then the folder says why.
    """
    with folder.locked():
        if folder.result.exists():
            return
        folder.unmerged.unlink(missing_ok=True)
        try:
            _drive(folder, executor, _begin(folder, executor, again))
        except BaseException:
            executor.kill()
            raise
        if all(s.output is not None for s in piece_states(folder)):
            _merge(folder)


def launch(folder: JobFolder, executor: Executor) -> None:
    """Submit what is missing to an engine whose tasks go on without us, and leave; `run` takes them up again."""
    with folder.locked():
        _begin(folder, executor, again=True)


def _begin(folder: JobFolder, executor: Executor, again: bool) -> dict[int, int]:
    """Take up what the engine still has, and submit the rest; the attempt of each piece that is under way."""
    made = folder.attempts()
    last = {number: max(tries, default=0) for number, tries in made.items()}
    going = {}
    for task in executor.resume(folder.engine):
        last[task.piece] = max(last.get(task.piece, 0), task.attempt)
        going[task.piece, task.attempt] = task
    states = {s.number: s for s in piece_states(folder)}
    under_way = {
        piece: attempt for piece, attempt in going
        if attempt == last[piece] and states[piece].incomplete and not _has_output(made.get(piece, {}).get(attempt, []))
    }  # fmt: skip
    folder.kill_workers(keep=under_way.items())  # of a submitter that died: their pieces are run again
    missing = [s.number for s in states.values() if s.incomplete and s.number not in under_way]
    if not again:
        missing = [number for number in missing if states[number].state != "failed"]
    fresh = {number: last.get(number, 0) + 1 for number in missing}
    executor.submit([_task(folder, number, attempt) for number, attempt in fresh.items()])
    return under_way | fresh


def _has_output(files: list[Path]) -> bool:
    """Whether an attempt left an output, good or a record of its failure."""
    return any(path.parent.name == "outputs" and path.suffix in (".json", ".parquet") for path in files)


def _merge(folder: JobFolder) -> None:
    """Merge; results that do not fit together leave the reason in the folder."""
    try:
        merge(folder)
    except JobError as error:
        with aside(folder.unmerged) as temporary:
            temporary.write_text(error.message, "utf-8")
        raise


def _drive(folder: JobFolder, executor: Executor, under_way: dict[int, int]) -> None:
    """See all pieces to their ends, by their attempt that is under way."""
    plans = {plan["number"]: plan for plan in folder.pieces}
    repeated = dict.fromkeys(under_way, 0)
    while under_way:
        ended = executor.ended()
        number, attempt = ended.task.piece, ended.task.attempt
        if under_way.get(number) != attempt:
            continue  # of an attempt that was given up before
        if folder.killed.exists():
            executor.kill()
        may_pass = _settle(folder, ended, plans[number])
        if may_pass and repeated[number] < RETRIES and not folder.killed.exists():
            repeated[number] += 1
            under_way[number] = attempt + 1
            executor.submit([_task(folder, number, attempt + 1)])
        else:
            del under_way[number]


def _task(folder: JobFolder, number: int, attempt: int) -> Task:
    piece, stem = folder.piece(number), folder.stem(number, attempt)
    command = (sys.executable, "-P", "-m", "tagsel.jobs.worker", str(piece), str(stem), str(attempt))
    out, err = (folder.log(number, attempt, kind) for kind in ("out", "err"))
    return Task(number, attempt, command, out, err, (piece,), stem)


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
