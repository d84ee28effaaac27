"""Pieces as array jobs of Slurm, on a file system that its nodes share; states of all of them by one question.

Needs Slurm's own commands: `sbatch`, `squeue`, `scancel`, `scontrol`.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tagsel.base.atomic_write import atomic_write
from tagsel.base.checksum import file_sha256
from tagsel.errors import JobError
from tagsel.jobs.executors import MODE, Ended, NotNow, Task, signal_name
from tagsel.jobs.notes import Notes, Submission

LOOK_S = (0.2, 5.0)
"""How often Slurm is asked, in seconds: at first, and at last where nothing happens."""

PATIENCE_S = 600.0
"""How long Slurm may give no answer, as while its controller is started anew, in seconds."""

SUBMIT_S = 20.0
"""How long sbatch may take, in seconds: where the queue is full it waits for two minutes, and so would the driver."""

SITE = "$(site)"
"""What stands for the site of a piece in the value of an option."""

FULL = re.compile(r"queue full|temporarily (unable|disabled|unavailable)|MaxSubmitJob", re.IGNORECASE)
"""What sbatch says where MaxJobCount, or a limit of an account or QOS on submitted jobs, is reached."""

SILENT = re.compile(r"unable to contact|timed out|connection|zero bytes|standby mode|no answer in", re.IGNORECASE)
"""What Slurm's commands say where the controller does not answer, as while it is started anew."""

ANSWERS = "sinfo says whether the cluster answers"

GOING = (
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "CONFIGURING",
    "COMPLETING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESIZING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
)
"""States of a task that has not ended. Source: squeue(1), "JOB STATE CODES"."""

SCRIPT = '#!/bin/sh\nexec "$@"\n'


class SlurmExecutor:
    """Tasks of array jobs; `options` are long options of sbatch (`partition`, `time`, `mem`, `account`, …)."""

    name = "slurm"
    detached = True

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.options = dict(options or {})
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, int], Task] = {}  # by array job and index, that have not ended
        self._unsure: dict[str, Submission] = {}  # by name, of which Slurm gave no answer
        self._ended: deque[Ended] = deque()
        self._answered = time.monotonic()

    def resume(self, notes: Path) -> list[Task]:
        """All tasks of earlier processes; those that have ended, or that Slurm forgot, come out of `ended` at once."""
        self._notes = Notes(notes)
        self._unsure.clear()
        submissions = self._notes.submissions()
        if not submissions:
            return []
        lost = {f"tagsel-{s.token}": s for s in submissions if not s.id}
        for name, number in _names() if lost else ():
            if name in lost:  # its process died between sbatch and writing down what it said
                self._take(self._notes.name(lost.pop(name), number))
        for submission in lost.values():
            self._notes.drop(submission)
        for submission in submissions:
            if submission.id:
                self._take(submission)
        return list(self._tasks.values())

    def submit(self, tasks: Sequence[Task]) -> None:
        """Array jobs of all tasks, as few as the cluster's limits and the options allow. JobError where sbatch
        refuses, NotNow where Slurm takes no more now or does not answer."""
        try:
            self._find_unsure()
            for group in self._groups(self._not_taken(tasks)):
                for begin in range(0, len(group), self._most):
                    self._submit(group[begin : begin + self._most])
        except NotNow as refusal:
            raise NotNow(refusal.message, self._not_taken(tasks), full=refusal.full, hint=refusal.hint) from refusal

    def _submit(self, tasks: Sequence[Task]) -> None:
        """One array job of all tasks, of one site where an option names it. Errors as `submit`."""
        submission = self._notes.new(tasks)
        tasks_file = self._notes.folder / f"{submission.token}.tasks"
        script = self._notes.folder / "task.sh"
        with atomic_write(script, MODE) as temporary:
            temporary.write_text(SCRIPT)
        options = [f"--{name}={value.replace(SITE, tasks[0].site)}" for name, value in self.options.items()]
        command = [
            "sbatch",
            "--parsable",
            f"--array=0-{len(tasks) - 1}",
            f"--job-name=tagsel-{submission.token}",
            "--output=/dev/null",
            "--error=/dev/null",
            *options,
            str(script),
            sys.executable,
            "-P",
            "-m",
            "tagsel.jobs.array",
            str(tasks_file),
            file_sha256(tasks_file),
        ]
        try:
            number = _ask(command, SUBMIT_S).partition(";")[0].strip()
        except NotNow:
            self._unsure[f"tagsel-{submission.token}"] = submission
            raise
        except JobError:
            self._notes.drop(submission)
            raise
        with self._lock:
            self._take(self._notes.name(submission, number))

    def _groups(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        """Tasks that may be one array job: those of one site where an option names it, else all."""
        names_site = any(SITE in value for value in self.options.values())
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            groups.setdefault(task.site if names_site else "", []).append(task)
        yield from groups.values()

    def _find_unsure(self) -> None:
        """Take what Slurm took without saying so, and forget what it did not. NotNow where it does not answer."""
        for name, number in _names() if self._unsure else ():
            if name in self._unsure:
                with self._lock:
                    self._take(self._notes.name(self._unsure.pop(name), number))
        while self._unsure:
            self._notes.drop(self._unsure.popitem()[1])

    def _not_taken(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of the tasks that Slurm has not taken."""
        taken = {*self._tasks.values(), *(ended.task for ended in self._ended)}
        return [task for task in tasks if task not in taken]

    def ended(self, patience: float | None = None) -> Ended | None:
        """The next task that Slurm says has ended, or no longer knows; waits for it, `patience` seconds at most."""
        self._answered = time.monotonic()
        pause, until = LOOK_S[0], time.monotonic() + (math.inf if patience is None else patience)
        while not self._ended:
            self._look()
            if not self._ended:
                if time.monotonic() >= until:
                    return None
                time.sleep(min(pause, max(until - time.monotonic(), 0.0)))
                pause = min(pause * 1.5, LOOK_S[1])
        return self._ended.popleft()

    def kill(self) -> None:
        """Cancel all array jobs that still have tasks."""
        with self._lock:
            jobs, unsure = sorted({job for job, _ in self._tasks}), [*self._unsure]
        for name in unsure:
            with contextlib.suppress(JobError):  # it may never have been taken
                _ask(["scancel", f"--name={name}"])
        if jobs:
            _ask(["scancel", *jobs])

    def close(self) -> None:
        """Nothing is held."""

    def _take(self, submission: Submission) -> None:
        for index, task in enumerate(submission.tasks):
            self._tasks[submission.id, index] = task

    def _look(self) -> None:
        """Take in the states of all tasks. One that Slurm has forgotten ended while nobody looked.

        JobError where Slurm has given no answer for PATIENCE_S.
        """
        try:
            states = dict(_states())
        except JobError:
            if time.monotonic() - self._answered > PATIENCE_S:
                raise
            return
        self._answered = time.monotonic()
        with self._lock:
            for key, task in list(self._tasks.items()):
                state = states.get(key)
                if state is None or state.held or state.state not in GOING:
                    del self._tasks[key]
                    self._ended.append(_end(task, state))
                    if state is not None and state.held:
                        with contextlib.suppress(JobError):  # it would not run, but for somebody who releases it
                            _ask(["scancel", f"{key[0]}_{key[1]}"])

    @cached_property
    def _most(self) -> int:
        """How many tasks an array job may have here, so that a queue that is empty takes it."""
        limits = re.findall(
            r"^Max(?:ArraySize|JobCount)\s*=\s*(\d+)", _ask(["scontrol", "show", "config"]), re.MULTILINE
        )
        return max(min(map(int, limits), default=1001) - 1, 1)


class _Told(NamedTuple):
    """What squeue says of a task: its state, status as wait(2) has it, and the reason of the state."""

    state: str
    exit: str
    reason: str

    @property
    def held(self) -> bool:
        """Whether Slurm itself holds it, for ever, as where a controller that was killed had forgotten that it runs."""
        return self.state in ("PENDING", "REQUEUE_HOLD") and "requeued" in self.reason.lower()


def states(notes: Path) -> Iterator[tuple[Task, str]]:
    """The tasks of a job that have not ended, by one question to Slurm: `running`, `held` or `waiting`."""
    tasks = {}
    for submission in Notes(notes).submissions():
        for number, task in enumerate(submission.tasks):
            tasks[submission.id, number] = task
    if not tasks:
        return
    for key, state in _states():
        if key in tasks and state.state in GOING:
            held = "held" in state.reason.lower()
            yield tasks[key], "held" if held else "waiting" if state.state == "PENDING" else "running"


def cancel(notes: Path) -> None:
    """Cancel all array jobs of a job, those of other submitters, too, and nothing else. JobError where that fails."""
    ours = {f"tagsel-{s.token}" for s in Notes(notes).submissions()}
    if jobs := sorted({number for name, number in (_names() if ours else ()) if name in ours}):
        _ask(["scancel", *jobs])


def check() -> None:
    """JobError where Slurm's commands are not here, or its controller does not answer."""
    _ask(["scontrol", "show", "config"], SUBMIT_S)


def _end(task: Task, told: _Told | None) -> Ended:
    if told is None:
        return Ended(task, None, "Slurm no longer knows how it ended")
    if told.held:
        return Ended(task, None, f"held by Slurm: {told.reason}", told.reason)
    if told.state == "COMPLETED":
        return Ended(task, 0)
    status = int(told.exit) if told.exit.isdigit() else 0
    code = os.waitstatus_to_exitcode(status) if status else None
    why = f" ({told.reason})" if told.reason not in ("", "None") else ""
    return Ended(task, code, f"Slurm: {told.state}{why}{'' if code is None else f', {signal_name(code)}'}")


def _states() -> Iterator[tuple[tuple[str, int], _Told]]:
    """(array job, index) of every task of this user that Slurm knows, and what it says of it."""
    fields = ("ArrayJobID", "ArrayTaskID", "State", "exit_code", "Reason")
    wanted = ",".join(f"{field}:.200|" for field in fields)
    answer = _ask(["squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-O", wanted])
    for line in answer.splitlines():
        job, index, *rest = (word.strip() for word in line.split("|")[: len(fields)])
        if index.isdigit():
            yield (job, int(index)), _Told(*rest)


def _names() -> Iterator[tuple[str, str]]:
    """Name and number of every array job of this user that Slurm knows."""
    for line in _ask(["squeue", "-h", "-t", "all", "-u", str(os.getuid()), "-o", "%j|%F"]).splitlines():
        name, _, number = line.partition("|")
        yield name.strip(), number.strip()


def _ask(command: Sequence[str], patience: float | None = None) -> str:
    """What a command of Slurm's prints. JobError where it cannot be run, or fails; NotNow where that may pass, or it
    takes longer than `patience` seconds: then it is ended."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=patience)
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    except OSError as error:
        raise JobError(f"{command[0]} cannot be run: {error.strerror}", hint="are Slurm's commands in PATH?") from error
    except subprocess.TimeoutExpired as error:
        words: Any = error.stderr or b""  # bytes, whatever was asked for
        reason = " ".join(words.decode("utf-8", "replace").split())
        raise _refusal(command[0], reason or f"no answer in {patience} s") from error
    if done.returncode:
        raise _refusal(command[0], reason)
    return done.stdout


def _refusal(program: str, reason: str) -> JobError:
    """What a command that failed means: NotNow where it may pass."""
    if FULL.search(reason):
        hint = "scontrol show config says how many (MaxJobCount); tagsel jobs kill ends a job"
        return NotNow(f"Slurm's queue takes no more jobs now: {reason}", full=True, hint=hint)
    if SILENT.search(reason):
        return NotNow(f"{program} fails: {reason}", full=False, hint=ANSWERS)
    return JobError(f"{program} fails: {reason}", hint="sinfo -o '%P %l' lists partitions, and the time that they give")
