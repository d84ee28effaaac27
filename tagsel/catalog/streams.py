"""Copies of files made side by side, each recorded in the catalog as soon as it is good.

Threads read, write and verify files; the catalog is told by the caller's thread alone, which tells it in one change of
all copies that became good while the last change was made. Invariant: two copies to one place are never made at once;
when `Streams` is left no thread copies any more, every good copy is recorded, and of the others nothing is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from tagsel.base.fail_points import fail_point
from tagsel.catalog.catalog import Catalog
from tagsel.catalog.changes import Change, PutFiles, PutReplicas
from tagsel.catalog.records import FileRecord
from tagsel.errors import AccessError, CatalogError
from tagsel.rootio import is_remote
from tagsel.rootio.copying import copy

STREAMS = 4
"""Files that are copied at once: while one waits for a disk or a server, another is read or checked. Eight were
not clearly faster than four, on a local disk or with a server nearby; and a server that is far has others to serve."""

AHEAD = 4 * STREAMS
"""Copies that are asked for before the first of them is made, so that threads do not wait for the catalog."""

_Ended = Callable[[str], None]


@dataclass(frozen=True)
class Copy:
    """A copy to be made: a file, as the dataset that it is of knows it, from the first good source to a place."""

    dataset: str
    file: FileRecord
    site: str
    target: str
    sources: Sequence[str]

    def changes(self, checksum: str) -> list[Change]:
        """What is recorded once it is there: the copy, and a checksum or size that nobody knew."""
        size = self.file.bytes if self.file.bytes >= 0 else _size(self.target)
        learnt = replace(self.file, checksum=self.file.checksum or checksum, bytes=size)
        known = [] if learnt == self.file else [PutFiles(self.dataset, [learnt], known=True)]
        return [*known, PutReplicas(self.site, [(self.file.guid, self.target)])]


class _Stopped(Exception):
    """The copy in hand is to be given up."""


class Streams:
    """Threads that copy, for as long as a `with` block lasts."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.stopped = threading.Event()
        self.begun: dict[Future[str], tuple[Copy, _Ended]] = {}

    def __enter__(self) -> Streams:
        self.threads = ThreadPoolExecutor(STREAMS, thread_name_prefix="tagsel-copy")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Give up what is not done: each thread at the next piece of its file."""
        self.stopped.set()
        self.threads.shutdown(cancel_futures=True)
        with suppress(AccessError, CatalogError):  # of a copy that is there, the next look at it says so
            self._record(self.begun[made][0].changes(made.result()) for made in self.begun if _is_good(made))

    def begin(self, wanted: Copy, ended: _Ended) -> None:
        """Have a copy made; `ended` is called, by a later method of this, with "" or why there is none."""
        while len(self.begun) >= AHEAD or any(wanted.target == other.target for other, _ in self.begun.values()):
            self.settle()
        self.begun[self.threads.submit(self._make, wanted)] = wanted, ended

    def finish(self) -> None:
        """Wait for all copies that were begun."""
        while self.begun:
            self.settle()

    def settle(self) -> None:
        """Wait for a copy, record those that are good, and say of each that it ended."""
        wait(self.begun, return_when=FIRST_COMPLETED)
        over = [made for made in self.begun if made.done()]
        good = {made: self.begun[made][0].changes(made.result()) for made in over if _is_good(made)}
        refused = self._refused(good)
        for made in over:
            _, ended = self.begun.pop(made)
            error = made.exception() or refused.get(made)
            if error is not None and not isinstance(error, AccessError | CatalogError):
                raise error
            ended("" if error is None else error.message)
            fail_point("catalog.transfer")

    def _refused(self, good: dict[Future[str], list[Change]]) -> dict[Future[str], Exception]:
        """Record copies, in one change if that can be; those that the catalog refused, and why."""
        refused: dict[Future[str], Exception] = {}
        try:
            self._record(good.values())
        except CatalogError:
            for made, changes in good.items():
                try:
                    self._record([changes])
                except CatalogError as error:
                    refused[made] = error
        return refused

    def _record(self, copies: Iterable[Sequence[Change]]) -> None:
        changes = [change for one in copies for change in one]
        if changes:
            fail_point("catalog.transfer.copied")
            self.catalog.record(*changes)

    def _make(self, wanted: Copy) -> str:
        """What a thread does: the checksum of a good copy."""
        errors = []
        for source in wanted.sources:
            try:
                return copy(source, wanted.target, wanted.file.checksum, self._go_on)
            except AccessError as error:
                errors.append(error.message)
            except OSError as error:
                errors.append(f"{wanted.target}: cannot be written: {error.strerror or error}")
        why = "; ".join(errors) or "no copy of it is known that can be read"
        raise AccessError(f"{wanted.file.lfn or wanted.file.guid}: {why}", guid=wanted.file.guid)

    def _go_on(self) -> None:
        if self.stopped.is_set():
            raise _Stopped


def _size(place: str) -> int:
    """The size of a copy on this machine; -1 of others."""
    try:
        return -1 if is_remote(place) else Path(place).stat().st_size
    except OSError:
        return -1


def _is_good(made: Future[str]) -> bool:
    return made.done() and not made.cancelled() and made.exception() is None
