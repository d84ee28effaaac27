"""`gc` without a dataset looks at the whole workspace, at datasets that never came to be, too."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from builders import build, rows, workspace
from nanofile import ingest, nano

from tagsel.cli.main import run
from tagsel.jobs.plan import BUILDING


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def test_gc_counts_files_and_bytes_of_folders_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part that no snapshot needs, and the half-built folder of a job whose submitter was killed: 1 + 2 files."""
    home = workspace(tmp_path)
    build(home, "d.TAG", rows(30, 1))
    part = home.folder / "data" / "d.TAG" / f"{'0' * 32}-0.parquet"
    part.write_bytes(b"x" * 1000)
    half_built = home.folder / "jobs" / f"{BUILDING}1"
    (half_built / "pieces").mkdir(parents=True)
    (half_built / "job.json").write_bytes(b"x" * 200)
    (half_built / "pieces" / "0").write_bytes(b"x" * 34)
    words = ["-w", str(home.folder), "datasets", "gc", "--grace", "0"]
    assert run([*words, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["files"], said["bytes"], said["removed"]) == (3, 1234, False)
    assert said["paths"] == [str(part), str(half_built)]
    assert run(words) == 2
    assert "3 files, 1,234 B would be removed" in capsys.readouterr().err
    assert run([*words, "--yes"]) == 0
    assert "3 files, 1,234 B removed" in capsys.readouterr().err
    assert not part.exists() and not half_built.exists()
    assert run([*words, "--yes", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == {"paths": [], "files": 0, "bytes": 0, "removed": False}
    assert run([*words, "--yes"]) == 0
    assert "0 files, 0 B removed" in capsys.readouterr().err


def test_what_a_killed_first_ingest_left_is_reclaimed_without_its_name(tmp_path: Path) -> None:
    """Killed after a part was written, before the first commit: no dataset, and no file of it after gc. A file of
    the user's own in the same folder stays."""
    home = workspace(tmp_path)
    build(home, "good.TAG", rows(30, 1))
    good = files(home.folder / "data" / "good.TAG")
    killed = ingest(home.folder, nano(tmp_path / "a.root", 1), "lost.TAG", TAGSEL_KILL_AT="store.rename")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    lost = home.folder / "data" / "lost.TAG"
    assert files(lost)
    mine = home.folder / "data" / "mine"
    mine.mkdir()
    (mine / "notes.parquet").write_text("my own")
    assert home.datasets.gc(grace=3600) == []  # it may still be at work
    listed = home.datasets.gc(dry_run=True, grace=0)
    assert set(listed) >= files(lost) and not set(listed) & good
    assert run(["-w", str(home.folder), "datasets", "gc", "--yes", "--grace", "0"]) == 0
    assert not lost.exists()
    assert [path.name for path in mine.iterdir()] == ["notes.parquet"]
    assert home["good.TAG"].count("true").accepted == 30
