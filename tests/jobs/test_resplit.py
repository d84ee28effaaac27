"""Failed pieces split anew inside their job, and its luminosity blocks: no process that dies loses or repeats any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.aod import map_events
from tagsel.errors import JobError
from tagsel.events import DeliveryLedger, EventList
from tagsel.jobs import Job, Piece, load, split, submit
from tagsel.jobs.piece import read_piece
from tagsel.jobs.split import split_piece
from tagsel.quality import LumiSet

GUIDS = [f"{i:08X}-0000-0000-0000-000000000000" for i in range(3)]

TOO_MANY = """
branches = ["MET_pt"]

def process(events):
    assert len(events) <= {most}, "too many at once"
    return {what}
"""


def events_of(piece: Piece) -> list[int]:
    """The event numbers of a piece, in its order."""
    return [e for _, e in sorted((r, e) for f in piece.files for r, e in zip(f.rows, f.event.tolist(), strict=True))]


places = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=40)


def one_piece(where: list[tuple[int, int]]) -> Piece:
    """A piece of one event for each (file, lumi), by luminosity block."""
    entries = [sum(f == g for g, _ in where[:i]) for i, (f, _) in enumerate(where)]
    events = EventList.from_arrays(
        [7] * len(where), [lumi for _, lumi in where], range(len(where)), [f for f, _ in where], GUIDS, entries
    )
    (piece,) = split(map_events(events, [], {}), events, by="lumi")
    return piece


@given(places, st.integers(2, 9))
def test_feature_67_parts_have_the_events_of_the_piece_in_its_order(where: list[tuple[int, int]], into: int) -> None:
    piece = one_piece(where)
    n = len(where)
    if into > n:
        with pytest.raises(JobError, match="cannot be split into"):
            split_piece(piece, 5, by="events", into=into)
        return
    parts = split_piece(piece, 5, by="events", into=into)
    assert [p.number for p in parts] == list(range(5, 5 + into))
    assert [e for p in parts for e in events_of(p)] == events_of(piece)
    assert {p.n_events for p in parts} <= {n // into, n // into + 1}  # about equal
    most = max(1, n // into)
    if most < n:
        bounded = split_piece(piece, 5, by="file", events_per_job=most)
        assert [p.n_events for p in bounded[:-1]] == [most] * (len(bounded) - 1)
        assert [e for p in bounded for e in events_of(p)] == events_of(piece)


@given(places, st.integers(2, 9))
def test_feature_36_a_job_by_blocks_is_split_anew_by_blocks(where: list[tuple[int, int]], into: int) -> None:
    piece = one_piece(where)
    if len({lumi for _, lumi in where}) == 1:
        with pytest.raises(JobError, match="cannot be split into"):
            split_piece(piece, 5, by="lumi", into=into)
        return
    parts = split_piece(piece, 5, by="lumi", into=into)
    assert 2 <= len(parts) <= into
    assert [e for p in parts for e in events_of(p)] == events_of(piece)
    assert sum(len(p.lumi) for p in parts) == len(piece.lumi)  # none is in two


@pytest.mark.parametrize("what", ["{'n': len(events), 'met': sum(events.MET_pt.to_list())}", "events"])
def test_feature_67_a_failed_piece_is_split_anew_and_only_its_events_run_again(
    run: Callable[..., Job], sample: Any, inline: Any, what: str
) -> None:
    """Pieces of 50, 30 and 40 events, at most 30 go: the first and the last are split, and a part of these again."""
    whole = run(TOO_MANY.format(most=99, what=what), range(120), by="file")
    job = run(TOO_MANY.format(most=30, what=what), range(120), by="file")
    assert [p.state for p in job.pieces] == ["failed", "done", "failed"]
    assert job.ledger == DeliveryLedger(accepted=120, delivered=30, failed=90)
    inline.seen.clear()
    assert job.resplit(2, 0, into=2) == {2: [3, 4], 0: [5, 6]}
    assert job.resplit(4, events_per_job=15) == {4: [7, 8]}  # what was split can be split
    assert [(p.number, p.events, p.state) for p in job.pieces] == [
        (5, 25, "waiting"),
        (6, 25, "waiting"),
        (1, 30, "done"),
        (3, 20, "waiting"),
        (7, 15, "waiting"),
        (8, 5, "waiting"),
    ]
    assert job.ledger == DeliveryLedger(accepted=120, delivered=30, failed=90)
    job.start(inline, again=False)
    assert job.wait().state == "done"
    assert sorted(t.piece for t in inline.seen) == [3, 5, 6, 7, 8]  # neither what is done nor what was replaced
    result = load(job.folder.path).result()
    assert result.ledger == job.ledger == DeliveryLedger(accepted=120, delivered=120)
    if what == "events":
        found = pq.read_table(result.path)["event"].to_pylist()
        assert found == pq.read_table(whole.output)["event"].to_pylist()
        assert len(found) == len(set(found)) == 120
    else:
        assert result.value == whole.result().value and result.value["n"] == 120
    record = json.loads(job.folder.result.read_text())
    assert record["replaced"] == {"0": [5, 6], "2": [3, 4], "4": [7, 8]}
    assert job.lumi().processed == whole.lumi().processed and not job.lumi().missing
    ids = [n for p in job.pieces for f in read_piece(job.folder.piece(p.number))[0].files for n in f.event.tolist()]
    assert sorted(ids) == sorted(sample.events(range(120)).event.tolist())


def test_feature_67_a_late_output_of_a_replaced_piece_does_not_count(run: Callable[..., Job], inline: Any) -> None:
    job = run(TOO_MANY.format(most=10, what="{'n': len(events)}"), range(40), events_per_job=20)
    good = run(TOO_MANY.format(most=99, what="{'n': len(events)}"), range(40), events_per_job=20)
    job.resplit(0, 1, into=2)
    late = json.loads((good.folder.path / "outputs" / "00000.1.json").read_text().splitlines()[1])
    assert late["value"] == {"n": 20}
    (job.folder.path / "outputs" / "00000.2.json").write_bytes(
        (good.folder.path / "outputs" / "00000.1.json").read_bytes()
    )
    job.start(inline, again=False)
    assert job.wait().state == "done" and job.result().value == {"n": 40}
    with pytest.raises(JobError, match="piece 0 was split before, into pieces 2, 3"):
        job.resplit(0, into=2)


def test_what_cannot_be_split_anew_is_left_as_it_is(run: Callable[..., Job], sample: Any) -> None:
    job = run(TOO_MANY.format(most=10, what="{'n': len(events)}"), range(21), events_per_job=20)
    assert [p.state for p in job.pieces] == ["failed", "done"]
    for pieces, how, said in (
        ((1,), {"into": 2}, "piece 1 is done"),
        ((7,), {"into": 2}, "has no piece 7"),
        ((), {"into": 2}, "no piece was named"),
        ((0,), {"into": 21}, "piece 0 of 20 events cannot be split into 21"),
        ((0,), {"into": 1}, "cannot be split into 1"),
        ((0,), {"events_per_job": 20}, "cannot be split into 1"),
        ((0,), {"events_per_job": 0}, "events per job: 0 was given"),
        ((0,), {}, "one of into and events per job"),
        ((0,), {"into": 2, "events_per_job": 3}, "one of into and events per job"),
        ((0, 1), {"into": 2}, "piece 1 is done"),  # none or all
    ):
        with pytest.raises(JobError, match=said):
            job.resplit(*pieces, **how)  # type: ignore[arg-type]
    assert not job.folder.resplit.exists() and [p.number for p in job.pieces] == [0, 1]
    with job.folder.locked(), pytest.raises(JobError, match="is being run by process"):
        load(job.folder.path).resplit(0, into=2)
    job.folder.resplit.write_text("{")
    with pytest.raises(JobError, match="resplit.json is damaged"):
        _ = load(job.folder.path).pieces


SPLITTER = """
import sys
from tagsel.jobs import load
print(load(sys.argv[1]).resplit(0, 1, into=3))
"""


@pytest.mark.parametrize(("passage", "done"), [(1, False), (2, False), (3, True)])
def test_fault_13_killed_while_a_piece_is_split_all_or_nothing(
    run: Callable[..., Job], sample: Any, inline: Any, passage: int, done: bool
) -> None:
    """kill -9 when all files are there, when the record is written aside, and when it has its name."""
    job = run(TOO_MANY.format(most=9, what="{'n': len(events)}"), range(40), events_per_job=20)
    assert job.ledger == DeliveryLedger(accepted=40, failed=40)
    killed = subprocess.run(
        [sys.executable, "-c", SPLITTER, str(job.folder.path)],
        check=False,
        capture_output=True,
        env={**os.environ, "TAGSEL_KILL_AT": f"jobs.resplit:{passage}"},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = load(job.folder.path)
    assert [p.number for p in again.pieces] == ([2, 3, 4, 5, 6, 7] if done else [0, 1])
    assert again.ledger == DeliveryLedger(accepted=40, failed=40)
    if not done:
        assert again.resplit(0, 1, into=3) == {0: [2, 3, 4], 1: [5, 6, 7]}
    again.resubmit(inline)
    assert again.wait().state == "done" and again.result().value == {"n": 40}
    assert again.ledger == DeliveryLedger(accepted=40, delivered=40)


@pytest.mark.grid
@pytest.mark.parametrize("name", ["condor", "slurm"])
def test_feature_67_on_batch_systems(
    request: pytest.FixtureRequest,
    sample: Any,
    tmp_path: Path,
    script: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Pieces of 30 events fail, halves of them do not."""
    from testbed.servers import open_way

    from tagsel.jobs import Chosen

    if name == "slurm":
        for key, value in request.getfixturevalue("slurm_cluster").items():
            monkeypatch.setenv(key, value)
        on = Chosen("slurm", {"mem": "100M"})
    else:
        request.getfixturevalue("condor_pool")
        on = Chosen("condor", {"request_memory": "100MB", "request_disk": "100MB"})
    open_way(tmp_path)
    events = sample.events(range(60))
    body = script(TOO_MANY.format(most=15, what="{'n': len(events), 'sum': int(sum(events.event))}"))
    job = submit(tmp_path / "jobs", events, sample.map(events), body, events_per_job=30, on=on)
    assert job.wait().failed == 2
    assert [g.cause.kind for g in job.diagnose()] == ["user"]
    job.resplit(0, 1, into=2)
    job.start(again=False)
    assert job.wait().state == "done"
    assert job.result().value == {"n": 60, "sum": int(events.event.sum())}
    assert job.ledger == DeliveryLedger(accepted=60, delivered=60)


# -- luminosity blocks


def blocks(sample: Any, rows: Any) -> LumiSet:
    """The blocks of rows of the sample, one by one."""
    return LumiSet.from_ranges([(sample.rows[k][2], sample.rows[k][3], sample.rows[k][3]) for k in rows])


def test_feature_38_processed_and_missing_blocks_are_those_of_the_list(run: Callable[..., Job], sample: Any) -> None:
    """Pieces of 10 of every other event; one of them fails: its blocks are missing, those that it shares, too."""
    rows = range(0, 120, 2)
    bad = sample.events(rows).event.tolist()[25]
    body = f"def process(e):\n    assert {bad} not in e.event.to_list()\n    return {{'n': len(e)}}\n"
    job = run(body, rows, events_per_job=10)
    truth = [sample.rows.index(r) for r in sample.truth(sample.events(rows))]
    lost = blocks(sample, truth[20:30])
    found = load(job.folder.path).lumi()
    assert found.missing == lost
    assert found.processed == blocks(sample, rows) - lost
    assert found.processed | found.missing == blocks(sample, rows) and not found.processed & found.missing
    assert job.ledger == DeliveryLedger(accepted=60, delivered=50, failed=10)


def test_feature_38_blocks_of_unreadable_events_are_missing(run: Callable[..., Job], own: Any) -> None:
    """The second file, rows 50 to 79, is damaged; a piece that has events of other files, too, says which are lost."""
    path = Path(own.files[1].pfn)
    path.write_bytes(path.read_bytes()[:3000])
    job = run("def process(e):\n    return {'n': len(e)}\n", range(120), own, events_per_job=25)
    lost = blocks(own, range(50, 80))
    assert job.lumi().missing == lost and job.lumi().processed == blocks(own, range(120)) - lost
    record = json.loads(job.folder.result.read_text())["lumi"]
    assert record == job.lumi().to_json()
    spans = [(int(run), *span) for run, all_ in record["processed"].items() for span in all_]
    assert LumiSet.from_ranges(spans) == job.lumi().processed
    assert job.ledger == DeliveryLedger(accepted=120, delivered=90, unreadable=30)


def test_feature_38_blocks_of_events_without_an_address_or_a_block(
    sample: Any, tmp_path: Path, script: Callable[[str], Path], inline: Any
) -> None:
    """One event of the sample, one without an address, and one whose luminosity block nobody knows."""
    r = sample.rows[0]
    events = EventList.from_arrays(
        [r[2], 9, sample.rows[1][2]],
        [r[3], 9, -1],
        [r[4], 9, sample.rows[1][4]],
        [1, 0, 1],
        ["", sample.files[0].guid],
        [r[1], -1, sample.rows[1][1]],
    )
    body = "def process(e):\n    return e\n"
    job = submit(tmp_path / "jobs", events, sample.map(events), script(body), executor=inline)
    job.wait()
    assert job.lumi().processed.ranges == [(r[2], r[3], r[3])] and job.lumi().missing.ranges == [(9, 9, 9)]
    note = json.loads(pq.read_schema(job.output).metadata[b"tagsel"])
    assert note["lumi"] == {"processed": {str(r[2]): [[r[3], r[3]]]}, "missing": {"9": [[9, 9]]}}


@pytest.mark.parametrize(
    "how",
    [{"events_per_job": 17}, {"by": "file"}, {"by": "lumi", "events_per_job": 20}, {"by": "bytes", "bytes_per_job": 1}],
)
def test_feature_38_58_a_job_that_is_done_has_processed_all(
    run: Callable[..., Job], sample: Any, how: dict[str, Any]
) -> None:
    job = run("def process(e):\n    return {'n': len(e)}\n", range(1, 120, 3), **how)
    assert job.lumi().processed == blocks(sample, range(1, 120, 3)) and not job.lumi().missing
    pieces = [read_piece(job.folder.piece(p.number))[0] for p in job.pieces]
    assert sorted(n for p in pieces for n in events_of(p)) == sorted(sample.rows[k][4] for k in range(1, 120, 3))
    for piece, state in zip(pieces, job.pieces, strict=True):
        with_header = json.loads(state.header.lumi)  # what each piece processed travels with its output
        assert sum(b - a + 1 for spans in with_header.values() for a, b in spans) == len(piece.lumi)


def test_no_event_has_no_block(run: Callable[..., Job]) -> None:
    job = run("def process(e):\n    return {'n': len(e)}\n", [])
    assert job.lumi().to_json() == {"processed": {}, "missing": {}}
