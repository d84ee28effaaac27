"""Ingests that die, race, fail or come again: what was known stays known, and nothing is left behind."""

from __future__ import annotations

import json
import logging
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import GUIDS, SCHEMA, batch, build, rows
from nanofile import ingest, nano, tagsel

from tagsel.api import Workspace
from tagsel.catalog import FileRecord, PutDataset, PutFiles
from tagsel.errors import IngestError, StoreError
from tagsel.ingest import open_source
from tagsel.ingest.registration import register, runs_of
from tagsel.ingest.writing import discard, unreported, write_source
from tagsel.store import Source, Table, write_part

NAME = "data18.X.TAG"
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "files"


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "W")


def parts(home: Workspace, name: str = NAME) -> list[str]:
    return sorted(p.name for p in (home.folder / "data" / name).glob("*.parquet"))


def left(home: Workspace, name: str = NAME) -> list[str]:
    """What lies in a dataset's folder and no snapshot needs."""
    return [p.name for p in Table.open(home.folder / "data" / name).gc(dry_run=True, grace_s=0)]


# -- what the catalog knows


def test_what_was_told_of_the_aod_survives_every_registration_after_it(home: Workspace) -> None:
    """The AOD files are told once; compaction, a further file, a restoration and a crash's repair keep them."""
    one, two, *_ = sorted(SAMPLE.glob("*.TAG.*.parquet"))

    def pfns() -> set[str]:
        return {Path(f.pfn).name for f in home.lists[home["a.TAG"].select("true")].map().files}

    home.ingest(one, dataset="a.TAG", aod=[SAMPLE / "PoolFileCatalog.xml"])
    told = pfns()
    assert told and "" not in told
    home.ingest(two, dataset="a.TAG")
    home.datasets.compact("a.TAG")
    assert pfns() >= told
    home.datasets.restore("a.TAG@1")
    assert pfns() == told
    home.ingest(one, dataset="a.TAG")  # in it already
    assert pfns() == told
    table = Table.open(home.folder / "data" / "a.TAG")
    table.restore(2)  # the catalog does not hear of it
    assert pfns() >= told
    assert home.catalog.dataset("a.TAG").snapshot == table.snapshot().number


def test_what_is_told_later_of_an_aod_file_wins(home: Workspace, tmp_path: Path) -> None:
    """A moved file is told with --aod; what the dataset's own log remembers of it does not come back."""
    first = nano(tmp_path / "a.root", 1)
    home.ingest(first, dataset=NAME)
    moved = first.rename(tmp_path / "moved.root")
    home.ingest(moved, dataset=NAME, aod=[moved])
    home.ingest(nano(tmp_path / "b.root", 100), dataset=NAME)
    mapped = home.lists[home[NAME].select("event < 100")].map()
    assert [f.pfn for f in mapped.files] == [str(moved)]


def test_an_aod_file_that_is_a_link_goes_by_the_links_name(home: Workspace, tmp_path: Path) -> None:
    one, *_ = sorted(SAMPLE.glob("*.TAG.*.parquet"))
    for aod in SAMPLE.glob("*.AOD.*.root"):
        (tmp_path / f"link-{aod.name}").symlink_to(aod)
    home.ingest(one, dataset="a.TAG", aod=sorted(tmp_path.glob("link-*")))
    files = home.catalog.files("a.TAG", kind="AOD")
    assert files and all(f.lfn == f"link-{Path(f.pfn).name}" and Path(f.pfn).parent == SAMPLE for f in files)


def test_an_ingest_says_no_more_to_the_journal_the_more_files_there_are(home: Workspace, tmp_path: Path) -> None:
    """Lines of the 2nd and the 8th ingest differ by digits of counts alone: no file is said twice."""
    for k in range(8):
        home.ingest(nano(tmp_path / f"{k}.root", 1000 * (k + 1), run_number=315260 + k), dataset=NAME)
    lines = (home.folder / "catalog.journal").read_text().splitlines()
    assert len(lines) == 8
    assert abs(len(lines[7]) - len(lines[1])) < 20
    assert len(home.catalog.files(NAME, kind="TAG")) == 8 == len(home.catalog.runs(NAME))
    home.datasets.restore(f"{NAME}@2")
    assert [(r.run, r.lumi_blocks, r.events) for r in home.catalog.runs(NAME)] == [(315260, 1, 25), (315261, 1, 25)]


def test_runs_of_a_snapshot_equal_a_count_by_hand(home: Workspace) -> None:
    columns = [rows(60, seed) for seed in (1, 2, 3)]
    table = build(home, "a.TAG", *columns)
    blocks: dict[int, set[int]] = {}
    events: dict[int, int] = {}
    for part in columns:
        for run, lumi in zip(part["run"].tolist(), part["lumi"].tolist(), strict=True):
            blocks.setdefault(run, set()).add(lumi)
            events[run] = events.get(run, 0) + 1
    assert runs_of(table.snapshot()) == [(run, len(blocks[run]), events[run]) for run in sorted(blocks)]
    assert runs_of(build(home, "b.TAG").snapshot()) == []


def test_a_dataset_that_names_files_of_another_knows_of_them_what_the_other_does(home: Workspace) -> None:
    """Two GUIDs are pointed to; of the first another dataset has name, entries and bytes, of the second nobody."""
    pointed = [{"guid": g, "lfn": "", "entries": -1, "bytes": -1} for g in GUIDS[:2]]
    known = FileRecord(GUIDS[0], "x.root", "/store/x.root", entries=9, bytes=70)
    home.catalog.record(PutDataset("z.AOD"), PutFiles("z.AOD", [known]))
    build(home, "a.TAG", rows(10), bookkeeping={"aod": pointed})
    found = {f.guid: (f.lfn, f.pfn, f.entries, f.bytes) for f in home.catalog.files("a.TAG", kind="AOD")}
    assert found == {GUIDS[0]: ("x.root", "/store/x.root", 9, 70), GUIDS[1]: ("", "", -1, -1)}


def test_pins_are_the_same_for_sql_and_for_the_dataset(home: Workspace, tmp_path: Path) -> None:
    build(home, "a.TAG", rows(50))
    events = home["a.TAG"].select("MET_pt > 20")
    events.save(tmp_path / "a.events")
    events.save(tmp_path / "again.events")
    reason = f"event list {events.digest[:16]}"
    assert home.datasets.show("a.TAG")["pins"] == {1: [reason]}
    assert home.sql("select dataset, snapshot, reason from pins").to_pylist() == [
        {"dataset": "a.TAG", "snapshot": 1, "reason": reason}
    ]


# -- datasets that are half there


@pytest.mark.parametrize("passage", [1, 2])
def test_fault_13_an_ingest_killed_while_its_dataset_is_made(home: Workspace, tmp_path: Path, passage: int) -> None:
    """Killed before the dataset's first entry, and between that and the events: no dataset, and the next is whole."""
    build(home, "other.TAG", rows(10))
    path = nano(tmp_path / "a.root", 1)
    killed = ingest(home.folder, path, TAGSEL_KILL_AT=f"store.commit:{passage}")
    assert killed.returncode == -signal.SIGKILL
    assert Table.exists(home.folder / "data" / NAME) == (passage == 2)
    again = Workspace(home.folder)
    assert again.datasets.find().names() == ["other.TAG"]
    assert again.ingest(path, dataset=NAME).events == 25
    assert again[NAME].count("true").accepted == 25


def test_fault_13_a_dataset_that_was_begun_does_not_say_what_attributes_the_next_file_has(
    home: Workspace, tmp_path: Path
) -> None:
    Table.create(home.folder / "data" / NAME, SCHEMA)
    assert home.ingest(nano(tmp_path / "a.root", 1), dataset=NAME).events == 25


def test_fault_13_a_log_without_an_entry_is_no_dataset(
    home: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a kill inside the making of a log leaves; a log that cannot be read is said, and harms no other."""
    build(home, "other.TAG", rows(10))
    (home.folder / "data" / NAME / "_delta_log").mkdir(parents=True)
    broken = home.folder / "data" / "broken.TAG" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / f"{0:020d}.json").write_text("not JSON\n")
    with caplog.at_level(logging.WARNING, "tagsel"):
        again = Workspace(home.folder)
        assert again["other.TAG"].count("true").accepted == 10
    assert "broken.TAG" in caplog.text and NAME not in caplog.text
    with pytest.raises(StoreError, match="no dataset"):
        Table.open(home.folder / "data" / NAME)
    assert again.ingest(nano(tmp_path / "a.root", 1), dataset=NAME).events == 25


def test_opening_a_workspace_opens_no_dataset_that_its_catalog_knows(home: Workspace) -> None:
    """The log of one is damaged: names and other datasets are not concerned, only who asks for it."""
    for name in ("a.TAG", "b.TAG"):
        build(home, name, rows(10))
    for path in (home.folder / "data" / "b.TAG" / "_tagsel").glob("manifest-*"):
        path.unlink()
    (home.folder / "data" / "b.TAG" / "_delta_log" / f"{1:020d}.json").write_text("not JSON\n")
    again = Workspace(home.folder)
    assert again.catalog.names() == ["a.TAG", "b.TAG"]
    assert again["a.TAG"].count("true").accepted == 10
    with pytest.raises(StoreError, match="damaged"):
        again["b.TAG"].count("true")


# -- processes and parts


def test_a_process_that_dies_is_named_by_its_file_and_the_others_land(home: Workspace, tmp_path: Path) -> None:
    """The kill comes at the second row group that a process writes: of 140,000 rows there are two, of 25 one.

    Whichever process takes what, a file done again in a process of its own dies only if it is the large one.
    """
    large = nano(tmp_path / "large.root", 1, n=140_000)
    small = [nano(tmp_path / f"{k}.root", 1_000_000 * (k + 1)) for k in range(4)]
    environment = {"TAGSEL_KILL_AT": "store.write:2", "TAGSEL_PROCESSES": "2"}
    done = tagsel("ingest", small[0], large, *small[1:], "--dataset", NAME, "--json", home=home.folder, **environment)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert [f["path"] for f in said["failed"]] == [str(large)] and "died" in said["failed"][0]["reason"]
    assert sorted(said["landed"]) == sorted(map(str, small))
    assert home[NAME].count("true").accepted == 100
    assert left(home) == []


class _Stop(KeyboardInterrupt):
    """Ctrl-C, where a test wants it."""


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("before", [0, 1])
def test_ctrl_c_in_an_ingest_leaves_no_part_behind(
    home: Workspace, tmp_path: Path, processes: int, before: int
) -> None:
    paths = [nano(tmp_path / f"{k}.root", 1000 * (k + 1)) for k in range(4)]
    if before:
        home.ingest(paths.pop(), dataset=NAME)
    was = parts(home) if before else []
    seen: list[str] = []

    def stop(path: str) -> None:
        seen.append(path)
        if len(seen) == 2:
            raise _Stop

    with pytest.raises(KeyboardInterrupt):
        home.ingest(*paths, dataset=NAME, processes=processes, progress=stop)
    assert parts(home) == was
    if before:
        assert left(home) == []
    else:
        assert not (home.folder / "data" / NAME).exists()
    assert home.ingest(*paths, dataset=NAME).events == 100


def test_a_refused_file_leaves_no_part_and_an_old_snapshot_keeps_its_own(home: Workspace, tmp_path: Path) -> None:
    """The part of b is in snapshot 2; after a restoration an ingest of b that fails must not take it away."""
    a, b = nano(tmp_path / "a.root", 1), nano(tmp_path / "b.root", 1000)
    home.ingest(a, dataset=NAME)
    home.ingest(b, dataset=NAME)
    home.datasets.restore(f"{NAME}@1")
    was = parts(home)

    def stop(path: str) -> None:
        raise _Stop

    with pytest.raises(KeyboardInterrupt):
        home.ingest(b, dataset=NAME, progress=stop)
    assert parts(home) == was
    assert home[f"{NAME}@2"].count("true").accepted == 50


def test_simulation_is_refused_among_data_and_leaves_no_part(home: Workspace, tmp_path: Path) -> None:
    import uproot

    simulated = tmp_path / "mc.root"
    with uproot.recreate(simulated) as file:
        kinds = {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64", "MET_pt": "f4", "genWeight": "f4"}
        file.mktree("Events", kinds)
        ones = {name: np.ones(5, kind) for name, kind in kinds.items()}
        file["Events"].extend({**ones, "event": np.arange(5, dtype=np.uint64)})
    home.ingest(nano(tmp_path / "a.root", 1), dataset=NAME)
    was = parts(home)
    with pytest.raises(IngestError, match="is simulation, and"):
        home.ingest(simulated, dataset=NAME, evolve=True)
    assert parts(home) == was and left(home) == []


def test_fault_10_a_race_for_the_same_file_is_lost_without_harm(home: Workspace, tmp_path: Path) -> None:
    """Another process brings one of two files in while we write them: it is in it already, the other lands."""
    paths = [nano(tmp_path / f"{k}.root", 1000 * (k + 1)) for k in range(2)]
    other: list[Any] = []

    def meanwhile(path: str) -> None:
        if not other:
            other.append(Workspace(home.folder).ingest(paths[0], dataset=NAME))

    done = home.ingest(*paths, dataset=NAME, progress=meanwhile)
    assert other[0].landed == (str(paths[0]),)
    assert (done.landed, done.already, done.failed) == ((str(paths[1]),), (str(paths[0]),), ())
    assert home[NAME].count("true").accepted == 50 and left(home) == []


def test_a_broken_off_ingest_takes_no_part_from_a_commit_that_is_being_made(
    home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file's part has the same name. One ingest is inside its commit while another cleans up after itself."""
    import deltalake

    inside, go = threading.Event(), threading.Event()
    commit = deltalake.DeltaTable.create_write_transaction

    def held(*given: Any, **named: Any) -> Any:
        inside.set()
        go.wait(60)
        return commit(*given, **named)

    monkeypatch.setattr(deltalake.DeltaTable, "create_write_transaction", held)
    file = nano(tmp_path / "a.root", 9)
    one = threading.Thread(target=lambda: home.ingest(file, dataset=NAME))
    one.start()
    assert inside.wait(60)
    other = threading.Thread(target=lambda: discard(parts(home), home.folder / "data" / NAME, set()))
    other.start()
    other.join(0.2)
    assert other.is_alive()  # it waits: whether the part is needed is being decided
    go.set()
    one.join()
    other.join()
    assert int(home[NAME].count("true")) == 25 and left(home) == []


def test_an_ingest_that_fails_leaves_the_parts_of_a_dataset_that_another_is_making(
    home: Workspace, tmp_path: Path
) -> None:
    folder = home.folder / "data" / NAME
    folder.mkdir()
    source = Source(GUIDS[60], "theirs", 10, 0, {})
    theirs = write_part(folder, SCHEMA, [batch(rows(10))], [source])
    assert theirs is not None
    broken = tmp_path / "broken.root"
    broken.write_bytes(nano(tmp_path / "a.root", 1).read_bytes()[:1500])
    with pytest.raises(IngestError):
        home.ingest(broken, dataset=NAME)
    table = Table.create(folder, SCHEMA)
    table.append([theirs], SCHEMA, {})
    register(home.catalog, NAME, table.snapshot(), {})
    assert home[NAME].count("true").accepted == 10


def test_gc_of_a_dataset_that_is_not_there_touches_nothing(home: Workspace) -> None:
    building = home.folder / "jobs" / ".new-1"
    building.mkdir(parents=True)
    with pytest.raises(Exception, match="no dataset"):
        home.datasets.gc("nothing.TAG")
    assert building.exists()


def test_a_part_whose_writer_ended_before_it_could_report_is_known_by_its_footer(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    written = write_source(open_source(nano(tmp_path / "a.root", 1)), str(folder), None)
    assert written.part is not None
    assert unreported(folder, (), {written.source.guid}) == {written.part.name}
    assert unreported(folder, (), {"00000000-0000-4000-8000-000000000001"}) == set()
    assert unreported(folder, {written.part.name}, {written.source.guid}) == set()
