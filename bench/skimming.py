"""Skims of a NanoAOD-like ROOT file: 1 % and 0.01 % of its events with all branches, beside RDataFrame's Snapshot and a
loop with uproot. What each wrote is read again: the same events, no others.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import data as made
from bench.context import Context
from bench.timing import OURS, Row, WrongAnswer, in_turns, seconds_of

SHARES = {"skim1": 100, "skim001": 10_000}
MOST = 500_000
SNAPSHOT = """
import sys, time, warnings
warnings.simplefilter("ignore")
import ROOT
ROOT.EnableImplicitMT(int(sys.argv[4]))
started = time.perf_counter()
ROOT.RDataFrame("Events", sys.argv[1]).Filter(sys.argv[3]).Snapshot("Events", sys.argv[2])
print(time.perf_counter() - started)
"""


def skimming(context: Context) -> list[Row]:
    """The rows of the section."""
    from tagsel.api import Workspace

    events = min(context.events, MOST)
    path = made.nano_file(context.folder, events, context.say)

    def make(aside: Path) -> None:
        Workspace.init(aside / "W").ingest(path, dataset=made.OBJECTS, aod=[path])

    folder = made.once(context.folder / str(events) / "nano-tags", "TAGs of that file", make, context.say)
    home = Workspace(folder / "W")
    return [_row(name, home, path, nth, context) for name, nth in SHARES.items() if context.wants(name)]


def _row(name: str, home: Any, path: Path, nth: int, context: Context) -> Row:
    """Write, compare, time; sizes are said in words."""
    wanted = home[made.OBJECTS].select(f"event % {nth} == 7")
    outs = {n: context.folder / f"skim-{n}.root" for n in (OURS, "RDataFrame", "uproot")}
    reports = []

    def ours() -> float:
        return seconds_of(lambda: reports.append(home.lists[wanted].skim(outs[OURS])))

    calls: dict[str, Callable[[], float]] = {OURS: ours, "uproot": lambda: _loop(path, outs["uproot"], nth)}
    without = {}
    try:
        _snapshot(path, outs["RDataFrame"], nth, context.threads)
        calls["RDataFrame"] = lambda: _snapshot(path, outs["RDataFrame"], nth, context.threads)
    except subprocess.CalledProcessError as error:
        without["RDataFrame"] = (error.stderr.splitlines() or ["it failed"])[-1]
    seconds = in_turns({n: _anew(call, outs[n]) for n, call in calls.items()}, min(context.repeat, 3))
    right = sorted(wanted.event.tolist())
    for rival in calls:
        if _events(outs[rival]) != right:
            raise WrongAnswer(f"{name}: {rival} wrote other events")
    sizes = ", ".join(f"{n} {outs[n].stat().st_size / 1e6:.2f}" for n in calls)
    read = reports[-1].read
    what = f"one event of {nth:,}, all branches; {read.bytes_read / 1e6:.1f} MB of {read.bytes_total / 1e6:.1f} read"
    for out in outs.values():
        out.unlink(missing_ok=True)
    return Row(name, f"{what}; MB written: {sizes}", len(wanted), seconds, without, bytes=read.bytes_read)


def _anew(call: Callable[[], float], out: Path) -> Callable[[], float]:
    """The call, its output removed before."""

    def cleared() -> float:
        out.unlink(missing_ok=True)
        return call()

    return cleared


def _snapshot(path: Path, out: Path, nth: int, threads: int) -> float:
    """Seconds of RDataFrame's event loop and Snapshot, in a process of its own, imports not counted."""
    arguments = [str(path), str(out), f"event % {nth} == 7", str(threads)]
    done = subprocess.run([sys.executable, "-c", SNAPSHOT, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _loop(path: Path, out: Path, nth: int) -> float:
    """Seconds of a loop over all events with uproot that writes those it keeps."""
    import awkward as ak
    import uproot

    def run() -> None:
        with uproot.open(path, array_cache=None) as file, uproot.recreate(out) as written:
            for batch in file["Events"].iterate(step_size=131_072, library="ak"):
                kept = batch[batch["event"] % nth == 7]
                arrays = {n: ak.to_numpy(kept[n]) for n in ("run", "luminosityBlock", "event", "MET_pt", "MET_phi")}
                for kind in made.KINDS:
                    names = [n for n in kept.fields if n.startswith(f"{kind}_")]
                    arrays[kind] = ak.zip({n.partition("_")[2]: kept[n] for n in names})
                if "Events" not in written:
                    written.mktree("Events", made.branch_types(arrays))
                written["Events"].extend(arrays)

    return seconds_of(run)


def _events(path: Path) -> list[int]:
    """Event numbers in a skim, sorted."""
    import uproot

    with uproot.open(path) as file:
        return sorted(file["Events"]["event"].array(library="np").tolist())
