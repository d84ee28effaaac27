"""The files of a job's folder: damage is named and never read as a value, and a job keeps its engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tagsel.errors import JobError
from tagsel.jobs import Chosen, Job, list_jobs, load, look_up_jobs, plan, submit
from tagsel.jobs.folder import JobFolder, write_document
from tagsel.jobs.notes import Notes
from tagsel.jobs.output import verify_output
from tagsel.jobs.rounds import open_round, round_of

COUNT = "branches = ['MET_pt']\n\ndef process(events):\n    return {'n': len(events)}\n"
KEEP = "branches = ['MET_pt']\n\ndef process(events):\n    return events\n"
SLURM = Chosen("slurm", {"mem": "100M"})


@pytest.fixture
def done(run: Callable[..., Job]) -> Job:
    """A job that counted 40 events in two pieces."""
    job = run(COUNT, range(40), events_per_job=20)
    assert job.wait().state == "done"
    return job


def test_fault_11_a_full_disk_is_named_where_a_job_notes_who_submits(tmp_path: Path) -> None:
    (tmp_path / "begun").symlink_to("/dev/full")
    with pytest.raises(JobError, match=r"cannot write .*begun: No space left on device"):
        JobFolder(tmp_path).note("process 1")


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


@pytest.mark.parametrize("name", ["result.json", "job.json", "cost.json"])
def test_fault_39_no_flipped_bit_is_read_as_a_value(done: Job, name: str) -> None:
    path = done.folder.path / name
    whole = path.read_bytes()
    ask: Callable[[Job], object] = {
        "result.json": lambda job: job.result().value,
        "job.json": lambda job: job.status().events,
        "cost.json": lambda job: job.cost,
    }[name]
    right = ask(load(done.folder.path))
    for bit in range(0, 8 * len(whole), 5):
        path.write_bytes(flipped(whole, bit))
        try:
            answer = ask(load(done.folder.path))
        except JobError as error:
            assert str(path) in error.message
        else:  # between two tokens one blank is as good as another
            assert answer == right
            assert json.loads(flipped(whole, bit)) == json.loads(whole)
    path.write_bytes(whole)
    assert ask(load(done.folder.path)) == right


def test_fault_39_the_example_of_the_table(done: Job) -> None:
    """`"n": 40` becomes `"n": 50` by one bit: "4" is 0x34, "5" is 0x35."""
    path = done.folder.result
    text = path.read_bytes()
    at = text.index(b'"n": 40') + len(b'"n": ')
    path.write_bytes(flipped(text, 8 * at))
    assert b'"n": 50' in path.read_bytes()
    with pytest.raises(JobError, match=r"result\.json is damaged: its content does not match its checksum") as caught:
        load(done.folder.path).result()
    assert "resubmit" in caught.value.hint


def test_fault_39_the_remedy_of_a_damaged_result_works(done: Job, inline: Any) -> None:
    done.folder.result.write_text("{")
    done.folder.result.unlink()
    again = load(done.folder.path)
    again.resubmit(inline)
    assert again.wait().state == "done"
    assert again.result().value == {"n": 40}
    assert [piece.attempts for piece in again.pieces] == [1, 1]  # merged again, not run again


def test_fault_39_files_without_a_checksum_are_of_version_1_or_damaged(done: Job) -> None:
    for path in (done.folder.result, done.folder.path / "job.json"):
        whole = path.read_bytes()
        document = json.loads(whole)
        del document["sha256"]
        path.write_text(json.dumps(document))
        with pytest.raises(JobError, match="it has no checksum"):
            load(done.folder.path).result()
        path.write_bytes(whole)
    document = json.loads(done.folder.result.read_bytes())
    for name in ("sha256", "version", "job"):
        del document[name]
    done.folder.result.write_text(json.dumps(document))
    assert load(done.folder.path).result().value == {"n": 40}


def test_fault_39_a_result_of_another_job_is_refused(run: Callable[..., Job], done: Job) -> None:
    other = run(COUNT, range(30))
    assert other.wait().state == "done"
    shutil.copy(other.folder.result, done.folder.result)
    with pytest.raises(JobError, match=r"0001/result\.json does not belong to .*0001/job\.json"):
        load(done.folder.path).result()


def test_job_json_of_another_job_is_named_and_so_is_every_file_that_follows_from_it(
    run: Callable[..., Job], done: Job
) -> None:
    """Two jobs of one script; files of the second, of 30 events in three pieces, are copied over the first's."""
    other = run(COUNT, range(30), events_per_job=10)
    assert other.wait().state == "done"
    open_round(done.folder, {0: 1})
    open_round(other.folder, {0: 1})
    for job in (done, other):
        job.folder.write(job.folder.resplit, {"replaced": {}})
    ask: dict[str, Callable[[Job], object]] = {
        "result.json": lambda job: job.result().value,
        "cost.json": lambda job: job.cost.pieces,
        "round.json": lambda job: round_of(job.folder),
        "resplit.json": lambda job: len(job.folder.pieces),
    }
    right = {"result.json": {"n": 40}, "cost.json": 2, "round.json": {0: 1}, "resplit.json": 2}
    for name, value in right.items():
        path = done.folder.path / name
        whole = path.read_bytes()
        shutil.copy(other.folder.path / name, path)
        with pytest.raises(JobError, match="does not belong to") as caught:
            ask[name](load(done.folder.path))
        assert caught.value.fields["path"] == str(path)
        path.write_bytes(whole)
        assert ask[name](load(done.folder.path)) == value
    shutil.copy(other.folder.path / "job.json", done.folder.path / "job.json")
    with pytest.raises(JobError, match=r"0001/job\.json is damaged: it is that of job 0002") as caught:
        load(done.folder.path)
    assert "backup" in caught.value.hint
    readable, damaged = look_up_jobs(done.folder.path.parent)
    assert ([job.id for job in readable], list(damaged)) == (["0002"], ["0001"])


def test_another_json_file_in_place_of_job_json_is_damage(done: Job) -> None:
    """A file without version and checksum, as a manifest of a dataset is."""
    path = done.folder.path / "job.json"
    path.write_text('{"format":2,"check":"0","state":{}}')
    with pytest.raises(JobError, match=r"0001/job\.json is damaged: it does not say which pieces") as caught:
        load(done.folder.path).status()
    assert "backup" in caught.value.hint


def test_notes_of_an_engine_are_those_of_their_job(tmp_path: Path) -> None:
    """The tasks of job 2, copied to job 1, are not taken for its own: killing job 1 would end them."""
    for number in ("0001", "0002"):
        (tmp_path / number).mkdir()
    one, two = (Notes(tmp_path / number / "engine") for number in ("0001", "0002"))
    submission = two.name(two.new([]), "17")
    assert [s.id for s in two.submissions()] == ["17"]
    shutil.copy(two.folder / f"{submission.token}.tasks", one.folder)
    with pytest.raises(JobError, match=r"0001/engine/.*\.tasks is that of job 0002"):
        one.submissions()


def test_a_job_json_that_states_no_job_is_that_of_an_older_tagsel(done: Job) -> None:
    path = done.folder.path / "job.json"
    document = {key: value for key, value in done.folder.spec.items() if key not in ("job", "version")}
    write_document(path, document)
    done.folder.result.unlink()
    done.folder.cost.unlink()
    assert load(done.folder.path).status().events == 40


def test_a_submitter_whose_number_was_taken_meanwhile_states_the_next(
    run: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = plan._sync

    def taken_meanwhile(folder: Path) -> None:
        sync(folder)
        (folder.parent / "0001" / "pieces").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(plan, "_sync", taken_meanwhile)
    job = run(COUNT, range(40))
    assert job.wait().state == "done"
    assert (job.id, json.loads((job.folder.path / "job.json").read_bytes())["job"]) == ("0002", "0002")


def test_fault_39_merged_events_are_those_that_the_result_names(run: Callable[..., Job]) -> None:
    job = run(KEEP, range(40))
    assert job.wait().state == "done"
    path = job.folder.path / "result.parquet"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 8 * len(whole) // 40):
        path.write_bytes(flipped(whole, bit))
        with pytest.raises(JobError, match=r"result\.parquet is damaged"):
            _ = load(job.folder.path).result().value
    path.write_bytes(whole)
    assert len(load(job.folder.path).result().value) == 40


def test_fault_39_records_of_rounds_and_submissions_are_sealed(done: Job, tmp_path: Path) -> None:
    open_round(done.folder, {0: 1, 1: 2})
    assert round_of(done.folder) == {0: 1, 1: 2}
    path = done.folder.path / "round.json"
    path.write_bytes(path.read_bytes().replace(b'"1": 2', b'"1": 3'))
    with pytest.raises(JobError, match=r"round\.json is damaged"):
        round_of(done.folder)
    path.write_text('{"0": 1, "1": 2}')  # as version 1 wrote it
    assert round_of(done.folder) == {0: 1, 1: 2}
    notes = Notes(tmp_path / "notes")
    one, two = notes.name(notes.new([]), "17"), notes.new([])
    assert {s.id for s in notes.submissions()} == {"17", ""}
    shutil.copy(notes.folder / f"{one.token}.id", notes.folder / f"{two.token}.id")
    with pytest.raises(JobError, match="of another submission"):
        notes.submissions()
    (notes.folder / f"{two.token}.id").write_text("18")  # as version 1 wrote it
    (notes.folder / f"{two.token}.tasks").write_text("[]")
    assert {s.id for s in notes.submissions()} == {"17", "18"}


def test_fault_42_killed_between_any_two_steps_of_submit_a_job_keeps_its_engine(
    sample: Any, tmp_path: Path, script: Callable[[str], Path], inline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the disk at each step is copied: this is what a kill there would leave."""
    images: list[Path] = []

    def photograph(name: str) -> None:
        assert name == "jobs.submit"
        images.append(tmp_path / f"image-{len(images)}")
        shutil.copytree(tmp_path / "jobs", images[-1])

    monkeypatch.setattr(plan, "fail_point", photograph)
    events = sample.events(range(40))
    job = submit(
        tmp_path / "jobs", events, sample.map(events), script(COUNT), executor=inline, on=SLURM, events_per_job=20
    )
    job.wait()
    found = [list_jobs(image) for image in images]
    assert [len(jobs) for jobs in found] == [0, 0, 0, 0, 0, 0, 1]
    for (left,) in found[6:]:
        assert (left.engine.name, left.engine.options) == ("slurm", {"mem": "100M"})
        assert left.status().state == "interrupted"
        assert not list(left.folder.engine.iterdir())  # nothing else says so
    assert job.engine == load(job.folder.path).engine == SLURM


def test_fault_42_a_job_of_version_1_keeps_the_engine_of_its_own_file(done: Job) -> None:
    path = done.folder.path / "job.json"
    document = json.loads(path.read_bytes())
    for name in ("sha256", "engine"):
        del document[name]
    path.write_text(json.dumps({**document, "version": 1}))
    (done.folder.engine / "engine.json").write_text(json.dumps({"name": "slurm", "options": {"mem": "1G"}}))
    assert Chosen.of(JobFolder(done.folder.path)) == Chosen("slurm", {"mem": "1G"})


def test_fault_39_every_byte_of_a_pieces_events_is_checked_by_the_merge(run: Callable[..., Job], inline: Any) -> None:
    """One bit anywhere in the file, its footer included, and nothing is merged; a whole file merges as before.

    40 events in two pieces: the first output is damaged, the error names it, and its remedy gives all 40 again.
    """
    job = run(KEEP, range(40), events_per_job=20)
    assert job.wait().state == "done"
    output = job.folder.stem(0, 1).with_name("00000.1.parquet")
    whole = output.read_bytes()
    verify_output(output)
    for bit in range(0, 8 * len(whole), 641):
        output.write_bytes(flipped(whole, bit))
        with pytest.raises(JobError, match="00000.1.parquet"):
            verify_output(output)
    for size in (0, 3, 11, len(whole) // 2, len(whole) - 1):
        output.write_bytes(whole[:size])
        with pytest.raises(JobError, match="00000.1.parquet"):
            verify_output(output)
    data_page = 8 * 40  # behind the magic bytes, in the first page of the first column
    output.write_bytes(flipped(whole, data_page))
    job.folder.result.unlink()
    again = load(job.folder.path)
    again.resubmit(inline)
    with pytest.raises(JobError, match="00000.1.parquet is damaged: its content does not match its checksum") as error:
        again.wait()
    assert "remove the file" in error.value.hint
    output.unlink()
    mended = load(job.folder.path)
    mended.resubmit(inline)
    assert mended.wait().state == "done"
    assert mended.result().events == 40


def test_events_of_a_piece_of_an_older_tagsel_are_read(run: Callable[..., Job]) -> None:
    """A header of version 3 has no checksum: its file is taken as before."""
    job = run(KEEP, range(40), events_per_job=40)
    assert job.wait().state == "done"
    output = job.folder.stem(0, 1).with_name("00000.1.parquet")
    table = pq.read_table(output)
    metadata = {**table.schema.metadata}
    del metadata[b"tagsel.sha256"]
    metadata[b"tagsel.piece"] = metadata[b"tagsel.piece"].replace(b'"version": 4', b'"version": 3')
    pq.write_table(table.replace_schema_metadata(metadata), output)
    verify_output(output)
    metadata[b"tagsel.piece"] = metadata[b"tagsel.piece"].replace(b'"version": 3', b'"version": 4')
    pq.write_table(table.replace_schema_metadata(metadata), output)
    with pytest.raises(JobError, match="its footer has no checksum"):
        verify_output(output)


def test_fault_39_a_job_that_cannot_be_read_hides_no_other(
    run: Callable[..., Job], done: Job, caplog: pytest.LogCaptureFixture
) -> None:
    """Three jobs, the second's job.json damaged: the first and the third are listed, and the second is named."""
    run(COUNT, range(40), events_per_job=40).wait()
    run(COUNT, range(40), events_per_job=40).wait()
    jobs = done.folder.path.parent
    path = jobs / "0002" / "job.json"
    path.write_bytes(path.read_bytes().replace(b'"events": 40', b'"events": 41'))
    assert [job.id for job in list_jobs(jobs)] == ["0001", "0003"]
    assert "0002/job.json is damaged: its content does not match its checksum" in caplog.text
    readable, damaged = look_up_jobs(jobs)
    assert ([job.id for job in readable], list(damaged)) == (["0001", "0003"], ["0002"])
