"""Files written aside: the old one or the new one, never half of one, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tagsel.aside import aside
from tagsel.errors import AccessError


def test_the_new_file_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with aside(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyError), aside(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_fault_11_a_full_disk_names_the_path(tmp_path: Path) -> None:
    with (
        pytest.raises(AccessError, match=r"cannot write .*/a: No space left") as caught,
        aside(tmp_path / "a"),
    ):
        raise OSError(28, "No space left on device")
    assert caught.value.fields["path"] == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_and_a_device_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with aside(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with aside(os.devnull) as temporary:
        temporary.write_text("nothing")
    assert not Path(os.devnull).is_file()


def test_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="is a folder"), aside(tmp_path):
        pass
    with pytest.raises(AccessError, match="cannot write"), aside(tmp_path / "no" / "a") as temporary:
        temporary.write_text("")
