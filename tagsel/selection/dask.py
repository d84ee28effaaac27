"""Selections on a Dask cluster: tasks go out as plain futures, answers come back and are added up.

This needs `distributed` (`pip install "tagsel[dask]"`), and a file system that workers share. Planning is done once,
by the client.

Invariant: the answer is that of a run in this process, down to the bytes of a list, however often a worker is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tagsel.errors import JobError, TagselError
from tagsel.selection.partial_result import Answer, Top, merged
from tagsel.selection.run import Prepared, Progress, Runner
from tagsel.selection.tasks import WORK, Piece, answer, split

SMALLEST, LARGEST = 1 << 18, 1 << 28
"""Rows of a piece, about: less is not worth sending, more is not worth losing."""

A_THREAD = 4
"""Pieces for each thread of the cluster, so that threads end together; and pieces that are sent ahead."""

AHEAD = 64
"""Pieces that are sent ahead at least: a cluster that grows with its work must see some."""

TIMEOUT_S = 30
"""Seconds that a scheduler may take to answer at first."""


def runner(client: Any) -> Runner | None:
    """Runs on `client`, a `distributed.Client` or the address of a scheduler; None for None: here."""
    return None if client is None or client == "" else _Cluster(client)


@dataclass(frozen=True)
class _Cluster:
    client: Any

    def __call__(self, verb: str, prepared: Prepared, top: Top = None, progress: Progress = None) -> Answer:
        """The work of a verb in pieces; in this process after the client is closed (a list makes its cutflow late)."""
        if getattr(self.client, "status", "") == "closed":
            return WORK[verb](prepared, top, progress)
        with _connected(self.client) as client:
            threads = sum(client.nthreads().values()) or 1
            todo = sum(b.input.snapshot.rows for b in prepared.inputs)
            size = min(max(todo // (A_THREAD * threads) + 1, SMALLEST), LARGEST)
            settled, done, pieces = split(prepared, verb, top, size)
            if progress is not None:
                progress(done)
            return merged([settled, *_gathered(client, pieces, max(A_THREAD * threads, AHEAD), progress)])


@contextmanager
def _connected(client: Any) -> Iterator[Any]:
    """A client of the scheduler at an address, closed at the end; a client as it is."""
    try:
        import distributed
    except ImportError as error:
        raise JobError("a Dask cluster needs the library distributed", hint='pip install "tagsel[dask]"') from error
    if not isinstance(client, str):
        if getattr(client, "asynchronous", False) or not hasattr(client, "submit"):
            raise JobError(f"{client!r} cannot run pieces", hint="give a distributed.Client that is not asynchronous")
        yield client
        return
    try:
        connected: Any = distributed.Client(client, timeout=TIMEOUT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise JobError(
            f"no Dask scheduler answers at {client}: {error}", hint="give it as tcp://host:8786", address=client
        ) from error
    with connected:
        yield connected


def _gathered(client: Any, pieces: Iterator[Piece], ahead: int, progress: Progress) -> Iterator[Answer]:
    """The answers in the order of the pieces; `ahead` pieces are sent ahead, and none after an error."""
    sent = deque((piece.rows, _send(client, piece)) for piece in islice(pieces, ahead))
    try:
        while sent:
            rows, future = sent.popleft()
            yield _result(future)
            sent.extend((piece.rows, _send(client, piece)) for piece in islice(pieces, 1))
            if progress is not None:
                progress(rows)
    finally:
        if sent and client.status == "running":
            client.cancel([future for _, future in sent])


def _send(client: Any, piece: Piece) -> Any:
    return client.submit(answer, piece, pure=False)  # a lost worker's pieces are done again by the scheduler


def _result(future: Any) -> Answer:
    """The answer of a piece; an error of ours as a worker raised it, one of the cluster as a JobError."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        result: Answer = future.result()
        return result
    except TagselError:
        raise
    except KilledWorker as error:
        raise JobError(
            f"a piece was given up, several workers died on it: {error}",
            hint="see the workers' logs, and give them more memory",
        ) from error
    except (CancelledError, CommClosedError, OSError, ImportError) as error:
        raise JobError(
            f"the cluster cannot go on: {type(error).__name__}: {error}",
            hint="its scheduler must live, and its workers must have tagsel and see the same files",
        ) from error
