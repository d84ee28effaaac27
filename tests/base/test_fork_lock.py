"""A forked child inherits no lock that somebody else holds: neither a lock of threads nor a lock file."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import cached_property
from importlib import import_module
from pathlib import Path

import pytest

from tagsel.base.fork_lock import fork_lock
from tagsel.base.lock_file import acquire


def exit_code(child: int, seconds: float = 20.0) -> int | None:
    """How a child ended; None, and it is killed, where it hangs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def test_fault_65_a_child_forked_while_threads_hold_locks_can_take_them() -> None:
    """Two threads take and release two locks all the time; each of 30 children takes both."""
    locks, over = [fork_lock(), fork_lock()], threading.Event()

    def busy(lock: threading.Lock) -> None:
        while not over.is_set():
            with lock:
                sum(range(2_000))

    threads = [threading.Thread(target=busy, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if not child:
                taken = [lock.acquire(timeout=5) for lock in locks]
                os._exit(0 if all(taken) else 3)
            assert exit_code(child) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert all(lock.acquire(blocking=False) for lock in locks)  # the parent's are free again


def test_a_child_does_not_keep_the_lock_file_that_its_parent_held(tmp_path: Path) -> None:
    """flock belongs to the open file: a child's copy of the descriptor kept the lock until the child ended."""
    path = tmp_path / "a.lock"
    lock = acquire(path)
    assert lock is not None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)  # until the parent is done
        os._exit(5 if lock.descriptor >= 0 else 0)
    os.close(reading)
    try:
        assert acquire(path, patience=0) is None
        lock.release()
        again = acquire(path, patience=0)
        assert again is not None
        again.release()
    finally:
        os.close(writing)
    assert exit_code(child) == 0


def test_a_child_that_leaves_the_block_of_a_lock_file_releases_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = acquire(path)
    assert lock is not None
    child = os.fork()
    if not child:
        lock.release()
        os._exit(0)
    assert exit_code(child) == 0
    assert acquire(path, patience=0) is None
    lock.release()


class Slow:
    """Something that is worked out when it is first asked for."""

    def __init__(self, begun: threading.Event | None = None, over: threading.Event | None = None) -> None:
        self.begun, self.over = begun, over

    @cached_property
    def value(self) -> int:
        """Where there are events, it takes until `over`."""
        if self.begun is not None and self.over is not None:
            self.begun.set()
            self.over.wait(30)
        return 17


def test_a_child_forked_while_a_thread_works_out_a_cached_property_can_ask_for_it() -> None:
    """Python 3.11 keeps a lock in the class for all objects."""
    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: Slow(begun, over).value)
    thread.start()
    try:
        assert begun.wait(10)
        child = os.fork()
        if not child:
            os._exit(Slow().value)
        assert exit_code(child) == 17
    finally:
        over.set()
        thread.join()


def test_a_fork_waits_for_the_modules_that_a_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a module that is being imported would stay locked in the child."""
    (tmp_path / "slow_module.py").write_text("import time\nbegun = True\ntime.sleep(0.5)\nvalue = 19\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    thread = threading.Thread(target=import_module, args=("slow_module",))
    thread.start()
    try:
        end = time.monotonic() + 10
        while not hasattr(sys.modules.get("slow_module"), "begun"):
            assert time.monotonic() < end
            time.sleep(0.001)
        child = os.fork()
        if not child:
            os._exit(import_module("slow_module").value)
        assert exit_code(child) == 19
    finally:
        thread.join()
        sys.modules.pop("slow_module", None)
