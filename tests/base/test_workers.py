"""Worker processes: calls, deaths, stops; a script, standard input, `-c`, a notebook and a daemonic process call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from nanofile import nano

from tagsel.base.workers import WorkerDied, Workers, WorkersStopped

SCRIPT = """
import sys
import tagsel
print("the script runs")
home = tagsel.Workspace.init({home!r})
done = home.ingest({a!r}, {b!r}, dataset="data18.X.TAG", processes=2)
print(done.events, done.failed)
"""

NOTEBOOK = """
import sys, types
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
exec(compile({text!r}, "<ipython-input-1>", "exec"), main.__dict__)
"""

DAEMON = """
import multiprocessing
context = multiprocessing.get_context("fork")
process = context.Process(target=exec, args=({text!r}, {{}}), daemon=True)
process.start()
process.join()
raise SystemExit(process.exitcode)
"""


@pytest.mark.parametrize("way", ["script", "stdin", "-c", "notebook", "daemon"])
def test_fault_51_a_plain_script_ingests_in_processes(tmp_path: Path, way: str) -> None:
    """25 + 25 events; the script's own lines run once, since no worker starts from the user's `__main__`."""
    a, b = nano(tmp_path / "a.root", 1), nano(tmp_path / "b.root", 100)
    text = SCRIPT.format(home=str(tmp_path / "W"), a=str(a), b=str(b))
    if way == "notebook":
        text = NOTEBOOK.format(text=text)
    elif way == "daemon":
        text = DAEMON.format(text=text)
    script = tmp_path / "script.py"
    script.write_text(text)
    arguments = {"-c": ["-c", text], "stdin": ["-"]}.get(way, [str(script)])
    done = subprocess.run([sys.executable, *arguments], input=text, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", "50 ()"]
    assert "Traceback" not in done.stderr


def test_a_worker_answers_raises_and_is_used_again() -> None:
    with Workers() as workers:
        assert workers.call(divmod, 17, 5) == (3, 2)
        with pytest.raises(ZeroDivisionError) as caught:
            workers.call(divmod, 1, 0)
        assert "in a worker process" in caught.value.__notes__[0]
        assert workers.call(os.getpid) in workers.pids
        assert len(workers.pids) == 1
        assert workers.call(os.getpid, fresh=True) in workers.pids
        assert len(workers.pids) == 2


def test_what_a_worker_prints_does_not_disturb_its_answers(capfd: pytest.CaptureFixture[str]) -> None:
    with Workers() as workers:
        assert workers.call(os.write, 1, b"noise") == 5
        assert workers.call(print, "more noise") is None
    assert "noise" in capfd.readouterr().err


def test_a_worker_that_is_killed_is_named_by_its_signal_and_a_new_one_answers() -> None:
    with Workers() as workers:
        with pytest.raises(WorkerDied, match="was killed by SIGKILL"):
            workers.call(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="ended with exit code 7"):
            workers.call(os._exit, 7)
        assert workers.call(len, "abc") == 3


def test_stopping_ends_a_call_and_leaves_no_process(tmp_path: Path) -> None:
    """The call waits for a named pipe that nobody writes to; that its worker opened the pipe shows that it began."""
    os.mkfifo(tmp_path / "pipe")
    raised: list[BaseException] = []
    workers = Workers()

    def call() -> None:
        try:
            workers.call(Path.read_bytes, tmp_path / "pipe")
        except WorkersStopped as stopped:
            raised.append(stopped)

    thread = threading.Thread(target=call)
    thread.start()
    with (tmp_path / "pipe").open("wb"):  # opens when the worker has opened it
        workers.stop()
        thread.join()
    assert len(raised) == 1
    for pid in workers.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
