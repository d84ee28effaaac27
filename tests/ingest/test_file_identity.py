"""A file is its GUID and its content: twins, updates in place, moves and copies are told apart."""

from __future__ import annotations

import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import uproot

from tagsel.api import Workspace
from tagsel.errors import CatalogError, IngestError
from tagsel.ingest import open_source
from tagsel.ingest.file_identity import FileContent, IdHash, content_of

ONE_UUID = uuid.UUID("d90ba95e-3e4b-11f1-a11e-ebd58d80beef")


def nano(path: Path, first: int, n: int = 10, same_uuid: bool = False) -> Path:
    """A NanoAOD-like file of `n` events numbered from `first`."""
    made = (lambda: ONE_UUID) if same_uuid else uuid.uuid1
    with uproot.recreate(path, uuid_function=made) as file:
        file.mktree("Events", {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64", "MET_pt": "float32"})
        extend(file, first, n)
    return path


def extend(file: uproot.WritableDirectory, first: int, n: int) -> None:
    file["Events"].extend(
        {
            "run": np.full(n, 315267, np.uint32),
            "luminosityBlock": np.full(n, 3, np.uint32),
            "event": np.arange(first, first + n, dtype=np.uint64),
            "MET_pt": np.linspace(0, 100, n).astype(np.float32),
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "W")


def test_fault_49_two_files_with_one_guid_are_named_both(home: Workspace, tmp_path: Path) -> None:
    """10 + 10 events of two files; the second one is refused, in one ingest, in the next, and in another dataset."""
    one, other = nano(tmp_path / "a.root", 1, same_uuid=True), nano(tmp_path / "b.root", 101, same_uuid=True)
    done = home.ingest(one, other, dataset="a.TAG")
    (failure,) = done.failed
    assert (done.events, done.already) == (10, ())
    assert "a.root" in failure.reason and "b.root" in failure.reason and str(ONE_UUID).upper() in failure.reason
    for dataset in ("a.TAG", "b.TAG"):
        with pytest.raises(IngestError, match=r"b\.root and .*a\.root \(in a\.TAG\) have one GUID"):
            home.ingest(other, dataset=dataset)
    assert home["a.TAG"].count("true").accepted == 10


def test_a_twin_that_comes_into_another_dataset_meanwhile_is_named(home: Workspace, tmp_path: Path) -> None:
    """b.root is taken into b.TAG after a.root was looked at and written, and before a.TAG's commit."""
    one, other = nano(tmp_path / "a.root", 1, same_uuid=True), nano(tmp_path / "b.root", 101, same_uuid=True)

    def meanwhile(_: str) -> None:
        Workspace(home.folder).ingest(other, dataset="b.TAG")

    with pytest.raises(IngestError, match=r"a\.root and .*b\.root \(in b\.TAG\) have one GUID"):
        home.ingest(one, dataset="a.TAG", progress=meanwhile)
    assert home.catalog.names() == ["b.TAG"]
    assert not list((home.folder / "data" / "a.TAG").glob("*.parquet"))
    events = home["b.TAG"].select("true")
    assert home.lists[events].skim(tmp_path / "s.root", branches="MET_pt").events == 10


def test_of_two_twins_at_once_one_comes_in(home: Workspace, tmp_path: Path) -> None:
    """Both are written before either is committed."""
    both_written = Barrier(2)

    def taken(name: str, first: int) -> bool:
        path = nano(tmp_path / f"{name}.root", first, same_uuid=True)
        try:
            Workspace(home.folder).ingest(path, dataset=f"{name}.TAG", progress=lambda _: both_written.wait(60))
        except IngestError as error:
            assert "have one GUID" in error.message
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(taken, ("a", "b"), (1, 101)))
    assert sorted(answers) == [False, True]
    assert len(home.catalog.names()) == 1


def test_check_compares_files_of_one_guid_over_datasets(home: Workspace, tmp_path: Path) -> None:
    """As they may be in a workspace that took them in at once; the same file in two datasets is no fault."""
    one, other = nano(tmp_path / "a.root", 1, same_uuid=True), nano(tmp_path / "b.root", 101, same_uuid=True)
    home.ingest(one, dataset="a.TAG")
    home.ingest(one, dataset="b.TAG")
    assert home.datasets.check("a.TAG").sound
    apart = Workspace.init(tmp_path / "apart")
    apart.ingest(other, dataset="c.TAG")
    shutil.copytree(apart.folder / "data" / "c.TAG", home.folder / "data" / "c.TAG")
    home = Workspace(home.folder)
    assert "c.TAG" in home.catalog.names()
    for dataset, pairs in (("a.TAG", 1), ("c.TAG", 2)):
        (finding,) = [
            f for f in home.datasets.check(dataset).findings if f.what == "files of one GUID with other content"
        ]
        assert (finding.kind, finding.count) == ("corrupt", pairs)
        assert "a.root" in finding.names[0] and "b.root" in finding.names[0]


def test_fault_49_twins_of_equal_size_and_header_differ_by_their_ids() -> None:
    one = FileContent(20_000, 10, "h", "0123", "run=run")
    assert one.differences(FileContent(20_000, 10, "h", "4567", "run=run")) == [
        "other run, luminosity block or event numbers"
    ]
    assert one.differences(FileContent(20_000, 10, "h", "4567", "run=Run")) == []  # hashes of other columns
    assert one.differences(FileContent()) == []  # an older tagsel kept nothing


def test_fault_49_a_moved_file_is_found_at_its_new_place(home: Workspace, tmp_path: Path) -> None:
    """Told once, by an ingest into one of the datasets that have it: both read it again."""
    path = nano(tmp_path / "v1.root", 1)
    home.ingest(path, dataset="a.TAG")
    home.ingest(path, dataset="b.TAG")
    lists = [home[name].select("true") for name in ("a.TAG", "b.TAG")]
    new = tmp_path / "moved.root"
    path.rename(new)
    nano(path, 501)  # another file at the old place is not the one that moved
    done = home.ingest(new, dataset="a.TAG")
    assert [(m.path, m.former) for m in done.moved] == [(str(new), str(path))]
    assert (done.landed, done.already) == ((), ())
    for number, events in enumerate(lists):
        assert home.lists[events].skim(tmp_path / f"{number}.root", branches="MET_pt").events == 10
    again = home.ingest(new, dataset="a.TAG")
    assert (again.moved, again.already) == ((), (str(new),))


def test_fault_49_a_copy_is_the_same_file(home: Workspace, tmp_path: Path) -> None:
    path = nano(tmp_path / "v1.root", 1)
    home.ingest(path, dataset="a.TAG")
    copy = Path(shutil.copy(path, tmp_path / "copy.root"))
    done = home.ingest(copy, path, path, dataset="a.TAG")
    assert (done.moved, done.already) == ((), (str(copy), str(path), str(path)))


def test_fault_49_a_file_that_changed_in_place_is_said_to_have(home: Workspace, tmp_path: Path) -> None:
    """10 events, then 10 + 5 in the same file: refused until its old rows are taken out; then 15 are read."""
    path = nano(tmp_path / "v1.root", 1, same_uuid=True)
    home.ingest(path, dataset="a.TAG")
    nano(path, 1, n=15, same_uuid=True)
    with pytest.raises(IngestError, match=r"v1\.root: has changed since it was ingested.*10 and 15 entries"):
        home.ingest(path, dataset="a.TAG")
    assert home["a.TAG"].count("true").accepted == 10
    home.datasets.retract(str(path), dataset="a.TAG", reason="written to")
    assert home.ingest(path, dataset="a.TAG").events == 15
    assert home.lists[home["a.TAG"].select("true")].skim(tmp_path / "s.root", branches="MET_pt").events == 15


def test_fault_49_other_events_at_the_same_place_are_noticed(home: Workspace, tmp_path: Path) -> None:
    path = nano(tmp_path / "v1.root", 1)
    home.ingest(path, dataset="a.TAG")
    nano(path, 101)
    done = home.ingest(path, dataset="a.TAG")
    assert done.events == 20
    assert any("another file than the one that was ingested from there" in text for text in done.warnings)


def test_the_hash_of_ids_does_not_depend_on_batches(tmp_path: Path) -> None:
    source = open_source(nano(tmp_path / "v1.root", 1, n=10))
    hashes = set()
    for rows in (1, 3, 10):
        ids = IdHash()
        assert sum(batch.num_rows for batch in ids.through(source.batches(rows))) == 10
        hashes.add(ids.digest())
    assert hashes == {content_of(source).ids}


def test_fault_49_a_file_of_a_frozen_dataset_may_move(tmp_path: Path) -> None:
    """Its content stays what it is, so the new place is recorded; a file that is new is refused as before."""
    home = Workspace.init(tmp_path / "W")
    home.ingest(nano(tmp_path / "a.root", 1), dataset="data.F.TAG")
    home.datasets.freeze("data.F.TAG")
    events = home["data.F.TAG"].select("true")
    moved = (tmp_path / "a.root").rename(tmp_path / "b.root")
    done = home.ingest(moved, dataset="data.F.TAG")
    assert [place.path for place in done.moved] == [str(moved)]
    assert (done.snapshot, done.events) == (1, 10)
    assert [f.pfn for f in home.lists[events].map().files] == [str(moved)]
    with pytest.raises(CatalogError, match="is frozen: its content cannot change"):
        home.ingest(nano(tmp_path / "c.root", 100), dataset="data.F.TAG")
    assert home["data.F.TAG"].count("true").accepted == 10
