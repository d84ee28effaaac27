"""The trials of all parts in turns, which several processes run side by side.

Each process is forked from one that has imported everything and runs nothing, and has a scratch folder of its own. A
trial depends on the seed and its number alone, so it does not matter which process runs it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from soak.tally import Counts, Part, Tally


@dataclass
class _Progress:
    """How far a part is: its tally, the trials that were handed out, and the turns that are not in the tally yet."""

    part: Part
    tally: Tally
    next_trial: int
    turns: deque[Future[Tally]] = field(default_factory=deque)

    @property
    def share(self) -> float:
        """The part of its trials that were handed out."""
        return self.next_trial / self.part.size

    def next_turn(self) -> range:
        """The next trials, which are handed out now."""
        trials = range(self.next_trial, min(self.part.size, self.next_trial + self.part.turn))
        self.next_trial = trials.stop
        return trials

    def collect(self) -> list[str]:
        """Take up the turns that ended, in their order; what went wrong in them."""
        failures: list[str] = []
        while self.turns and self.turns[0].done():
            turn = self.turns.popleft().result()
            self.tally.take(turn)
            failures += turn.failures
        return failures


def run(parts: Sequence[Part], counts: Counts, until: float, processes: int, scratch: Path) -> None:
    """Run the parts in turns until all are whole or the time is over; the counts are saved after each turn.

    All parts have the same part of their trials done at any time, so that a run that is stopped says something of each.
    A turn whose predecessor still runs is saved with it: the trials that are saved are the first ones of their part.
    SIGTERM ends the run like Ctrl-C, when the turns that run have ended: no process is left behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tallies = [counts.tally(part.kind, part.size) for part in parts]
    every = [_Progress(part, tally, tally.done) for part, tally in zip(parts, tallies, strict=True)]
    running: set[Future[Tally]] = set()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin, (parts, scratch)) as pool:
        while True:
            waiting = [progress for progress in every if progress.share < 1]
            if waiting and len(running) < processes and time.monotonic() < until:
                progress = min(waiting, key=lambda progress: progress.share)
                turn = pool.submit(_turn, parts.index(progress.part), progress.next_turn())
                progress.turns.append(turn)
                running.add(turn)
                continue
            if not running:
                return
            _, running = wait(running, return_when=FIRST_COMPLETED)
            _collect(every, counts)


def _collect(every: Sequence[_Progress], counts: Counts) -> None:
    """Save the turns that ended; print what went wrong, and a row for each part that is whole now."""
    for progress in every:
        done = progress.tally.done
        for failure in progress.collect():
            print(f"  {failure}", flush=True)
        if done < progress.tally.done == progress.tally.size:
            print(progress.tally.row(), flush=True)
    counts.save()


# -- in a process of the pool

_parts: Sequence[Part] = ()
_scratch = Path()


def _begin(parts: Sequence[Part], scratch: Path) -> None:
    """Keep what this process got from its parent, and where its own scratch folder is."""
    global _parts, _scratch
    _parts = parts
    _scratch = scratch / f"scratch-{os.getpid()}"
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _turn(number: int, trials: range) -> Tally:
    """Run some trials of a part."""
    part = _parts[number]
    tally = Tally(part.kind, part.size, done=len(trials))
    began = time.perf_counter()
    part.run(tally, trials, _scratch)
    tally.seconds = time.perf_counter() - began
    return tally
