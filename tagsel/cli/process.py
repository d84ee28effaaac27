"""The process of the command line: its standard streams, and SIGTERM.

Invariant: descriptors 0, 1 and 2 are never those of a file that tagsel opens; what cannot be printed is said.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

terminated = False
"""Whether this process was told to end (SIGTERM); its command then stops as after Ctrl-C, and cleans up."""

_REASONS = {errno.EBADF: "it is closed", errno.ENOSPC: "it is full", errno.EDQUOT: "the quota is used up"}


def open_closed_streams() -> None:
    """Give closed standard streams a descriptor: writing to standard output stays an error, to standard error none."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest free descriptor, which is this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr.encoding.lower() != "utf-8":
        sys.stderr.reconfigure(errors="replace")  # one column a character, as carets count
    before = sys.stdout
    encoding, errors = (before.encoding, before.errors) if before is not None else ("utf-8", "strict")
    binary = io.BufferedWriter(WatchedOutput(1, "w", closefd=False))
    sys.stdout = io.TextIOWrapper(binary, encoding=encoding, errors=errors, line_buffering=os.isatty(1))


class WatchedOutput(io.FileIO):
    """Standard output, which remembers why it could not be written."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes, as `io.FileIO` does."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            WatchedOutput.failure = error
            raise


def clean_up_at_sigterm() -> None:
    """Have SIGTERM stop the command as Ctrl-C does, so that it removes what it has half written."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != owner:  # a child that inherited this: it ends as if there were no handler
            die_of(number)
            return
        global terminated
        terminated = True
        raise KeyboardInterrupt("SIGTERM")

    signal.signal(signal.SIGTERM, stop)


def die_of(number: int) -> None:
    """End this process by a signal, as the one who sent it expects."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def output_error() -> str:
    """Why standard output could not be written; "" where it could. What it holds back is thrown away."""
    failure = WatchedOutput.failure
    if failure is None:
        return ""
    silence(1)
    reason = _REASONS.get(failure.errno or 0, failure.strerror)
    return f"standard output cannot be written: {reason}"


def silence(number: int) -> None:
    """Lead a standard stream nowhere, so that the interpreter does not complain at its end, either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
