"""The log of questions: who asked what of which snapshots, when, and what came out.

The log is the asker's own: a folder of mode 0700 in their state folder (XDG_STATE_HOME), with a file for each machine.
A line of a file is a sealed JSON document. Lines are kept in memory for a while and appended in one write, so
processes need no lock, and a question does not wait for the disk: a thread writes what waits, in an idle process, too.

Invariants: no question fails because of its log; of each machine no more than two files of `MOST_BYTES` are kept.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tagsel.base.checksum import Damaged, seal_line, unseal
from tagsel.base.lock_file import acquire, user_name
from tagsel.base.memory_limit import has_room_for_a_thread
from tagsel.errors import TagselError

FOLDER = "questions"
"""Name of the log's folder in the user's state folder."""

VERSION = 2
"""Version of a line; version 1 has no `error`, and is read, too."""

MOST_BYTES = 4 << 20
"""Size at which a file becomes the older one of the two, and what was the older one goes."""

MOST_WAITING, LONGEST_WAIT_S = 100, 5.0
"""Questions that are kept in memory before they are written, and for how long the first of them is."""

MOST_DATASETS, MOST_TEXT = 50, 10_000
"""Datasets of a question that are named, and characters that are kept of its text, and of its error."""

_log = logging.getLogger("tagsel")
_lock = threading.Lock()
_writing = threading.Lock()
_waiting: list[tuple[float, Question]] = []
_timer: threading.Timer | None = None


@dataclass(frozen=True)
class Question:
    """One question and its answer; `datasets` are `name@snapshot`, `home` is the workspace in which it was asked.

    `digest` is the hash of the selection, which names the list of accepted events; `more` says how many datasets are
    not named. `error` says why there is no answer.
    """

    home: str
    verb: str
    datasets: tuple[str, ...] = ()
    text: str = ""
    read: int | None = None
    accepted: int | None = None
    digest: str = ""
    seconds: float | None = None
    more: int = 0
    error: str = ""
    asked: str = ""
    who: str = ""


def reason(error: BaseException) -> str:
    """Why a question has no answer: the message of an error of tagsel, "interrupted", or another error's name."""
    if isinstance(error, TagselError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {error}"


def record(question: Question) -> None:
    """Log a question; it is written a little later. No error of the log comes through."""
    now = time.time()
    with _lock:
        _waiting.append((now, question))
        due = len(_waiting) >= MOST_WAITING
    if due:
        flush()
    else:
        _write_later()


def _write_later() -> None:
    """Have what waits written in `LONGEST_WAIT_S` seconds at the latest; one thread waits for that.

    Where none can be started, the next question, or the end of the process, has it written.
    """
    global _timer
    with _lock:
        if _timer is not None or not has_room_for_a_thread():
            return
        timer = threading.Timer(LONGEST_WAIT_S, _write_now)
        timer.name, timer.daemon = "tagsel-questions", True
        try:
            timer.start()
        except RuntimeError as error:  # no more threads
            _log.info("questions are logged later: %s", error)
            return
        _timer = timer


def _write_now() -> None:
    global _timer
    with _lock:
        _timer = None
    flush()


def flush() -> None:
    """Write the questions that wait. What cannot be written is dropped, and said in the log of the package."""
    with _writing:  # who reads the log, or ends the process, waits for what another thread writes
        with _lock:
            questions = list(_waiting)
            _waiting.clear()
        folder = log_folder()
        if not questions or folder is None:
            return
        who = f"{user_name()}@{socket.gethostname()}"
        lines = [_line(asked, question, who) for asked, question in questions]
        try:
            _append(folder, b"\n" + b"".join(lines))  # a line that a full disk cut short ends before it
        except (OSError, TagselError) as error:
            _log.info("%d questions are not logged in %s: %s", len(questions), folder, error)


def _line(asked: float, question: Question, who: str) -> bytes:
    """A question as it is written, bounded in size."""
    document = {
        **vars(question),
        "datasets": question.datasets[:MOST_DATASETS],
        "more": max(0, len(question.datasets) - MOST_DATASETS),
        "text": question.text[:MOST_TEXT],
        "error": question.error[:MOST_TEXT],
        "asked": datetime.fromtimestamp(asked, UTC).isoformat(timespec="milliseconds"),
        "who": who,
        "version": VERSION,
    }
    return seal_line(document)


def _append(folder: Path, data: bytes) -> None:
    """Append to this machine's file, and begin a new one where it has become long."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    current, older = _files(folder)
    descriptor = os.open(current, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, data)  # one write: lines of several processes do not mix
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size < MOST_BYTES:
        return
    lock = acquire(folder / f"{_machine()}.lock", patience=0.0, action="beginning a new log")
    if lock is None:  # another process does it
        return
    with lock:
        if current.stat().st_size >= MOST_BYTES:
            current.replace(older)


def read(home: Path | str) -> list[Question]:
    """The questions of this user in a workspace, on any machine that shares the state folder, in the order of time.

    A line that is damaged, or of a newer tagsel, is left out and counted in the log of the package.
    """
    flush()
    folder = log_folder()
    questions: list[Question] = []
    damaged = 0
    files = folder.glob("*.jsonl") if folder is not None else ()
    for path in sorted(files, reverse=True):  # the older of two first: what one millisecond asked keeps its order
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            _log.warning("the log of questions %s cannot be read: %s", path, error.strerror)
            continue
        for line in filter(None, lines):
            try:
                questions.append(_question(line))
            except (Damaged, TypeError, ValueError):
                damaged += 1
    if damaged:
        _log.warning("%d lines of the log of questions in %s are damaged and left out", damaged, folder)
    return sorted((q for q in questions if q.home == str(home)), key=lambda q: q.asked)


def _question(line: bytes) -> Question:
    """The question of a line. Errors: Damaged, ValueError, TypeError."""
    document = unseal(line)
    if document.pop("version") not in (1, VERSION):
        raise ValueError("a line of another version")
    return Question(**{**document, "datasets": tuple(document["datasets"])})


def log_folder() -> Path | None:
    """The log's folder; None where the user has no state folder: neither XDG_STATE_HOME nor a home says one."""
    import platformdirs

    state = Path(platformdirs.user_state_dir("tagsel"))
    return state / FOLDER if state.is_absolute() else None


def _files(folder: Path) -> tuple[Path, Path]:
    """This machine's file, and the older one."""
    return folder / f"{_machine()}.jsonl", folder / f"{_machine()}.older.jsonl"


def _machine() -> str:
    """This machine's name, without what may not stand in a file name."""
    name = socket.gethostname()[:60]
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in name).lstrip(".") or "localhost"


def _forget() -> None:
    """Drop what waits: in a process that was forked, for it is its parent's."""
    global _lock, _writing, _timer
    _lock, _writing, _timer = threading.Lock(), threading.Lock(), None
    _waiting.clear()


atexit.register(flush)
os.register_at_fork(after_in_child=_forget)
