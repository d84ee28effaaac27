"""What failures are: their classes with the evidence, which are tried again after what pauses, and how they group."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import JobError
from tagsel.events import DeliveryLedger
from tagsel.jobs import Ended, Job, LocalExecutor, Task, load, plan_job, submit
from tagsel.jobs.diagnose import diagnose, signature
from tagsel.jobs.executors import NotNow
from tagsel.jobs.failures import CAUSES, ORIGINS, Evidence, cause_of, failures_of
from tagsel.jobs.folder import JobFolder, PieceState
from tagsel.jobs.plan import write_folder
from tagsel.jobs.retries import LONGEST_S, RETRIES, Retries
from tagsel.jobs.runner import run as drive

COUNT = "branches = ['MET_pt']\n\ndef process(events):\n    return {'n': len(events)}\n"


def ended(message: str, stderr: str = "", code: int | None = None) -> Evidence:
    return Evidence("ended", message, code=code, stderr=stderr)


def raised(error: BaseException) -> Evidence:
    kinds = tuple(k.__name__ for k in type(error).__mro__ if k not in (object, BaseException))
    return Evidence("raised", f"{type(error).__name__}: {error}", kinds)


def task(piece: int) -> Task:
    return Task(piece, 1, ("true",), Path("out"), Path("err"))


def unread(message: str) -> Evidence:
    return Evidence("input", message)


@pytest.mark.parametrize(
    ("evidence", "kind", "name"),
    [
        # network, a server that does not answer or answers with an error, a worker lost, killed, evicted; memory once
        (raised(ConnectionResetError("gone")), "transient", "server"),
        (raised(OSError(5, "Input/output error")), "transient", "server"),
        (raised(TimeoutError("timed out")), "transient", "server"),
        (raised(MemoryError("Unable to allocate 12.1 GiB")), "transient", "memory"),
        (unread("root://se.x.org//a: its server se.x.org:1094 does not answer: timed out"), "transient", "server"),
        (
            unread("https://se.x.org/a: cannot read this ROOT file: remote server responded with status 503"),
            "transient",
            "server",
        ),
        (
            unread("none of 2 copies can be read: /a: is empty; root://x//a: its server does not answer"),
            "transient",
            "server",
        ),
        (ended("killed by SIGKILL", code=-9), "transient", "killed"),
        (ended("Slurm: FAILED (NonZeroExitCode), killed by SIGKILL", code=-9), "transient", "killed"),
        (ended("killed by SIGSEGV", code=-11), "transient", "crash"),
        (ended("Slurm: PREEMPTED (Preempted)"), "transient", "evicted"),
        (ended("removed: via condor_rm (by user x)"), "transient", "evicted"),
        (ended("Slurm no longer knows how it ended"), "transient", "lost"),
        (ended("no output", code=0), "transient", "lost"),
        (ended("exit code 1", "Traceback (most recent call last):\nValueError: odd", 1), "transient", "lost"),
        (
            ended("held by HTCondor: Error from slot1@n: Job has gone over cgroup memory limit of 1024 megabytes."),
            "transient",
            "memory",
        ),
        (ended("Slurm: OUT_OF_MEMORY (OutOfMemory)"), "transient", "memory"),
        (
            ended("killed by SIGKILL", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0."),
            "transient",
            "memory",
        ),
        # held by the batch system, node lost, disk full, missing release or software, input unreadable there
        (ended("held by HTCondor: The job attribute PeriodicHold expression evaluated to TRUE"), "site", "held"),
        (
            ended("held by HTCondor: Error from slot1@n: Failed to execute '/x' (errno=2: 'No such file')"),
            "site",
            "software",
        ),
        (ended("held by HTCondor: Transfer output files failure at execution point"), "site", "moving"),
        (ended("Slurm: NODE_FAIL (NodeDown)"), "site", "node"),
        (ended("exit code 1", "OSError: [Errno 28] No space left on device: '/scratch/x'", 1), "site", "disk"),
        (raised(OSError(28, "No space left on device")), "site", "disk"),
        (raised(OSError(122, "Disk quota exceeded")), "site", "disk"),
        (ended("exit code 127", "/bin/sh: python3.11: command not found", 127), "site", "software"),
        (ended("exit code 1", "/usr/bin/python3: No module named tagsel", 1), "site", "software"),
        (
            ended("exit code 1", "python: error while loading shared libraries: libz.so.1: cannot open", 1),
            "site",
            "software",
        ),
        (raised(ModuleNotFoundError("No module named 'awkward'")), "site", "software"),
        (
            unread("none of 2 copies can be read: /a: cannot be opened: No such file or directory; /b: is empty"),
            "site",
            "not there",
        ),
        (unread("/mnt/a.root: cannot be opened: Stale file handle"), "site", "not there"),
        (
            unread("https://se/a: its server se:443 has a certificate that is not good here: certificate has expired"),
            "site",
            "certificate",
        ),
        (
            unread(
                "https://se/a: cannot read this ROOT file: remote server responded with status 403, rather than 206"
            ),
            "site",
            "not there",
        ),
        (
            unread(
                "root://se//a: Failed to open file: [ERROR] Server responded with an error: [3010] Unable to open /a;"
                " permission denied"
            ),
            "site",
            "not there",
        ),
        # the script raised, returned the wrong type, took too long
        (raised(ValueError("no such cut")), "user", "script"),
        (raised(ValueError("OSError: connection refused, No space left on device, MemoryError")), "user", "script"),
        (raised(SystemExit(0)), "user", "script"),
        (raised(KeyError("Muon_pt")), "user", "script"),
        (raised(FileNotFoundError(2, "No such file or directory", "sf.json")), "user", "own file"),
        (raised(ModuleNotFoundError("No module named 'mytools'")), "user", "module"),
        (Evidence("raised", "process returned str", ("JobError", "TagselError", "Exception")), "user", "result"),
        (ended("killed after 0.3 s", code=-9), "user", "time"),
        (ended("Slurm: TIMEOUT (TimeLimit)"), "user", "time"),
        (ended("held by HTCondor: The job exceeded allowed execute duration of 0+00:01:00"), "user", "time"),
        # an input file damaged, or not the one of the TAG
        (unread("/a.root: truncated: its header promises 9000 bytes, 3000 are there"), "data", "damaged"),
        (unread("/a.root: cannot read tree Events: zlib: incorrect header check"), "data", "damaged"),
        (unread("/a.root: is not a ROOT file"), "data", "damaged"),
        (unread("/a.root: not the file that is meant: its GUID is A, the list means B"), "data", "other file"),
        (unread("/a.root: cannot be opened: No such file or directory"), "data", "gone"),
        (unread("https://se/a: cannot read this ROOT file: file not found (HTTP(S) returned 404)"), "data", "gone"),
        (
            unread(
                "root://se//a: Failed to open file: [ERROR] Server responded with an error: [3011] Unable to open /a;"
                " no such file or directory"
            ),
            "data",
            "gone",
        ),
        (unread("/temporary/503/a.root: truncated: its header promises 502 bytes, 500 are there"), "data", "damaged"),
        (unread("file 0A is in no catalog"), "data", "no copy"),
    ],
)
def test_feature_66_the_class_of_each_failure(evidence: Evidence, kind: str, name: str) -> None:
    cause = cause_of(evidence)
    assert (cause.kind, cause.name) == (kind, name)
    assert cause.words and cause.owner and cause.action


@given(st.sampled_from(ORIGINS), st.text(), st.text(), st.sampled_from([c.name for c in CAUSES]))
def test_every_evidence_has_a_cause_and_its_record_the_same(
    origin: str, message: str, stderr: str, earlier: str
) -> None:
    evidence = Evidence(origin, message, ("ValueError",), stderr=stderr)
    record = {"origin": origin, "message": message, "kinds": ["ValueError"], "trace": stderr}
    assert cause_of(evidence, [earlier]).kind in ("transient", "site", "user", "data")
    assert failures_of({1: record})[0].cause == cause_of(Evidence.of(record))


def test_feature_66_memory_and_crashes_are_the_users_the_second_time() -> None:
    memory, killed = ({"origin": "ended", "message": m} for m in ("Slurm: OUT_OF_MEMORY", "killed by SIGKILL"))
    raised_ = {"origin": "raised", "message": "MemoryError", "kinds": ["MemoryError"], "where": "in events 1"}
    kinds = [f.cause.kind for f in failures_of({1: memory, 2: killed, 3: raised_, 4: memory})]
    assert kinds == ["transient", "transient", "user", "user"]


# -- tried again


def test_pauses_grow_and_end() -> None:
    retries = Retries(100)
    assert not retries and retries.patience() is None
    assert retries.add(task(7), 1) and retries.take() == []
    assert 90 < (retries.patience() or 0) <= 100
    retries.clear()
    assert retries.add(task(7), 2) and 290 < (retries.patience() or 0) <= LONGEST_S == 300  # 400 are too many
    assert not retries.add(task(7), 3) and RETRIES == 2
    retries.clear()
    assert not retries
    at_once = Retries(0)
    assert at_once.add(task(3), 1) and at_once.add(task(1), 1) and at_once.take() == [task(1), task(3)] and not at_once


def test_pieces_that_fail_at_about_one_time_are_tried_again_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 fail within the half of a pause of 40 s: one pause for all. One that fails in the later half has its own."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("tagsel.jobs.retries.time", SimpleNamespace(monotonic=lambda: clock.now))
    retries = Retries(40.0)
    for piece in range(300):
        clock.now = 1000.0 + piece / 15  # the last after 19.9 s
        retries.add(task(piece), 1)
    clock.now = 1025.0
    retries.add(task(300), 1)
    together = []
    for clock.now in (1039.0, 1040.0, 1064.0, 1065.0):
        together.append([t.piece for t in retries.take()])
    assert together == [[], list(range(300)), [], [300]]
    assert not retries


def test_what_an_engine_refuses_is_offered_again_after_pauses_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 s, 10 s, 20 s, all tasks together; 5 s once some were taken; it ends after a day, or none at all here."""
    retries, refusal = Retries(), NotNow("full", [task(1), task(2)], full=True)
    for pause in (5, 10, 20):
        retries.refused(refusal)
        assert pause - 1 < (retries.patience() or 0) <= pause and retries.take() == []
        retries.clear()
    retries.refused(refusal, some=True)
    assert 4 < (retries.patience() or 0) <= 5
    monkeypatch.setattr("tagsel.jobs.retries.OFFERED_S", 0)
    with pytest.raises(JobError, match="full; offered again for 0 hours"):
        retries.refused(refusal)


@pytest.mark.parametrize(
    ("raising", "kind", "attempts"),
    [
        ("ConnectionError('gone')", "transient", 3),
        ("OSError(28, 'No space left on device')", "site", 3),
        ("MemoryError()", "user", 2),
        ("ValueError('odd')", "user", 1),
    ],
)
def test_feature_66_what_is_tried_again(run: Callable[..., Job], raising: str, kind: str, attempts: int) -> None:
    job = run(f"def process(e):\n    print('at work', flush=True)\n    raise {raising}\n", range(10), events_per_job=10)
    (piece,) = job.pieces
    assert (piece.attempts, piece.state, piece.failures[-1].cause.kind) == (attempts, "failed", kind)
    assert job.ledger == DeliveryLedger(accepted=10, failed=10)
    evidence = piece.failures[-1].to_json()
    assert "raise" in str(evidence["stderr"]) and "in events" in str(evidence["where"])
    record = json.loads((job.folder.path / "outputs" / "00000.1.json").read_text().splitlines()[1])["header"]["error"]
    assert {"class", "cause", "code", "message", "trace", "where"} <= record.keys()  # kept in the job's folder
    assert record["code"] == (10 if kind == "user" and attempts == 1 else 11)


def test_feature_66_a_crash_is_tried_once_more(sample: Any, tmp_path: Path, script: Callable[[str], Path]) -> None:
    events = sample.events(range(10))
    body = "import os, signal\n\ndef process(e):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    job = submit(tmp_path / "jobs", events, sample.map(events), script(body), executor=LocalExecutor(1))
    assert job.wait().state == "failed"
    assert [(f.cause.kind, f.evidence.code) for f in job.pieces[0].failures] == [("transient", -11), ("user", -11)]
    assert job.ledger == DeliveryLedger(accepted=10, failed=10)


def test_feature_66_an_unreadable_copy_is_tried_again_and_a_damaged_file_is_not(
    run: Callable[..., Job], own: Any, inline: Any
) -> None:
    """The first file is damaged; of the second both copies are gone, and one is back before the second attempt."""
    one, two = Path(own.files[0].pfn), Path(own.files[1].pfn)
    one.write_bytes(one.read_bytes()[:3000])
    copies = {own.files[1].guid: [_Copy("FAR", "/nowhere/b.root")]}
    body, more = two.read_bytes(), type(own)(own.files, own.rows, copies)
    two.unlink()
    resubmitted = inline.submit

    def submit_again(tasks: Any) -> None:
        if any(t.attempt == 2 for t in tasks):
            two.write_bytes(body)
        resubmitted(tasks)

    inline.submit = submit_again
    job = run(COUNT, range(120), more, by="file")
    assert [(t.piece, t.attempt) for t in inline.seen] == [(0, 1), (1, 1), (2, 1), (1, 2)]
    assert job.ledger == DeliveryLedger(accepted=120, delivered=70, unreadable=50)
    assert job.result().value == {"n": 70}
    (group,) = job.diagnose()
    assert (group.cause.kind, group.cause.name, group.events, group.pieces) == ("data", "damaged", 50, (0,))


def test_feature_66_a_server_that_does_not_answer_is_asked_again(
    run: Callable[..., Job], sample: Any, inline: Any
) -> None:
    """The last of three files, of 40 events, lies on a server that is not there."""
    files = [*sample.files[:2], replace(sample.files[2], pfn="http://127.0.0.1:9/AOD.02.root")]
    job = run(COUNT, range(120), type(sample)(files, sample.rows), by="file")
    assert [(t.piece, t.attempt) for t in inline.seen] == [(0, 1), (1, 1), (2, 1), (2, 2), (2, 3)]
    assert job.status().state == "done" and job.result().value == {"n": 80}
    assert job.ledger == DeliveryLedger(accepted=120, delivered=80, unreadable=40)
    (group,) = job.diagnose()
    assert (group.cause.kind, group.cause.name, group.events, group.pieces) == ("transient", "server", 40, (2,))
    assert group.signature.startswith("<address>: its server <address> does not answer")


class _Copy:
    """A copy at a site."""

    def __init__(self, site: str, pfn: str) -> None:
        self.site, self.pfn = site, pfn


def planned(sample: Any, folder: Path, script: Path, **how: Any) -> JobFolder:
    """A job that was written and not started."""
    events = sample.events(range(40))
    folder.mkdir()
    return JobFolder(write_folder(folder, plan_job(events, sample.map(events), script, **how), events, ""))


def test_feature_66_a_pause_holds_up_no_other_piece(
    sample: Any, tmp_path: Path, script: Callable[[str], Path], inline: Any
) -> None:
    marker = tmp_path / "tried"
    body = (
        f"from pathlib import Path\nmarker = Path({str(marker)!r})\n\ndef process(e):\n"
        "    if not marker.exists():\n        marker.touch()\n        raise ConnectionError('gone')\n"
        "    return {'n': len(e)}\n"
    )
    told: list[tuple[str, int, float]] = []

    class Telling(type(inline)):  # type: ignore[misc]
        def submit(self, tasks: list[Task]) -> None:
            told.extend(("begun", t.piece, time.monotonic()) for t in tasks)
            super().submit(tasks)

        def ended(self, patience: float | None = None) -> Ended:
            done = super().ended(patience)
            told.append(("ended", done.task.piece, time.monotonic()))
            return done  # type: ignore[no-any-return]

    folder = planned(sample, tmp_path / "jobs", script(body), events_per_job=10)
    drive(folder, Telling(), pause_s=0.2)
    assert [t[:2] for t in told[:6]] == [("begun", n) for n in range(4)] + [("ended", 0), ("ended", 1)]
    (again,) = [t[2] for t in told[4:] if t[:2] == ("begun", 0)]
    assert again - told[4][2] >= 0.2
    assert sum(t[0] == "ended" for t in told) == 5
    assert Job(folder).result().value == {"n": 40}


HANG_S = 120
"""No time of a test: whatever has not ended by then waits for something else than it should."""


def test_a_job_that_only_pauses_is_killed_at_once(
    sample: Any, tmp_path: Path, script: Callable[[str], Path], inline: Any
) -> None:
    body = script("def process(e):\n    raise ConnectionError('gone')\n")
    job = Job(planned(sample, tmp_path / "jobs", body, events_per_job=40))
    job.start(inline, pause_s=1000)
    patience = time.monotonic() + 60
    while not job.pieces[0].failures or job.folder.workers():  # its worker is this process: kill would reach it
        assert time.monotonic() < patience
        time.sleep(0.02)
    load(job.folder.path).kill()
    assert job._thread is not None
    job._thread.join(HANG_S)  # the pause is of 1,000 s
    assert not job.lives() and job.wait().state == "killed"
    assert [t.attempt for t in inline.seen] == [1]
    assert job.ledger == DeliveryLedger(accepted=40, failed=40)


# -- few causes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/data/a/AOD.01.root: truncated: it promises 9 bytes", "/x/B.root: truncated: it promises 812 bytes"),
        ("root://se01.x.org:1094//store/a.root: no", "https://dav.y.org/b.root: no"),
        ("file 0A1B2C3D-0000-4000-8000-0123456789ab is lost", "file FFFFFFFF-0000-4000-8000-0123456789AB is lost"),
        ("slot1_2@n17.x.org lost node n17.x.org", "slot1_4@n18.x.org lost node n18.x.org"),
        ("no 0123456789abcdef", "no fedcba9876543210"),
        ("slot1@n17.x.org:9618 at 10.0.0.1 said 0x7ffe12", "slot2@n18.x.org:9619 at 10.22.0.13 said 0xbeef"),
        ("ValueError: cannot convert -1.5e-7 at 12", "ValueError: cannot convert 99 at 3,000"),
    ],
)
def test_what_differs_from_piece_to_piece_is_taken_out(one: str, other: str) -> None:
    assert signature(one) == signature(other) != one


def test_words_that_differ_are_told_apart() -> None:
    assert signature("KeyError: 'Muon_pt'") == "KeyError: 'Muon_pt'" != signature("KeyError: 'Jet_pt'")
    assert signature("no module h5py in python3") == "no module h5py in python3"


FAILED = [
    (
        {"origin": "raised", "message": "ValueError: bad value {n}", "kinds": ["ValueError"], "where": "in events {n}"},
        "user",
        "ValueError: bad value <n>",
    ),
    (
        {
            "origin": "ended",
            "message": "held by HTCondor: Transfer of /pool/{n}/00{n}.piece from 10.0.{n}.1:9618 failed",
        },
        "site",
        "held by HTCondor: Transfer of <path> from <address> failed",
    ),
    ({"origin": "ended", "message": "killed by SIGKILL", "code": -9}, "transient", "killed by SIGKILL"),
]
"""Records of failures that have a number in them, their class, and the message without it."""


def test_feature_70_ten_thousand_failures_are_few_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piece n has n % 3 + 1 events and fails as FAILED[n % 3] says: 3,334, 3,333 and 3,333 of 10,000.

    Two of the messages have one of 200 numbers, and one has none: 401 different ones, each looked at once.
    """
    filled = lambda record, n: {  # noqa: E731
        key: value.replace("{n}", str(n % 200)) if isinstance(value, str) else value for key, value in record.items()
    }
    states = [
        PieceState(n, n % 3 + 1, "", "failed", 1, error="x", records={1: filled(FAILED[n % 3][0], n)})
        for n in range(10_000)
    ]
    looked_at = []
    module = import_module("tagsel.jobs.diagnose")
    monkeypatch.setattr(module, "signature", lambda message: looked_at.append(message) or signature(message))
    groups = diagnose(states)
    assert len(looked_at) == len(set(looked_at)) == 401
    assert [(g.cause.kind, g.signature, len(g.pieces), g.events, g.example) for g in groups] == [
        ("transient", FAILED[2][2], 3333, 9999, 2),
        ("site", FAILED[1][2], 3333, 6666, 1),
        ("user", FAILED[0][2], 3334, 3334, 0),
    ]
    assert sorted(n for g in groups for n in g.pieces) == list(range(10_000))
    assert all(g.cause.owner and g.cause.action for g in groups)


def test_feature_70_the_failures_of_a_job_in_groups(run: Callable[..., Job], own: Any, sample: Any) -> None:
    """120 events in pieces of 10: two have a bad event, and the last file, of 40 events, is cut short."""
    path = Path(own.files[2].pfn)
    path.write_bytes(path.read_bytes()[:3000])
    bad = [own.events(range(120)).event.tolist()[n] for n in (5, 17)]
    body = (
        f"def process(e):\n    for n in {bad}:\n        assert n not in e.event.to_list(), f'cursed {{n}}'\n"
        "    return {'n': len(e)}\n"
    )
    job = run(body, range(120), own, events_per_job=10)
    assert job.ledger == DeliveryLedger(accepted=120, delivered=60, unreadable=40, failed=20)
    damaged, cursed = job.diagnose()
    assert (damaged.cause.kind, damaged.pieces, damaged.events, damaged.example) == ("data", (8, 9, 10, 11), 40, 8)
    assert (cursed.cause.kind, cursed.pieces, cursed.events) == ("user", (0, 1), 20)
    assert cursed.signature == "AssertionError: cursed <n>" and str(bad[0]) in cursed.message
    assert run(COUNT, range(20)).diagnose() == ()


def test_a_record_of_before_has_a_class(run: Callable[..., Job], maker: ModuleType) -> None:
    old = {"class": "user", "message": "ValueError: odd", "where": "in events 1", "trace": "Traceback\nValueError: odd"}
    lost = {"class": "transient", "message": "killed by SIGKILL", "trace": ""}
    assert [f.cause.kind for f in failures_of({1: old, 2: lost})] == ["user", "transient"]
