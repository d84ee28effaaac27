"""A small share of the fault suite, which `scripts/soak` runs at its size: docs/understand/reliability.md."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from soak import guard_pages
from soak.memory import memory
from soak.tally import Counts, Tally
from soak.verbs import VERBS

SEED = os.environ.get("TAGSEL_SEED", "1")


def test_fault_11_12_13_a_share_of_the_soak_finds_nothing(tmp_path: Path) -> None:
    """All kinds in one run, at a 700th of the full counts: one kill and one failing call of each verb."""
    counts = tmp_path / "counts.json"
    kinds = [f"--only={kind}" for kind in ("kills", "damage", "disk", "texts", "crowd")]
    done = subprocess.run(
        [sys.executable, "-m", "soak", *kinds, "--share", "0.0014", "--seed", SEED, "--counts", str(counts)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads(counts.read_text())["parts"]
    expected = {"damage", "cut texts", "crowd of six"} | {f"kill: {verb.name}" for verb in VERBS}
    if "no C compiler" not in done.stderr:
        expected |= {f"disk: {verb.name}" for verb in VERBS}
    assert set(parts) == expected
    for part in parts.values():
        assert part["trials"] > 0
        assert part["done"] == part["size"]
        assert part["failures"] == []


TURNS = """
import sys
from pathlib import Path
from soak.tally import Counts, Part
from soak.turns import run

def trials(tally, numbers, scratch):
    for number in numbers:
        if number == 3:
            tally.fail(f"trial 3 of {tally.kind} below {scratch.parent}")
        else:
            tally.add(str(number))

folder, until, processes, *sizes = sys.argv[1:]
parts = [Part(f"kill: {size}", int(size), 2, trials) for size in sizes]
run(parts, Counts(Path(folder, "counts.json"), 8), float(until), int(processes), Path(folder))
"""


def _turns(folder: Path, *arguments: object) -> Counts:
    """Run parts of some sizes (seconds, processes, sizes) that only count; what is in the file then."""
    subprocess.run(
        [sys.executable, "-c", TURNS, str(folder), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        check=True,
    )
    return Counts(folder / "counts.json", seed=9)


def test_a_soak_goes_on_where_it_stopped(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "counts.json", seed=7)
    tally = counts.tally("kill: 11", 11)
    tally.done, tally.trials, tally.outcomes["killed"] = 8, 8, 8
    counts.save()

    later = _turns(tmp_path, "inf", 1, 11)

    assert later.seed == 7
    assert later.parts["kill: 11"].done == 11
    assert later.parts["kill: 11"].outcomes == {"killed": 8, "8": 1, "9": 1, "10": 1}


def test_processes_share_out_each_trial_once_and_failures_come_back(tmp_path: Path) -> None:
    counts = _turns(tmp_path, "inf", 3, 10, 5)

    for size in (10, 5):
        tally = counts.parts[f"kill: {size}"]
        assert tally.done == tally.trials == size
        assert tally.outcomes == {"wrong": 1} | {str(number): 1 for number in range(size) if number != 3}
        assert tally.failures == [f"trial 3 of kill: {size} below {tmp_path}"]
    last_row = counts.table().splitlines()[-1]
    assert last_row.startswith("| kill | 15 | 15 | 2 0, 2 1, 2 2, 2 4, 1 5,")
    assert last_row.endswith("| 2 |")


def test_a_soak_that_is_terminated_leaves_no_process_behind(tmp_path: Path) -> None:
    """The one trial waits for a line from a pipe, which comes after the signal."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    waiting = TURNS.replace("tally.add(str(number))", f"open({str(gate)!r}).readline()")
    soak = subprocess.Popen(
        [sys.executable, "-c", waiting, str(tmp_path), "inf", "1", "1"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    with gate.open("w") as pipe:  # it opens when the trial begins
        soak.terminate()
        pipe.write("go\n")
    _, errors = soak.communicate(timeout=60)
    assert soak.returncode != 0
    assert "KeyboardInterrupt" in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(soak.pid, 0)


def test_a_soak_whose_time_is_over_begins_no_trial(tmp_path: Path) -> None:
    assert _turns(tmp_path, 0, 2, 10).parts == {}


@pytest.mark.skipif(bool(guard_pages.why_not()), reason=guard_pages.why_not() or "it can be built")
def test_fault_61_65_66_a_share_of_the_answers_against_guard_pages_is_right(tmp_path: Path) -> None:
    """Two answers of each of seven kinds."""
    part = memory(int(SEED), 14)
    tally = Tally(part.kind, part.size)
    part.run(tally, range(14), tmp_path)
    assert tally.failures == []
    assert tally.trials >= 14
    assert len(tally.outcomes) == 7
    assert min(tally.outcomes.values()) >= 2


GUARDED = """
import ctypes, sys
from pathlib import Path
from soak import guard_pages
guard_pages.install(Path(sys.argv[1]))
import numpy as np
from tagsel.store.mapping import Mapping, identity
which, path = sys.argv[2], Path(sys.argv[3])
array, last = np.arange(3), np.frombuffer(b"", np.uint8)
if which == "array":
    ctypes.string_at(array.ctypes.data + array.nbytes, 1)
elif which == "freed":
    place = array.ctypes.data
    del array
    ctypes.string_at(place, 1)
else:
    file = identity(path)
    mapping = Mapping(file) if which == "map" else Mapping(file, file[2] - 8, 8)
    assert ctypes.string_at(mapping.address + mapping.size - 1, 1) == b"z"
    end = mapping.address + mapping.size
    if which == "unmapped":
        del mapping
        end -= 1
    ctypes.string_at(end, 1)
print("nothing happened")
"""


@pytest.mark.skipif(bool(guard_pages.why_not()), reason=guard_pages.why_not() or "it can be built")
@pytest.mark.parametrize("which", ["array", "freed", "map", "window", "unmapped"])
def test_a_step_past_an_array_or_a_map_is_a_crash(tmp_path: Path, which: str) -> None:
    """The maps end where a page ends: the file has two pages."""
    path = tmp_path / "pages"
    path.write_bytes(b"z" * 8192)
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(guard_pages.build(tmp_path)), which, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGSEGV, done.stdout + done.stderr
