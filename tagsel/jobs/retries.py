"""Which tasks are tried again, and when: a few times, after pauses that grow; those of about one time together.

Invariant: a pause holds up its own piece and no other, and is never longer than that of the piece alone.
"""

from __future__ import annotations

import time

from tagsel.errors import JobError
from tagsel.jobs.executors import NotNow, Task

RETRIES = 2
"""How often a piece is tried again after failures that another attempt may mend."""

PAUSE_S = 5.0
"""The first pause between two attempts, in seconds; each next one is `GROWTH` times as long, up to `LONGEST_S`."""

GROWTH, LONGEST_S = 4.0, 300.0

TOGETHER = 0.5
"""The share of its pause that a piece waits at least, so that it is tried with others that failed before it."""

OFFER_S, OFFER_GROWTH = 5.0, 2.0
"""The first pause before tasks are offered again to an engine that took none, in seconds, and how it grows."""

OFFERED_S = 86_400.0
"""How long tasks are offered to an engine that takes none, in seconds."""


class Retries:
    """The tasks that wait to be submitted; `pause_s` is their first pause in seconds, None the usual one."""

    def __init__(self, pause_s: float | None = None) -> None:
        self._first = PAUSE_S if pause_s is None else pause_s
        self._due: dict[float, list[Task]] = {}
        self._refused: int = 0  # in a row
        self._since = 0.0

    def __bool__(self) -> bool:
        """Whether any task waits."""
        return bool(self._due)

    def add(self, task: Task, made: int) -> bool:
        """Have a task wait, the next of a piece that failed in `made` attempts; False where it has had them all."""
        if made > RETRIES:
            return False
        now, pause = time.monotonic(), min(self._first * GROWTH ** (made - 1), LONGEST_S)
        others = [due for due in self._due if TOGETHER * pause <= due - now <= pause]
        self._due.setdefault(max(others, default=now + pause), []).append(task)
        return True

    def take(self) -> list[Task]:
        """The tasks whose pauses are over, in the order of their pieces; they wait no longer."""
        now = time.monotonic()
        tasks: list[Task] = []
        for due in [due for due in self._due if due <= now]:
            tasks += self._due.pop(due)
        return sorted(tasks, key=lambda task: task.piece)

    def refused(self, refusal: NotNow, some: bool = False) -> None:
        """Have the tasks that an engine did not take wait, all together; `some` says that it took others.

        JobError where it has taken none for OFFERED_S.
        """
        now = time.monotonic()
        if some or not self._refused:
            self._refused, self._since = 0, now
        if now - self._since > OFFERED_S:
            raise JobError(f"{refusal.message}; offered again for {OFFERED_S / 3600:g} hours", hint=refusal.hint)
        due = now + min(OFFER_S * OFFER_GROWTH**self._refused, LONGEST_S)
        self._refused += 1
        self._due.setdefault(due, []).extend(refusal.left)

    def taken(self) -> None:
        """The engine takes tasks."""
        self._refused = 0

    def patience(self) -> float | None:
        """Seconds until the next pause is over; None where no task waits."""
        return max(min(self._due) - time.monotonic(), 0.0) if self._due else None

    def clear(self) -> None:
        """Forget all that wait."""
        self._due.clear()
