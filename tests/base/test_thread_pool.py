"""The pool of threads: order, errors, Ctrl-C, CPUs, forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tagsel.base.cpus import cpus, keep_to
from tagsel.base.thread_pool import parallel_map


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_items_and_each_is_told_once(threads: int) -> None:
    told: list[int] = []
    assert parallel_map(lambda n: n * n, range(20), threads, told.append) == [n * n for n in range(20)]
    assert sorted(told) == list(range(20))
    assert parallel_map(lambda n: n, [], threads) == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_error_of_the_first_item_is_raised_and_nothing_new_is_begun(threads: int) -> None:
    begun: list[int] = []
    together = threading.Barrier(threads)  # the first items begin at once, so that the error leaves none of them out

    def work(n: int) -> None:
        begun.append(n)
        if n < threads:
            together.wait(60)
            raise ValueError(n)

    with pytest.raises(ValueError, match="^0$"):
        parallel_map(work, range(1000), threads)
    assert sorted(begun) == list(range(threads))


def test_a_question_does_not_wait_for_threads_that_another_one_keeps() -> None:
    """Two items of A take until they are let go; B has two items too, and its second thread has no turn meanwhile."""
    go, begun = threading.Event(), threading.Barrier(3)
    long = threading.Thread(target=lambda: parallel_map(lambda n: (begun.wait(60), go.wait(60)), range(2), 2))
    long.start()
    begun.wait(60)
    others = [threading.Thread(target=lambda: parallel_map(lambda n: n, range(4), 2)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(30)
    assert not any(other.is_alive() for other in others)
    go.set()
    long.join()
    assert parallel_map(lambda n: sum(parallel_map(lambda k: n * k, range(3), 2)), range(3), 2) == [
        0,
        3,
        6,
    ]  # one inside another


@pytest.mark.skipif(len(cpus()) < 2, reason="one CPU")
def test_threads_are_woken_on_other_cpus_than_the_callers_and_may_then_run_on_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, kept = set(cpus()), list[tuple[set[int], int]]()
    together = threading.Barrier(2)  # the caller and one thread of the pool

    def work(n: int) -> tuple[int, set[int]]:
        together.wait(60)
        return threading.get_native_id(), os.sched_getaffinity(0)

    parallel_map(work, range(2), 2)  # there is a thread to wake now
    with monkeypatch.context() as patch:
        patch.setattr(f"{parallel_map.__module__}.cpu_here", lambda: min(here))
        patch.setattr(
            f"{parallel_map.__module__}.keep_to",
            lambda cpus, thread=0: (kept.append((set(cpus), thread)), keep_to(cpus, thread)),
        )
        found = dict(parallel_map(work, range(2), 2))
    woken = [native for native in found if native != threading.get_native_id()]
    assert (here - {min(here)}, woken[0]) in kept
    assert all(allowed == here for allowed in found.values())


@pytest.mark.skipif(len(cpus()) < 2, reason="one CPU")
def test_a_thread_keeps_to_the_cpus_of_its_caller() -> None:
    """A caller that is kept to one CPU has no other to wake threads on; theirs are its own."""
    found: list[set[int]] = []

    def kept() -> None:
        keep_to(frozenset([max(cpus())]))
        together = threading.Barrier(2)
        found.extend(parallel_map(lambda n: (together.wait(60), os.sched_getaffinity(0))[1], range(2), 2))

    caller = threading.Thread(target=kept)
    caller.start()
    caller.join(60)
    assert found == [{max(cpus())}] * 2


def test_busy_threads_of_another_question_are_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun = threading.Event(), threading.Barrier(3)
    moved: list[int] = []
    monkeypatch.setattr(f"{parallel_map.__module__}.keep_to", lambda cpus, thread=0: moved.append(thread))
    busy: list[int] = []

    def work(n: int) -> None:
        busy.append(threading.get_native_id())
        begun.wait(60)
        go.wait(60)

    long = threading.Thread(target=lambda: parallel_map(work, range(2), 2))
    long.start()
    begun.wait(60)
    moved.clear()
    parallel_map(lambda n: n, range(4), 2)
    assert not set(moved) & set(busy)
    go.set()
    long.join()


@pytest.mark.parametrize("how", ["Ctrl-C", "a progress function that raises"])
def test_no_thread_is_at_work_when_the_caller_has_been_interrupted(how: str) -> None:
    """What machine code writes to may be freed then. The caller's item is done at once, the other's takes a while."""
    begun, at_work = threading.Barrier(2), list[int]()

    def work(n: int) -> None:
        mine = threading.current_thread() is threading.main_thread()
        at_work.append(n)
        begun.wait(60)
        if mine and how == "Ctrl-C":
            signal.raise_signal(signal.SIGINT)
        if not mine:
            threading.Event().wait(0.3)
        at_work.remove(n)

    def told(n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel_map(work, range(2), 2, told)
    assert len(at_work) == (1 if how == "Ctrl-C" else 0)  # the caller's own, which it broke off
    assert parallel_map(lambda n: n, range(4), 2) == [0, 1, 2, 3]


def test_ctrl_c_comes_before_other_errors() -> None:
    for _ in range(20):
        pressed = threading.Event()

        def work(n: int, pressed: threading.Event = pressed) -> None:
            if threading.current_thread() is threading.main_thread():
                pressed.set()
                raise KeyboardInterrupt
            pressed.wait(60)
            raise ValueError(n)

        with pytest.raises(KeyboardInterrupt):
            parallel_map(work, range(6), 3)


def test_one_thread_is_the_callers_own() -> None:
    before = threading.active_count()
    assert parallel_map(lambda n: threading.current_thread() is threading.main_thread(), range(3), 1) == [True] * 3
    assert threading.active_count() <= before  # one that an earlier test left may end meanwhile


def test_it_is_the_same_few_threads_every_time() -> None:
    names = {name for _ in range(5) for name in parallel_map(lambda n: threading.current_thread().name, range(50), 3)}
    assert len(names) <= 5  # no more than any test here asked for
    assert all(name.startswith("tagsel-scan") for name in names - {threading.current_thread().name})


_FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
from tagsel.base.thread_pool import parallel_map
assert parallel_map(abs, range(10), 2) == list(range(10))
child = os.fork()
if child == 0:
    os._exit(0 if parallel_map(abs, range(10), 2) == list(range(10)) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_makes_threads_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
