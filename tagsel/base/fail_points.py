"""Fail points: numbered steps at which tests kill the process, to show that nothing acknowledged is lost.

`fail_point("store.rename")` costs one dictionary look-up and does nothing unless `TAGSEL_KILL_AT` names the step,
as `store.rename` (first passage) or `store.rename:3` (third); then the process kills itself with SIGKILL, as a power
cut would. Invariant: no step has any other effect.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from tagsel.base.fork_lock import fork_lock

_passages: Counter[str] = Counter()
_lock = fork_lock()


def fail_point(name: str) -> None:
    """Die here when `TAGSEL_KILL_AT` says so; otherwise do nothing."""
    wanted = os.environ.get("TAGSEL_KILL_AT")
    if not wanted:
        return
    target, _, passage = wanted.partition(":")
    if target == name:
        with _lock:  # threads pass, too: none of them is missed
            _passages[name] += 1
            if _passages[name] == int(passage or 1):
                os.kill(os.getpid(), signal.SIGKILL)
