"""Memory that the system refuses: the right answer in less memory, or an error that says what needs how much.

Row 62 of the faults. A child warms every question up on a small dataset, and then forks for each trial: a limit that
leaves some MB is set, and the question is asked of a large one. It may be answered rightly, or refused as a
MemoryLimitError that names the question; it may not hang, crash, or call memory a fault of a file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot

from tagsel.api import Workspace

EVENTS = 600_000
PASSING = EVENTS * 9 // 10
"""MET_pt is the event's number modulo 10, in GeV: of ten events nine have more than none."""

CHILD = """
import faulthandler, json, os, resource, signal, sys, tempfile
from dataclasses import replace
from pathlib import Path
import numpy as np
from tagsel.api import Workspace
from tagsel.errors import MemoryLimitError
from tagsel.events import EventList
from tagsel.selection import count, cutflow, pick, select
from tagsel.selection.binning import read_specs
from tagsel.selection.histogram import histograms

home, out = Workspace(Path(sys.argv[1])), Path(sys.argv[2])
CUT = "MET_pt * 2 > 0 GeV"
AXES = read_specs(["MET_pt: 10, 0, 10"])

def query(name, tier="interpreter", cuts=(CUT,)):
    return replace(home[name].query(list(cuts), threads=2, remember=False), tier=tier)

def wanted(events):
    return EventList.from_arrays(np.full(events, 1), np.full(events, -1), np.arange(events))

lists = {name: home[name].select(CUT) for name in ("small.TAG", "large.TAG")}
ids = {"small.TAG": wanted(10), "large.TAG": wanted(600_000)}
QUESTIONS = {
    "count": lambda name: count(query(name)).accepted,
    "count by kernels": lambda name: count(query(name, "kernel")).accepted,
    "select": lambda name: len(select(query(name))[0]),
    "select by kernels": lambda name: len(select(query(name, "kernel"))[0]),
    "top": lambda name: len(select(query(name), top=(300_000, "MET_pt"))[0]),
    "cutflow": lambda name: cutflow(query(name, cuts=(CUT, "MET_pt >= 0 GeV"))).steps[-1].sequential.n,
    "hist": lambda name: histograms(query(name), AXES)[0][0].entries,
    "pick": lambda name: len(pick(query(name, cuts=("true",)), ids[name]).events),
    "skim": lambda name: lists[name].skim(str(out / f"{os.getpid()}.root"), branches="MET_pt").events,
    "read": lambda name: len(lists[name].arrays("MET_pt")),
}

def taken(kind):
    statm = [int(field) for field in Path("/proc/self/statm").read_text().split()]
    return statm[{"RLIMIT_AS": 0, "RLIMIT_DATA": 5}[kind]] * resource.getpagesize()

def trial(question, kind, more):
    limit = taken(kind) + more
    resource.setrlimit(getattr(resource, kind), (limit, limit))
    try:
        return QUESTIONS[question]("large.TAG")
    except MemoryLimitError as error:
        return error.message
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

for question in QUESTIONS.values():
    question("small.TAG")
faulthandler.register(signal.SIGALRM, chain=True)  # a trial that hangs says where before it ends
for question in QUESTIONS:
    for kind in ("RLIMIT_AS", "RLIMIT_DATA"):
        for more in json.loads(sys.argv[3]):
            sys.stdout.flush()
            child = os.fork()
            if not child:
                signal.alarm(60)
                print(json.dumps([question, kind, more, trial(question, kind, more)]), flush=True)
                os._exit(0)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if ended:
                print(json.dumps([question, kind, more, f"ended by {ended}"]))
"""

RIGHT = {"top": 300_000, "pick": EVENTS}
NAMES = {
    "skim": ("the skim of 540,000 events", "the map of 540,000 events"),
    "read": ("the branches of 540,000 events", "the map of 540,000 events"),
    "top": ("select of large.TAG",),
}
"""How an error begins; of other questions with the verb and the dataset."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a small dataset and a large one, of a ROOT file each."""
    folder = tmp_path_factory.mktemp("refused")
    workspace = Workspace.init(folder / "W")
    for name, events in (("small", 1_000), ("large", EVENTS)):
        numbers = np.arange(events)
        branches = {
            "run": np.full(events, 1, np.uint32),
            "luminosityBlock": (numbers // 1000 + 1).astype(np.uint32),
            "event": numbers.astype(np.uint64),
            "MET_pt": (numbers % 10).astype(np.float32),
        }
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", {branch: values.dtype for branch, values in branches.items()})
            file["Events"].extend(branches)
        workspace.ingest(folder / f"{name}.root", dataset=f"{name}.TAG", processes=1)
    return workspace.folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what a process has taken is read from /proc")
def test_fault_62_refused_memory_is_an_error_that_names_the_question(home: Path, tmp_path: Path) -> None:
    """From 1 MB on, where not even a thread can be started, to 24 MB, where most questions are answered."""
    limits = [1 << 20, 8 << 20, 24 << 20]
    command = [sys.executable, "-c", CHILD, str(home), str(tmp_path), json.dumps(limits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) == 10 * 2 * len(limits)
    wrong, refused = [], 0
    for question, kind, more, answer in trials:
        verb = question.split()[0]
        names = NAMES.get(verb, (f"{verb} of large.TAG",))
        if isinstance(answer, str):
            refused += 1
            early = answer.startswith(("the list of ", "cannot map ", "the catalog's database"))
            is_right = early or ("not enough memory" in answer and answer.startswith(names))
        else:
            is_right = answer == RIGHT.get(verb, PASSING)
        if not is_right:
            wrong.append([question, kind, more, answer])
    assert wrong == [], done.stderr[-5000:]
    assert len(limits) <= refused <= len(trials) - len(limits)
