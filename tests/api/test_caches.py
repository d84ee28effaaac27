"""The caches of a workspace are listed with what they take, and cleared without a change of any answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.api.cache_usage import ON_DISK
from tagsel.base.cache import MEMORY, clear_memory
from tagsel.cli.main import run
from tagsel.engine import bitmap_files
from tagsel.errors import CatalogError
from tagsel.selection import count

CUTS = ("nMuon >= 2", "MET_pt > 30 GeV")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with a dataset of three parts, and an empty folder for the user's caches."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGSEL_CACHE", str(folder / "cache"))
        patch.setattr(bitmap_files, "FEWEST_ROWS", 1)
        clear_memory()
        home = workspace(folder)
        build(home, "a.TAG", rows(200, 1), rows(30, 2), rows(90, 3))
        yield home


def ask(home: Workspace) -> list[object]:
    """The answers to questions that use zones, stacks, masks, kernels and the event index."""
    query = home["a.TAG"].query(CUTS)
    object.__setattr__(query, "tier", "kernel")
    ledger = count(query).ledger.to_json()
    events = home["a.TAG"].select(*CUTS)
    event = int(events.run[0]), int(events.event[0])
    verdicts = home["a.TAG"].why(event, *CUTS).to_json()
    bitmap_files.wait()
    return [ledger, events.digest, verdicts]


def on_disk(home: Workspace) -> dict[str, int]:
    """Entries of the caches on disk by name."""
    return {row["name"]: row["entries"] for row in home.caches() if row["where"] != MEMORY}


def test_what_is_cleared_is_made_again_and_no_answer_changes(home: Workspace) -> None:
    answers = ask(home)
    before = on_disk(home)
    assert sorted(before) == sorted(ON_DISK)
    assert before["zones"] == 3
    for name in (*ON_DISK, "mapped-files"):
        removed = home.caches(clear=name)
        assert {row["name"] for row in removed} == {name}
        assert name not in home.caches().names()
        home.caches(clear="snapshots")  # an open snapshot goes on with the stacks that it has open
        assert ask(home) == answers
        assert on_disk(home).keys() == before.keys()  # an index is made of each part that is asked for


def test_an_unknown_name_is_refused_with_the_nearest(home: Workspace) -> None:
    with pytest.raises(CatalogError, match="no cache 'zone'") as caught:
        home.caches(clear="zone")
    assert "zones" in str(caught.value.hint)


def test_at_the_prompt_they_are_listed_and_cleared(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    ask(home)
    words = ["-w", str(home.folder), "workspace", "caches"]
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["caches"]}
    assert sorted(listed) == sorted(ON_DISK)
    assert listed["zones"]["where"] == str(home.folder / "data")
    assert listed["zones"]["bytes"] == sum(p.stat().st_size for p in home.folder.glob("data/*/_tagsel/zones/*.zones"))
    assert run([*words, "--clear", "zones"]) == 0
    out, err = capsys.readouterr()
    assert out.split("\t")[:3] == ["zones", str(home.folder / "data"), "3"]
    assert err == f"1 cache, {listed['zones']['bytes']:,} B cleared\n"
    assert run([*words, "--clear"]) == 0
    capsys.readouterr()
    assert run(words) == 0
    assert capsys.readouterr() == ("", "0 caches, 0 B\n")
    assert run([*words, "--clear", "nothing"]) == 2
