"""A catalog that was put back from an older backup, or is gone, is compared with what lies on disk."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from nanofile import nano

from tagsel.api import Workspace
from tagsel.catalog import PutSite
from tagsel.cli.main import run
from tagsel.errors import CatalogError

NAME, LATER = "data18.X.TAG", "data18.Y.TAG"
N = 25
"""Events of each file that `nano` writes."""
CHOSEN = 24
"""Events of two files with MET_pt > 50: 12 of each file's 25, at 54.2, 58.3 … 100 GeV, in steps of 100 / 24."""
SCRIPTS = {
    "EVENTS": 'branches = ["MET_pt"]\ndef process(events):\n    return events\n',
    "NUMBERS": 'branches = ["MET_pt"]\ndef process(events):\n    return {"n": len(events)}\n',
}


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """Two snapshots of a dataset and the output of job 1; a backup of the catalog's files; then a third snapshot, a
    pin, another dataset, and the outputs of jobs 2 and 3."""
    workspace = Workspace.init(tmp_path / "W")
    for first in (1000, 2000):
        workspace.ingest(nano(tmp_path / f"{first}.root", first), dataset=NAME)
    events = workspace[NAME].select("MET_pt > 50")
    assert len(events) == CHOSEN
    for kind, text in SCRIPTS.items():
        (tmp_path / f"{kind}.py").write_text(text)
    assert workspace.lists[events].submit(tmp_path / "NUMBERS.py").wait().state == "done"
    (tmp_path / "backup").mkdir()
    for path in workspace.folder.glob("catalog.*"):
        shutil.copy(path, tmp_path / "backup" / path.name)
    workspace.ingest(nano(tmp_path / "3000.root", 3000), dataset=NAME)
    workspace.datasets.pin(f"{NAME}@1", "thesis")
    workspace.ingest(nano(tmp_path / "4000.root", 4000), dataset=LATER)
    for kind in ("NUMBERS", "EVENTS"):
        assert workspace.lists[events].submit(tmp_path / f"{kind}.py").wait().state == "done"
    return workspace


def _put_back(home: Workspace, backup: Path) -> None:
    """Replace the catalog's files by those of a backup; an empty folder is no backup at all."""
    for path in home.folder.glob("catalog.*"):
        path.unlink()
    for path in backup.iterdir():
        shutil.copy(path, home.folder / path.name)


def _known(home: Workspace) -> dict[str, tuple[int, int]]:
    """Events and snapshot of each dataset in the catalog, by name."""
    return {record.name: (record.events, record.snapshot) for record in Workspace(home.folder).catalog.datasets()}


@pytest.mark.parametrize("gone", [False, True], ids=["an older catalog", "no catalog"])
def test_what_is_on_disk_and_not_in_the_catalog_is_registered_again(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    before = _known(home)
    assert before == {
        NAME: (3 * N, 3),
        LATER: (N, 1),
        "jobs.0001.NUMBERS": (0, 0),
        "jobs.0002.NUMBERS": (0, 0),
        "jobs.0003.EVENTS": (CHOSEN, before["jobs.0003.EVENTS"][1]),
    }
    backup = tmp_path / "backup"
    if gone:
        backup = tmp_path / "nothing"
        backup.mkdir()
    _put_back(home, backup)
    files = {path: path.read_bytes() for path in home.folder.glob("catalog.*")}
    place = ["-w", str(home.folder)]
    assert run(["workspace", "recover", "--dry-run", *place]) == 0
    said = capsys.readouterr().out
    assert "jobs.0002.NUMBERS: the output of job 0002 is registered again" in said
    assert "data18.Y.TAG: registered again with 25 events" in said
    assert "nothing to recover" not in said
    for path, content in files.items():
        if path.name not in ("catalog.gate", "catalog.lock"):
            assert path.read_bytes() == content, path  # a dry run changes nothing
    assert run(["workspace", "recover", "--yes", *place]) == 0
    capsys.readouterr()
    assert _known(home) == before
    again = Workspace(home.folder)
    pins = {(pin.snapshot, pin.reason) for pin in again.catalog.pins(NAME)}
    digest = again[f"{NAME}@2"].select("MET_pt > 50").digest
    assert pins == {(1, "thesis"), (2, f"event list {digest[:16]}")}  # a submit pins what its list was made from
    output = again.catalog.dataset("jobs.0003.EVENTS")
    assert (output.state, output.parents, output.meta["job"]) == ("output", (f"{NAME}@2",), "0003")
    assert again["jobs.0003.EVENTS"].count("true").accepted == CHOSEN
    assert again.datasets.check(f"{NAME},{LATER}").sound
    assert run(["workspace", "recover", "--yes", *place]) == 0
    assert "nothing to recover" in capsys.readouterr().out


def _recovered(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    """Exit code, lines and errors of `workspace recover --yes`."""
    code = run(["workspace", "recover", "--yes", "-w", str(folder)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


@pytest.fixture
def three_lines(tmp_path: Path) -> Path:
    """A workspace whose journal has three lines: the sites A, B and C."""
    workspace = Workspace.init(tmp_path / "W")
    for name in "ABC":
        workspace.catalog.record(PutSite(name))
    return workspace.folder


@pytest.mark.parametrize("stray", [b'{"a":1}\n', b"\0\0\0\n", b"a note\nand another\n"])
def test_what_never_was_a_line_of_the_journal_is_no_loss(
    three_lines: Path, capsys: pytest.CaptureFixture[str], stray: bytes
) -> None:
    journal = three_lines / "catalog.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + stray)
    code, lines, err = _recovered(three_lines, capsys)
    assert (code, err) == (0, "")
    assert lines == [
        "journal: 3 whole lines",
        "journal: what follows line 3 is no line of a journal, and is taken away",
        "journal: the old one is kept as catalog.journal.damaged-1",
    ]
    assert journal.read_bytes() == whole


def test_a_damaged_line_that_was_acknowledged_is_a_loss(three_lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The third line is made unreadable, and the database, which knew it, is gone: the tip knows of three lines."""
    journal = three_lines / "catalog.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + b"?" * 40 + b"\n")
    (three_lines / "catalog.duckdb").unlink()
    code, said, _ = _recovered(three_lines, capsys)
    assert code == 3
    assert said == [
        "journal: 2 whole lines, other files know of 3",
        "journal: line 3 is damaged",
        "lost: what line 3 of the journal changed",
        "journal: the old one is kept as catalog.journal.damaged-1",
    ]
    assert [site.name for site in Workspace(three_lines).catalog.sites()] == ["A", "B"]


def test_what_the_database_gives_back_is_said_once(three_lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = three_lines / "catalog.journal"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:1]))
    code, said, err = _recovered(three_lines, capsys)
    assert (code, err) == (0, "")
    assert said == [
        "journal: 1 whole line, other files know of 3",
        "journal: what the lines up to 3 changed comes from catalog.duckdb: 2 rows of its tables",
        "journal: the old one is kept as catalog.journal.damaged-1",
    ]


def test_a_dataset_that_the_catalog_did_not_know_is_registered_with_a_word(
    home: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The older catalog lacks two of the datasets below data/: the one of 25 events, and the output of job 3."""
    _put_back(home, tmp_path / "backup")
    again = Workspace(home.folder)
    assert again[LATER].count("true").accepted == N
    said = [record.getMessage() for record in caplog.records if "workspace recover" in record.getMessage()]
    assert said == [
        f"{home.folder} did not know {LATER}, jobs.0003.EVENTS: registered as the files say; tagsel workspace recover "
        "looks for what else it lacks"
    ]


def test_what_the_catalog_knows_and_the_disk_does_not_have_is_lost_and_named(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(home.folder / "data" / LATER)
    shutil.rmtree(home.folder / "jobs" / "0002")
    assert run(["workspace", "recover", "--yes", "-w", str(home.folder)]) == 3
    said = capsys.readouterr().out
    assert f"lost: {LATER}: its 25 events: {home.folder / 'data' / LATER} is gone" in said
    assert f"lost: jobs.0002.NUMBERS: its file was in {home.folder / 'jobs' / '0002'}, which is gone" in said
    assert "nothing to recover" not in said


def test_an_output_that_cannot_be_registered_is_named(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result of job 2 is damaged, and so is job.json of job 3; the datasets are registered all the same."""
    _put_back(home, tmp_path / "backup")
    for damaged in ("0002/result.json", "0003/job.json"):
        (home.folder / "jobs" / damaged).write_text("{")
    assert run(["workspace", "recover", "--yes", "-w", str(home.folder)]) == 3
    said = capsys.readouterr().out
    assert "lost: the output of job 0002: " in said
    assert "0002/result.json is damaged" in said
    assert "0003/job.json is damaged" in said
    assert _known(home)[LATER] == (N, 1)


def test_what_is_in_the_trash_stays_there(home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The older catalog knows NAME, and neither its drop nor the outputs of jobs 2 and 3."""
    for number in (1, 2):
        home.datasets.unpin(f"{NAME}@{number}")
    home.datasets.drop("jobs.0002.NUMBERS", "jobs.0003.EVENTS", NAME)
    _put_back(home, tmp_path / "backup")
    assert run(["workspace", "recover", "--yes", "-w", str(home.folder)]) == 0
    said = capsys.readouterr().out
    assert f"{NAME}: it is in the trash, and goes out of the catalog again" in said
    assert set(_known(home)) == {LATER, "jobs.0001.NUMBERS"}
    again = Workspace(home.folder)
    again.trash.recover(NAME)
    assert again[NAME].count("true").accepted == 3 * N


def test_a_dataset_is_lost_though_the_trash_has_another_one_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have one snapshot of 25 events, each from another file; the folder of the newer one is gone."""
    home = Workspace.init(tmp_path / "W")
    home.ingest(nano(tmp_path / "1.root", 1000), dataset=NAME)
    home.datasets.drop(NAME)
    home.ingest(nano(tmp_path / "2.root", 2000), dataset=NAME)
    home.datasets.pin(f"{NAME}@1", "thesis")
    shutil.rmtree(home.folder / "data" / NAME)
    code, lines, _ = _recovered(home.folder, capsys)
    assert code == 3
    assert lines == [
        f"lost: {NAME}: its 25 events: {home.folder / 'data' / NAME} is gone, and the trash has only another dataset "
        "of that name: put it back from a backup"
    ]
    catalog = Workspace(home.folder).catalog
    assert [(record.name, record.events) for record in catalog.datasets()] == [(NAME, N)]
    assert [(pin.snapshot, pin.reason) for pin in catalog.pins(NAME)] == [(1, "thesis")]


@pytest.mark.parametrize("damage", ['{"name": "data18', "{}", "[]"], ids=["cut off", "without names", "a list"])
@pytest.mark.parametrize("moving", [False, True], ids=["in the trash", "on its way"])
def test_a_damaged_record_in_the_trash_is_named_and_holds_up_nothing_else(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, moving: bool
) -> None:
    home.datasets.drop(LATER)
    (record,) = (home.folder / "trash").glob("*/record.json")
    record.write_text(damage)
    if moving:
        record = record.rename(record.with_name("between.json"))
    _put_back(home, tmp_path / "backup")
    code, lines, _ = _recovered(home.folder, capsys)
    assert code == 3
    lost = [line for line in lines if line.startswith("lost: ")]
    assert len(lost) == 1
    assert lost[0].startswith(f"lost: {record} cannot be read: ")
    assert _known(home)[NAME] == (3 * N, 3)
    assert _known(home)["jobs.0002.NUMBERS"] == (0, 0)
    with pytest.raises(CatalogError, match="cannot be read") if not moving else nullcontext():
        Workspace(home.folder).trash.list()


def test_a_folder_with_an_odd_name_is_named_and_holds_up_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy of b.TAG cannot be a dataset; c.TAG comes after it by name. A pin of c.TAG is in its file alone."""
    home = Workspace.init(tmp_path / "W")
    for number, name in enumerate(("b.TAG", "c.TAG")):
        home.ingest(nano(tmp_path / f"{number}.root", 1000 * (number + 1)), dataset=name)
    home.datasets.pin("c.TAG@1", "thesis")
    data = home.folder / "data"
    shutil.copytree(data / "b.TAG", data / "b.TAG (copy)")
    for path in home.folder.glob("catalog.*"):
        path.unlink()
    for words in (["--dry-run"], ["--yes"], ["--yes"]):
        assert run(["workspace", "recover", *words, "-w", str(home.folder)]) == 3, words
        lost = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lost: ")]
        assert len(lost) == 1, words
        assert lost[0].startswith(f"lost: {data / 'b.TAG (copy)'}, which the catalog does not know: 'b.TAG (copy)'")
        assert "cannot name a dataset" in lost[0]
    assert _known(home) == {"b.TAG": (N, 1), "c.TAG": (N, 1)}
    assert [(pin.snapshot, pin.reason) for pin in Workspace(home.folder).catalog.pins("c.TAG")] == [(1, "thesis")]


def test_pins_of_a_copied_dataset_are_named_as_those_of_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Workspace.init(tmp_path / "W")
    home.ingest(nano(tmp_path / "1.root", 1000), dataset="b.TAG")
    home.datasets.pin("b.TAG@1", "thesis")
    copy = home.folder / "data" / "c.TAG"
    shutil.copytree(home.folder / "data" / "b.TAG", copy)
    code, lines, _ = _recovered(home.folder, capsys)
    assert code == 0
    pins = copy / "_tagsel" / "pins.json"
    said = f"c.TAG: {pins} is damaged: it is that of dataset b.TAG: it is kept as pins.json.damaged"
    assert [line for line in lines if "pin" in line] == [said]
    assert (pins.with_name("pins.json.damaged")).exists()
    assert Workspace(home.folder).home.table("b.TAG").pins() == {1: ("thesis",)}


def test_an_output_is_registered_though_the_trash_has_another_dataset_of_its_name(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The older catalog knows no output out.TAG; the trash has one of 25 events that was ingested from a file."""
    output = "out.TAG"
    home.ingest(nano(tmp_path / "5000.root", 5000), dataset=output)
    home.datasets.drop(output)
    events = home[f"{NAME}@2"].select("MET_pt > 50")
    job = home.lists[events].submit(tmp_path / "EVENTS.py", output=output)
    assert job.wait().state == "done"
    _put_back(home, tmp_path / "backup")
    code, lines, _ = _recovered(home.folder, capsys)
    assert code == 0
    assert f"{output}: the output of job {job.id} is registered again" in lines
    again = Workspace(home.folder)
    record = again.catalog.dataset(output)
    assert (record.state, record.events, record.parents) == ("output", CHOSEN, (f"{NAME}@2",))
    assert record.meta["job"] == job.id
    assert again.datasets.check(output).sound
    code, lines, _ = _recovered(home.folder, capsys)
    assert (code, lines) == (0, ["nothing to recover: the journal is whole, and the catalog knows what is on disk"])


@pytest.mark.parametrize("kind", ["NUMBERS", "EVENTS"])
@pytest.mark.parametrize("registered", [True, False], ids=["in the catalog", "on disk alone"])
def test_the_dry_run_says_that_the_name_of_an_output_is_taken(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, registered: bool
) -> None:
    """The older catalog knows nothing of the job; another dataset has the name of its output meanwhile."""
    output = "out.TAG"
    job = home.lists[home[f"{NAME}@2"].select("MET_pt > 50")].submit(tmp_path / f"{kind}.py", output=output)
    assert job.wait().state == "done"
    _put_back(home, tmp_path / "backup")
    shutil.rmtree(home.folder / "data" / output, ignore_errors=True)
    again = Workspace(home.folder)
    again.ingest(nano(tmp_path / "5000.root", 5000), dataset=output)
    if not registered:
        _put_back(home, tmp_path / "backup")
    lost = f"lost: the output of job {job.id}: the output of job {job.id} cannot become dataset {output}"
    for words in ("--dry-run", "--yes"):
        assert run(["workspace", "recover", words, "-w", str(home.folder)]) == 3, words
        assert lost in capsys.readouterr().out, words
    assert _known(home)[output] == (N, 1)


def test_the_folder_of_a_job_that_no_dataset_needs_is_no_loss(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The events of job 3 are rows of their dataset; the dataset of job 2 has its file in the job's folder."""
    folders = [home.folder / "jobs" / job for job in ("0002", "0003")]
    for folder in folders:
        shutil.rmtree(folder)
    whole = "nothing to recover: the journal is whole, and the catalog knows what is on disk"
    remarks = [f"remark: job {folder.name}: {folder} is gone; no dataset needs it" for folder in folders]
    remedy = "put it back from a backup, or tagsel datasets drop jobs.0002.NUMBERS"
    lost = f"lost: jobs.0002.NUMBERS: its file was in {folders[0]}, which is gone: {remedy}"
    assert _recovered(home.folder, capsys) == (3, [lost, remarks[1]], "")
    home.datasets.drop("jobs.0002.NUMBERS")
    for words in ("--dry-run", "--yes"):
        assert run(["workspace", "recover", words, "-w", str(home.folder)]) == 0, words
        assert capsys.readouterr().out.splitlines() == [*remarks, whole], words
