"""Columns that had to be decoded, kept for the next question: those last used, up to a number of bytes.

Invariant: what is kept is what decoding again would give: the key names the file as it is, and its bytes were compared
with their CRC before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from tagsel.base.fork_lock import fork_lock
from tagsel.store.columns import Array

MOST_BYTES = 16 << 20
"""Decoded columns that the process keeps."""


class Decoded:
    """Arrays by key, the least recently used going first; one of more than an eighth of the bytes is not kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[Hashable, Array] = OrderedDict()
        self._bytes = 0
        self._lock = fork_lock()

    def once(self, key: Hashable, decode: Callable[[], Array]) -> Array:
        """What was decoded before, or is now."""
        values = self.get(key)
        if values is None:
            values = decode()
            self.keep(key, values)
        return values

    def get(self, key: Hashable) -> Array | None:
        """What is kept under a key."""
        with self._lock:
            values = self._held.get(key)
            if values is not None:
                self._held.move_to_end(key)
            return values

    def keep(self, key: Hashable, values: Array) -> None:
        """Keep an array for the next question."""
        if values.nbytes * 8 > self._most_bytes:
            return
        with self._lock:
            if key not in self._held:
                self._held[key] = values
                self._bytes += values.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._held.popitem(last=False)[1].nbytes


DECODED = Decoded(MOST_BYTES)
"""The decoded columns of this process."""
