"""The folder of a job: where everything is, and the state of its pieces, which is what its files say.

    job.json            what the job is, its engine included; written before the folder gets its name, never changed
    list.events         the event list · job.py the script, as submitted
    pieces/00000.piece  self-contained work
    outputs/00000.1.json|parquet   output of attempt 1 · 00000.1.run locked while its worker lives
    logs/00000.1.out|err
    engine/             what the job's engine keeps of its tasks
    killed              there once somebody killed the job: by "jobs kill", "Ctrl-C" or "SIGTERM"; empty: not known
    resplit.json        which failed pieces were split anew, into which; written whole
    round.json          how many attempts each piece had before this round of attempts, which is open; see `rounds`
    begun               which processes submitted pieces that had not run, a line each; and when it was killed
    refused             there while its engine takes no pieces: why
    cost.json           CPU seconds and bytes that its pieces took, once merged
    unmerged            why the outputs of all pieces make no result, where they do not
    result.json         the merged result, with result.parquet for events; there once, at the end, and away while
                        pieces with unreadable events run again

The JSON files carry a checksum each since version 2; those of version 1 are read without. job.json states the job's
number; the files that follow from it state its checksum, so that a file of another job is never read as this one's.
Files of older tagsels state neither.

Invariant: state is derived from these files alone, so it survives the death of any process.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tagsel.base import processes
from tagsel.base.atomic_write import atomic_write, remedy
from tagsel.base.checksum import Damaged, digest, seal, unseal
from tagsel.base.fail_points import fail_point
from tagsel.base.lock_file import Holder, acquire, holder
from tagsel.errors import JobError
from tagsel.jobs.executors import MODE, WORKER
from tagsel.jobs.failures import GIVEN_UP, Failure, failures_of, given_up, last_failure
from tagsel.jobs.output import Header, read_header

VERSION = 2
"""Version of the JSON files of a job's folder; those of version 1 had no checksum, and job.json said no engine."""

READS = (1, 2)
"""Versions that are read."""

OF_JOB = "job"
"""The field by which a file states of which job.json it is."""

LOST = "put it back from a backup; outputs of pieces that ended are whole, below outputs/"
"""What to try where job.json is damaged."""

_ATTEMPT = re.compile(r"^(\d{5,})\.(\d+)\.")


def write_document(path: Path, document: Mapping[str, Any], *, step: str = "") -> None:
    """Write a JSON file of a job's folder, with version and checksum, whole or not at all; `step` is a fail point."""
    with atomic_write(path, MODE) as temporary:
        temporary.write_bytes(seal({**document, "version": VERSION}, indent=1, nan=True) + b"\n")
        if step:
            fail_point(step)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a JobError that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise JobError(f"cannot write {path}: {reason}", hint=remedy(error), path=str(path)) from error


def read_document(path: Path, hint: str) -> dict[str, Any]:
    """What a JSON file of a job's folder says. JobError, naming it: it is damaged, or of a newer tagsel."""
    try:
        return parse_document(path, path.read_bytes(), hint)
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from error


def parse_document(path: Path, content: bytes, hint: str) -> dict[str, Any]:
    """What the `content` of a JSON file of a job's folder says. Errors as `read_document`."""
    try:
        document = unseal(content, since=2)
    except Damaged as error:
        raise JobError(f"{path} is damaged: {error}", hint=hint, path=str(path)) from error
    version = document.get("version", 1)
    if version not in READS:
        raise JobError(f"{path} has version {version}; this tagsel reads up to {VERSION}", path=str(path))
    return document


@dataclass(frozen=True)
class JobFolder:
    """A job's folder on disk; JobError where it is none or damaged."""

    path: Path
    headers: dict[Path, Header] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What job.json says."""
        path = self.path / "job.json"
        if not path.is_file():
            raise JobError(f"{self.path}: not the folder of a job: it has no job.json", path=str(self.path))
        spec = read_document(path, LOST)
        if "pieces" not in spec:  # version 1 has no checksum, so that any JSON object passes for it
            raise JobError(f"{path} is damaged: it does not say which pieces a job has", hint=LOST, path=str(path))
        job = spec.get("job", self.path.name)
        if job != self.path.name:
            raise JobError(f"{path} is damaged: it is that of job {job}", hint=LOST, path=str(path))
        return spec

    @cached_property
    def identity(self) -> str:
        """SHA-256 (hex) of what job.json says: by it other files state to be of this job."""
        return digest(self.spec)

    def write(self, path: Path, document: Mapping[str, Any], *, step: str = "") -> None:
        """Write one of the files that follow from job.json, as `write_document` does."""
        write_document(path, {**document, OF_JOB: self.identity}, step=step)

    def read(self, path: Path, hint: str) -> dict[str, Any]:
        """What `write` wrote. JobError, naming the file: it is damaged, or another job's."""
        document = read_document(path, hint)
        if OF_JOB in document and document[OF_JOB] != self.identity:
            raise JobError(
                f"{path} does not belong to {self.path / 'job.json'}: one of the two is another job's",
                hint=hint,
                path=str(path),
            )
        return document

    @property
    def pieces(self) -> list[dict[str, Any]]:
        """The pieces that count, in the order in which they merge: number, digest, events, site, files, lumi.

        Those that a failed piece was split into stand in its place.
        """
        replaced = self.replaced
        plans: list[dict[str, Any]] = []
        for piece in self.spec["pieces"]:
            plans += _living(piece, replaced)
        return plans

    @property
    def replaced(self) -> dict[int, list[dict[str, Any]]]:
        """The pieces that were split anew, by number, and the plans of those that took their place."""
        if not self.resplit.exists():
            return {}
        record = self.read(self.resplit, "put it back from a backup, or submit the list again")
        try:
            return {int(number): list(plans) for number, plans in record["replaced"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"{self.resplit}: not a record of pieces: {error}", path=str(self.resplit)) from error

    @property
    def resplit(self) -> Path:
        """The record of pieces that were split anew."""
        return self.path / "resplit.json"

    def piece(self, number: int) -> Path:
        """The file of a piece."""
        return self.path / "pieces" / f"{number:05d}.piece"

    def stem(self, number: int, attempt: int) -> Path:
        """The outputs of an attempt, without their suffix."""
        return self.path / "outputs" / f"{number:05d}.{attempt}"

    def log(self, number: int, attempt: int, kind: str) -> Path:
        """What an attempt printed: `kind` is out or err."""
        return self.path / "logs" / f"{number:05d}.{attempt}.{kind}"

    @property
    def result(self) -> Path:
        """The merged result; its presence says that the job is done."""
        return self.path / "result.json"

    @property
    def cost(self) -> Path:
        """What its pieces took, once they are merged."""
        return self.path / "cost.json"

    @property
    def engine(self) -> Path:
        """What its engine keeps of it."""
        return self.path / "engine"

    @property
    def killed(self) -> Path:
        """The mark of a killed job."""
        return self.path / "killed"

    def mark_killed(self, by: str) -> None:
        """Mark the job as killed, by "jobs kill", "Ctrl-C" or "SIGTERM"; the first mark stays."""
        with _writing(self.killed), suppress(FileExistsError), self.killed.open("x") as mark:
            mark.write(by)

    @property
    def end_of_killed(self) -> str:
        """How the job was killed, as a key of `GIVEN_UP`."""
        key = f"killed by {_text(self.killed)}"
        return key if key in GIVEN_UP else "killed"

    def note(self, who: str) -> None:
        """Write down that a process submits pieces, or that the job was killed."""
        path = self.path / "begun"
        with _writing(path):
            with path.open("a") as lines:
                lines.write(f"{who}\n")
            path.chmod(MODE)

    @property
    def went_through(self) -> bool:
        """Whether one process submitted all pieces, without a kill between, as far as is known."""
        return len(set(_text(self.path / "begun").splitlines())) < 2

    @property
    def refused(self) -> Path:
        """Why its engine takes no pieces now; there only while it takes none."""
        return self.path / "refused"

    @property
    def refusal(self) -> str:
        """Why its engine takes no pieces now, or ""."""
        return _text(self.refused)

    @property
    def unmerged(self) -> Path:
        """Why the outputs of the pieces do not merge; there only where they do not."""
        return self.path / "unmerged"

    @property
    def error(self) -> str:
        """Why the job as a whole failed, or ""."""
        return _text(self.unmerged)

    def attempts(self) -> dict[int, dict[int, list[Path]]]:
        """piece → attempt → its files (outputs, locks and logs)."""
        attempts: dict[int, dict[int, list[Path]]] = {}
        for folder in ("outputs", "logs"):
            for path in sorted((self.path / folder).iterdir()):
                match = _ATTEMPT.match(path.name)
                if match:
                    piece, attempt = int(match[1]), int(match[2])
                    attempts.setdefault(piece, {}).setdefault(attempt, []).append(path)
        return attempts

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the job: one process at a time drives it. JobError, naming the holder, where another does."""
        lock = acquire(self.path / "lock", action="running the job")
        if lock is None:
            raise JobError(
                f"job {self.path.name} is being run by {holder(self.path / 'lock') or 'a process that has just ended'}",
                hint=f"wait for it, or tagsel jobs kill {self.path.name}",
            )
        with lock:
            yield

    def is_locked(self) -> bool:
        """Whether some process drives the job now."""
        return holder(self.path / "lock") is not None

    def workers(self) -> dict[tuple[int, int], Holder]:
        """(piece, attempt) → the workers that live now."""
        living = {}
        for path in (self.path / "outputs").glob("*.run"):
            match, who = _ATTEMPT.match(path.name), holder(path)
            if match and who:
                living[int(match[1]), int(match[2])] = who
        return living

    def kill_workers(self, keep: Collection[tuple[int, int]] = ()) -> int:
        """Kill this user's workers of the job on this machine, with all that they started; how many they were.

        They are known by their owner and command line, as the kernel has them: what a `.run` file says is for people.
        Those of the (piece, attempt) in `keep` live on.
        """
        kept = {str(self.stem(*which)) for which in keep}
        outputs = f"{self.path / 'outputs'}/"

        def is_worker(words: Sequence[str]) -> bool:
            stems = [word for word in words if word.startswith(outputs)]
            return WORKER in words and bool(stems) and kept.isdisjoint(stems)

        return sum(processes.kill(pid, is_worker) for pid in processes.find(is_worker))


@dataclass(frozen=True, slots=True)
class PieceState:
    """A piece: `state` is done, running, held, failed or waiting; `output` the one that counts, `error` why it
    failed, `records` what its failed attempts left."""

    number: int
    events: int
    site: str
    state: str
    attempts: int
    output: Path | None = None
    header: Header | None = None
    error: str = ""
    records: Mapping[int, Mapping[str, object]] = field(default_factory=dict, repr=False)
    given_up: str = ""  # why it is tried no more, a key of failures.GIVEN_UP

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Its failed attempts, in order."""
        return given_up(failures_of(self.records), self.given_up, self.attempts)

    @property
    def failure(self) -> Failure | None:
        """The last of its failed attempts."""
        last = last_failure(self.records)
        return given_up([last], self.given_up, self.attempts)[0] if last else None

    @property
    def unreadable(self) -> int:
        """Events that the output that counts could not read."""
        return self.header.unreadable if self.header else 0

    @property
    def incomplete(self) -> bool:
        """Whether running the piece again may deliver more: it has no output, or one with unreadable events."""
        return self.output is None or self.unreadable > 0

    def to_json(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "number": self.number,
            "events": self.events,
            "site": self.site,
            "state": self.state,
            "attempts": self.attempts,
            "unreadable": self.unreadable,
            "error": self.error,
        }


def piece_states(folder: JobFolder, told: Mapping[int, str] = MappingProxyType({})) -> list[PieceState]:
    """The state of every piece, from the files, and from what its engine has `told` of those that have not ended.

    Of several good outputs the one that delivers most counts, and of those the newest attempt's.
    """
    attempts = folder.attempts()
    going = {**{piece: "running" for piece, _ in folder.workers()}, **told}
    return [_state(folder, p, attempts.get(p["number"], {}), going.get(p["number"], "")) for p in folder.pieces]


def _state(folder: JobFolder, plan: dict[str, Any], tries: dict[int, list[Path]], going: str) -> PieceState:
    number, error = plan["number"], ""
    good: list[tuple[Path, Header]] = []
    failures: dict[int, Mapping[str, object]] = {}
    for attempt in sorted(tries, reverse=True):
        for path in filter(is_output, tries[attempt]):
            header, why = _judged(folder, path, plan)
            if header is not None and not why:
                good.append((path, header))
            elif header is not None and path in folder.headers:
                failures[attempt] = header.error
            error = error or why
    if good:
        output, best = max(good, key=lambda pair: pair[1].delivered)  # the first of equals: the newest
        return PieceState(number, plan["events"], plan["site"], "done", len(tries), output, best)
    state = going or ("failed" if error else "waiting")
    return PieceState(number, plan["events"], plan["site"], state, len(tries), error=error, records=failures)


def is_output(path: Path) -> bool:
    """Whether a file of an attempt is its output, good or a record of its failure."""
    return path.parent.name == "outputs" and path.suffix in (".json", ".parquet")


def _judged(folder: JobFolder, path: Path, plan: dict[str, Any]) -> tuple[Header | None, str]:
    """The header of an output, None where it cannot be read; and why the output does not count, "" where it does."""
    header = folder.headers.get(path)
    if header is None:
        try:
            header = read_header(path)
        except JobError as damaged:
            return None, damaged.message
    why = refused(header, plan, folder.spec["script"])
    if header.digest == plan["digest"] and (not why or header.status == "failed"):
        folder.headers[path] = header  # such an output never changes
    return header, why


def _living(plan: dict[str, Any], replaced: Mapping[int, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """A piece, or those that took its place, in order; they may have been split anew in turn."""
    if plan["number"] not in replaced:
        yield plan
    for part in replaced.get(plan["number"], ()):
        yield from _living(part, replaced)


def good_header(path: Path, plan: dict[str, Any], script: str) -> tuple[Header | None, str]:
    """(header, "") of an output that is whole and counts for the piece, else (None, why not)."""
    try:
        header = read_header(path)
    except JobError as error:
        return None, error.message
    why = refused(header, plan, script)
    return (None, why) if why else (header, "")


def refused(header: Header, plan: dict[str, Any], script: str) -> str:
    """Why an output does not count for a piece, or "": it must be of this very piece and script, ok, and account for
    every event of the piece."""
    if header.digest != plan["digest"] or header.script != script or header.piece != plan["number"]:
        return f"an output of another piece or script: piece {header.piece}, attempt {header.attempt}"
    if header.status != "ok":
        where = f" {header.error.get('where')}" if header.error.get("where") else ""
        return f"{header.error.get('message', 'failed')}{where}"
    if header.delivered + header.unreadable != plan["events"]:
        return f"attempt {header.attempt}: {header.delivered} + {header.unreadable} events of {plan['events']}"
    return ""


def _text(path: Path) -> str:
    """What a file says, or "" where there is none."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
