"""One pool of threads for the process, and one way to use it: `parallel_map`.

Invariant: results come in the order of the items, whatever the number of threads. After an error or Ctrl-C no thread
begins another item, and none is at work when `parallel_map` returns or raises: memory that machine code writes to is
not freed under it. A forked child has none of its parent's threads, so it makes a pool of its own.
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

THREAD_STOPPED = -1
"""The number that stands for no item in the queue of ended items: a thread of the pool has stopped."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Thread(threading.Thread):
    """A thread of the pool: it runs tasks for as long as the process lives."""

    def __init__(self, tasks: SimpleQueue[Callable[[], None]]) -> None:
        super().__init__(name="tagsel-scan", daemon=True)
        self.tasks = tasks
        self.busy = False

    def run(self) -> None:
        """Run tasks as they come."""
        while True:
            task = self.tasks.get()
            self.busy = True
            task()
            del task  # release what it refers to before the next wait
            self.busy = False


class _Pool:
    """A pool that grows to the largest number of threads that a caller asked for.

    Ctrl-C at any moment does it no harm: it has no lock that Python code takes.

    The pool wakes waiting threads on other CPUs than the caller's, and they may then run anywhere. Left to the
    scheduler of a virtual machine, a thread that wakes after a pause waits on the caller's CPU until the caller is
    done. (Such a scheduler takes a sleeping CPU for one that its host has taken away: the kernel's
    `available_idle_cpu`.)
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads: list[_Thread] = []

    def run(self, work: Callable[[], None], threads: int) -> None:
        """Start `work`, which raises nothing, in so many threads, or in as many as memory allows."""
        allowed = cpus()

        def task() -> None:
            keep_to(allowed)
            work()

        living = [thread for thread in self._threads if thread.is_alive()]
        while len(living) < threads and has_room_for_a_thread():
            thread = _Thread(self._tasks)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more threads: the caller's own does the work
                break
            living.append(thread)
        self._threads = living
        other_cpus = allowed - {cpu_here()}
        if other_cpus:
            for thread in living:
                if not thread.busy and thread.native_id is not None:
                    keep_to(other_cpus, thread.native_id)
        for _ in range(min(threads, len(living))):
            self._tasks.put(task)


_pool = _Pool()


def _replace_pool() -> None:
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_replace_pool)


def parallel_map(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int = 0,
    done: Callable[[Item], None] | None = None,
) -> list[Result]:
    """Apply `work` to every item in several threads, the caller's among them; return the results in order.

    Parameters
    ----------
    work : callable
        Called once for each item.
    items : sequence
        The items, which threads take in this order.
    threads : int
        How many threads; 0 means as many as this process may use.
    done : callable, optional
        Called in the caller's thread for each item that is finished.

    Raises
    ------
    The error of the first item that failed; Ctrl-C comes before other errors.

    Examples
    --------
    >>> parallel_map(abs, [-1, 2, -3], threads=2)
    [1, 2, 3]
    """
    workers = min(threads or threads_here(), len(items))
    if workers >= 2:
        return _Run(work, items, done).run(workers)
    results = []
    for item in items:
        results.append(work(item))
        if done is not None:
            done(item)
    return results


class _Run(Generic[Item, Result]):
    """One `parallel_map`: the items that threads take, and the results, each in its item's place."""

    def __init__(
        self, work: Callable[[Item], Result], items: Sequence[Item], done: Callable[[Item], None] | None
    ) -> None:
        self.work = work
        self.items = items
        self.done = done
        self.results: list[Result | None] = [None] * len(items)
        self.errors: dict[int, BaseException] = {}
        self.lock = threading.Lock()
        self.taken = 0  # items that a thread has taken
        self.reported = 0  # items that have ended, and that the caller knows of
        self.helpers = 0  # threads of the pool that are at work
        self.stopped = False
        self.ended: SimpleQueue[int] = SimpleQueue()  # numbers of items that ended; THREAD_STOPPED for a thread

    def run(self, workers: int) -> list[Result]:
        """Return all results. The threads stop at their next item when this returns or raises.

        A thread that another caller keeps busy until the end is not waited for: it has nothing left to do.
        """
        try:
            _pool.run(self.help, workers - 1)
            self.take_items(self.report_ended)
            with self.lock:
                self.stopped = True
            while self.reported < self.taken:
                self.report_next()
        finally:
            self.stop()
        self.raise_first_error()
        return self.results  # type: ignore[return-value]  # every item has its result

    def report_ended(self) -> None:
        """Report the items that have ended so far."""
        while not self.ended.empty():
            self.report_next()

    def report_next(self) -> None:
        """Wait for the next item that ends, and call `done` for it."""
        number = self.ended.get()
        if number == THREAD_STOPPED:
            return
        self.reported += 1
        if self.done is not None and number not in self.errors:
            self.done(self.items[number])

    def raise_first_error(self) -> None:
        """Raise Ctrl-C where it was pressed, else the error of the first item that has one."""
        if not self.errors:
            return

        def rank(number: int) -> tuple[bool, int]:
            return isinstance(self.errors[number], Exception), number

        raise self.errors[min(self.errors, key=rank)]

    def stop(self) -> None:
        """Wait until no thread is at work: each stops after its item.

        Ctrl-C is raised when they have stopped; a second Ctrl-C at once.
        """
        interrupt = None
        while True:
            try:
                with self.lock:
                    self.stopped = True
                while self.helpers:
                    self.ended.get()
                break
            except KeyboardInterrupt as error:
                if interrupt is not None:
                    raise
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def help(self) -> None:
        """Take items in a thread of the pool."""
        with self.lock:
            if self.stopped:
                return
            self.helpers += 1
        try:
            self.take_items()
        finally:
            with self.lock:
                self.helpers -= 1
            self.ended.put(THREAD_STOPPED)

    def take_items(self, between: Callable[[], None] = lambda: None) -> None:
        """Work on items until none is left, and call `between` after each; an error stops all threads."""
        while True:
            with self.lock:
                number = self.taken
                if self.stopped or number == len(self.items):
                    return
                self.taken += 1
            try:
                self.results[number] = self.work(self.items[number])
            except BaseException as error:
                self.errors[number] = error
                self.stopped = True
            self.ended.put(number)
            between()
