"""Arrays against guard pages, and what could make one be read after it is gone: about 700 answers at full size.

In a child process, under the allocator of `guard_pages`: an array ends at a page that nobody may touch, a freed array
and an unmapped file are closed. There, questions are asked plainly; with each column in a map of its own that ends
where its values end; in turns that drive each other's maps out; broken off at random moments and asked again; by
threads while another appends, extends, packs and collects; and by children that are forked while threads ask. Results
are kept until all that they came from is gone. Right answers are arithmetic (`questions`); a crash is a failure.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from soak import guard_pages
from soak.tally import Part, Tally

ANSWERS = 700
"""Answers at full size."""

OF_70 = {"plain": 16, "exact": 11, "turns": 10, "broken off": 12, "threads": 11, "kept": 2, "forks": 8}
"""Of 70 answers, those of each kind; a short run has two of each."""

LIMIT_S = 900.0
"""Seconds after which the child counts as hung."""

FORK_LIMIT_S = 60.0
"""Seconds after which a child of the child counts as hung."""


def memory(seed: int, answers: int) -> Part:
    """Ask in a child of its own, 70 questions at a time; a child that crashes or hangs is a failure."""

    def run(tally: Tally, trials: range, scratch: Path) -> None:
        wanted = OF_70 if len(trials) > 2 * len(OF_70) else dict.fromkeys(OF_70, 2)
        _run(tally, f"seed {seed}, from {trials.start}", wanted, scratch)

    return Part("memory", answers, 70, run)


def _run(tally: Tally, name: str, wanted: dict[str, int], scratch: Path) -> None:
    reason = guard_pages.why_not()
    if reason:
        print(f"{reason}: memory is left out", file=sys.stderr)
        return
    scratch.mkdir(parents=True, exist_ok=True)
    arguments = [guard_pages.build(scratch), name, json.dumps(wanted), scratch / "data"]
    command = [sys.executable, "-m", "soak.memory", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # the child says where it hangs
            said, errors = process.communicate()
    for line in said.splitlines():
        kind, wrong = json.loads(line)
        if wrong:
            tally.fail(f"{name}, {kind}: {wrong}")
        else:
            tally.add(kind)
    if process.returncode:
        tally.fail(f"{name}: exit code {process.returncode}: {errors[-2000:]}")


# -- in the child

SIZES = (5, 300, 64, 1, 511, 128, 77)
"""Events of the parts of a dataset."""


class Scene:
    """The child's datasets, and where it says what came out."""

    def __init__(self, seed: str, folder: Path) -> None:
        from soak.questions import make

        self.chance = random.Random(seed)
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.first = make(folder / "a", SIZES)
        self.second = make(folder / "b", SIZES[::-1])

    def say(self, kind: str, wrong: str) -> None:
        """One answer; `wrong` is what is wrong with it."""
        os.write(1, (json.dumps([kind, wrong]) + "\n").encode())


def plain(scene: Scene, answers: int) -> None:
    """One question after another; now and then of a snapshot that is opened anew."""
    from soak.questions import ask

    snapshot = scene.first.snapshot()
    for at in range(answers):
        if at % 5 == 0:
            snapshot = scene.first.snapshot()
            gc.collect()
        scene.say("plain", ask(snapshot, scene.chance))


def exact(scene: Scene, answers: int) -> None:
    """Each column of a row group in memory of its own, which ends where its values end."""
    with _exact_maps():
        plain_kind(scene, "exact", answers)


def turns(scene: Scene, answers: int) -> None:
    """Two datasets in turns, where the pool keeps two maps and a batch has two parts."""
    from soak.questions import ask
    from tagsel.store import frame, mapping

    most = mapping.POOL.max_entries, frame.MOST_PARTS
    mapping.POOL.max_entries, frame.MOST_PARTS = 2, 2
    try:
        for _ in range(answers // 2):
            for table in (scene.first, scene.second):
                scene.say("turns", ask(table.snapshot(), scene.chance))
    finally:
        mapping.POOL.max_entries, frame.MOST_PARTS = most


def plain_kind(scene: Scene, kind: str, answers: int) -> None:
    """Questions of new snapshots."""
    from soak.questions import ask

    for _ in range(answers):
        scene.say(kind, ask(scene.first.snapshot(), scene.chance))


@contextlib.contextmanager
def _exact_maps() -> Iterator[None]:
    """Map no part as a whole; a window of one is a copy that ends at a closed page."""
    import numpy as np

    from tagsel.base.cache import clear_memory
    from tagsel.store import columns, frame, mapping

    class Copy(mapping.Mapping):
        """The bytes of a window, against the end of an array of their own."""

        __slots__ = ("copy",)

        def __init__(self, file: Any, start: int = 0, size: int | None = None) -> None:
            super().__init__(file, start, size)
            self.copy = np.array(np.asarray(self.bytes()))
            self.__del__()
            self._length = 0
            self.address = self.copy.__array_interface__["data"][0]

    before = mapping.batch_bytes, mapping.Mapping
    clear_memory(mapping.MAPPED_FILES)
    mapping.batch_bytes = frame.batch_bytes = lambda: 64
    mapping.Mapping = Copy  # type: ignore[misc]
    try:
        yield
    finally:
        mapping.batch_bytes, mapping.Mapping = before  # type: ignore[misc]
        frame.batch_bytes = before[0]
        columns.metadata.cache_clear()


def broken_off(scene: Scene, answers: int) -> None:
    """Ctrl-C at a random moment of a question; then it is asked again."""
    from soak.questions import ask

    def press(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, press)
    for _ in range(answers):
        snapshot, state = scene.first.snapshot(), scene.chance.getstate()
        delay = scene.chance.choice((0.0002, 0.001, 0.004, 0.02)) * scene.chance.random() + 1e-5
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, delay)
            try:
                ask(snapshot, scene.chance)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        scene.chance.setstate(state)
        scene.say("broken off", ask(snapshot, scene.chance))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def threads(scene: Scene, answers: int) -> None:
    """Three threads ask a pinned snapshot and the newest, while the main thread changes the dataset."""
    from soak.questions import SCHEMA, ask, make, part
    from tagsel.errors import StoreError
    from tagsel.selection import Input, Query
    from tagsel.selection.query import bind_query
    from tagsel.selection.user_attributes import Computed

    table = make(scene.folder / "busy", SIZES)
    table.pin(1, "asked")
    over = threading.Event()
    left = [answers]
    guard = threading.Lock()

    def asking(number: int) -> None:
        chance = random.Random(f"{scene.chance.random()} {number}")
        while not over.is_set():
            pinned = chance.random() < 0.5
            try:
                wrong = ask(table.snapshot(1) if pinned else table.snapshot(), chance)
            except StoreError as error:
                gone = not pinned and "removed by gc" in error.message
                if gone:
                    continue  # it was packed and collected between opening and asking
                wrong = f"{error.message} (pinned: {pinned})"
            except BaseException as error:
                wrong = repr(error)
            with guard:
                if left[0] > 0:
                    left[0] -= 1
                    scene.say("threads", wrong)
                if left[0] <= 0:
                    over.set()

    askers = [threading.Thread(target=asking, args=(number,)) for number in range(3)]
    for asker in askers:
        asker.start()
    rounds = 0
    while not over.is_set():
        snapshot = table.snapshot()
        if snapshot.rows < 4_000:
            table.append([part(table.folder, snapshot.rows, 90)], SCHEMA, {}, evolve=True)
        if rounds % 4 == 1:
            query = Query((Input("d", table.snapshot(), False, "d"),), (("", "true"),))
            new = Computed.of(f"x{rounds}", "MET_pt * 2", bind_query(query)[0], "", "")
            table.extend(table.snapshot(), new.attributes, new, {"expression": "MET_pt * 2"})
        if rounds % 4 == 3:
            table.compact()
        table.gc(dry_run=False, grace_s=0.0)
        gc.collect()
        rounds += 1
    for asker in askers:
        asker.join()


def kept(scene: Scene, answers: int) -> None:
    """Lists, histograms and records, looked at when dataset, snapshot and maps are gone."""
    from soak.questions import Asking, make, met, muons, run
    from tagsel.base.cache import clear_memory
    from tagsel.selection import select
    from tagsel.selection.binning import read_specs
    from tagsel.selection.head import head
    from tagsel.selection.histogram import histograms
    from tagsel.store.mapping import MAPPED_FILES

    results = []
    for at in range(answers):
        folder = scene.folder / f"kept{at}"
        asking = Asking(make(folder, SIZES[:4]).snapshot(), scene.chance, ("interpreter",))
        rows, x = asking.rows, scene.chance.randint(0, 60)
        cut = f"MET_pt > {x} GeV"
        events, _ = select(asking.query(cut, weight="weight"))
        filled, _ = histograms(asking.query(cut), read_specs("MET_pt: 10, 0, 100"))
        records = head(asking.query(cut), 10**6, ["event", "Muon.pt", "flag"])
        results.append(([e for e in rows if met(e) > x], events, filled[0].values, records))
        shutil.rmtree(folder)
    del asking
    clear_memory(MAPPED_FILES)
    gc.collect()
    for right, events, values, records in results:
        wrong = ""
        if sorted(zip(events.run.tolist(), events.event.tolist(), strict=True)) != [(run(e), e) for e in right]:
            wrong = "the list has other events"
        if values.tolist()[1:-1] != [sum(met(e) // 10 == k for e in right) for k in range(10)]:
            wrong = "the histogram has other values"
        if right and records["Muon.pt"].tolist() != [[float(p) for p in muons(e)] for e in right]:
            wrong = "the records have other muons"
        scene.say("kept", wrong)


def forks(scene: Scene, answers: int) -> None:
    """Two threads ask; the main thread forks, and each child asks two questions, one with threads of its own."""
    from soak.questions import ask

    over = threading.Event()
    said: list[str] = []

    def asking(number: int) -> None:
        chance = random.Random(f"{scene.chance.random()} {number}")
        while not over.is_set():
            try:
                said.append(ask(scene.first.snapshot(), chance))
            except BaseException as error:
                said.append(repr(error))

    askers = [threading.Thread(target=asking, args=(number,)) for number in range(2)]
    for asker in askers:
        asker.start()
    try:
        for at in range(-(-answers // 2)):
            table, chance = scene.chance.choice((scene.first, scene.second)), random.Random(scene.chance.random())
            child = os.fork()
            if not child:
                _forked(scene, table, chance)
            wrong = _ended(child)
            if wrong:
                scene.say("forks", f"fork {at}: {wrong}")
    finally:
        over.set()
        for asker in askers:
            asker.join()
    for wrong in filter(None, said):
        scene.say("forks", f"a thread of the parent: {wrong}")


def _forked(scene: Scene, table: Any, chance: random.Random) -> None:
    """The child's whole life."""
    from soak.questions import ask

    code = 3
    try:
        faulthandler.dump_traceback_later(FORK_LIMIT_S - 5)
        for _ in range(2):
            scene.say("forks", ask(table.snapshot(), chance))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _ended(child: int) -> str:
    """How a child did not end as it should; it is killed where it hangs."""
    end = time.monotonic() + FORK_LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"exit code {code}" if code else ""
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"no end after {FORK_LIMIT_S:g} s"


KINDS: dict[str, Callable[[Scene, int], None]] = {
    "plain": plain,
    "exact": exact,
    "turns": turns,
    "broken off": broken_off,
    "threads": threads,
    "kept": kept,
    "forks": forks,
}


def child(library: str, seed: str, wanted: str, folder: str) -> int:
    """Ask so many questions of each kind under the allocator."""
    faulthandler.enable()
    allocator = guard_pages.install(Path(library))
    from soak import questions

    questions.few_kernels = sum(json.loads(wanted).values()) < 20 and len(json.loads(wanted)) > 1
    scene = Scene(seed, Path(folder))
    for kind, answers in json.loads(wanted).items():
        KINDS[kind](scene, answers)
    made, freed, mapped, closed = allocator.counts()
    if not (made > 1000 and freed > 1000 and mapped > 0):
        print(f"the allocator was not asked: {made}, {freed}, {mapped}, {closed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(child(*sys.argv[1:]))
