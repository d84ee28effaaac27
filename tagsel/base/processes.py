"""Processes of this machine as the kernel knows them: found by owner and command line, signalled by a pidfd.

A process id in a file may name another process by now, or may have been written there by somebody else. So no id of a
file is ever signalled. Invariant: `kill` reaches a process that is still the one that was found, or none.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")

Chosen = Callable[[Sequence[str]], bool]
"""Says of a command line, as words, whether it is meant."""


def find(chosen: Chosen) -> list[int]:
    """The ids of this user's processes whose command line is `chosen`, but for this process."""
    me = os.getpid()
    ids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in ids if pid != me and _is_mine(pid) and chosen(command_line(pid))]


def command_line(pid: int) -> list[str]:
    """The words of a process's command line; none where it has ended."""
    try:
        text = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in text.split(b"\0")[:-1]]


def kill(pid: int, chosen: Chosen) -> bool:
    """Kill a process, with its group where it leads one; False where `pid` is none of this user's `chosen` any more.

    The pidfd is opened first, and owner and command line are read after that: a process that took over the id
    meanwhile is not the one that the pidfd stands for. The leader is stopped before its group is killed, so its id
    cannot pass to another process in between.
    """
    with _pidfd(pid) as descriptor:
        if descriptor is None or not _is_mine(pid) or not chosen(command_line(pid)):
            return False
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
            if os.getpgid(pid) == pid and not _has_ended(descriptor):
                os.killpg(pid, signal.SIGKILL)
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return False
    return True


def family(leader: int) -> set[int]:
    """A process's session and all that it and they started, as far as this user's; `leader` itself is not in it.

    The caller has not waited for `leader` yet, so its id is still its own.
    """
    parents: dict[int, int] = {}
    descendants: set[int] = set()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        numbers = _parent_and_session(pid)
        if numbers is None or not _is_mine(pid):
            continue
        parents[pid], session = numbers
        if session == leader:
            descendants.add(pid)
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in descendants or parent == leader}
        grown = not children <= descendants
        descendants |= children
    return descendants - {leader}


def end_family(leader: int) -> int:
    """Kill all of `family`, and the processes that it starts meanwhile; return how many."""
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        living = {pid for pid in family(leader) if not _is_zombie(pid)}
        if not living:
            break
        for pid in living:
            with _pidfd(pid) as descriptor:
                if descriptor is not None and pid in family(leader):
                    with suppress(ProcessLookupError, PermissionError):
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        killed |= living
    return len(killed)


def private_bytes(pids: Iterable[int]) -> int:
    """Bytes of memory that processes hold and share with no file: what they would set free if they ended."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError):
            _, resident, shared, *_ = (PROC / str(pid) / "statm").read_text().split()
            total += (int(resident) - int(shared)) * _PAGE
    return total


def adopt() -> None:
    """Make this process the parent of all that its children leave behind, so that it can be found and ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


_SET_CHILD_SUBREAPER = 36  # prctl(2)
_ROUNDS = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _parent_and_session(pid: int) -> tuple[int, int] | None:
    """The parent and the session of a process; None where it has ended. Source: proc(5), /proc/PID/stat."""
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    _, parent, _, session, *_ = text.rpartition(")")[2].split()
    return int(parent), int(session)


def _is_zombie(pid: int) -> bool:
    try:
        return (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    descriptor = None
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _has_ended(descriptor: int) -> bool:
    """Whether the process of a pidfd has ended: then it can be read."""
    return bool(select.select([descriptor], [], [], 0)[0])


def _is_mine(pid: int) -> bool:
    """Whether a process belongs to this user."""
    try:
        return (PROC / str(pid)).stat().st_uid == os.geteuid()
    except OSError:
        return False
