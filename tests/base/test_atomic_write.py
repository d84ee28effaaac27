"""Files written aside: the old one or the new one, never half of one, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tagsel.base.atomic_write import atomic_write
from tagsel.errors import AccessError


def test_the_new_file_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_fault_11_a_full_disk_names_the_path(tmp_path: Path) -> None:
    with (
        pytest.raises(AccessError, match=r"cannot write .*/a: No space left") as caught,
        atomic_write(tmp_path / "a"),
    ):
        raise OSError(28, "No space left on device")
    assert caught.value.fields["path"] == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_and_a_device_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with atomic_write(os.devnull) as temporary:
        temporary.write_text("nothing")
    assert not Path(os.devnull).is_file()


def test_the_mode_of_the_replaced_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.sh"
    path.write_text("old")
    path.chmod(0o750)
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.stat().st_mode & 0o777 == 0o750


def test_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(AccessError, match="cannot write"), atomic_write(tmp_path / "no" / "a") as temporary:
        temporary.write_text("")
