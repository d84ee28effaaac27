"""The folder of a job: where everything is, and the state of its pieces, which is what its files say.

    job.json            what the job is; written before the folder gets its name, never changed
    list.events         the event list · job.py the script, as submitted
    pieces/00000.piece  self-contained work
    outputs/00000.1.json|parquet   output of attempt 1 · 00000.1.run locked while its worker lives
    logs/00000.1.out|err
    engine/             which engine runs the job, with which options, and what that keeps of its tasks
    killed              there once somebody killed the job
    resplit.json        which failed pieces were split anew, into which; written whole
    round.json          how many attempts each piece had before this round of attempts, which is open; see `rounds`
    begun               which processes submitted pieces that had not run, a line each; and when it was killed
    refused             there while its engine takes no pieces: why
    cost.json           CPU seconds and bytes that its pieces took, once merged
    unmerged            why the outputs of all pieces make no result, where they do not
    result.json         the merged result, with result.parquet for events; there once, at the end, and away while
                        pieces with unreadable events run again

Invariant: state is derived from these files alone, so it survives the death of any process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tagsel.errors import JobError
from tagsel.held import holder, take
from tagsel.jobs.failures import Failure, failures_of, given_up, last_failure
from tagsel.jobs.output import Header, read_header

VERSION = 1
_ATTEMPT = re.compile(r"^(\d{5,})\.(\d+)\.")


@dataclass(frozen=True)
class JobFolder:
    """A job's folder on disk; JobError where it is none or damaged."""

    path: Path
    headers: dict[Path, Header] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What job.json says."""
        try:
            spec: dict[str, Any] = json.loads((self.path / "job.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise JobError(f"{self.path}: not the folder of a job: {error}", path=str(self.path)) from error
        if spec.get("version") != VERSION:
            raise JobError(f"{self.path}: a job of version {spec.get('version')}; this program reads {VERSION}")
        return spec

    @property
    def pieces(self) -> list[dict[str, Any]]:
        """The pieces that count, in the order in which they merge: number, digest, events, site, files, lumi.

        Those that a failed piece was split into stand in its place.
        """
        replaced = self.replaced
        return [plan for first in self.spec["pieces"] for plan in _living(first, replaced)]

    @property
    def replaced(self) -> dict[int, list[dict[str, Any]]]:
        """The pieces that were split anew, by number, and the plans of those that took their place."""
        try:
            told = json.loads(self.resplit.read_text("utf-8"))
            if told["version"] != VERSION:
                raise ValueError(f"version {told['version']}; this program reads {VERSION}")
            return {int(number): list(plans) for number, plans in told["replaced"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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

    def note(self, who: str) -> None:
        """Write down that a process submits pieces, or that the job was killed."""
        with (self.path / "begun").open("a") as lines:
            lines.write(f"{who}\n")

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
        found: dict[int, dict[int, list[Path]]] = {}
        for folder in ("outputs", "logs"):
            for path in sorted((self.path / folder).iterdir()):
                match = _ATTEMPT.match(path.name)
                if match:
                    piece, attempt = int(match[1]), int(match[2])
                    found.setdefault(piece, {}).setdefault(attempt, []).append(path)
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the job: one process at a time drives it. JobError, naming the holder, where another does."""
        lock = take(self.path / "lock")
        if lock is None:
            raise JobError(
                f"job {self.path.name} is being run by process {holder(self.path / 'lock') or 'unknown'}",
                hint=f"wait for it, or tagsel jobs kill {self.path.name}",
            )
        with lock:
            yield

    def is_locked(self) -> bool:
        """Whether some process drives the job now."""
        return holder(self.path / "lock") is not None

    def workers(self) -> dict[tuple[int, int], str]:
        """(piece, attempt) → `identity` of the workers that live now."""
        living = {}
        for path in (self.path / "outputs").glob("*.run"):
            match, who = _ATTEMPT.match(path.name), holder(path)
            if match and who:
                living[int(match[1]), int(match[2])] = who
        return living

    def kill_workers(self, keep: Collection[tuple[int, int]] = ()) -> int:
        """Kill the workers that live now on this machine, with all that they started; how many they were.

        Those of the (piece, attempt) in `keep` are let live.
        """
        living = [who.split(" on ") for which, who in self.workers().items() if which not in keep]
        mine = [int(pid) for pid, *host in living if host == [os.uname().nodename]]
        for pid in mine:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # A worker leads a process group of its own where the local executor started it.
                (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, signal.SIGKILL)
        return len(mine)


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
            "number": self.number, "events": self.events, "site": self.site, "state": self.state,
            "attempts": self.attempts, "unreadable": self.unreadable, "error": self.error,
        }  # fmt: skip


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
    failed: dict[int, Mapping[str, object]] = {}
    for attempt in sorted(tries, reverse=True):
        for path in tries[attempt]:
            if path.parent.name != "outputs" or path.suffix not in (".json", ".parquet"):
                continue
            header, why = folder.headers.get(path), ""
            if header is None:
                try:
                    header = read_header(path)
                except JobError as damaged:
                    error = error or damaged.message
                    continue
            why = refused(header, plan, folder.spec["script"])
            if header.digest == plan["digest"] and (not why or header.status == "failed"):
                folder.headers[path] = header  # such an output never changes
            if not why:
                good.append((path, header))
            elif path in folder.headers:
                failed[attempt] = header.error
            error = error or why
    if good:
        output, best = max(good, key=lambda found: found[1].delivered)  # the first of equals: the newest
        return PieceState(number, plan["events"], plan["site"], "done", len(tries), output, best)
    state = going or ("failed" if error else "waiting")
    return PieceState(number, plan["events"], plan["site"], state, len(tries), error=error, records=failed)


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
