"""`transfer EVENTS SITE`: the AOD files of the events of a list, and only those, come to a site."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tagsel.api import Workspace
from tagsel.catalog import DropReplicas, PutReplicas
from tagsel.cli.main import run
from tagsel.errors import TagselError
from tagsel.events import EventList

MUON = "data09_900GeV.physics_Muon.TAG"


@pytest.fixture
def home(tmp_path: Path, sample_copy: Path) -> Workspace:
    """The sample's workspace and a new site; `one.events` is in one of the two files of `two.events`."""
    ws = Workspace(tmp_path / "W")
    ws.sites.add("NEW", str(tmp_path / "new"))
    ws[MUON].select("NLooseMuon >= 2")[:1].save("one.events")
    ws[MUON].select("NLooseMuon >= 2").save("two.events")
    return ws


def test_just_the_files_of_the_events_come_to_the_site(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = home.lists["one.events"].map().files
    everything = home.lists["two.events"].map().files
    assert len(everything) == 2
    assert run(["transfers", "request", "one.events", "NEW"]) == 0
    copies = [p for p in (tmp_path / "new").rglob("*") if p.is_file()]
    assert [p.read_bytes() for p in copies] == [Path(file.pfn).read_bytes()]
    assert "NEW" in home.lists["one.events"].map().files[0].sites
    assert {f.guid: "NEW" in f.sites for f in home.lists["two.events"].map().files} == {
        f.guid: f.guid == file.guid for f in everything
    }
    digest = home.lists["one.events"].digest[:16]
    files = hashlib.sha256(json.dumps([file.guid]).encode()).hexdigest()[:8]
    (rule,) = home.transfers.list()
    assert (rule.dataset, rule.site, rule.state, rule.done, rule.files) == (
        f"transfers.{digest}.{files}.AOD",
        "NEW",
        "done",
        1,
        1,
    )
    # Asked again nothing is copied; the list of both files brings the other one only.
    assert [r.state for r in home.transfers.request("one.events", "NEW")] == ["done"]
    (both,) = home.transfers.request(home.lists["two.events"], "NEW")
    assert (both.state, both.done, both.files) == ("done", 2, 2)
    assert len([p for p in (tmp_path / "new").rglob("*") if p.is_file()]) == 2
    assert run(["transfers", "cancel", "one.events", "NEW"]) == 0
    assert "1 of its 1 files are there, and stay" in capsys.readouterr().out
    assert [r.files for r in home.transfers.list()] == [2]


def test_the_same_events_in_other_files_are_another_wish(home: Workspace) -> None:
    """As after a rebase: events of two files are all in the first one now, so its wish has one file, not two."""
    old = home.lists["two.events"]
    first = home.lists[old].map().files[0].guid
    places = np.arange(len(old))
    new = EventList.from_arrays(old.run, old.lumi, old.event, np.zeros(len(old), np.int32), [first], places)
    assert new.digest == old.digest
    (wish,) = home.transfers.request(old, "NEW")
    (other,) = home.transfers.request(new, "NEW")
    assert (wish.files, other.files) == (2, 1)
    assert [f.guid for f in home.catalog.files(other.dataset)] == [first]
    assert sorted(rule.files for rule in home.transfers.list()) == [1, 2]


def test_a_transfer_that_fails_behind_its_wish_says_that_it_is_asked_for(home: Workspace) -> None:
    """A file where the locks of transfers are to be: nothing is copied; without it the wish goes on."""
    (home.folder / "transfers").write_text("in the way")
    with pytest.raises(TagselError, match=r"copies of transfers\.\S+ at NEW are asked for, but then: ") as failed:
        home.transfers.request("two.events", "NEW")
    assert "tagsel transfers run goes on" in failed.value.hint
    assert [(rule.site, rule.state, rule.done) for rule in home.transfers.list()] == [("NEW", "waiting", 0)]
    (home.folder / "transfers").unlink()
    assert [(rule.site, rule.state, rule.done) for rule in home.transfers.run()] == [("NEW", "done", 2)]


def test_map_says_what_a_site_lacks_and_names_the_transfer(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Both files are at HOME; where NEW has one, and HOME none, the other is to be brought."""
    first, second = home.lists["two.events"].map().files
    assert run(["map", "two.events"]) == 0
    assert "tagsel transfer" not in capsys.readouterr().err
    for file in (first, second):
        replicas = [r for r in home.catalog.replicas([file.guid])[file.guid] if r.site == "HOME"]
        home.catalog.record(DropReplicas("HOME", [(file.guid, r.pfn) for r in replicas]))
    home.catalog.record(PutReplicas("NEW", [(first.guid, first.pfn)]))
    assert run(["map", "two.events"]) == 0
    said = capsys.readouterr().err
    assert "no site has all 2 files; NEW has 1: tagsel transfers request two.events NEW brings the others" in said
    assert run(["transfers", "request", "two.events", "NEW"]) == 0
    assert run(["map", "two.events"]) == 0
    assert "tagsel transfer" not in capsys.readouterr().err


def test_lists_without_known_files_and_sites_of_others_are_refused(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Workspace.init(tmp_path / "empty")
    empty.sites.add("NEW", str(tmp_path / "new"))
    assert run(["transfers", "request", "one.events", "NEW", "-w", str(empty.folder)]) == 2
    assert "no catalog knows an AOD file of these 1 events" in capsys.readouterr().err
    assert run(["transfers", "request", "one.events", "NOWHERE"]) == 2
    assert run(["transfers", "cancel", "one.events", "NEW"]) == 2
    assert "no copies of the files of this list were asked for" in capsys.readouterr().err
    home.sites.add("FAR", meta={"catalog": "rucio"})
    assert run(["transfers", "request", "one.events", "FAR"]) == 2
    assert "is of catalog rucio" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
