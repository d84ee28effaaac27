"""Pieces as jobs of HTCondor: one cluster for each submission, files moved by HTCondor, states from the event log.

The event log lies in the job's folder and says all that became of each piece, so a process that comes later goes on
where one that died was. Results are moved into the job's outputs whole, when the log says that their job has ended.
Needs `pip install "tagsel[condor]"` and a configuration that HTCondor's own commands find (`CONDOR_CONFIG`).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagsel.errors import JobError
from tagsel.jobs.executors import Ended, NotNow, Task, signal_name
from tagsel.jobs.notes import Notes, Submission

LOOK_S = 1
"""How long the event log is waited for at a time, in whole seconds."""

BY_HAND = 1
"""Hold code of a job that a person put on hold: it is waited for until it is released."""

LIMITS = {"-2": "MAX_JOBS_SUBMITTED", "-3": "MAX_JOBS_PER_OWNER", "-4": "MAX_JOBS_PER_SUBMISSION"}
"""Limits of a schedd, by the code that it answers with where one is reached."""

FULL = re.compile(r"Schedd says (-[234])\b")
"""What htcondor2 says then."""

SILENT = re.compile(
    r"^(?!Failed to create job ad).*(connect|locate|SECMAN|CEDAR|timed out|commit|says -1\b|new cluster|send)",
    re.IGNORECASE | re.DOTALL,
)
"""What it says where no schedd answers, or one stops to."""

ASK = "condor_q says whether it is there"

WORD = re.compile(r"(?!(undefined|true|false)$)[a-z_]\w*|\d[\d.]*\s*(?![kmgtp]?b?$)[a-z]\w*|", re.IGNORECASE)
"""What is no amount of a resource, though HTCondor takes it and waits for ever: a word, a number with a wrong unit."""

DESCRIPTION = {
    "executable": "/usr/bin/env",
    "arguments": "$(words)",
    "transfer_executable": "False",
    "should_transfer_files": "YES",
    "when_to_transfer_output": "ON_EXIT",
    "transfer_input_files": "$(inputs)",
    "output": "$(out)",
    "error": "$(err)",
    "stream_output": "True",
    "stream_error": "True",
    "request_cpus": "1",
    "request_memory": "1GB",
    "request_disk": "1GB",
    "leave_in_queue": "False",
}
"""How a piece is described to HTCondor; options of the user's come over it."""


class CondorExecutor:
    """Jobs of HTCondor; `options` are commands of a submit description (`request_memory`, `accounting_group`, …)."""

    name = "condor"
    detached = True

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.options = dict(options or {})
        for name, value in self.options.items():
            if name.lower().startswith("request_") and WORD.fullmatch(value.strip()):
                raise JobError(f"{name}: {value!r} was given, an amount was expected", hint=f"--set {name}=2GB, or 1")
        self._lock = threading.Lock()
        self._tasks: dict[tuple[int, int], Task] = {}  # by cluster and process, that have not ended
        self._tokens: dict[int, str] = {}  # by cluster
        self._held: dict[tuple[int, int], str] = {}
        self._unsure: dict[str, Submission] = {}  # by token, of which HTCondor gave no answer
        self._ended: deque[Ended] = deque()
        self._events: Any = None

    def resume(self, notes: Path) -> list[Task]:
        """Tasks of an earlier process that the event log does not end; those that ended unseen come out at once."""
        self._notes, self._log = Notes(notes), notes / "events.log"
        known = {s.token: s for s in self._notes.submissions()}
        self._unsure.clear()
        self._log.touch()
        self._events = _condor().JobEventLog(str(self._log))
        told = list(self._events.events(stop_after=0))
        for event in told:
            token = _token(event)
            if event.type.name == "SUBMIT" and token in known and event.cluster not in self._tokens:
                self._take(event.cluster, known[token])
        for token in known.keys() - set(self._tokens.values()):
            cluster = self._cluster_of(token)
            if cluster is None:
                self._notes.drop(known[token])  # its process died before HTCondor heard of it
            else:
                self._take(cluster, known[token])
        for event in told:
            self._hear(event)
        return [*self._tasks.values(), *(e.task for e in self._ended)]

    def submit(self, tasks: Sequence[Task]) -> None:
        """One cluster of all tasks, or as many as the queue takes. JobError where the schedd refuses, NotNow where it
        takes no more now or does not answer."""
        try:
            self._find_unsure()
            left = self._not_taken(tasks)
            most = len(left)
            while left:
                try:
                    self._submit(left[:most])
                    left = left[most:]
                except NotNow as refusal:
                    if not refusal.full or most == 1:
                        raise
                    most = (most + 1) // 2
        except NotNow as refusal:
            raise NotNow(refusal.message, self._not_taken(tasks), full=refusal.full, hint=refusal.hint) from refusal

    def _submit(self, tasks: Sequence[Task]) -> None:
        """One cluster of all tasks, or none. Errors as `submit`."""
        condor = _condor()
        submission = self._notes.new(tasks)
        incoming = self._incoming(submission.token)
        described = {
            **DESCRIPTION,
            **self.options,
            "log": str(self._log),
            "initialdir": str(incoming),
            "submit_event_notes": submission.token,
            "MY.TagselToken": json.dumps(submission.token),
        }
        try:
            incoming.mkdir()
            items = iter([_item(task) for task in tasks])
            cluster = condor.Schedd().submit(condor.Submit(described), itemdata=items).cluster()
        except (OSError, ValueError, RuntimeError, condor.HTCondorException) as error:
            refusal = _refusal(error)
            if isinstance(refusal, NotNow) and not refusal.full:
                self._unsure[submission.token] = submission
            else:
                self._drop(submission)
            raise refusal from error
        with self._lock:
            self._take(cluster, submission)

    def _find_unsure(self) -> None:
        """Take what HTCondor took without saying so, and forget what it did not. NotNow where it does not answer."""
        for token in list(self._unsure):
            cluster = self._cluster_of(token)
            if cluster is not None:
                self._take(cluster, self._unsure.pop(token))
        if self._unsure:
            for event in self._events.events(stop_after=0):  # it may have left the queue
                self._hear(event)
        while self._unsure:
            self._drop(self._unsure.popitem()[1])

    def _not_taken(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of the tasks that HTCondor has not taken."""
        taken = {*self._tasks.values(), *(ended.task for ended in self._ended)}
        return [task for task in tasks if task not in taken]

    def _drop(self, submission: Submission) -> None:
        """Forget a submission that HTCondor never took."""
        self._notes.drop(submission)
        shutil.rmtree(self._incoming(submission.token), ignore_errors=True)

    def ended(self, patience: float | None = None) -> Ended | None:
        """The next task that the event log ends; waits for it, `patience` seconds at most, give or take one."""
        until = time.monotonic() + (math.inf if patience is None else patience)
        while not self._ended:
            for event in self._events.events(stop_after=LOOK_S if time.monotonic() < until else 0):
                self._hear(event)
                if self._ended:
                    break
            if not self._ended and time.monotonic() >= until:
                return None
        return self._ended.popleft()

    def kill(self) -> None:
        """Remove all clusters of the job that still have tasks."""
        with self._lock:
            clusters, unsure = {cluster for cluster, _ in self._tasks}, [*self._unsure]
        for cluster in clusters:
            _remove(f"ClusterId == {cluster}", "killed")
        for token in unsure:
            with contextlib.suppress(JobError):  # it may never have been taken
                _remove(_of_token(token), "killed")

    def close(self) -> None:
        """Nothing is held."""

    def _cluster_of(self, token: str) -> int | None:
        """The cluster that was submitted with a token and is not in the event log yet."""
        condor = _condor()
        try:
            jobs = condor.Schedd().query(_of_token(token), ["ClusterId"])
        except (RuntimeError, condor.HTCondorException) as error:
            raise NotNow(f"HTCondor does not answer: {error}", full=False, hint=ASK) from error
        return int(jobs[0]["ClusterId"]) if jobs else None

    def _take(self, cluster: int, submission: Submission) -> None:
        self._tokens[cluster] = submission.token
        for number, task in enumerate(submission.tasks):
            self._tasks.setdefault((cluster, number), task)

    def _hear(self, event: Any) -> None:
        """What an event says of a task; what is not an end is waited through: evicted, disconnected, held by hand."""
        key, kind = (event.cluster, event.proc), event.type.name
        if kind == "SUBMIT" and (token := _token(event)) in self._unsure:
            self._take(event.cluster, self._unsure.pop(token))
        if key not in self._tasks:
            return
        if kind == "JOB_HELD":
            if held := _held(event):
                self._held[key] = held
                _remove(f"ClusterId == {key[0]} && ProcId == {key[1]}", "held")
        elif kind == "JOB_RELEASED":
            self._held.pop(key, None)
        elif kind in ENDS:
            with self._lock:
                task = self._tasks.pop(key)
            self._ended.append(_end(task, self._incoming(self._tokens[key[0]]), event, self._held.get(key, "")))

    def _incoming(self, token: str) -> Path:
        """Where HTCondor puts the files of a submission; the worker of another user writes there."""
        return self._notes.folder / token


def states(notes: Path) -> Iterator[tuple[Task, str]]:
    """The tasks of a job, as the event log has them: `running`, `held`, `waiting` or `ended`."""
    for task, _, events in _logged(notes):
        said = [SAID[event.type.name] for event in events if event.type.name in SAID]
        yield task, said[-1] if said else "waiting"


def collect(notes: Path) -> Iterator[Ended]:
    """The tasks of a job that the event log ends, with their outputs moved to where they belong. HTCondor is asked
    nothing. Only for who holds the job."""
    for task, token, events in _logged(notes):
        if (last := events[-1]).type.name in ENDS:
            holds = [e for e in events if e.type.name in ("JOB_HELD", "JOB_RELEASED")][-1:]
            held = "".join(why for event in holds if (why := _held(event)))
            yield _end(task, notes / token, last, held)


def cancel(notes: Path) -> None:
    """Remove all clusters of a job, those of other submitters, too, and nothing else. JobError where the schedd does
    not."""
    for submission in Notes(notes).submissions():
        _remove(_of_token(submission.token), "killed")


def _logged(notes: Path) -> list[tuple[Task, str, list[Any]]]:
    """Every task that the event log has, the token of its submission, and its events; none after that of its end."""
    if not (notes / "events.log").exists():
        return []
    known = {s.token: s.tasks for s in Notes(notes).submissions()}
    jobs: dict[tuple[int, int], tuple[Task, str, list[Any]]] = {}
    for event in _condor().JobEventLog(str(notes / "events.log")).events(stop_after=0):
        key = event.cluster, event.proc
        if event.type.name == "SUBMIT" and (token := _token(event)) in known:
            jobs.setdefault(key, (known[token][event.proc], token, [event]))
        elif key in jobs and jobs[key][2][-1].type.name not in ENDS:
            jobs[key][2].append(event)
    return list(jobs.values())


ENDS = ("JOB_TERMINATED", "JOB_ABORTED")
"""Events that end a task."""


SAID = {
    "EXECUTE": "running",
    "JOB_HELD": "held",
    "JOB_RELEASED": "waiting",
    "JOB_EVICTED": "waiting",
    "SHADOW_EXCEPTION": "waiting",
    "JOB_RECONNECT_FAILED": "waiting",
    **dict.fromkeys(ENDS, "ended"),
}
"""What a piece is after an event."""


def _end(task: Task, incoming: Path, event: Any, held: str) -> Ended:
    """How an event ends a task, with its outputs moved from where HTCondor put them to where they belong."""
    if task.stem is not None:
        for path in incoming.glob(f"{task.stem.name}.*"):
            shutil.move(path, task.stem.parent / path.name)
    if event.type.name == "JOB_ABORTED":
        error = f"held by HTCondor: {held}" if held else f"removed: {event.get('Reason', 'by somebody')}"
        return Ended(task, None, error, held)
    normal = event.get("TerminatedNormally")
    code = int(event.get("ReturnValue", 1)) if normal else -int(event.get("TerminatedBySignal", 9))
    return Ended(task, code, signal_name(code))


def _held(event: Any) -> str:
    """Why HTCondor itself holds a task after an event; "" where it does not, or a person does."""
    if event.type.name != "JOB_HELD" or event.get("HoldReasonCode") == BY_HAND:
        return ""
    return str(event.get("HoldReason", "for no reason that was given"))


def _of_token(token: str) -> str:
    """What HTCondor is told to find the jobs of a submission by."""
    return f"TagselToken == {json.dumps(token)}"


def _remove(constraint: str, why: str) -> None:
    condor = _condor()
    try:
        condor.Schedd().act(condor.JobAction.Remove, constraint, why)
    except (RuntimeError, condor.HTCondorException) as error:
        raise JobError(f"HTCondor does not remove the job: {error}", hint="condor_rm does it by hand") from error


def _refusal(error: Exception) -> JobError:
    """What an error of a submission means: NotNow where it may pass."""
    if full := FULL.search(str(error)):
        limit = LIMITS[full[1]]
        hint = f"condor_config_val -schedd {limit} says how many it takes; tagsel jobs kill ends a job"
        return NotNow(f"HTCondor's queue takes no more jobs now: its {limit} is reached", full=True, hint=hint)
    if SILENT.search(str(error)):
        return NotNow(f"HTCondor does not answer: {error}", full=False, hint=ASK)
    return JobError(f"HTCondor does not take the job: {error}", hint=ASK)


def _token(event: Any) -> str:
    """What a submission was called by the one that made it; "" of an event that says nothing of it."""
    return str(event.get("LogNotes", "")).strip()


def _item(task: Task) -> dict[str, str]:
    """A task as a row of itemdata: values of the description's own words."""
    return {
        "words": _quoted(task.in_sandbox()),
        "inputs": ",".join(map(str, task.inputs)),
        "out": str(task.stdout),
        "err": str(task.stderr),
        "site": task.site,
    }


def _quoted(words: Sequence[str]) -> str:
    """An argument vector in HTCondor's new syntax: in double quotes, each word in single ones; see condor_submit(1).

    >>> print(_quoted(["a b", "it's", 'say "so"']))
    "'a b' 'it''s' 'say ""so""'"
    """
    inside = " ".join("'" + word.replace("'", "''").replace('"', '""') + "'" for word in words)
    return f'"{inside}"'


def check() -> None:
    """JobError where HTCondor's library is not here, or no schedd can be found."""
    condor = _condor()
    try:
        condor.Schedd()
    except (OSError, ValueError, RuntimeError, condor.HTCondorException) as error:
        raise _refusal(error) from error


def _condor() -> Any:
    try:
        import htcondor2
    except ImportError as error:
        raise JobError(
            f"HTCondor's library cannot be used: {error}",
            hint='pip install "tagsel[condor]"; CONDOR_CONFIG names a pool',
        ) from error
    return htcondor2
