"""Lock files: taken, shared, refused, waited for, released by death and by hand, and signed by their holder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tagsel.base.lock_file import acquire, holder, lock_file, read_holder
from tagsel.errors import AccessError, StoreError


def test_a_lock_names_its_holder_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert holder(path) is None
    lock = acquire(path, action="compacting")
    assert lock is not None
    name = holder(path)
    assert name is not None
    assert (name.pid, name.host, name.action) == (os.getpid(), os.uname().nodename, "compacting")
    assert str(name).startswith(f"process {os.getpid()} of ")
    assert acquire(path, patience=0) is None
    lock.release()
    assert holder(path) is None
    again = acquire(path, patience=0)
    assert again is not None
    again.remove()
    assert not path.exists()


@pytest.mark.parametrize("letter", ["x", "é", "\N{GRINNING FACE}", "\n", '"', "\udc80"])
def test_names_that_take_more_than_their_place_leave_no_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    """Host, user and action are as long as may be; in JSON a letter takes up to 12 bytes. Then come short ones."""
    path = tmp_path / "a.lock"
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: letter * 100)
        patch.setattr("tagsel.base.lock_file.user_name", lambda: letter * 60)
        with lock_file(path, action=letter * 80):
            name = read_holder(path)
    assert name.pid == os.getpid()
    for given, longest in ((name.host, 100), (name.user, 60), (name.action, 80)):
        assert 10 <= len(given) <= longest
        assert set(given) == {letter}
    assert len(path.read_bytes()) == 512
    with lock_file(path, action="compacting"):
        assert (read_holder(path).pid, read_holder(path).action) == (os.getpid(), "compacting")


def test_a_tail_that_an_older_tagsel_left_is_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_bytes(b'{"pid": 1, "host": "' + b"x" * 900 + b'"}')
    with lock_file(path, action="compacting"):
        assert (read_holder(path).pid, read_holder(path).action) == (os.getpid(), "compacting")


def test_a_wait_is_bounded_and_its_error_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with (
        lock_file(path, action="compacting"),
        pytest.raises(StoreError, match=rf"dataset A is held by process {os.getpid()} of .*, compacting") as caught,
        lock_file(path, patience=0.05, what="dataset A", error=StoreError),
    ):
        pass
    assert caught.value.fields["path"] == str(path)


def test_readers_share_a_lock_and_keep_a_writer_out(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock_file(path, shared=True), lock_file(path, shared=True):
        assert acquire(path, patience=0) is None
    with lock_file(path):
        assert acquire(path, shared=True, patience=0) is None


def test_the_environment_does_not_choose_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "convener")
    with lock_file(tmp_path / "a.lock"):
        assert "convener" not in str(read_holder(tmp_path / "a.lock"))


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = (
        "import pathlib, sys; from tagsel.base.lock_file import acquire;"
        "lock = acquire(pathlib.Path(sys.argv[1])); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        name = holder(path)
        assert name is not None
        assert name.pid == process.pid
        process.kill()
    assert (path.exists(), holder(path)) == (True, None)
    lock = acquire(path, patience=0)
    assert lock is not None
    lock.release()


def test_who_waits_gets_a_lock_that_others_see_though_the_first_removed_it(tmp_path: Path) -> None:
    path, waited = tmp_path / "a.lock", []
    lock = acquire(path)
    assert lock is not None
    thread = threading.Thread(target=lambda: waited.append(acquire(path, patience=None)))
    thread.start()
    lock.remove()
    thread.join(60)
    assert acquire(path, patience=0) is None
    for other in waited:
        assert other is not None
        other.release()


@pytest.mark.parametrize("text", ["", "{}", "not JSON", '{"pid": 1}', "[1]"])
def test_a_holder_without_a_readable_name_is_said_to_have_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.lock"
    path.write_text(text)
    assert str(read_holder(path)) == "a process that left no name"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="cannot lock .*no/a.lock: No such file"):
        acquire(tmp_path / "no" / "a.lock")
