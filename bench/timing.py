"""Check answers, then let all take turns, and keep medians.

Invariant: a time is kept only of a rival whose answer to the same question was equal to ours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from bench.apart import Apart, Here
from bench.plain import Unsupported
from bench.questions import Question

OURS = "tagsel"
ENOUGH = 6.0
"""Seconds after which a slow rival is asked no more."""


class WrongAnswer(Exception):
    """A rival's answer is not ours: one of the two is wrong, and no time means anything."""


@dataclass(frozen=True)
class Row:
    """One question timed: seconds by name (medians), or why there are none; `first` is our first call's."""

    name: str
    what: str
    found: int
    seconds: Mapping[str, float]
    without: Mapping[str, str] = field(default_factory=dict)
    first: Mapping[str, float] = field(default_factory=dict)
    bytes: int = 0
    machine: float = 0.0

    @property
    def ours(self) -> float:
        """Seconds of tagsel, 0 where it cannot say the question."""
        return self.seconds.get(OURS, 0.0)


def in_turns(calls: Mapping[str, Callable[[], float]], repeat: int, enough: float = ENOUGH) -> dict[str, float]:
    """Medians of up to `repeat` times of each, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, call in calls.items():
            if sum(times[name]) < enough:
                times[name].append(call())
    return {name: statistics.median(t) for name, t in times.items()}


def measure(question: Question, rivals: Mapping[str, Apart | Here], threads: int, repeat: int) -> Row:
    """Ask all, compare with ours, time in turns. WrongAnswer names the first that differs."""
    without: dict[str, str] = {}
    first: dict[str, float] = {}
    answers = {}
    for name, rival in rivals.items():
        try:
            first[name], answers[name] = rival.ask(question)
        except Unsupported as reason:
            without[name] = str(reason).splitlines()[0][:160]
    if not answers:
        return Row(question.name, question.what, 0, {}, without)
    right = answers.get(OURS) or next(iter(answers.values()))
    for name, answer in answers.items():
        if wrong := right.differs(answer):
            raise WrongAnswer(f"{question.name}: {name} differs: {wrong}")
    calls = {name: rivals[name].time for name in answers}
    if right.bytes:
        calls["np.max"] = lambda: machine(right.bytes, threads)
    seconds = in_turns(calls, repeat)
    reference = seconds.pop("np.max", 0.0)
    return Row(question.name, question.what, right.size, seconds, without, first, right.bytes, reference)


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    kept = call()
    took = time.perf_counter() - started
    del kept
    return took


def machine(size: int, threads: int) -> float:
    """Seconds of `np.max` over `size` bytes of float32 in memory, in `threads` threads."""
    array = _memory(size)
    pieces: Sequence[Any] = np.array_split(array, threads)
    pool = _pool(threads)
    started = time.perf_counter()
    list(pool.map(np.max, pieces))
    return time.perf_counter() - started


@cache
def _memory(size: int) -> Any:
    return np.ones(max(size // 4, 1), np.float32)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
