"""Settings of a workspace: read once for each state of its file, and anew after every change."""

from pathlib import Path

import pytest

from tagsel.base import settings
from tagsel.base.settings import WORKSPACE_FILE, resolve, workspace_settings
from tagsel.errors import CatalogError


def write(folder: Path, text: str) -> None:
    (folder / WORKSPACE_FILE).write_text(text, encoding="utf-8")


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    assert workspace_settings(tmp_path) == {}
    for text, threads in (("threads = 3", 3), ("threads = 44", 44), ('site = "CERN"', None)):
        write(tmp_path, f"format = 1\n[settings]\n{text}\n")
        assert workspace_settings(tmp_path).get("threads") == threads
    replacing = tmp_path / "new"
    replacing.write_text("format = 1\n[settings]\nthreads = 66\n", encoding="utf-8")
    replacing.rename(tmp_path / WORKSPACE_FILE)
    assert resolve("threads", None, tmp_path).value == 66
    (tmp_path / WORKSPACE_FILE).unlink()
    assert workspace_settings(tmp_path) == {}


def test_what_was_asked_for_may_be_changed_by_who_asked(tmp_path: Path) -> None:
    write(tmp_path, "[settings]\nthreads = 3\n")
    workspace_settings(tmp_path)["threads"] = 5
    assert workspace_settings(tmp_path) == {"threads": 3}


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work: one answer asks for its settings without parsing the file again."""
    write(tmp_path, "[settings]\nthreads = 3\n")
    parsed: list[Path] = []
    read_toml = settings.read_toml
    monkeypatch.setattr(settings, "read_toml", lambda path: (parsed.append(path), read_toml(path))[1])
    assert [workspace_settings(tmp_path)["threads"] for _ in range(3)] == [3, 3, 3]
    assert len(parsed) == 1


@pytest.mark.parametrize("text", ["[settings]\nthread = 3\n", "threads 3", "settings = 5"])
def test_an_error_is_told_each_time(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    for _ in range(2):
        with pytest.raises(CatalogError, match=WORKSPACE_FILE):
            workspace_settings(tmp_path)
