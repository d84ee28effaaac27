"""How many bytes files are asked for, however they are opened and read.

Invariant: a file's bytes are counted once, when it is closed, by every meter that was open when it was opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(eq=False)
class Meter:
    """Bytes that were asked of the files that have been closed."""

    bytes: int = 0


_meters: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())


def metering() -> tuple[Meter, ...]:
    """The meters that count now."""
    return _meters.get()


@contextmanager
def metered(meter: Meter) -> Iterator[Meter]:
    """Have a meter count the files that are opened inside."""
    before = _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:
        _meters.reset(before)
