"""The answers to questions do not depend on the number of threads, and Ctrl-C ends a question at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from builders import build, rows, workspace
from hypothesis import given, settings
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.selection import cutflow, select


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six parts of uneven sizes."""
    made = workspace(tmp_path_factory.mktemp("threads"))
    build(made, "a.TAG", *(rows(40 * k, k) for k in range(1, 7)))
    return made


@settings(max_examples=15)
@given(
    threads=st.integers(1, 5),
    tier=st.sampled_from(["interpreter", "kernel"]),
    met=st.integers(0, 80),
    duplicates=st.sampled_from(["first", "all"]),
)
def test_answers_do_not_depend_on_the_number_of_threads(
    home: Workspace, threads: int, tier: str, met: int, duplicates: str
) -> None:
    from dataclasses import replace

    cuts = [("met", f"MET_pt > {met}"), ("", "count(Muon.pt > 10 GeV) >= 1")]
    one = replace(home["a.TAG"].query(cuts, weight="weight", duplicates=duplicates, threads=1), tier=tier)
    several = replace(one, threads=threads)
    first, second = select(replace(one, weight="")), select(replace(several, weight=""))
    assert [tuple(e) for e in first[0]] == [tuple(e) for e in second[0]]
    assert first[0].digest == second[0].digest and first[1].ledger == second[1].ledger
    assert cutflow(one).to_json() == cutflow(several).to_json()


_LONG = """
import sys, threading
from tagsel.api import Workspace
from tagsel.base.cpus import cpus, keep_to
from tagsel.selection import select

home, tier = Workspace(sys.argv[1]), sys.argv[2]
query = home["a.TAG"].query(["count(Muon.pt > 10 GeV) >= 1"], threads=2)
begun = threading.Event()

def told(n):  # a row group is done: the others run, or wait for their turn
    if not begun.is_set():
        begun.set()
        print("begun", flush=True)
    threading.Event().wait()

from dataclasses import replace
select(replace(query, tier=tier), progress=told)
"""


@pytest.mark.parametrize("tier", ["interpreter", "kernel"])
def test_ctrl_c_ends_a_long_select_at_once(home: Workspace, tier: str) -> None:
    """The selection would never end; the process does, by KeyboardInterrupt, and its threads with it."""
    with subprocess.Popen(
        [sys.executable, "-c", _LONG, str(home.folder), tier], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) in (1, -signal.SIGINT)
    assert said.rstrip().endswith("KeyboardInterrupt")
