"""Jobs: a script run over the events of a list, piece by piece, merged into one result.

Invariant: every selected event is processed once and only once in the merged result, or is counted as
unreadable or failed. A job is its folder: `load` gives the same job in any process, also after a crash.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tagsel.aod import EventMap
from tagsel.errors import AccessError, JobError, TagselError
from tagsel.events import DeliveryLedger, EventList
from tagsel.jobs.broker import Brokered
from tagsel.jobs.diagnose import Group, diagnose
from tagsel.jobs.engines import LOCAL, Chosen, engine
from tagsel.jobs.executors import Executor, NotNow
from tagsel.jobs.folder import JobFolder, PieceState, piece_states
from tagsel.jobs.forecast import Cost, Pace, Rates, accuracy
from tagsel.jobs.lumi import JobLumi, lumi_of
from tagsel.jobs.merge import UNMERGED, JobResult, ledger_of, read_cost, read_result
from tagsel.jobs.notes import TASKS
from tagsel.jobs.plan import Plan, plan_job, write_folder
from tagsel.jobs.resplit import resplit
from tagsel.jobs.rounds import close_round, still_tried
from tagsel.jobs.runner import collect, has_output, launch, run
from tagsel.store import disk

log = logging.getLogger("tagsel")

LOOK_S = 0.5
"""How often a waiting process looks at a job, in seconds."""

KILL_S = 30.0
"""How long killing a job may take, in seconds."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job now: `state` is done, running, submitted (its engine was given pieces, and nobody waits), failed, killed or
    interrupted; counts are of pieces, then of events; `error` says why the outputs of its pieces do not merge, or its
    engine does not answer or takes no pieces now, or is ""."""

    id: str
    name: str
    state: str
    pieces: int
    done: int
    failed: int
    running: int
    held: int
    waiting: int
    events: int
    events_done: int
    error: str = ""

    @property
    def under_way(self) -> bool:
        """Whether pieces may still end, so that its ledger is not known yet."""
        return self.state in ("running", "submitted")

    def to_json(self) -> dict[str, object]:
        """All of it by name."""
        return asdict(self)


def submit(
    jobs: Path,
    events: EventList,
    event_map: EventMap,
    script: Path | str,
    *,
    by: str = "events",
    events_per_job: int | None = None,
    min_events: int | None = None,
    bytes_per_job: int | None = None,
    executor: Executor | None = None,
    name: str = "",
    on: Chosen | None = None,
    drive: bool = True,
    known: Rates | None = None,
    pace: Pace | None = None,
    brokered: Brokered | None = None,
) -> Job:
    """Plan a job, see `plan_job`, and `dispatch` it; `on` is the engine that it keeps, local processes by default.

    Errors as those of the two: nothing is left behind then.
    """
    plan = plan_job(
        events,
        event_map,
        script,
        by=by,
        events_per_job=events_per_job,
        min_events=min_events,
        bytes_per_job=bytes_per_job,
        known=known,
        pace=pace,
        brokered=brokered,
    )
    on = on or LOCAL
    executor = executor or on.executor()
    try:
        refuse_leaving(executor, drive=drive)
    except JobError:
        executor.close()
        raise
    return dispatch(jobs, plan, events, executor, name=name, on=on, drive=drive)


def refuse_leaving(executor: Executor, *, drive: bool) -> None:
    """JobError where nobody is to wait for pieces that end with this process."""
    if not drive and not executor.detached:
        raise JobError(
            f"pieces on engine {executor.name} end with this process", hint="wait for them, or use a batch engine"
        )


def dispatch(
    jobs: Path, plan: Plan, events: EventList, executor: Executor, *, name: str = "", on: Chosen = LOCAL, drive: bool
) -> Job:
    """Write the folder of a planned job below `jobs`, and start; returns at once, `wait` waits for the end.

    `on` is the engine that the job keeps, `executor` the one of this process. Without `drive` pieces are handed to an
    engine that goes on without us, and `wait`, here or in another process, takes them up. JobError for an engine that
    refuses, StoreError where its notes cannot be written: nothing is left behind then.
    """
    job = Job(JobFolder(write_folder(Path(jobs), plan, events, name, on)))
    if not executor.detached:
        job.start(executor)
        return job
    try:
        with disk.saying("hand over the pieces in", job.folder.path):
            launch(job.folder, executor)
    except TagselError as error:
        if not (drive and isinstance(error, NotNow) and error.full):
            _give_up(job, executor, error)
            raise
    if drive:
        job.start(executor, again=False)
    return job


def _give_up(job: Job, executor: Executor, refusal: TagselError) -> None:
    """Leave nothing of a job that could not be handed over: what its engine took before is taken back.

    JobError where it does not give that back: then the folder stays, for it is still used.
    """
    try:
        executor.kill()
    except JobError as error:
        job.folder.killed.touch()
        close_round(job.folder)
        raise JobError(
            f"{refusal.message}; pieces that were taken before are still there: {error.message}",
            hint=f"tagsel jobs kill {job.id}, which is kept",
        ) from refusal
    shutil.rmtree(job.folder.path)


class Job:
    """A job by its folder. Made by `submit` and `load`."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self._thread: threading.Thread | None = None
        self._executor: Executor | None = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.folder.spec['events']:,} events in {len(self.folder.pieces):,} pieces>"

    @property
    def id(self) -> str:
        """The name of the job's folder."""
        return self.folder.path.name

    @property
    def engine(self) -> Chosen:
        """The engine that the job was given."""
        return Chosen.of(self.folder)

    @property
    def pieces(self) -> list[PieceState]:
        """The state of every piece: of those that have not ended all at once, by one look at its engine."""
        states = piece_states(self.folder, self._look()[0])
        if not any(s.state == "failed" for s in states) or self.lives() or self.folder.is_locked():
            return states
        tried = still_tried(self.folder, states)
        killed, handed = self.folder.killed.exists(), self._is_handed()
        given_up = []
        for state in states:
            if state.state != "failed" or (handed and state.number in tried):
                given_up.append(state)
                continue
            why = "interrupted" if state.number in tried else "tried"
            if killed:
                why = self.folder.end_of_killed
            given_up.append(replace(state, given_up=why))
        return given_up

    def _look(self) -> tuple[dict[int, str], str]:
        """As `_told`; where nobody drives the job, what pieces left that have ended is taken in first."""
        told, silent, ended = self._told()
        if ended and not self.lives() and not self.folder.is_locked():
            with contextlib.suppress(JobError, AccessError, OSError):  # somebody drives it now, or it is another user's
                collect(self.folder, engine(self.engine.name).collect)
        return told, silent

    def _told(self) -> tuple[dict[int, str], str, bool]:
        """What the job's engine says of pieces that have not ended, by number; why it says nothing, or ""; and whether
        pieces have ended that nobody has taken in."""
        if self.folder.result.exists():
            return {}, "", False
        try:
            known = list(engine(self.engine.name).states(self.folder.engine))
        except JobError as error:
            return {}, error.message, False
        unseen = any(state == "ended" and not has_output(self.folder, task) for task, state in known)
        return {task.piece: state for task, state in known if state != "ended"}, "", unseen

    def start(self, executor: Executor | None = None, *, again: bool = True, pause_s: float | None = None) -> None:
        """Run what is missing in the background, on the job's engine; without `again` no failed piece is run but those
        that a process that died would have tried again.

        `pause_s` is the first pause before a piece is tried again, in seconds; None is the usual one.
        """
        executor = executor or self.engine.executor()
        if self.folder.killed.exists():
            self.folder.note("killed")
        self.folder.killed.unlink(missing_ok=True)
        self._executor = executor
        self._error = None
        # Not a daemon: a script that submits and ends lets its job finish.
        arguments = executor, again, pause_s
        self._thread = threading.Thread(target=self._drive, args=arguments, name=f"tagsel-job-{self.id}")
        self._thread.start()

    def _drive(self, executor: Executor, again: bool, pause_s: float | None) -> None:
        try:
            run(self.folder, executor, again=again, pause_s=pause_s)
        except BaseException as error:  # `wait` raises it
            self._error = error
        finally:
            executor.close()

    def wait(self, progress: Callable[[JobStatus], None] | None = None) -> JobStatus:
        """Wait for the end; `progress` is called now and then. Ctrl-C kills the job's workers and comes
        through.

        Raises what went wrong in driving the job; failed pieces are no exception here, see `status` and
        `result`.
        """
        try:
            while self._thread is not None and self.lives():
                self._thread.join(LOOK_S if progress else None)
                if progress:
                    progress(self.status())
        except KeyboardInterrupt as stop:
            self.kill(by="SIGTERM" if stop.args == ("SIGTERM",) else "Ctrl-C")
            raise
        if self._error is not None:
            raise self._error
        return self.status()

    def status(self) -> JobStatus:
        """The job now, as its files say."""
        told, silent = self._look()
        states = piece_states(self.folder, told)
        pieces_in = Counter(piece.state for piece in states)
        count = {state: pieces_in[state] for state in ("done", "failed", "running", "held", "waiting")}
        return JobStatus(
            self.id,
            self.folder.spec["name"],
            self._state(count, states, bool(told)),
            len(states),
            **count,
            events=self.folder.spec["events"],
            events_done=sum(p.events for p in states if p.state == "done"),
            error=self.folder.error or silent or self.folder.refusal,
        )

    def lives(self) -> bool:
        """Whether this very object drives the job now."""
        return self._thread is not None and self._thread.is_alive()

    def _state(self, count: dict[str, int], states: list[PieceState], going: bool) -> str:
        if self.folder.result.exists():
            return "done"
        if self.lives() or self.folder.is_locked():
            return "running"
        if self.folder.killed.exists():
            return "killed"
        failed = bool(count["failed"] or self.folder.error) and not still_tried(self.folder, states)
        if going or (self._is_handed() and not failed):
            return "submitted"
        return "failed" if failed else "interrupted"

    def _is_handed(self) -> bool:
        """Whether an engine that goes on without us was given pieces."""
        return any(self.folder.engine.glob(TASKS)) or self.folder.refused.exists()

    @property
    def cost(self) -> Cost:
        """What its pieces took, once they are merged."""
        return read_cost(self.folder)

    @property
    def forecast(self) -> dict[str, Any] | None:
        """What the job was thought to cost; once it is done also its `cost`, and how far off that was, `error`.

        None for a job of an older tagsel. Where what it took cannot be read, a warning says so.
        """
        told: dict[str, Any] | None = self.folder.spec.get("forecast")
        if told is None or not self.folder.cost.exists():
            return told
        try:
            was = read_cost(self.folder)
        except JobError as error:
            log.warning("%s", error)
            return told
        return {**told, "cost": was.to_json(), "error": accuracy(told, was)}

    @property
    def ledger(self) -> DeliveryLedger:
        """accepted = delivered + unreadable + failed; JobError while the job runs."""
        if self.lives() or self.folder.is_locked():
            raise JobError(f"job {self.id} is still running", hint="job.wait()")
        return ledger_of(self.folder, self.pieces)

    @property
    def problems(self) -> list[dict[str, object]]:
        """The files whose events could not be read, each once: guid, lfn, pfn, reason, events, pieces.

        `events` are those of all pieces, the `reason` is what the first of them met.
        """
        files: dict[tuple[object, ...], dict[str, Any]] = {}
        for piece in self.pieces:
            for problem in piece.header.problems if piece.header is not None else ():
                key = tuple(problem[name] for name in ("guid", "lfn", "pfn"))
                file = files.setdefault(key, {**problem, "events": 0, "pieces": []})
                file["events"] += problem["events"]
                file["pieces"].append(piece.number)
        return list(files.values())

    def diagnose(self) -> tuple[Group, ...]:
        """The failures of the job in few groups, the one with most events first; each has a cause, who must act, and
        the next action."""
        return diagnose(self.pieces)

    def lumi(self) -> JobLumi:
        """The processed and the missing luminosity blocks: together those of the list, none in both.

        A block is processed when all its selected events were delivered. JobError where a job does not know its blocks.
        """
        lumi = lumi_of(self.folder, self.pieces)
        if lumi is None:
            raise JobError(f"job {self.id} was submitted before luminosity blocks were kept", hint="submit it again")
        return lumi

    def result(self) -> JobResult:
        """The merged result; JobError, naming the failed pieces, where there is none."""
        if not self.folder.result.exists():
            failed = [p for p in self.pieces if p.state == "failed"]
            if failed:
                named = "; ".join(f"piece {p.number}: {p.error}" for p in failed[:3])
                raise JobError(
                    f"job {self.id}: {len(failed)} of {len(self.folder.pieces)} pieces failed: {named}",
                    hint=f"tagsel jobs show {self.id}, then tagsel jobs resubmit {self.id}",
                    pieces=[p.number for p in failed],
                )
            if self.folder.error:
                raise JobError(f"job {self.id}: {self.folder.error}", hint=UNMERGED)
        return read_result(self.folder)

    @property
    def output(self) -> Path:
        """The file of the merged result."""
        return self.result().path

    def resubmit(self, executor: Executor | None = None) -> None:
        """Run again the pieces without a good output and those with unreadable events, and nothing else.

        All is merged anew then; a job that lost nothing is left as it is.
        """
        if self.folder.is_locked():
            raise JobError(f"job {self.id} is still running", hint=f"tagsel jobs kill {self.id}")
        if any(p.incomplete for p in self.pieces):
            with self.folder.locked():  # nobody takes the old result for the one that is to come
                self.folder.result.unlink(missing_ok=True)
        self.start(executor)

    def resplit(self, *pieces: int, into: int | None = None, events_per_job: int | None = None) -> dict[int, list[int]]:
        """Split pieces that failed anew, `into` so many or of at most `events_per_job` events; the numbers of the new
        ones by those of the old, which never run or count again. All or nothing; `start` runs them.

        JobError while the job runs, and for a piece that has an output, is with the engine, or cannot be split so.
        """
        with self.folder.locked():
            told, silent, _ = self._told()
            if silent:
                raise JobError(f"job {self.id}: nobody knows which pieces still run: {silent}")
            if still := sorted(set(pieces) & told.keys()):
                hint = f"tagsel jobs kill {self.id}"
                raise JobError(f"job {self.id}: its engine still has piece {still[0]}", hint=hint)
            states = piece_states(self.folder, told)
            return resplit(self.folder, states, pieces, into=into, events_per_job=events_per_job)

    def kill(self, by: str = "jobs kill") -> None:
        """End the job, also one that another process runs: kill living workers and retry no piece. Outputs stay."""
        if self.folder.result.exists():
            return
        self.folder.mark_killed(by)
        close_round(self.folder)
        if self._executor is not None:
            self._executor.kill()
        elif self.engine.name != "local":  # the process that drives the job learns of it from the engine
            engine(self.engine.name).cancel(self.folder.engine)
        patience = time.monotonic() + KILL_S
        while self.folder.is_locked() or self.folder.workers():
            self.folder.kill_workers()
            if time.monotonic() > patience:
                raise JobError(f"job {self.id} does not end: it may run on another machine")
            time.sleep(LOOK_S / 10)
        if self._thread is not None:
            self._thread.join()


def load(folder: Path | str) -> Job:
    """The job of a folder; JobError where it is none."""
    job = Job(JobFolder(Path(folder)))
    _ = job.folder.spec
    return job


def list_jobs(jobs: Path | str) -> list[Job]:
    """All jobs below a folder whose job.json can be read, by number; the others are named in the log."""
    readable, damaged = look_up_jobs(jobs)
    for error in damaged.values():
        log.warning("%s", error.message)
    return readable


def look_up_jobs(jobs: Path | str) -> tuple[list[Job], dict[str, JobError]]:
    """The jobs below a folder, by number; and why each of the others, by its id, cannot be read."""
    folders = [p for p in Path(jobs).iterdir() if p.name.isdigit()] if Path(jobs).is_dir() else []
    readable: list[Job] = []
    damaged: dict[str, JobError] = {}
    for folder in sorted(folders, key=lambda p: int(p.name)):
        try:
            readable.append(load(folder))
        except JobError as error:
            damaged[folder.name] = error
    return readable, damaged
