"""A new file that a thread of its own hashes and writes, while its writer prepares what comes next.

Invariant: what `digest` and `sync` say of the file covers every byte given before; after an error no more bytes reach
it, and the error is raised in the writer, by its next call.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from queue import Queue
from threading import Thread

from tagsel.base import atomic_write

_AHEAD = 16
"""Pieces that may wait to be written: column chunks, so far less than a row group."""

_FLUSH = 1 << 26
"""Bytes after which the disk is made to take what was written, so that little is left to wait for at the end."""


class Sink:
    """A new file for Parquet's writer; it has the methods of a file that is written from front to end."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._hash = hashlib.sha256()
        self._waiting: Queue[bytes | None] = Queue(_AHEAD)
        self._error: BaseException | None = None
        self._given_up = False
        self._thread = Thread(target=self._work, name="tagsel-sink", daemon=True)
        self._thread.start()
        self.position = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Take bytes to write; OSError where earlier ones could not be written. Given up, it swallows a farewell."""
        if not self._given_up:
            self._raise()
            self._waiting.put(bytes(data))
            self.position += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes taken so far."""
        return self.position

    def flush(self) -> None:
        """Nothing that a caller could wait for: `sync` does."""

    def digest(self) -> str:
        """The SHA-256 of all bytes so far, in hex. OSError: they could not be written."""
        self._waiting.join()
        self._raise()
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Return when all bytes are on the disk. OSError: they are not."""
        self._waiting.join()
        self._raise()
        atomic_write._fsync(self._descriptor)

    def give_up(self) -> None:
        """Write nothing more, and raise nothing: the file is about to be removed."""
        self._given_up = True

    def close(self) -> None:
        """End the thread and close the file, once; errors of bytes that were not synced are not told."""
        if not self.closed:
            self.closed = True
            self._waiting.put(None)
            self._thread.join()
            os.close(self._descriptor)
            # Arrow never lets go of this object; a traceback would keep all that the process was at alive with it.
            self._error = None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """Write what comes, in its order; after an error only take it, so that nobody waits for room."""
        unflushed = 0
        while (data := self._waiting.get()) is not None:
            try:
                if self._error is None and not self._given_up:
                    atomic_write.write_all(self._descriptor, data)
                    self._hash.update(data)
                    unflushed += len(data)
                    if unflushed >= _FLUSH:
                        unflushed = 0
                        atomic_write._fsync(self._descriptor)
            except BaseException as error:  # raised again, in the thread that gave the bytes
                self._error = error
            finally:
                self._waiting.task_done()
