"""Locks that a forked child never inherits held.

A child of `os.fork` has only the thread that forked. A lock that another thread held at that moment stays locked in the
child for ever, and what it guards is half changed. So a fork waits until it has all locks made here, and lets go of
them on both sides. It waits for modules that other threads import, too, and re-makes the locks that Python 3.11 keeps
in each cached property. Invariant: these locks are held for a moment only, without waiting for anything else meanwhile,
not even for another of them: then this wait ends.
"""

from __future__ import annotations

import _imp
import os
import sys
import time
import weakref
from functools import cached_property
from importlib import _bootstrap
from threading import Lock, RLock, active_count, get_ident

PATIENCE = 10.0
"""Seconds that a fork waits for a lock: one that interrupts the lock's own holder goes on then."""

_NAP = 0.001

_locks: dict[int, weakref.ref[Lock]] = {}
_held: list[Lock] = []
_others = False  # whether the process that forks has other threads
_making = Lock()


def fork_lock() -> Lock:
    """A new lock.

    >>> with fork_lock() as acquired:
    ...     acquired
    True
    """
    lock = Lock()
    number = id(lock)
    with _making:
        _locks[number] = weakref.ref(lock, lambda _: _locks.pop(number, None))
    return lock


def _before() -> None:
    global _others
    _making.acquire()
    _others = active_count() > 1
    for reference in list(_locks.values()):
        lock = reference()
        if lock is not None and lock.acquire(timeout=PATIENCE):
            _held.append(lock)
    _hold_imports()


def _after() -> None:
    _imp.release_lock()
    while _held:
        _held.pop().release()
    _making.release()


def _after_in_child() -> None:
    others = _others
    _after()
    if others and sys.version_info < (3, 12):
        _free_cached_properties()


def _hold_imports() -> None:
    """Wait until no other thread is importing a module, and let none begin.

    Nobody would release its lock in a child, which waits for ever when it imports the same module. Python releases its
    own lock of all imports in a child, but not those of single modules, of which it has no public list.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        _imp.acquire_lock()
        locks = [reference() for reference in list(_bootstrap._module_locks.values())]  # type: ignore[attr-defined]
        owners = {getattr(lock, "owner", None) for lock in locks}
        if owners <= {None, get_ident()} or time.monotonic() > deadline:
            return
        _imp.release_lock()
        time.sleep(_NAP)


def _free_cached_properties() -> None:
    """Give each cached property a lock of this process; what another thread was computing is computed again."""
    classes, rest = {object}, [object]
    while rest:
        for one in type.__subclasses__(rest.pop()):
            if one not in classes:
                classes.add(one)
                rest.append(one)
    for one in classes:
        for value in list(vars(one).values()):
            if type(value) is cached_property:
                value.lock = RLock()  # type: ignore[attr-defined]


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
