"""The workspaces that a user has opened: entries that go, or cannot go, meanwhile fail no command."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tagsel.base import known_workspaces


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the entries, of two workspaces."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / known_workspaces.JOURNAL).touch()
        known_workspaces.record(tmp_path / name)
    return tmp_path / "state" / "tagsel" / known_workspaces.FOLDER


def test_an_entry_that_goes_meanwhile_is_left_out(entries: Path, tmp_path: Path) -> None:
    """A link that leads nowhere is listed and has no time of change, as an entry that goes between the two steps."""
    (entries / "gone.json").symlink_to(entries / "nowhere")
    assert set(known_workspaces.folders()) == {tmp_path / "a", tmp_path / "b"}
    known_workspaces.forget(tmp_path / "a")
    known_workspaces.forget(tmp_path / "a")
    assert known_workspaces.folders() == [tmp_path / "b"]
    known_workspaces.record(tmp_path / "a")
    assert set(known_workspaces.folders()) == {tmp_path / "a", tmp_path / "b"}


@pytest.mark.parametrize("damage", ["another's", "a bit"])
def test_an_entry_that_is_not_its_own_names_none_until_the_workspace_opens(
    entries: Path, tmp_path: Path, damage: str
) -> None:
    """The entry of `a` becomes that of `b`, or a bit of it flips: `a` is away until it is opened again."""
    contents = {path: path.read_bytes() for path in entries.iterdir()}
    (mine,) = (path for path, data in contents.items() if b'/a"' in data)
    (other,) = contents.keys() - {mine}
    spoilt = contents[mine].replace(b'/a"', b'/c"') if damage == "a bit" else contents[other]
    mine.write_bytes(spoilt)
    assert known_workspaces.folders() == [tmp_path / "b"]
    known_workspaces.record(tmp_path / "a")
    assert set(known_workspaces.folders()) == {tmp_path / "a", tmp_path / "b"}
    assert mine.read_bytes() == contents[mine]


def test_an_entry_that_cannot_go_is_said_in_the_log(
    entries: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for entry in list(entries.iterdir()):
        entry.unlink()
        entry.mkdir()
    with caplog.at_level(logging.INFO, "tagsel"):
        known_workspaces.forget(tmp_path / "a")
    assert f"{tmp_path / 'a'} stays in mind in {entries}: Is a directory" in caplog.text
    assert known_workspaces.folders() == []


def test_a_state_folder_that_is_not_there_names_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nowhere"))
    assert known_workspaces.folders() == []
    known_workspaces.forget(tmp_path / "a")
