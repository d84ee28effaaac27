"""A new process for each verb, as at a prompt: wall time beside `python -c "import duckdb"` in the same environment.

Both sides find their byte code, as what pip installs has it: ours is made by the first run, which is not timed, in a
folder of the benchmark's, also where the environment or a read-only tree forbids to write it beside the sources.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import data as made
from bench.context import Context
from bench.timing import OURS, Row, in_turns, seconds_of

CUT = "CellMissingET > 46 GeV"
VERBS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "count": ("count", made.TAG, CUT),
    "select": ("select", made.TAG, CUT, "-o", "{out}"),
    "cold_cutflow": ("cutflow", made.TAG, "NVtx >= 1", "NTrk >= 5", CUT),
    "datasets": ("datasets",),
    "pick": ("pick", made.TAG, "141000:5", "-o", "{out}"),
}


def cold(context: Context) -> list[Row]:
    """The rows of the section; a million events at most."""
    events = min(context.events, 1_000_000)
    home = made.tags(context.folder, events, context.say).workspace
    out = context.folder / "cold.events"
    environment = {n: value for n, value in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(context.folder / "bytecode")
    rows = []
    for name, verb in VERBS.items():
        if context.wants(name):
            command = [sys.executable, "-m", "tagsel", *(w.format(out=out) for w in verb)]
            command += ["-w", str(home)] if name != "help" else []
            calls = {
                OURS: lambda command=command: _run(command, environment, out),
                "import duckdb": lambda: _run([sys.executable, "-c", "import duckdb"], environment, out),
            }
            for call in calls.values():
                call()
            shown = " ".join(("tagsel", *verb)).replace("{out}", "x.events")
            rows.append(Row(name, f"`{shown}`", events, in_turns(calls, context.repeat)))
    return rows


def _run(command: list[str], environment: dict[str, str], out: Path) -> float:
    """Seconds of a process, which must succeed."""
    out.unlink(missing_ok=True)
    took = seconds_of(lambda: subprocess.run(command, env=environment, check=True, capture_output=True))
    out.unlink(missing_ok=True)
    return took
