"""Two workspaces that have datasets of one name: each question, list and job is about the one that it was asked of."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from builders import build, rows, workspace
from nanofile import nano

from tagsel.api import Workspace
from tagsel.api.origins import CONTENTS
from tagsel.catalog import DatasetRecord, PutDataset, metadata_query
from tagsel.catalog.view import Readable
from tagsel.errors import CatalogError, TagselError

NAME = "d.A.TAG"
JOB = "branches = ['*']\ndef process(events):\n    return {'n': len(events)}\n"


@pytest.fixture
def group(tmp_path: Path) -> Workspace:
    """A group's workspace, which has a dataset of one file of 25 events."""
    made = Workspace.init(tmp_path / "group")
    made.ingest(nano(tmp_path / "theirs.root", 1), dataset=NAME)
    return made


@pytest.fixture
def mine(tmp_path: Path, group: Workspace) -> Workspace:
    """My workspace, which names the group's and has no dataset yet."""
    made = Workspace.init(tmp_path / "mine")
    toml = made.folder / "tagsel.toml"
    toml.write_text(f'datasets = ["{group.folder}"]\n{toml.read_text()}')
    return Workspace(made.folder)


def hiding(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that one dataset hides another."""
    return [message for message in caplog.messages if " hides " in message]


def test_a_list_stays_with_the_dataset_that_it_was_made_from(
    group: Workspace, mine: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The list is of the group's one file; my dataset of the same name has another file, and nothing to do with it."""
    script = tmp_path / "job.py"
    script.write_text(JOB)
    events = mine[NAME].select("true")
    events.save(tmp_path / "theirs.events")
    job = mine.lists[events].submit(script)
    job.wait()
    assert job.output == "jobs.0001.NUMBERS"
    assert not hiding(caplog)

    mine.ingest(nano(tmp_path / "mine.root", 1000, n=7), dataset=NAME)
    assert hiding(caplog) == [
        f"{NAME} is the dataset of {mine.folder}; it hides the one of {group.folder} "
        f"(tagsel -w {group.folder} asks that one)"
    ]
    assert len(mine[NAME].select("true")) == 7
    for one in (events, mine.lists[tmp_path / "theirs.events"]):
        mapped = mine.lists[one].map()
        assert (len(mapped.files), mapped.files_total, mapped.entries_total) == (1, 1, 25)
    assert mine.datasets.drop(NAME, dry_run=True)[0].from_it == ()
    assert mine.datasets.tree(NAME).text() == NAME
    assert mine.datasets.tree("jobs.0001.NUMBERS").text().splitlines()[1:] == [f"  < {NAME}@1 (not in this catalog)"]


def test_what_was_made_from_my_own_dataset_is_still_said(mine: Workspace, tmp_path: Path) -> None:
    """A job on my dataset is its child; it is not a child of a later dataset of that name with other rows."""
    script = tmp_path / "job.py"
    script.write_text(JOB)
    mine.ingest(nano(tmp_path / "mine.root", 1000, n=7), dataset="e.TAG")
    mine.lists[mine["e.TAG"].select("true")].submit(script).wait()
    assert [node.name for node in mine.datasets.tree("e.TAG").down.links] == ["jobs.0001.NUMBERS"]  # type: ignore[union-attr]
    for reason in mine.home.table("e.TAG").pins()[1]:
        mine.datasets.unpin("e.TAG@1", reason)
    assert mine.datasets.drop("e.TAG")[0].from_it == ("jobs.0001.NUMBERS",)
    mine.ingest(nano(tmp_path / "other.root", 2000, n=9), dataset="e.TAG")
    assert mine.datasets.drop("e.TAG", dry_run=True)[0].from_it == ()
    with pytest.raises(CatalogError, match="a key of tagsel's own"):
        mine.ingest(nano(tmp_path / "third.root", 3000), dataset="f.TAG", meta={CONTENTS: "x"})


@pytest.mark.parametrize("text", ["hello", "d.A.TAG@1=x=y", "=", "d.A.TAG@1, e.TAG", ""])
def test_a_users_own_text_under_the_key_of_contents_is_passed_over(mine: Workspace, tmp_path: Path, text: str) -> None:
    """An older tagsel let users record the key: the parent that the catalog names is the parent still."""
    mine.ingest(nano(tmp_path / "mine.root", 1000, n=7), dataset="e.TAG")
    build(mine, "child.TAG", rows(4), type="TAG", parents=("e.TAG@1",), meta={CONTENTS: text})
    assert [node.name for node in mine.datasets.tree("e.TAG").down.links] == ["child.TAG"]  # type: ignore[union-attr]


def test_a_glob_takes_every_dataset_and_says_which_of_two_it_means(
    mine: Workspace, group: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """Mine are b (2 rows) and c (3), the group's are c (50) and d (5), and an AOD dataset without rows."""
    for home, sizes in ((mine, {"b.TAG": 2, "c.TAG": 3}), (group, {"c.TAG": 50, "d.TAG": 5})):
        for seed, (name, size) in enumerate(sizes.items()):
            build(home, f"data.{name}", rows(size, seed + 1), type="TAG")
    group.catalog.record(PutDataset("data.e.AOD", type="AOD"))
    with caplog.at_level(logging.WARNING, "tagsel"):
        counts = {i.dataset: i.snapshot.rows for i in mine.home.inputs("data.*")}
        assert counts == {"data.b.TAG": 2, "data.c.TAG": 3, "data.d.TAG": 5}
        assert [i.snapshot.rows for i in mine.home.inputs("data.c.TAG,data.d.TAG")] == [3, 5]
    (warning,) = hiding(caplog)  # once, however often it is asked
    assert warning.startswith(f"data.c.TAG is the dataset of {mine.folder}; it hides the one of {group.folder}")
    with pytest.raises(CatalogError, match=r"no events to select from: data.e.AOD \(AOD\)"):
        mine.home.inputs("data.e*")


def test_a_container_of_mine_hides_the_groups_whole(mine: Workspace, group: Workspace) -> None:
    for home, name in ((mine, "x.TAG"), (group, "y.TAG")):
        build(home, name, rows(4), type="TAG")
        home.catalog.record(PutDataset("all.TAG", type="CONTAINER", members=(name,)))
    assert [i.dataset for i in mine.home.inputs("all.TAG")] == ["x.TAG"]


def test_without_a_named_workspace_nothing_is_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = workspace(tmp_path)
    build(alone, NAME, rows(3))
    assert len(alone.home.inputs(NAME)) == 1
    assert not hiding(caplog)


def test_a_workspace_that_cannot_be_read_stops_only_what_needs_it(
    mine: Workspace, group: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Byte 20 of the group's journal is changed. My ingest and my dataset by its name go on; all else is refused."""
    build(mine, "own.TAG", rows(7), type="TAG")
    journal = group.folder / "catalog.journal"
    text = journal.read_bytes()
    journal.write_bytes(text[:20] + bytes([text[20] ^ 1]) + text[21:])
    mine = Workspace(mine.folder)
    mine.ingest(nano(tmp_path / "mine.root", 1000, n=5), dataset="new.TAG")
    assert mine["own.TAG"].count("true").accepted == 7
    assert mine["new.TAG"].count("true").accepted == 5
    warnings = [message for message in caplog.messages if message.startswith(f"whether {group.folder} has")]
    assert len(warnings) == 2, "one of the ingest, and one of all questions"
    for ask in (
        lambda: mine.home.inputs("*.TAG"),
        lambda: mine.home.inputs("absent.TAG"),
        mine.datasets.facets,
        mine.datasets.find,
    ):
        with pytest.raises(TagselError, match=str(journal)):
            ask()


def test_datasets_that_come_and_go_while_a_condition_is_judged(
    mine: Workspace, group: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others work in the group's workspace: one dataset comes before the condition is judged, one goes after it."""
    build(group, "goes.TAG", rows(4), type="TAG")
    find = metadata_query.find

    def judged(view: Readable, where: str) -> list[DatasetRecord]:
        build(group, "comes.TAG", rows(5), type="TAG")
        records = find(view, where)
        group.datasets.drop("goes.TAG")
        return records

    monkeypatch.setattr(metadata_query, "find", judged)
    assert [row[0] for row in mine.datasets.find("events < 10").rows] == ["comes.TAG"]


def test_a_dataset_that_goes_while_sql_reads_the_catalogs(
    mine: Workspace, group: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(group, "goes.TAG", rows(4), type="TAG")
    copies = metadata_query.copies

    def copied(*arguments: Any, **options: Any) -> Any:
        tables = copies(*arguments, **options)
        read = "datasets" in tables and "goes.TAG" in tables["datasets"]["name"].to_pylist()
        if read and "goes.TAG" in group.catalog.names():
            group.datasets.drop("goes.TAG")
        return tables

    monkeypatch.setattr(metadata_query, "copies", copied)
    answer = mine.sql("SELECT name, workspace FROM datasets")
    assert answer.to_pylist() == [{"name": NAME, "workspace": str(group.folder)}]


def test_a_workspace_that_is_away_stops_only_what_needs_it(
    mine: Workspace, group: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk of the group's workspace is not mounted; a new process asks."""
    build(mine, "own.TAG", rows(7), type="TAG")
    group.folder.rename(tmp_path / "unmounted")
    mine = Workspace(mine.folder)
    mine.ingest(nano(tmp_path / "mine.root", 1000, n=5), dataset="new.TAG")
    assert mine["own.TAG"].count("true").accepted == 7
    assert sum(f"names {group.folder}, which is no workspace" in message for message in caplog.messages) == 2
    for ask in (
        lambda: mine.home.inputs("*.TAG"),
        lambda: mine.home.inputs("absent.TAG"),
        mine.datasets.facets,
        mine.datasets.find,
    ):
        with pytest.raises(CatalogError, match="which is no workspace"):
            ask()
