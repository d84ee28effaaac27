"""The threads of all selections in the process: one pool, and one way to use it.

Invariant: results come in the order of the items, whatever the number of threads; after an error or Ctrl-C nothing
new is begun, and no thread is at work any more when `each` has been left: what machine code writes to is not freed
under it. A process that was forked has none of its parent's threads, so it makes a pool of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from tagsel.base.cpus import cpu_here, cpus, keep_to
from tagsel.base.cpus import threads as threads_here
from tagsel.base.memory_limit import has_room_for_a_thread
from tagsel.store import watch

LEFT = -1
"""What stands for no item: a thread of the pool has stopped."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Thread(threading.Thread):
    """A thread of the pool: does what comes, for as long as the process lives."""

    def __init__(self, tasks: SimpleQueue[Callable[[], None]]) -> None:
        super().__init__(name="tagsel-scan", daemon=True)
        self.tasks, self.busy = tasks, False

    def run(self) -> None:
        """Do what comes."""
        while True:
            task = self.tasks.get()
            self.busy = True
            task()
            del task  # and with it what it points to
            self.busy = False


class _Pool:
    """A pool that grows to the most threads ever asked for. Ctrl-C in the middle of anything here does it no harm: it
    has no lock that Python code takes.

    Threads that wait are woken on other CPUs than the caller's, and may then run anywhere: left to the scheduler of a
    virtual machine, one that is woken after a pause waits on the caller's CPU until that is done. (To such a scheduler
    a CPU that sleeps is one that its host has taken away: the kernel's `available_idle_cpu`.)
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads: list[_Thread] = []

    def run(self, work: Callable[[], None], threads: int) -> None:
        """Begin `work` in so many threads, or in as many as there is memory for; it raises nothing."""
        allowed = cpus()

        def begin() -> None:
            keep_to(allowed)
            work()

        living = [thread for thread in self._threads if thread.is_alive()]
        while len(living) < threads and has_room_for_a_thread():
            thread = _Thread(self._tasks)
            try:
                thread.start()
            except RuntimeError:  # there may be no more threads: the caller's does the work
                break
            living.append(thread)
        self._threads = living
        if elsewhere := allowed - {cpu_here()}:
            for thread in living:
                if not thread.busy and thread.native_id is not None:
                    keep_to(elsewhere, thread.native_id)
        for _ in range(min(threads, len(living))):
            self._tasks.put(begin)


_pool = _Pool()


def _forked() -> None:
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_forked)


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int = 0,
    done: Callable[[Item], None] | None = None,
) -> list[Result]:
    """`work` of every item, in `threads` threads (0: as many as this process may use), in the order of the items.

    Each is a `watch`: StoreError where it read of a part that was cut short meanwhile.

    `done` is called in the caller's thread for each item that is. Of several errors that of the first item is raised.
    """
    workers = min(threads or threads_here(), len(items))
    if workers < 2:
        results = []
        for item in items:
            with watch:
                results.append(work(item))
            if done is not None:
                done(item)
        return results
    return _Shared(work, items).run(workers, done)


class _Shared(Generic[Item, Result]):
    """Items that several threads take, the caller's among them; each puts what came of one where it belongs."""

    def __init__(self, work: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.work, self.items = work, items
        self.results: list[Result | None] = [None] * len(items)
        self.errors: dict[int, BaseException] = {}
        self.lock = threading.Lock()
        self.taken = 0  # items that a thread has begun, or done
        self.helping = 0  # threads of the pool that are at work
        self.stopped = False
        self.ended: SimpleQueue[int] = SimpleQueue()  # items, as they are done or have failed; LEFT for a thread

    def run(self, workers: int, done: Callable[[Item], None] | None) -> list[Result]:
        """All results; the threads stop at their next item when this is left. A thread that other questions keep from
        beginning is not waited for: there is nothing left for it to do."""
        told = 0

        def tell() -> None:
            nonlocal told
            item = self.ended.get()
            if item == LEFT:
                return
            told += 1
            if done is not None and item not in self.errors:
                done(self.items[item])

        def tell_what_is_done() -> None:
            while not self.ended.empty():
                tell()

        try:
            _pool.run(self.help, workers - 1)
            self.take(tell_what_is_done)
            with self.lock:
                self.stopped = True
            while told < self.taken:
                tell()
        finally:
            self.leave()
        for item in sorted(self.errors, key=lambda n: (isinstance(self.errors[n], Exception), n)):  # Ctrl-C first
            raise self.errors[item]
        return self.results  # type: ignore[return-value]  # every item is done

    def leave(self) -> None:
        """Wait until no thread is at work: they stop after the item in hand. Ctrl-C pressed meanwhile comes through
        then; pressed once more, at once."""
        pressed = None
        while True:
            try:
                with self.lock:
                    self.stopped = True
                while self.helping:
                    self.ended.get()
                break
            except KeyboardInterrupt as again:
                if pressed is not None:
                    raise
                pressed = again
        if pressed is not None:
            raise pressed

    def help(self) -> None:
        """What a thread of the pool does."""
        with self.lock:
            if self.stopped:
                return
            self.helping += 1
        try:
            self.take()
        finally:
            with self.lock:
                self.helping -= 1
            self.ended.put(LEFT)

    def take(self, between: Callable[[], None] = lambda: None) -> None:
        """Do items until there are none, and what is to be done in between; an error keeps others from being begun."""
        while True:
            with self.lock:
                item = self.taken
                if self.stopped or item == len(self.items):
                    return
                self.taken += 1
            try:
                with watch:
                    self.results[item] = self.work(self.items[item])
            except BaseException as error:
                self.errors[item] = error
                self.stopped = True
            self.ended.put(item)
            between()
