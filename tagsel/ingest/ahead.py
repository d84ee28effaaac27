"""Items made by a thread of their own, one ahead of their use: a file is read while what was read before is written.

Invariant: the items, their order and the error that ends them are those of the plain iterator; when the using ends,
in whatever way, the thread has ended and the iterator is closed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from queue import Queue
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar

from tagsel.base import memory_limit

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Made(Generic[Item]):
    item: Item


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def ahead(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """The same items; while one is in use the next one is made, and no more than that.

    >>> list(ahead(letter for letter in "abc"))
    ['a', 'b', 'c']
    """
    made: Queue[_Made[Item] | _End] = Queue()
    wanted, enough = Semaphore(1), Event()

    def make() -> None:
        error: BaseException | None = None
        try:
            with closing(items):
                while wanted.acquire() and not enough.is_set():
                    made.put(_Made(next(items)))
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        made.put(_End(error))

    thread = Thread(target=make, name="tagsel-ahead", daemon=True)
    memory_limit.start(thread)
    try:
        while not isinstance(next_ := made.get(), _End):
            wanted.release()
            yield next_.item
        if next_.error is not None:
            raise next_.error
    finally:
        enough.set()
        wanted.release()
        thread.join()
