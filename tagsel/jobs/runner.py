"""Driving a job: run what is missing, try again what may be mended by it, merge at the end.

Invariant: a piece that delivered all its events is never run again; a piece that somebody must act for is not tried
again by itself: the table in `failures` says which.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tagsel.base.atomic_write import atomic_write
from tagsel.base.lock_file import process_name
from tagsel.errors import JobError
from tagsel.jobs.broker import sites_in_turn
from tagsel.jobs.executors import MODE, WORKER, Ended, Executor, NotNow, Task
from tagsel.jobs.failures import TRIED_AGAIN, Cause, failures_of, last_lines, unreadable_file, worst
from tagsel.jobs.folder import JobFolder, PieceState, good_header, is_output, piece_states
from tagsel.jobs.merge import merge
from tagsel.jobs.output import Header, read_header, write_output
from tagsel.jobs.retries import Retries
from tagsel.jobs.rounds import close_round, open_round, round_of, still_tried
from tagsel.jobs.values import NONE

LOOK_S = 0.5
"""How often a driver that only waits for pauses to end looks whether the job was killed, in seconds."""


def run(folder: JobFolder, executor: Executor, *, again: bool = True, pause_s: float | None = None) -> None:
    """Run what is missing or could not be read, and merge; a job with failed pieces is left without a result.

    Pieces that an engine still has from an earlier process are waited for; without `again` no failed piece is run but
    those that an earlier process would have tried again. An engine that takes no pieces now is offered them again.
    `pause_s` is the first pause before a piece is tried again, in seconds; None is the usual one.
    JobError where another process drives the job, or results do not merge: then the folder says why.
    """
    with folder.locked():
        if folder.result.exists():
            return
        folder.unmerged.unlink(missing_ok=True)
        retries = Retries(pause_s)
        try:
            tasks, under_way = _begin(folder, executor, again, retries)
            _drive(folder, executor, under_way | _offer(folder, executor, tasks, retries), retries)
        except BaseException:
            executor.kill()
            raise
        if all(s.output is not None for s in piece_states(folder)):
            _merge(folder)


def launch(folder: JobFolder, executor: Executor) -> None:
    """Submit what is missing to an engine whose tasks go on without us, and leave; `run` takes them up again.

    JobError where the engine refuses, NotNow where that may pass.
    """
    with folder.locked():
        executor.submit(_begin(folder, executor, True, Retries())[0])
        if folder.killed.exists():  # meanwhile; who killed it may not have seen what was submitted
            executor.kill()


def collect(folder: JobFolder, ended: Callable[[Path], Iterable[Ended]]) -> None:
    """Take in the tasks of a job that ended while nobody drove it, as `ended` finds them in its notes; nothing is
    submitted. JobError where somebody drives it."""
    with folder.locked():
        plans = {plan["number"]: plan for plan in folder.pieces}
        for end in ended(folder.engine):
            if end.task.piece in plans:  # it may have been split anew since
                _settle(folder, end, plans[end.task.piece])


def has_output(folder: JobFolder, task: Task) -> bool:
    """Whether an attempt left an output in the job's folder, good or a record of its failure."""
    return any(path.exists() for path in _outputs(folder, task))


def _outputs(folder: JobFolder, task: Task) -> list[Path]:
    """Where the output of an attempt is, if it is there."""
    stem = folder.stem(task.piece, task.attempt)
    return [stem.with_name(f"{stem.name}{suffix}") for suffix in (".json", ".parquet")]


def _begin(folder: JobFolder, executor: Executor, again: bool, retries: Retries) -> tuple[list[Task], dict[int, int]]:
    """Take up what the engine still has: the tasks to submit, and the attempt of each piece that is under way."""
    attempts = folder.attempts()
    last = {number: max(tries, default=0) for number, tries in attempts.items()}
    resumed = executor.resume(folder.engine)  # outputs may come in by that
    states = {s.number: s for s in piece_states(folder)}
    for task in resumed:
        last[task.piece] = max(last.get(task.piece, 0), task.attempt)
    latest = [task for task in resumed if task.attempt == last[task.piece]]
    under_way = _under_way(latest, states, attempts)
    folder.kill_workers(keep=under_way.items())  # of a submitter that died: their pieces are run again
    waiting = [state for number, state in states.items() if number not in under_way]
    missing = _missing(waiting, again)
    if missing:
        folder.note(process_name())
    before = round_of(folder)
    open_round(folder, before | {n: last.get(n, 0) for n in missing if again or n not in before})
    plans = {plan["number"]: plan for plan in folder.pieces}
    ended = states.keys() - under_way.keys() - set(missing)
    for number, cause in still_tried(folder, [states[n] for n in sorted(ended)]).items():
        retries.add(_retry(folder, plans[number], last[number], cause), last[number] - before[number])
    return [_task(folder, plans[n], last.get(n, 0) + 1, str(plans[n]["site"])) for n in missing], under_way


def _missing(states: Sequence[PieceState], again: bool) -> list[int]:
    """The pieces that have no whole output; those that failed, too, only where they are run again."""
    incomplete = [state for state in states if state.incomplete]
    if not again:
        incomplete = [state for state in incomplete if state.state not in ("failed", "done")]
    return [state.number for state in incomplete]


def _under_way(
    tasks: Sequence[Task], states: Mapping[int, PieceState], attempts: Mapping[int, Mapping[int, list[Path]]]
) -> dict[int, int]:
    """The attempt of each piece that the engine still runs: the piece is not done, and the attempt left no output."""
    under_way = {}
    for task in tasks:
        if task.piece not in states:  # it was split anew since
            continue
        files = attempts.get(task.piece, {}).get(task.attempt, [])
        if states[task.piece].incomplete and not any(map(is_output, files)):
            under_way[task.piece] = task.attempt
    return under_way


def _merge(folder: JobFolder) -> None:
    """Merge; results that do not fit together leave the reason in the folder."""
    try:
        merge(folder)
    except JobError as error:
        with atomic_write(folder.unmerged, MODE) as temporary:
            temporary.write_text(error.message, "utf-8")
        raise


def _drive(folder: JobFolder, executor: Executor, under_way: dict[int, int], retries: Retries) -> None:
    """See all pieces to their ends, by their attempt that is under way."""
    plans = {plan["number"]: plan for plan in folder.pieces}
    before = round_of(folder)
    while under_way or retries:
        under_way |= _offer(folder, executor, retries.take(), retries)
        ended = _next(executor, bool(under_way), retries)
        if folder.killed.exists():
            executor.kill()
            retries.clear()
        if ended is None or under_way.get(ended.task.piece) != ended.task.attempt:
            continue  # nothing, or of an attempt that was given up before
        number, attempt = ended.task.piece, ended.task.attempt
        del under_way[number]
        cause = _settle(folder, ended, plans[number])
        if cause is not None and cause.kind in TRIED_AGAIN and not folder.killed.exists():
            retries.add(_retry(folder, plans[number], attempt, cause), attempt - before.get(number, 0))
    close_round(folder)


def _next(executor: Executor, going: bool, retries: Retries) -> Ended | None:
    """The next task that ended, waited for until a pause is over; None where none has."""
    if not retries:
        return executor.ended()
    patience = retries.patience() or 0.0
    if going:
        return executor.ended(patience)
    time.sleep(min(patience, LOOK_S))
    return None


def _offer(folder: JobFolder, executor: Executor, tasks: list[Task], retries: Retries) -> dict[int, int]:
    """Submit tasks; the attempts that the engine took, by piece. What it does not take now waits to be offered again,
    and the job's folder says why."""
    if not tasks:
        return {}
    left: tuple[Task, ...] = ()
    try:
        executor.submit(tasks)
        if folder.killed.exists():  # meanwhile; who killed it may not have seen what was submitted
            executor.kill()
        retries.taken()
        folder.refused.unlink(missing_ok=True)
    except NotNow as refusal:
        left = refusal.left
        retries.refused(refusal, some=len(left) < len(tasks))
        with atomic_write(folder.refused, MODE) as temporary:
            temporary.write_text(f"{refusal.message}; pieces wait, and are offered again", "utf-8")
    waiting = set(left)
    return {task.piece: task.attempt for task in tasks if task not in waiting}


def _retry(folder: JobFolder, plan: dict[str, Any], attempt: int, cause: Cause) -> Task:
    """The task after an attempt that failed. The one place that says where it goes: where a site failed, to the next
    that holds most of the piece's files."""
    site = _other_site(folder, plan, attempt + 1) if cause.kind == "site" else str(plan["site"])
    return _task(folder, plan, attempt + 1, site)


def _other_site(folder: JobFolder, plan: dict[str, Any], attempt: int) -> str:
    """The site of an attempt after one that failed by its site."""
    sites = sites_in_turn(plan, folder.spec.get("brokering", ()))
    return sites[(attempt - 1) % len(sites)]


def _task(folder: JobFolder, plan: Mapping[str, Any], attempt: int, site: str = "") -> Task:
    """An attempt at a piece. Its worker is told what the piece's file must be, so that it runs nothing else."""
    number, digest = plan["number"], plan["digest"]
    piece, stem = folder.piece(number), folder.stem(number, attempt)
    command = (sys.executable, "-P", "-m", WORKER, str(piece), str(stem), str(attempt), str(digest))
    out, err = (folder.log(number, attempt, kind) for kind in ("out", "err"))
    return Task(number, attempt, command, out, err, (piece,), stem, site)


def _settle(folder: JobFolder, ended: Ended, plan: dict[str, object]) -> Cause | None:
    """Record how an attempt ended; why it failed or what it could not read, None where all was delivered."""
    task = ended.task
    stem = folder.stem(task.piece, task.attempt)
    outputs = [path for path in _outputs(folder, task) if path.exists()]
    wrong = []
    for path in outputs:
        good, why = good_header(path, plan, folder.spec["script"])
        wrong.append(f"its output cannot be used: {why}")
        if good is not None:
            return worst([unreadable_file(str(p["reason"])).cause for p in good.problems])
        header = _header(path)
        if header is not None and header.status == "failed":
            return failures_of({**_records(folder, task), task.attempt: header.error})[-1].cause
    error: dict[str, object] = {
        "origin": "ended",
        "message": ended.error or "; ".join(wrong) or "no output",
        "code": ended.code,
        "hold": ended.hold,
        "trace": _tail(folder, task),
    }
    cause = failures_of({**_records(folder, task), task.attempt: error})[-1].cause
    error |= {"class": cause.kind, "cause": cause.name}
    record = Header(task.piece, str(plan["digest"]), folder.spec["script"], task.attempt, "failed", error=error)
    for path in outputs:  # damaged: kept for inspection, out of the way of the record
        path.rename(path.with_name(f"{path.name}.bad"))
    write_output(stem, replace(record, events=int(str(plan["events"]))), NONE)
    return cause


def _records(folder: JobFolder, task: Task) -> dict[int, Mapping[str, object]]:
    """What earlier attempts at the piece said of their failures."""
    stems = {n: folder.stem(task.piece, n) for n in range(1, task.attempt)}
    headers = {n: _header(stem.with_name(f"{stem.name}.json")) for n, stem in stems.items()}
    return {n: h.error for n, h in headers.items() if h is not None and h.status == "failed"}


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except JobError:
        return None


def _tail(folder: JobFolder, task: Task) -> str:
    """The end of what the worker complained."""
    try:
        return last_lines(folder.log(task.piece, task.attempt, "err").read_text("utf-8", "replace"))[-4000:]
    except OSError:
        return ""
