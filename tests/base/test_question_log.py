"""The log of questions: what a line holds, several processes, its bounds, damage, and that it fails nobody."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tagsel.base import question_log
from tagsel.base.checksum import seal_line
from tagsel.base.question_log import Question


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log's folder, which nobody has made yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "tagsel" / "questions"


def _ask(number: int, home: str = "/W") -> Question:
    return Question(home, "count", (f"d.TAG@{number}",), f"nMuon >= {number}", 10, number, "ab", 0.25)


def test_a_question_is_read_as_it_was_asked(folder: Path) -> None:
    question_log.record(_ask(1))
    question_log.record(_ask(2, "/other"))
    (first,) = question_log.read("/W")
    assert (first.verb, first.datasets, first.text) == ("count", ("d.TAG@1",), "nMuon >= 1")
    assert (first.read, first.accepted, first.digest, first.seconds) == (10, 1, "ab", 0.25)
    assert first.asked.endswith("+00:00")
    assert "@" in first.who
    assert [q.datasets for q in question_log.read("/other")] == [("d.TAG@2",)]


def test_an_idle_process_writes_its_last_questions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes after the questions, and nobody reads the log: one thread writes all, and one writes the next."""
    if (timer := question_log._timer) is not None:  # of a test before this one
        timer.cancel()
        timer.join(10)
        question_log._write_now()
    monkeypatch.setattr(question_log, "LONGEST_WAIT_S", 0.2)
    for numbers in (range(5), range(5, 8)):
        for number in numbers:
            question_log.record(_ask(number))
        threads = [thread for thread in threading.enumerate() if thread.name == "tagsel-questions"]
        assert len(threads) == 1
        threads[0].join(10)
        (file,) = folder.glob("*.jsonl")
        assert file.read_bytes().count(b'"verb":"count"') == numbers.stop
    assert question_log._timer is None


def test_no_thread_is_started_that_has_no_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would wait for ever for a thread that dies before it begins; the question is written by who asks next."""
    monkeypatch.setattr(question_log, "has_room_for_a_thread", lambda: False)
    question_log.record(_ask(1))
    assert question_log._timer is None
    assert [question.accepted for question in question_log.read("/W")] == [1]


def test_the_log_is_the_askers_alone(folder: Path) -> None:
    question_log.record(_ask(1))
    question_log.flush()
    (file,) = folder.glob("*.jsonl")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_long_question_is_bounded(folder: Path) -> None:
    """60 datasets: 50 are named, 10 are counted."""
    question_log.record(Question("/W", "count", tuple(f"d{n}@1" for n in range(60)), "x" * 20_000))
    (kept,) = question_log.read("/W")
    assert (len(kept.datasets), kept.more, len(kept.text)) == (50, 10, 10_000)


def test_two_files_of_bounded_size_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 2,000 B: of 100 questions, of about 250 B each, the last ones are left, in two files at most."""
    monkeypatch.setattr(question_log, "MOST_BYTES", 2_000)
    for number in range(100):
        question_log.record(_ask(number))
        question_log.flush()
    sizes = [file.stat().st_size for file in folder.glob("*.jsonl")]
    assert len(sizes) <= 2
    assert max(sizes) < 2_000 + 500
    kept = [question.accepted for question in question_log.read("/W")]
    assert kept == list(range(100 - len(kept), 100))
    assert len(kept) >= 4


def test_questions_of_one_millisecond_keep_their_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are asked at the same time, by the clock; some are in the older file, some in the newer."""
    monkeypatch.setattr(question_log, "MOST_BYTES", 2_000)
    monkeypatch.setattr(question_log.time, "time", lambda: 1_700_000_000.0)
    for number in range(12):
        question_log.record(_ask(number))
        question_log.flush()
    assert len(list(folder.glob("*.jsonl"))) == 2
    kept = [question.accepted for question in question_log.read("/W")]
    assert kept == list(range(12 - len(kept), 12))


def test_a_damaged_line_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        question_log.record(_ask(number))
    question_log.flush()
    (file,) = folder.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    changed = [line.replace(b'"accepted":1', b'"accepted":9') for line in lines]
    file.write_bytes(b"".join(changed) + b'{"cut short')
    question_log.record(_ask(3))
    assert [question.accepted for question in question_log.read("/W")] == [0, 2, 3]
    assert "2 lines of the log of questions" in caplog.text


def test_a_log_that_cannot_be_written_is_no_error(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    question_log.record(_ask(1))
    assert question_log.read("/W") == []
    assert folder.read_text() == "a file in its place"


def test_without_a_home_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "~nobody-of-that-name/state")
    monkeypatch.chdir(tmp_path)
    question_log.record(_ask(1))
    question_log.flush()
    assert list(tmp_path.iterdir()) == []


_MANY = """
import sys
from tagsel.base import question_log
from tagsel.base.question_log import Question
question_log.MOST_WAITING = 3
for number in range(300):
    question_log.record(Question("/W", "count", ("d@1",), "x" * (number % 97), accepted=number, digest=sys.argv[1]))
"""


def test_processes_that_ask_at_once_lose_nothing(folder: Path) -> None:
    """Four processes with 300 questions each, the last ones written when the process ends: 1,200 lines, all whole."""
    workers = [subprocess.Popen([sys.executable, "-c", _MANY, str(n)]) for n in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    kept = [(question.digest, question.accepted) for question in question_log.read("/W")]
    assert sorted(kept) == sorted((str(n), number) for n in range(4) for number in range(300))


def test_a_forked_process_does_not_write_its_parents_questions(folder: Path) -> None:
    question_log.record(_ask(1))
    child = os.fork()
    if child == 0:
        question_log.flush()
        os._exit(0)
    os.waitpid(child, 0)
    assert not list(folder.glob("*.jsonl"))
    question_log.record(_ask(2))
    assert [question.accepted for question in question_log.read("/W")] == [1, 2]


def test_a_line_is_one_json_document_with_a_version(folder: Path) -> None:
    question_log.record(_ask(1))
    question_log.flush()
    (file,) = folder.glob("*.jsonl")
    (line,) = file.read_text().strip().splitlines()
    document = json.loads(line)
    assert document["version"] == 2
    assert len(document["sha256"]) == 64


def test_lines_of_version_1_are_read(folder: Path) -> None:
    """They have no reason why there is no answer, for only answers were logged."""
    document = {
        "home": "/W",
        "verb": "count",
        "datasets": ["d.TAG@1"],
        "text": "true",
        "read": 10,
        "accepted": 10,
        "digest": "ab",
        "seconds": 0.25,
        "more": 0,
        "asked": "2026-11-30T08:00:00.000+00:00",
        "who": "ada@here",
        "version": 1,
    }
    folder.mkdir(parents=True)
    (folder / "here.jsonl").write_bytes(seal_line(document))
    question_log.record(Question("/W", "count", ("d.TAG@1",), "nMuons > 1", error="no attribute nMuons"))
    old, new = question_log.read("/W")
    assert (old.accepted, old.who, old.error) == (10, "ada@here", "")
    assert (new.accepted, new.error) == (None, "no attribute nMuons")
