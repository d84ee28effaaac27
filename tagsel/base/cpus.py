"""How many cores this process may use, and how many threads a selection takes where nobody says.

The machine's count of cores is not it: a batch system gives a job some of them, by an affinity mask or a quota of its
control group, and a Dask worker or a batch job states its share in OMP_NUM_THREADS. Invariant: never more than what
was given, never less than one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

STATED = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")
"""Variables in which schedulers, and people, state how many threads a process is to use."""


def cores() -> int:
    """Cores that this process may keep busy: those of its affinity mask, no more than its control group's quota."""
    return max(1, min(len(cpus()) or os.cpu_count() or 1, _quota()))


def cpus() -> frozenset[int]:
    """The numbers of the CPUs that this thread may run on; empty where the system does not say."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def keep_to(allowed: frozenset[int], thread: int = 0) -> None:
    """Let a thread (by its native id; 0: this one) run on these CPUs only, where `cpus` knows any. What the system
    refuses is let be: where a thread runs is a matter of speed alone."""
    if allowed:
        with suppress(OSError):
            os.sched_setaffinity(thread, allowed)


def cpu_here() -> int:
    """The number of the CPU that this thread runs on just now; -1 where the system does not say."""
    ask = _current_cpu()
    return ask() if ask is not None else -1


@cache
def _current_cpu() -> Callable[[], int] | None:
    import ctypes

    return getattr(ctypes.CDLL(None), "sched_getcpu", None)


def threads() -> int:
    """Threads that a selection takes where nobody says: one for each of its cores, or what the scheduler states."""
    stated = [int(text) for name in STATED if (text := os.environ.get(name, "").partition(",")[0].strip()).isdigit()]
    return max(1, min([cores(), *(n for n in stated if n)]))


@cache
def _quota() -> int:
    limit = quota(Path("/"))
    return math.ceil(limit) if limit is not None else 1 << 20


def quota(root: Path) -> float | None:
    """Cores' worth of time that the control groups of this process allow, None where they set no limit.

    `root` holds `proc` and `sys`. A group's limit holds for all groups in it, so the smallest on the way up counts.
    Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst, "CPU"; scheduler/sched-bwc.rst for version 1.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup" / controllers
            group = base / path.lstrip("/")
            limits += [_limit(folder) for folder in (group, *group.parents) if folder == base or base in folder.parents]
    return min((n for n in limits if n is not None), default=None)


def _limit(group: Path) -> float | None:
    """The limit of one control group: `max 100000`, or `150000 100000` for one and a half cores."""
    try:
        if (group / "cpu.max").exists():
            allowed, period = (group / "cpu.max").read_text().split()
        else:
            allowed = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return int(allowed) / int(period) if allowed not in ("max", "-1") else None
    except (OSError, ValueError):
        return None
