"""A process that holds a lock and stands still: waits are bounded and name it, and readers do not wait for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tagsel
from tagsel.api import Workspace
from tagsel.base import lock_file
from tagsel.base.lock_file import LockFile
from tagsel.catalog import SetMeta, turnstile, view
from tagsel.errors import CatalogError, StoreError, TagselError
from tagsel.store import disk

MUON = "data09_900GeV.physics_Muon.TAG"


@pytest.fixture
def home(sample_home: Path, tmp_path: Path) -> Path:
    """A copy of the sample's workspace."""
    return Path(shutil.copytree(sample_home, tmp_path / "W"))


@contextmanager
def _stopped(code: str, *arguments: Path) -> Iterator[int]:
    """The id of a process that runs `code`, which prints a line with its locks held, and is then stopped."""
    command = [sys.executable, "-c", f"import sys, time\nfrom pathlib import Path\n{code}", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            yield process.pid
        finally:
            process.kill()


HOLD_CATALOG = """
from tagsel.catalog.turnstile import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

HOLD_VIEW = """
import duckdb
from tagsel.catalog.turnstile import exclusive
with exclusive(Path(sys.argv[1])), duckdb.connect(str(Path(sys.argv[1]) / "catalog.duckdb")) as connection:
    print("held", flush=True)
    time.sleep(600)
"""

HOLD_DATASET = """
from tagsel.store.disk import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

HOLD_CHANGE = """
from tagsel.store.disk import changing
with changing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long this process waited in vain for the catalog, in seconds: each time as long as it meant to."""
    seconds: list[float] = []

    def acquire(path: Path, *, patience: float, **how: Any) -> LockFile | None:
        lock = lock_file.acquire(path, patience=patience, **how)
        if lock is None:
            seconds.append(patience)
        return lock

    monkeypatch.setattr(turnstile, "acquire", acquire)
    return seconds


@pytest.mark.parametrize("code", [HOLD_CATALOG, HOLD_VIEW], ids=["turnstile", "DuckDB"])
def test_fault_47_a_reader_does_not_wait_for_a_stopped_writer(
    home: Path, code: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    """What needs no DuckDB is answered at once; the rest from the journal, after the stated patience, and that is said.

    No wait is longer than the 0.3 s that are stated; the answers are those of before.
    """

    def answers() -> tuple[object, ...]:
        ws = tagsel.open(home)
        found = ws.catalog.sql("SELECT count(*) AS n FROM files").to_pylist()
        return ws.catalog.names(), ws[MUON].count("true").accepted, ws.catalog.files(MUON), found

    before = answers()
    monkeypatch.setattr(view, "READER_PATIENCE", 0.3)
    with _stopped(code, home) as pid:
        ws = tagsel.open(home)
        assert ws.catalog.names() == before[0]
        assert ws[MUON].count("true").accepted == before[1]
        assert f"process {pid}" not in caplog.text and not waits
        assert answers() == before
        assert waits and max(waits) <= 0.3
        assert f"process {pid} of" in caplog.text
        assert "answering from the journal" in caplog.text
        held = pytest.raises(CatalogError, match=f"the catalog is held by process {pid} of")
        with held, turnstile.exclusive(home, 0.3):
            pass
    tagsel.open(home).catalog.record(SetMeta(MUON, {"after": 1}))


def test_fault_47_a_snapshot_that_the_catalog_does_not_know_is_read_past_a_stopped_writer(
    home: Path, waits: list[float]
) -> None:
    """Its commit is in the dataset; the catalog, which cannot be told of it now, is waited for by glances."""
    ws = tagsel.open(home)
    before = ws[MUON].count("true").accepted
    ws.home.table(MUON).restore(1)  # the store alone: as a writer that died before it told the catalog
    with _stopped(HOLD_CATALOG, home):
        assert tagsel.open(home)[MUON].count("true").accepted == before
        assert waits and max(waits) <= lock_file.GLANCE and sum(waits) < turnstile.PATIENCE


@pytest.mark.parametrize("verb", ["commit", "pin", "gc", "change"])
def test_fault_47_the_wait_for_a_dataset_is_bounded_and_names_the_holder(
    home: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was waited for for ever, in silence."""
    monkeypatch.setattr(disk, "PATIENCE", 0.3)
    monkeypatch.setattr(disk, "LONG_PATIENCE", 0.3)
    folder = home / "data" / MUON
    table = tagsel.open(home).home.table(MUON)
    code, place = (HOLD_CHANGE, folder) if verb == "change" else (HOLD_DATASET, folder / "_tagsel")
    with _stopped(code, place) as pid:
        with pytest.raises(StoreError, match=rf"is held by process {pid} of .*waited 0\.3 s") as refusal:
            if verb == "commit":
                table.restore(0)
            elif verb == "pin":
                table.pin(1, "mine")
            elif verb == "gc":
                table.gc(dry_run=False, grace_s=0)
            else:
                tagsel.open(home).datasets.restore(f"{MUON}@1")
        assert str(pid) in str(refusal.value.fields["holder"])
    table.restore(1)


def test_fault_47_who_waits_longer_is_told_for_whom(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the patience is over the log says which process is waited for."""
    monkeypatch.setattr(disk, "_SILENT_S", 0.05)
    folder = home / "data" / MUON / "_tagsel"
    with _stopped(HOLD_DATASET, folder) as pid, pytest.raises(TagselError), disk.locked(folder, 0.2):
        pass
    assert f"waiting for process {pid} of" in caplog.text


def test_a_workspace_is_not_held_when_nobody_holds_it(home: Path) -> None:
    assert not Workspace(home).catalog.is_held()
