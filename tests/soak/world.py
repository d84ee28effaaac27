"""The workspace that faults are tried on, and what is true of it, by arithmetic on the events that were written.

File k has 25 events numbered from 100 k; MET_pt of the i-th is 100 i / 24, so 12 of them are above 50 GeV.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nanofile import nano

from soak.forks import in_child, tagsel

RUN, EVENTS, ABOVE_50 = 315267, 25, 12
NAME, OTHER = "data18.X.TAG", "data18.Y.TAG"
CUT = "MET_pt > 50"

JOB = """
import numpy as np

branches = ["MET_pt"]


def process(events):
    return {"n": len(events), "met": float(np.sum(events["MET_pt"]))}
"""


def events_above_50(*files: int) -> list[int]:
    """Numbers of the events of files that pass the cut."""
    index = np.arange(EVENTS)
    passing = index[100 * index > 50 * (EVENTS - 1)]
    return [100 * k + i for k in sorted(files) for i in passing.tolist()]


MET = sum(100 * (event % 100) / (EVENTS - 1) for event in events_above_50(0, 1))
JOB_RESULT = {"n": 2 * ABOVE_50, "met": MET}
"""What the job gives for the events of the list."""


class BadWorld(RuntimeError):
    """The workspace could not be made: the soak says nothing then."""


def make(folder: Path, *, job: bool) -> Path:
    """A folder with files, a script, a list, and the workspace W of two datasets, a pin, and a finished job."""
    for k in range(4):
        nano(folder / f"{k}.root", 100 * k, EVENTS)
    (folder / "job.py").write_text(JOB)
    home = folder / "W"
    steps: list[tuple[object, ...]] = [
        ("init", home),
        ("ingest", folder / "0.root", "--dataset", NAME, "--site", "HOME", "-w", home),
        ("ingest", folder / "1.root", "--dataset", NAME, "--site", "HOME", "-w", home),
        ("ingest", folder / "3.root", "--dataset", OTHER, "-w", home),
        ("datasets", "pin", f"{NAME}@1", "--reason", "the first file", "-w", home),
        ("select", NAME, CUT, "-o", folder / "list.events", "-w", home),
    ]
    if job:
        script = ("--run", folder / "job.py", "--events-per-job", "12")
        steps.append(("submit", folder / "list.events", *script, "-w", home))
    for step in steps:
        ended = in_child(tagsel(*step))
        if ended.code != 0:
            raise BadWorld(f"{step}: exit code {ended.code}: {ended.output}")
    return home


def copy(world: Path, to: Path) -> Path:
    """A fresh copy of the world; its workspace."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(world, to, symlinks=True)
    return to / "W"


def digest(*files: int) -> str:
    """The digest of the events of files that pass the cut, by the formula of docs/reference/event-lists.md."""
    events = events_above_50(*files)
    rows = np.zeros(len(events), np.dtype([("run", "<i4"), ("event", "<i8")]))
    rows["run"], rows["event"] = RUN, events
    return hashlib.sha256(b"tagsel.events.1 data\n" + rows.tobytes()).hexdigest()


def state_of(*files: int) -> dict[str, Any]:
    """What `look` must see where the dataset has these files."""
    return {
        "rows": EVENTS * len(files),
        "catalog": EVENTS * len(files),
        "digest": digest(*files),
        "first": ABOVE_50,
        "other": ABOVE_50,
        "pins": [1, 2],  # the second by the list that was saved
    }


BEFORE = state_of(0, 1)
"""What `look` sees in the world as it was made."""


def look(home: Path, more: Mapping[str, Callable[[Any], Any]] | None = None) -> Callable[[], tuple[int, Any]]:
    """Work for a child: what the workspace says, with `more` things to ask it."""

    def work() -> tuple[int, Any]:
        from tagsel.api import Workspace

        workspace = Workspace(home)
        listed = set(workspace.catalog.names())
        seen: dict[str, Any] = {
            "rows": workspace[NAME].count("true").read,
            "catalog": workspace.catalog.dataset(NAME).events,
            "digest": workspace[NAME].select(CUT).digest,
            "first": workspace[f"{NAME}@1"].count(CUT).accepted,
            "other": workspace[OTHER].count(CUT).accepted if OTHER in listed else None,
            "pins": sorted(pin.snapshot for pin in workspace.catalog.pins(NAME)),
        }
        for name, ask in (more or {}).items():
            seen[name] = ask(workspace)
        return 0, seen

    return work


def differences(seen: Mapping[str, Any], expected: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why what was seen is none of the states that are expected; empty where it is one."""
    reasons = []
    for state in expected:
        wrong = []
        for key, value in state.items():
            if seen.get(key) != value:
                wrong.append(f"{key} is {seen.get(key)!r:.80}, not {value!r:.80}")
        if not wrong:
            return []
        reasons.append("; ".join(wrong))
    return reasons
