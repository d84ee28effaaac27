"""Faults between the rooms: kills between the dataset's commit and the catalog, writers at once, old lists."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from builders import build, rows
from nanofile import TAGSEL, ingest, nano

from tagsel.api import Workspace
from tagsel.cli.main import run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Workspace.init(tmp_path / "W").folder


@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("store.write", 25),
        ("store.fsync", 25),
        ("store.rename", 25),
        ("store.commit", 25),
        ("store.manifest", 50),
        ("catalog.journal", 50),
        ("catalog.apply", 50),
    ],
)
def test_fault_13_a_killed_ingest_is_all_or_nothing(home: Path, tmp_path: Path, step: str, after: int) -> None:
    """Before the commit nothing of it is there; after it all is, and the catalog agrees with the dataset."""
    assert ingest(home, nano(tmp_path / "a.root", 1)).returncode == 0
    second = nano(tmp_path / "b.root", 1000)
    assert ingest(home, second, TAGSEL_KILL_AT=step).returncode == -signal.SIGKILL
    ws = Workspace(home)
    assert ws["data18.X.TAG"].count("true").accepted == after
    assert ws.catalog.dataset("data18.X.TAG").events == after
    again = ingest(home, second)
    assert again.returncode == 0, again.stderr
    assert ("already" in again.stderr) == (after == 50)
    assert Workspace(home)["data18.X.TAG"].count("true").accepted == 50


def test_fault_13_a_killed_first_ingest_leaves_no_dataset_that_answers_wrongly(home: Path, tmp_path: Path) -> None:
    path = nano(tmp_path / "a.root", 1)
    assert ingest(home, path, TAGSEL_KILL_AT="catalog.journal").returncode == -signal.SIGKILL
    ws = Workspace(home)
    assert ws["data18.X.TAG"].count("true").accepted == 25
    assert ws.catalog.dataset("data18.X.TAG").year == 2018


def test_fault_14_two_ingests_into_one_dataset_at_once_both_land(home: Path, tmp_path: Path) -> None:
    paths = [nano(tmp_path / f"{k}.root", 1000 * k) for k in range(4)]
    command = [*TAGSEL, "ingest", "--dataset", "data18.X.TAG", "-w", str(home)]
    started = [subprocess.Popen([*command, str(p)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for p in paths]
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    ws = Workspace(home)
    assert ws["data18.X.TAG"].count("true").accepted == 100
    assert ws.catalog.dataset("data18.X.TAG").events == 100


def test_fault_10_the_same_file_twice_is_a_no_op_that_says_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = nano(tmp_path / "a.root", 1)
    assert run(["ingest", str(path), "--dataset", "x.TAG", "-w", str(home)]) == 0
    before = Workspace(home)["x.TAG"].pinned
    capsys.readouterr()
    assert run(["ingest", str(path), str(path), "--dataset", "x.TAG", "-w", str(home)]) == 0
    assert capsys.readouterr().err.count("already in x.TAG") == 2
    assert Workspace(home)["x.TAG"].pinned == before


def test_a_file_that_fails_is_named_and_the_others_land(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = nano(tmp_path / "a.root", 1), tmp_path / "broken.root"
    bad.write_bytes(good.read_bytes()[:1500])
    parts = lambda: sorted(p.name for p in (home / "data" / "x.TAG").iterdir())  # noqa: E731
    assert run(["ingest", str(bad), str(good), "--dataset", "x.TAG", "-w", str(home)]) == 3
    assert "broken.root" in capsys.readouterr().err
    assert Workspace(home)["x.TAG"].count("true").accepted == 25
    before = parts()
    assert run(["ingest", str(bad), "--dataset", "x.TAG", "-w", str(home)]) == 2
    assert parts() == before
    assert run(["ingest", str(bad), "--dataset", "new.TAG", "-w", str(home)]) == 2
    assert not (home / "data" / "new.TAG").exists() and "new.TAG" not in Workspace(home).catalog.names()


def test_fault_05_other_attributes_are_refused_or_missing_with_evolve(home: Path, tmp_path: Path) -> None:
    first = nano(tmp_path / "a.root", 1)
    second = tmp_path / "b.root"
    with uproot.recreate(second) as file:
        file.mktree("Events", {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64", "CaloMET_pt": "f4"})
        file["Events"].extend(
            {
                "run": np.full(5, 315267, np.uint32),
                "luminosityBlock": np.full(5, 3, np.uint32),
                "event": np.arange(500, 505, dtype=np.uint64),
                "CaloMET_pt": np.full(5, 70, np.float32),
            }
        )
    ws = Workspace(home)
    ws.ingest(first, dataset="x.TAG")
    refused = run(["ingest", str(second), "--dataset", "x.TAG", "-w", str(home)])
    assert refused == 3 or refused == 2
    assert Workspace(home)["x.TAG"].count("true").accepted == 25
    assert run(["ingest", str(second), "--dataset", "x.TAG", "-w", str(home), "--evolve"]) == 0
    ws = Workspace(home)
    assert ws["x.TAG"].count("true").accepted == 30
    assert ws["x.TAG"].count("CaloMET_pt > 0").accepted == 5  # row 7: missing in the first file
    assert ws["x.TAG"].count("present(MET_pt)").accepted == 25


def test_fault_15_36_a_list_older_than_a_compaction_and_a_clean_up_reads_the_same(tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "W")
    for seed in range(4):
        table = build(ws, "a.TAG", rows(50, seed))
    events = ws["a.TAG"].select("MET_pt > 20")
    events.save(tmp_path / "old.events")
    pinned = str(events.provenance["datasets"][0])  # type: ignore[index]
    ws.datasets.compact("a.TAG")
    assert len(table.snapshot().parts) == 1
    assert ws.datasets.gc("a.TAG", grace=0) is not None
    assert ws["a.TAG"].select("MET_pt > 20").digest == events.digest
    assert Workspace(tmp_path / "W")[pinned].select("MET_pt > 20").digest == events.digest
    assert ws.lists[tmp_path / "old.events"].digest == events.digest


def test_restore_brings_an_old_snapshot_back(tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "W")
    build(ws, "a.TAG", rows(50, 1))
    before = ws["a.TAG"].select("true").digest
    build(ws, "a.TAG", rows(50, 2))
    snapshot: Any = ws.datasets.restore("a.TAG@1")
    assert (snapshot.number, snapshot.rows) == (3, 50)
    assert ws["a.TAG"].select("true").digest == before
    assert ws.catalog.dataset("a.TAG").events == 50
    assert ws["a.TAG@2"].count("true").accepted == 100


def test_fault_17_a_damaged_catalog_is_rebuilt_from_its_journal(tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "W")
    build(ws, "a.TAG", rows(50, 1), type="TAG", meta={"trigger": 2})
    assert ws.datasets.find("trigger = 2").names() == ["a.TAG"]
    for path in (tmp_path / "W").glob("catalog.duckdb*"):
        path.write_bytes(b"not a database")
    again = Workspace(tmp_path / "W")
    assert again.datasets.find("trigger = 2").names() == ["a.TAG"]
    assert again.rebuild() > 0
    assert again.datasets.find("type = 'TAG'").names() == ["a.TAG"]


@pytest.mark.parametrize(
    "odd", [["--meta", "version=1"], ["--meta", "a b=1"], ["--site", "no/site"], ["--parent", "x@y"]]
)
def test_what_is_refused_is_refused_before_a_row_is_written(home: Path, tmp_path: Path, odd: list[str]) -> None:
    path = nano(tmp_path / "a.root", 1)
    assert run(["ingest", str(path), "--dataset", "x.TAG", "-w", str(home), *odd]) == 2
    assert Workspace(home).catalog.names() == []
    assert not (home / "data" / "x.TAG").exists()
