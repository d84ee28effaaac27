"""What others have worked out from something that does not change, kept beside it: it goes when that goes.

Invariant: whatever is kept is what making it again would give, so nothing is lost when the oldest go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from tagsel.base.fork_lock import fork_lock

T = TypeVar("T")

_NOTHING = object()

MOST = 1024
"""Things of one kind that are kept; the oldest go first."""


class Memo:
    """Things by kind and key.

    >>> memo = Memo()
    >>> memo.once("square", 3, lambda: 9), memo.once("square", 3, lambda: 0)
    (9, 9)
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[Hashable, object]] = {}
        self._lock = fork_lock()

    def once(self, kind: str, key: Hashable, make: Callable[[], T], most: int = MOST) -> T:
        """What `make` gave for the key before, or gives now; an error is not kept."""
        found = self._kinds.get(kind, {}).get(key, _NOTHING)
        if found is not _NOTHING:
            return cast(T, found)
        made = make()
        with self._lock:
            known = self._kinds.setdefault(kind, {})
            while len(known) >= most and key not in known:
                del known[next(iter(known))]
            known[key] = made
        return made

    def clear(self) -> None:
        """Forget everything: what is asked for next is made again."""
        with self._lock:
            self._kinds.clear()
