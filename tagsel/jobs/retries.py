"""Which pieces are tried again, and when: a few times, after pauses that grow.

Invariant: a pause holds up its own piece and no other; a piece is tried again at most `RETRIES` times by one driver.
"""

from __future__ import annotations

import time
from collections import Counter

RETRIES = 2
"""How often a piece is tried again after failures that another attempt may mend."""

PAUSE_S = 5.0
"""The first pause between two attempts, in seconds; each next one is `GROWTH` times as long, up to `LONGEST_S`."""

GROWTH, LONGEST_S = 4.0, 300.0


class Retries:
    """The pieces that wait for their next attempt; `pause_s` is their first pause in seconds, None the usual one."""

    def __init__(self, pause_s: float | None = None) -> None:
        self._first = PAUSE_S if pause_s is None else pause_s
        self._tried: Counter[int] = Counter()
        self._due: dict[int, float] = {}

    def __bool__(self) -> bool:
        """Whether any piece waits."""
        return bool(self._due)

    def add(self, piece: int) -> bool:
        """Have a piece wait for another attempt; False where it has had them all."""
        if self._tried[piece] >= RETRIES:
            return False
        pause = min(self._first * GROWTH ** self._tried[piece], LONGEST_S)
        self._tried[piece] += 1
        self._due[piece] = time.monotonic() + pause
        return True

    def take(self) -> list[int]:
        """The pieces whose pauses are over, in the order of their numbers; they wait no longer."""
        now = time.monotonic()
        over = sorted(piece for piece, due in self._due.items() if due <= now)
        for piece in over:
            del self._due[piece]
        return over

    def patience(self) -> float | None:
        """Seconds until the next pause is over; None where no piece waits."""
        return max(min(self._due.values()) - time.monotonic(), 0.0) if self._due else None

    def clear(self) -> None:
        """Forget all that wait."""
        self._due.clear()
