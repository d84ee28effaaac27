"""Files retracted from a workspace: the same as never ingested, said in the catalog, and to who has events of them."""

from __future__ import annotations

import json
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import GUIDS, build, rows, workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from nanofile import nano, tagsel

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import CatalogError
from tagsel.selection.yields import totals

CUTS = ("true", "MET_pt > 30 GeV", "any(Muon.pt > 20 GeV)", "HLT_mu20 && nMuon >= 1", "run == 8 || lumi == 2")


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[list[dict[str, Any]], int, bool]:
    """Files of rows over a few AODs, some of which repeat events of others; the file to take out; compacted or not."""
    seeds = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    files = []
    for k, seed in enumerate(seeds):
        n = draw(st.integers(0, 12))
        aods = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
        files.append(
            rows(n, seed, aod_guid=np.array([GUIDS[a] for a in aods], object), aod_entry=np.arange(n) + 100 * k)
        )
    # A file goes by its own GUID, or an AOD by its.
    return files, draw(st.sampled_from([*(50 + k for k in range(len(files))), 0, 1])), draw(st.booleans())


def kept(files: list[dict[str, Any]], guid: int) -> list[dict[str, Any]]:
    """The files as they would have been without it."""
    if guid >= 50:
        return [f for k, f in enumerate(files) if k != guid - 50]
    masks = [np.array([g != GUIDS[guid] for g in f["aod_guid"]], bool) for f in files]
    return [
        {c: [v for v, m in zip(f[c], mask, strict=True) if m] if isinstance(f[c], list) else f[c][mask] for c in f}
        for f, mask in zip(files, masks, strict=True)
    ]


@settings(max_examples=12)
@given(datasets(), st.booleans())
def test_feature_10_retracting_is_as_if_the_file_had_never_been_ingested(
    made: tuple[list[dict[str, Any]], int, bool], simulation: bool
) -> None:
    """Digests, places, ledgers, runs and duplicates are those of a dataset that was made of the other rows."""
    files, guid, compacted = made
    with tempfile.TemporaryDirectory() as folder:
        home = workspace(Path(folder))
        table = build(home, "a.TAG", *files, simulation=simulation, sample="s")
        build(home, "b.TAG", *(f for f in kept(files, guid) if len(f["run"])), simulation=simulation, sample="s")
        if compacted:
            table.compact()
        gone = sum(len(f["run"]) for f in files) - sum(len(f["run"]) for f in kept(files, guid))
        if not gone and (guid < 50 or not len(files[guid - 50]["run"])):
            with pytest.raises(CatalogError, match="no row of a.TAG"):
                home.datasets.retract(GUIDS[guid], dataset="a.TAG", reason="bad")
            return
        done = home.datasets.retract(GUIDS[guid], dataset="a.TAG", reason="bad")
        assert done.rows == gone
        left = any(len(f["run"]) for f in kept(files, guid))
        for cut in CUTS if left else ():
            mine, other = (home[name].select_counted(cut) for name in ("a.TAG", "b.TAG"))
            assert mine[0].digest == other[0].digest
            assert [tuple(e) for e in mine[0]] == [tuple(e) for e in other[0]]
            assert mine[1].ledger == other[1].ledger
        a, b = (home[name].inputs[0].snapshot for name in ("a.TAG", "b.TAG"))
        assert a.marks.rows().tolist() == b.marks.rows().tolist()
        of_a = [replace(run, dataset="b.TAG") for run in home.catalog.runs("a.TAG")]
        assert of_a == home.catalog.runs("b.TAG")
        assert home.catalog.dataset("a.TAG").events == home.catalog.dataset("b.TAG").events
        assert sum(s.entries for s in a.sources) == a.rows
        old = home["a.TAG@1"].select("true")
        assert len(old) == home["a.TAG@1"].count("true").accepted
        home.datasets.restore("a.TAG@1")
        assert home["a.TAG"].select("true").digest == old.digest


def test_what_is_kept_of_the_making_is_right(home: Workspace) -> None:
    """Two files say 100 generated events and a block each; one loses rows, so its share is not known any more."""
    keep = {"processed": [[7, 1]], "genEventCount": 100, "sumw": 10.0, "sumw2": 1.0}
    build(home, "a.TAG", rows(30, 1), rows(20, 2, aod_guid=np.array([GUIDS[9]] * 20, object)), bookkeeping=keep)
    home.datasets.retract("a.TAG-1", reason="bad")
    assert totals(home["a.TAG"].inputs[0].snapshot.sources)["genEventCount"] == 100
    assert home.catalog.bookkeeping("a.TAG") == {GUIDS[50]: keep}
    assert [f.guid for f in home.catalog.files("a.TAG", kind="TAG")] == [GUIDS[50]]
    home.datasets.restore("a.TAG@1")
    assert set(home.catalog.bookkeeping("a.TAG")) == {GUIDS[50], GUIDS[51]}
    home.datasets.retract(GUIDS[2], reason="worse")
    assert totals(home["a.TAG"].inputs[0].snapshot.sources)["genEventCount"] is None
    left = home.catalog.bookkeeping("a.TAG")[GUIDS[50]]
    assert left["processed"] is None and left["processed_reason"] == f"10 of 30 rows were retracted with {GUIDS[2]}"
    assert [f.entries for f in home.catalog.files("a.TAG", kind="TAG")] == [20, 20]


def test_the_catalog_says_what_why_who_and_when(home: Workspace) -> None:
    build(home, "a.TAG", rows(30, 1), rows(20, 2))
    build(home, "b.TAG", rows(10, 3))
    done = home.datasets.retract(GUIDS[50], reason="  wrong beam spot ")
    assert [(x.dataset, x.rows, x.of, x.snapshot) for x in done.losses] == [("a.TAG", 30, 50, 2), ("b.TAG", 10, 10, 2)]
    said = home.catalog.retractions()
    assert [(r.dataset, r.snapshot, r.guid, r.events, r.reason, r.back) for r in said] == [
        ("a.TAG", 2, GUIDS[50], 30, "wrong beam spot", None),
        ("b.TAG", 2, GUIDS[50], 10, "wrong beam spot", None),
    ]
    assert all("@" in r.who and r.retracted.startswith("20") for r in said)
    commit = home["a.TAG"].inputs[0].snapshot.retractions[0]
    assert (commit.reason, commit.who, commit.when) == (said[0].reason, said[0].who, said[0].retracted)
    found = home.sql("select dataset, reason from retractions order by dataset").to_pylist()
    assert found == [{"dataset": d, "reason": "wrong beam spot"} for d in ("a.TAG", "b.TAG")]
    home.rebuild()
    assert home.catalog.retractions() == said
    home.datasets.restore("a.TAG@1")
    assert [r.back for r in home.catalog.retractions()] == [3, None]
    home.datasets.restore("a.TAG@2")
    assert [r.back for r in home.catalog.retractions()] == [None, None]
    assert home.datasets.show("a.TAG")["retractions"][0]["reason"] == "wrong beam spot"


def test_what_cannot_be_retracted_is_said(home: Workspace, tmp_path: Path) -> None:
    build(home, "a.TAG", rows(30, 1))
    with pytest.raises(CatalogError, match="no file 'a.TAG-00' in the catalog") as caught:
        home.datasets.retract("a.TAG-00", reason="bad")
    assert "a.TAG-0" in caught.value.hint
    with pytest.raises(CatalogError, match="needs a reason"):
        home.datasets.retract("a.TAG-0", reason=" ")
    with pytest.raises(CatalogError, match="no dataset 'a.TAGG'"):
        home.datasets.retract("a.TAG-0", dataset="a.TAGG", reason="bad")
    with pytest.raises(CatalogError, match="no row of any dataset"):
        home.datasets.retract(GUIDS[99], reason="bad")
    home.datasets.retract("a.TAG-0", reason="bad spot")
    with pytest.raises(CatalogError, match="no row of a.TAG") as caught:
        home.datasets.retract(GUIDS[50], dataset="a.TAG", reason="again")
    assert "bad spot" in caught.value.hint
    one, two = tmp_path / "1", tmp_path / "2"
    for k, folder in enumerate((one, two)):
        folder.mkdir()
        home.ingest(nano(folder / "x.root", 100 * k), dataset="n.TAG")
    with pytest.raises(CatalogError, match="is the name of 2 files") as caught:
        home.datasets.retract("x.root", reason="bad")
    assert str(one / "x.root") in caught.value.message
    assert home.datasets.retract(one / "x.root", reason="bad").rows == 25
    assert home["n.TAG"].events == 25


def test_lists_warn_and_a_rebase_mends_them(home: Workspace, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """Of 60 events of three files of 20, a list of the first 30 has 10 of the second file."""
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home.folder))
    monkeypatch.chdir(tmp_path)
    files = [nano(tmp_path / f"{k}.root", 100 * k, 20) for k in range(3)]
    home.ingest(*files, dataset="x.TAG")
    assert run(["select", "x.TAG", "event < 110", "-o", "l.events"]) == 0
    assert run(["datasets", "retract", "1.root", "--reason", "bad spot", "--yes"]) == 0
    (tmp_path / "job.py").write_text("branches = ['MET_pt']\ndef process(events):\n    return {'n': len(events)}\n")
    verbs = (
        ["lists", "show", "l.events"],
        ["map", "l.events"],
        ["skim", "l.events", "-o", "s.root", "--force"],
        ["skim", "l.events", "-o", "t.root", "--dry-run"],
        ["submit", "l.events", "--run", "job.py", "--dry-run"],
        ["submit", "l.events", "--run", "job.py"],
    )
    for verb in verbs:
        capsys.readouterr()
        assert run(verb) == 0
        said = capsys.readouterr().err
        assert "warning: 10 events of the list were in 1.root, retracted from x.TAG since 20" in said
        assert "bad spot" in said and "tagsel lists rebase l.events --onto x.TAG" in said
        assert run([*verb, "--json"]) == 0
        (touched,) = json.loads(capsys.readouterr().out)["retracted"]
        assert (touched["file"], touched["events"], touched["reason"]) == ("1.root", 10, "bad spot")
        assert touched["since"] == home.catalog.retractions()[0].retracted
    assert run(["lists", "rebase", "l.events", "--onto", "x.TAG", "-o", "n.events"]) == 3
    said = capsys.readouterr().err
    assert "20 kept + 0 moved + 10 vanished + 0 ambiguous = 30 events" in said
    assert "vanished: 315267:3:100\n" in said
    assert run(["lists", "show", "n.events", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["retracted"] == []
    assert home.lists["l.events"].retracted()[0].events == 10
    home.datasets.restore("x.TAG@1")
    assert home.lists["l.events"].retracted() == ()


def test_a_dry_run_comes_first_and_nobody_is_surprised(home: Workspace, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home.folder))
    build(home, "a.TAG", rows(30, 1), rows(20, 2))
    assert run(["datasets", "retract", "a.TAG-1", "--reason", "bad", "--dry-run"]) == 0
    answer = capsys.readouterr()
    assert answer.out == "a.TAG\t20\t50\ta.TAG-1\t\n" and "20 rows would be retracted with a.TAG-1" in answer.err
    assert run(["datasets", "retract", "a.TAG-1", "--reason", "bad"]) == 2
    answer = capsys.readouterr()
    assert "20 rows would be retracted" in answer.err and "--yes" in answer.err
    assert home["a.TAG"].pinned == "a.TAG@1"
    assert run(["datasets", "retract", GUIDS[1], "--reason", "bad", "--json", "--yes"]) == 0
    found = json.loads(capsys.readouterr().out)
    twenty = 10 + 7  # rows 1, 4, … of 30, and of 20
    assert (found["rows"], found["done"], found["losses"][0]["snapshot"]) == (twenty, True, 2)
    assert found["losses"][0]["partly"] == {"a.TAG-0": 10, "a.TAG-1": 7}
    assert run(["datasets", "retract", "a.TAG-7", "--reason", "bad", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "CatalogError"


def test_a_file_comes_back_with_a_word(home: Workspace, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home.folder))
    files = [nano(tmp_path / f"{k}.root", 100 * k, 20) for k in range(2)]
    home.ingest(*files, dataset="x.TAG")
    old = home["x.TAG"].select("true")
    home.datasets.retract(files[1], reason="bad spot")
    assert [f.kind for f in home.catalog.files(guids=[old.guids[0], old.guids[1]])].count("FORMER") == 1
    assert all(f.pfn for f in old.map().files)  # the old list still finds its file
    assert len(home["x.TAG"].select("true").map().files) == 1
    assert run(["ingest", str(files[1]), "--dataset", "x.TAG"]) == 0
    said = capsys.readouterr().err
    assert "warning: 1.root is in again: it was retracted at 20" in said and "bad spot" in said
    assert home["x.TAG"].select("true").digest == old.digest
    assert old.retracted() == () and home.catalog.retractions()[0].back == 3
    assert not [f for f in home.catalog.files("x.TAG") if f.kind == "FORMER"]
    assert home.ingest(files[1], dataset="x.TAG").warnings == ()
    home.datasets.retract(files[1], reason="still bad")
    assert [t.reason for t in old.retracted()] == ["still bad"]


@pytest.mark.parametrize(
    "step",
    [
        "store.write",
        "store.rename",
        "store.commit",
        "store.logged",
        "retract.register",
        "catalog.journal",
        "catalog.apply",
    ],
)
def test_fault_13_killed_in_a_retraction_all_or_nothing(tmp_path: Path, step: str) -> None:
    """Packed, so that a part is written anew: 50 rows before, 25 after; the catalog follows, and says why."""
    home = Workspace.init(tmp_path / "W").folder
    files = [nano(tmp_path / f"{k}.root", 100 * k) for k in range(2)]
    for path in files:
        Workspace(home).ingest(path, dataset="x.TAG")
    Workspace(home).datasets.compact("x.TAG")
    events = Workspace(home)["x.TAG"].select("true")
    done = tagsel("datasets", "retract", files[0], "--reason", "bad", "--yes", home=home, TAGSEL_KILL_AT=step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    landed = step not in ("store.write", "store.rename", "store.commit")
    ws = Workspace(home)
    touched = ws.lists[events].retracted()  # before anybody asked for the dataset
    assert [(t.events, t.reason) for t in touched] == ([(25, "bad")] if landed else [])
    assert ws["x.TAG"].count("true").accepted == (25 if landed else 50)
    assert ws.catalog.dataset("x.TAG").events == (25 if landed else 50)
    assert [r.events for r in ws.catalog.retractions()] == ([25] if landed else [])
    assert len(ws.catalog.bookkeeping("x.TAG")) == (1 if landed else 2)
    ws.datasets.gc("x.TAG", grace=0)
    if not landed:
        assert ws.datasets.retract(files[0], reason="bad").rows == 25
    assert ws["x.TAG"].count("true").accepted == 25


def test_of_several_datasets_the_same_command_does_the_rest(tmp_path: Path) -> None:
    """Killed between the first dataset and the second: 0 and 25 rows are left, then 0 and 0."""
    home = Workspace.init(tmp_path / "W").folder
    path = nano(tmp_path / "x.root", 1)
    for name in ("a.TAG", "b.TAG"):
        Workspace(home).ingest(path, dataset=name)
    done = tagsel("datasets", "retract", path, "--reason", "bad", "--yes", home=home, TAGSEL_KILL_AT="retract.register")
    assert done.returncode == -signal.SIGKILL, done.stderr
    ws = Workspace(home)
    assert [ws[name].events for name in ("a.TAG", "b.TAG")] == [0, 25]
    assert [(x.dataset, x.rows) for x in ws.datasets.retract(path, reason="bad").losses] == [("b.TAG", 25)]
    assert [(r.dataset, r.events) for r in ws.catalog.retractions()] == [("a.TAG", 25), ("b.TAG", 25)]
    assert ws["*.TAG"].count("true").accepted == 0
