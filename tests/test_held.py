"""Locks that say who holds them: taken, refused, waited for, let go by death and by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from tagsel.held import drop, holder, identity, take


def test_a_lock_says_who_holds_it_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert holder(path) is None
    lock = take(path)
    assert lock is not None
    assert holder(path) == identity() == f"{os.getpid()} on {os.uname().nodename}"
    assert take(path, 0) is None
    lock.close()
    assert holder(path) is None
    again = take(path, 0)
    assert again is not None
    drop(path, again)
    assert not path.exists()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = (
        "import pathlib, sys; from tagsel.held import take;"
        "lock = take(pathlib.Path(sys.argv[1])); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert holder(path) == f"{process.pid} on {os.uname().nodename}"
        process.kill()
    assert (path.exists(), holder(path)) == (True, None)
    lock = take(path, 0)
    assert lock is not None
    lock.close()


def test_who_waits_gets_a_lock_that_others_see_though_the_first_removed_it(tmp_path: Path) -> None:
    path, got = tmp_path / "a.lock", []
    lock = take(path)
    assert lock is not None
    thread = threading.Thread(target=lambda: got.append(take(path, None)))
    thread.start()
    drop(path, lock)
    thread.join(60)
    assert take(path, 0) is None
    for held in got:
        assert held is not None
        held.close()
