"""Standard output that is full or closed, SIGTERM, and what a killed command leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import build, rows

from tagsel.api import Workspace
from tagsel.base.output_file import FOREIGN_AGE, TEMPORARY, output_file, remove_leftovers

PROGRAM = f"{sys.executable} -m tagsel"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ws = Workspace.init(tmp_path_factory.mktemp("streams") / "W")
    build(ws, "a.TAG", rows(50, 1))
    return ws.folder


def shell(command: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "TAGSEL_WORKSPACE": str(home), **environment}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=variables, timeout=100)


@pytest.mark.parametrize(
    ("redirection", "reason"), [("> /dev/full", "it is full"), (">&-", "it is closed"), (">&- <&-", "it is closed")]
)
@pytest.mark.parametrize("arguments", ["datasets", "datasets --json", "select a.TAG true -o -"])
def test_fault_60_a_full_or_closed_standard_output_is_said(
    home: Path, redirection: str, reason: str, arguments: str
) -> None:
    done = shell(f"{PROGRAM} {arguments} {redirection}", home)
    assert done.returncode == 2, done.stderr
    assert f"standard output cannot be written: {reason}" in done.stderr
    assert "our fault" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_fault_60_an_error_as_json_is_said_on_standard_error_then(home: Path) -> None:
    done = shell(f"{PROGRAM} count no.TAG true --json > /dev/full", home)
    assert done.returncode == 2
    assert "no.TAG" in done.stderr


def test_fault_60_a_closed_standard_error_takes_nothing_from_standard_output(home: Path) -> None:
    """Notes do not end among the data, and the answer is right."""
    closed = shell(f"{PROGRAM} count a.TAG true 2>&-", home)
    full = shell(f"{PROGRAM} count no.TAG true 2> /dev/full", home)
    assert (closed.returncode, closed.stdout) == (0, "50\n")
    assert full.returncode == 2


def test_fault_37_a_killed_output_is_removed_by_the_next_one(home: Path, tmp_path: Path) -> None:
    """kill -9 after the list is written and before it has its name; the file that was there stays."""
    for point in ("output.made", "output.written"):
        done = shell(f"{PROGRAM} select a.TAG true -o {tmp_path}/a.events", home, TAGSEL_KILL_AT=point)
        assert done.returncode in (137, -signal.SIGKILL)
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(TEMPORARY)
    mine = tmp_path / ".tmp-mine"
    mine.write_text("a user's")
    assert shell(f"{PROGRAM} select a.TAG true -o {tmp_path}/a.events", home).returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tmp-mine", "a.events"]


def test_fault_37_the_temporary_of_a_living_process_stays(tmp_path: Path) -> None:
    """By its lock; one of another machine also while it is young, since its lock may not reach here."""
    with output_file(tmp_path / "a.txt") as living:
        living.write_text("half")
        assert remove_leftovers(tmp_path) == []
        with output_file(tmp_path / "b.txt") as other:
            other.write_text("b")
        assert living.read_text() == "half"
    foreign = tmp_path / f"{TEMPORARY}another.machine-0123456789abcdef.txt"
    foreign.write_text("x")
    assert remove_leftovers(tmp_path) == []
    long_ago = time.time() - FOREIGN_AGE - 1
    os.utime(foreign, (long_ago, long_ago))
    assert remove_leftovers(tmp_path) == [foreign]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_fault_37_sigterm_cleans_up(home: Path, tmp_path: Path) -> None:
    """The program gets SIGTERM while it writes; nothing is left, and it ends by that signal."""
    code = (
        "import os, signal, sys\n"
        "import tagsel.events.eventlist as eventlist\n"
        "def write(path, *rest):\n"
        "    path.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "eventlist.write_parquet = write\n"
        f"sys.argv = ['tagsel', 'select', 'a.TAG', 'true', '-o', {str(tmp_path / 'a.events')!r}]\n"
        "from tagsel.__main__ import main\n"
        "main()\n"
    )
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "tagsel: terminated\n" in done.stderr
    assert list(tmp_path.iterdir()) == []


SUBMITTED = """branches = ['MET_*']
def process(events):
    import os, signal, time
    try:
        os.mkdir({marker!r})  # the first of the pieces
        os.kill(os.getppid(), signal.{name})
    except FileExistsError:
        pass
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("name", "how", "by"), [("SIGINT", "interrupted", "Ctrl-C"), ("SIGTERM", "terminated", "SIGTERM")]
)
def test_an_interrupted_submit_says_that_its_job_is_there(
    sample_home: Path, tmp_path: Path, name: str, how: str, by: str
) -> None:
    """It said that nothing was left behind, and jobs show that jobs kill had killed it."""
    home = tmp_path / "W"
    shutil.copytree(sample_home, home)
    (tmp_path / "job.py").write_text(SUBMITTED.format(name=name, marker=str(tmp_path / "sent")))
    chosen = Workspace(home)["data09_900GeV.physics_Muon.TAG"].select("NLooseMuon >= 2")
    chosen.save(tmp_path / "z.events")
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.argv = ['tagsel', 'submit', {str(tmp_path / 'z.events')!r}, '--run', {str(tmp_path / 'job.py')!r}]\n"
        "from tagsel.__main__ import main\n"
        "main()\n"
    )
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == (130 if name == "SIGINT" else -signal.SIGTERM), done.stderr
    (job,) = Workspace(home).jobs.list()
    assert job.status().state == "killed"
    said = f"tagsel: {how}: job {job.id} is there, killed: tagsel jobs resubmit {job.id} goes on with it"
    assert said in done.stderr
    failure = next(piece.failures[-1] for piece in job.pieces if piece.failures)
    assert failure.cause.action.startswith(f"it was killed when {by} ended the process that waited; ")
