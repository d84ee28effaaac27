"""Datasets dropped and put back: the same to the last row, whole wherever that breaks off, gone only when asked."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.base import atomic_write
from tagsel.catalog import FileRecord, Pin, PutDataset, PutFiles, SetMeta
from tagsel.cli.main import run
from tagsel.errors import CatalogError, StoreError

GUID = "00D1B2C3-0000-4000-8000-00000000ABCD"


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """Two datasets of 6 and 4 events, the second made from the first; and one of which only the catalog knows."""
    made = workspace(tmp_path)
    build(made, "a.TAG", rows(6, 1))
    build(made, "b.TAG", rows(4, 2))
    made.catalog.record(SetMeta("a.TAG", {"note": "mine"}))
    made.catalog.alter("b.TAG", parents=("a.TAG@1",))
    made.catalog.record(
        PutDataset("c.AOD", type="AOD"), PutFiles("c.AOD", [FileRecord(GUID, "c.root", "", "AOD", 3, 9)])
    )
    return made


def everything(home: Workspace, name: str) -> object:
    """Rows of the catalog, but for who touched the dataset last, and the digest of all events."""
    kept = {
        table: [{k: v for k, v in row.items() if k not in ("seq", "updated", "who")} for row in found]
        for table, found in home.catalog.owned_rows(name).items()
    }
    return kept, home[name].where("true").events().digest if name.endswith("TAG") else None


def test_fault_12_a_failing_fsync_of_the_trash_is_named_and_drops_nothing(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, folder, fsync = everything(home, "b.TAG"), home.folder / "trash", os.fsync

    def failing(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_write, "_fsync", failing)
        with pytest.raises(StoreError, match=r"cannot note in the trash .*b\.TAG.*: Input/output error"):
            home.datasets.drop("b.TAG")
    assert everything(home, "b.TAG") == before
    assert list(home.trash) == []
    home.datasets.drop("b.TAG")
    assert [dropped.name for dropped in home.trash] == ["b.TAG"]


@pytest.mark.parametrize("name", ["a.TAG", "b.TAG", "c.AOD"])
def test_feature_77_what_is_recovered_is_what_was_dropped(home: Workspace, name: str) -> None:
    """Rows, keys, parents, files, runs, and each event; also for a process that opens the workspace anew."""
    before, others = everything(home, name), {n: everything(home, n) for n in home.catalog.names() if n != name}
    size = sum(p.stat().st_size for p in (home.folder / "data" / name).rglob("*") if p.is_file())
    would = home.datasets.drop(name, dry_run=True)
    assert [(d.name, d.id, d.bytes) for d in would] == [(name, "", size)]
    assert everything(home, name) == before
    assert list(home.trash) == []
    gone = home.datasets.drop(name)
    assert [(d.name, d.events, d.bytes) for d in gone] == [(name, home.trash.list()[0].events, size)]
    assert gone[0].from_it == (("b.TAG",) if name == "a.TAG" else ())
    assert name not in home
    assert not (home.folder / "data" / name).exists()
    with pytest.raises(CatalogError, match="no dataset"):
        home[name].count("true")
    assert home.trash.recover(name).id == gone[0].id
    assert everything(Workspace(home.folder), name) == before
    assert {n: everything(home, n) for n in others} == others
    assert list(home.trash) == []
    assert home.rebuild() > 0
    assert everything(home, name) == before


def test_a_dataset_with_many_pins_is_dropped_after_the_commands_that_the_error_offers(home: Workspace) -> None:
    """Seven pins of snapshots 0 and 1, four and three: two commands take them back, and the error counts those that it
    does not name."""
    for number, reasons in ((0, "abcd"), (1, "efg")):
        for reason in reasons:
            home.datasets.pin(f"b.TAG@{number}", f"paper {reason}")
    with pytest.raises(CatalogError, match=r"is pinned \(@0: paper a; .*@1: paper e; and 2 more\)") as refused:
        home.datasets.drop("b.TAG")
    commands = refused.value.hint.split(" && ")
    assert commands == ["tagsel datasets unpin b.TAG@0", "tagsel datasets unpin b.TAG@1"]
    for command in commands:
        assert run([*command.split()[1:], "-w", str(home.folder)]) == 0
    assert [gone.name for gone in home.datasets.drop("b.TAG")] == ["b.TAG"]


def test_a_pin_that_only_the_dataset_has_keeps_it_as_one_of_the_catalog_does(home: Workspace) -> None:
    home.home.table("b.TAG").pin(1, "lost")
    with pytest.raises(CatalogError, match=r"b\.TAG is pinned \(@1: lost\)") as refused:
        home.datasets.drop("a.TAG", "b.TAG")
    assert refused.value.hint == 'tagsel datasets unpin b.TAG@1 --reason "lost"'
    assert {"a.TAG", "b.TAG"} <= set(home.catalog.names())
    path = home.folder / "data" / "b.TAG" / "_tagsel" / "pins.json"
    path.write_text("{")
    with pytest.raises(StoreError, match=r"pins\.json is damaged"):
        home.datasets.drop("b.TAG")
    path.unlink()
    assert [gone.name for gone in home.datasets.drop("b.TAG")] == ["b.TAG"]


def test_all_are_dropped_or_none(home: Workspace) -> None:
    home.catalog.record(Pin("b.TAG", 1, "a paper"))
    before = home.catalog.names()
    with pytest.raises(CatalogError, match=r"b\.TAG is pinned .*a paper") as refused:
        home.datasets.drop("a.TAG", "b.TAG")
    assert refused.value.hint == 'tagsel datasets unpin b.TAG@1 --reason "a paper"'
    home.datasets.freeze("a.TAG")
    with pytest.raises(CatalogError, match="frozen"):
        home.datasets.drop("a.TAG")
    with pytest.raises(CatalogError, match="no dataset 'A'"):
        home.datasets.drop("c.AOD", "A")
    home.catalog.record(PutDataset("all", members=("c.AOD",)))
    with pytest.raises(CatalogError, match="container all holds"):
        home.datasets.drop("c.AOD")
    assert list(home.trash) == []
    assert set(home.catalog.names()) == {*before, "all"}


def test_a_name_may_be_used_again_and_each_is_recovered_by_its_time(home: Workspace) -> None:
    first = everything(home, "b.TAG")
    (old,) = home.datasets.drop("b.TAG")
    build(home, "b.TAG", rows(9, 3))
    second = everything(home, "b.TAG")
    assert second != first
    with pytest.raises(CatalogError, match=r"there is a dataset b\.TAG again"):
        home.trash.recover("b.TAG")
    (new,) = home.datasets.drop("b.TAG")
    assert [d.id for d in home.trash] == [new.id, old.id]
    home.trash.recover(old.id)
    assert everything(home, "b.TAG") == first
    home.datasets.drop("b.TAG")
    home.trash.recover(new.id)
    assert everything(home, "b.TAG") == second
    with pytest.raises(CatalogError, match=r"b\.TA is not in the trash") as refused:
        home.trash.recover("b.TA")
    assert "b.TAG" in refused.value.hint


VERBS = {"drop": 'datasets.drop("a.TAG", "b.TAG")', "recover": 'trash.recover("a.TAG")'}


@pytest.mark.parametrize(
    ("verb", "passage"), [*(("drop", n) for n in range(1, 8)), *(("recover", n) for n in range(1, 4))]
)
def test_fault_26_a_drop_or_a_return_that_is_killed_leaves_every_dataset_whole(
    home: Workspace, verb: str, passage: int
) -> None:
    """In the catalog with its files, or in the trash, from where it comes back as it was; wherever it was killed."""
    before = {name: everything(home, name) for name in ("a.TAG", "b.TAG")}
    if verb == "recover":
        home.datasets.drop("a.TAG")
    code = f"import tagsel\ntagsel.open({str(home.folder)!r}).{VERBS[verb]}"
    told = {**os.environ, "TAGSEL_KILL_AT": f"trash.{verb}:{passage}"}
    assert subprocess.run([sys.executable, "-c", code], env=told).returncode == -signal.SIGKILL
    after = Workspace(home.folder)
    dropped = {d.name for d in after.trash}
    assert dropped | set(after.catalog.names()) == {"a.TAG", "b.TAG", "c.AOD"}
    assert not dropped & set(after.catalog.names())
    whole = {"drop": {"a.TAG", "b.TAG"} if passage > 4 else set(), "recover": {"a.TAG"} if passage < 2 else set()}
    assert dropped == whole[verb]  # files of both go before the one change of the catalog, which comes back first
    for name in dropped:
        assert not (home.folder / "data" / name).exists()
        after.trash.recover(name)
    assert {name: everything(after, name) for name in before} == before
    assert [p.name for p in (home.folder / "trash").iterdir()] == ["lock"]


def test_feature_77_lifetimes_drop_nothing_by_themselves(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """The last day is over from the next on; what is pinned stays all the same."""
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    for name, day in (("a.TAG", yesterday), ("b.TAG", yesterday), ("c.AOD", today)):
        assert home.datasets.expire(name, after=day) == day.isoformat()
    home.catalog.record(Pin("a.TAG", 1, "a paper"))
    assert home.datasets.expired == {"a.TAG": "dataset a.TAG is pinned (@1: a paper)", "b.TAG": ""}
    assert "b.TAG" in home
    assert run(["-w", str(home.folder), "datasets", "drop", "--expired", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("b.TAG\t4\t")
    assert "stays: dataset a.TAG is pinned" in said.err
    assert "b.TAG" in home
    assert run(["-w", str(home.folder), "datasets", "drop", "--expired"]) == 0
    assert [d.name for d in home.trash] == ["b.TAG"]
    home.datasets.expire("a.TAG", after="never")
    assert home.datasets.expired == {}
    with pytest.raises(CatalogError, match="'soon' is not a day"):
        home.datasets.expire("a.TAG", after="soon")


def test_feature_77_the_trash_is_emptied_by_age_a_dry_run_first(home: Workspace) -> None:
    (one,) = home.datasets.drop("a.TAG")
    assert home.trash.empty(older_than=1) == ()
    assert home.trash.empty(dry_run=True) == (one,)
    assert list(home.trash) == [one]
    assert home.trash.empty() == (one,)
    assert list(home.trash) == []
    with pytest.raises(CatalogError, match="not in the trash"):
        home.trash.recover("a.TAG")
    build(home, "a.TAG", rows(2, 5))
    assert home["a.TAG"].count("true").accepted == 2


@pytest.mark.parametrize(
    "words",
    [
        ("datasets", "drop"),
        ("datasets", "drop", "a.TAG", "--expired"),
        ("datasets", "expire", "a.TAG"),
        ("datasets", "expire", "a.TAG", "--after", "x"),
        ("datasets", "expire", "no.TAG", "--after", "never"),
        ("trash", "list", "--older-than", "3"),
        ("trash", "list", "--dry-run"),
        ("trash", "recover", "a.TAG"),
    ],
)
def test_mistakes_at_the_command_line_change_nothing(home: Workspace, words: tuple[str, ...]) -> None:
    assert run(["-w", str(home.folder), *words]) == 2
    assert set(home.catalog.names()) == {"a.TAG", "b.TAG", "c.AOD"}


def test_a_trash_that_is_killed_while_it_is_emptied_holds_nothing_that_is_not_whole(home: Workspace) -> None:
    home.datasets.drop("a.TAG")
    code = f"import tagsel\ntagsel.open({str(home.folder)!r}).trash.empty()"
    told = {**os.environ, "TAGSEL_KILL_AT": "trash.remove"}
    assert subprocess.run([sys.executable, "-c", code], env=told).returncode == -signal.SIGKILL
    after = Workspace(home.folder)
    assert list(after.trash) == []
    with pytest.raises(CatalogError, match="not in the trash"):
        after.trash.recover("a.TAG")
    assert [p.name for p in (home.folder / "trash").iterdir()] == ["lock"]  # what was left is swept


@pytest.mark.parametrize(
    ("verb", "passage", "said"),
    [
        ("drop", 3, r"a\.TAG: dropped, but then: cannot note in the trash"),
        ("recover", 2, r"a\.TAG is in the catalog again, but then: cannot move"),
    ],
)
def test_what_fails_behind_the_commit_says_what_was_committed(
    home: Workspace, monkeypatch: pytest.MonkeyPatch, verb: str, passage: int, said: str
) -> None:
    """Behind the change of the catalog something is in the way of the next rename, which the system refuses."""
    if verb == "recover":
        home.datasets.drop("a.TAG")
    passages = []

    def obstacle(name: str) -> None:
        passages.append(name)
        if len(passages) != passage:
            return
        target = home.folder / "data" / "a.TAG"
        if verb == "drop":
            (between,) = (home.folder / "trash").glob("*/between.json")
            target = between.with_name("record.json")
        (target / "in the way").mkdir(parents=True)

    monkeypatch.setattr("tagsel.api.trash.fail_point", obstacle)
    with pytest.raises(StoreError, match=said) as caught:
        action = home.trash.recover if verb == "recover" else home.datasets.drop
        action("a.TAG")
    assert "tagsel trash list" in caught.value.hint
    assert ("a.TAG" in home.catalog.names()) == (verb == "recover")
