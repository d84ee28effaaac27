"""Columns that had to be decoded, kept for the next question: those last used, up to a number of bytes.

Invariant: what is kept is what decoding again would give: the key names the file as it is, and its bytes were compared
with their CRC before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from tagsel.store.columns import Array

MOST_BYTES = 16 << 20
"""Decoded columns that the process keeps; one that takes more than an eighth of it is not kept."""


class Decoded:
    """Arrays by key, the least recently used going first."""

    def __init__(self) -> None:
        self._held: OrderedDict[Hashable, Array] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def once(self, key: Hashable, decode: Callable[[], Array]) -> Array:
        """What was decoded before, or is now."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        values = decode()
        if values.nbytes * 8 <= MOST_BYTES:
            with self._lock:
                if key not in self._held:
                    self._held[key] = values
                    self._bytes += values.nbytes
                while self._bytes > MOST_BYTES:
                    self._bytes -= self._held.popitem(last=False)[1].nbytes
        return values


DECODED = Decoded()
"""The decoded columns of this process."""
