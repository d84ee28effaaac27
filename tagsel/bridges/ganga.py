"""For Ganga: a script of its own language (GPI) that runs the user's program once for each piece of a list.

A piece is a JSON document that needs nothing of tagsel: the files with their names, and of each the entries and the
ids of the events there. All pieces go along in one file, a line each, for Ganga packs what all subjobs share once, and
cannot read a job again that was split by input files; a script takes the subjob's line out and gives the program the
name of a file with it. Invariant: every event that has an address is in one piece, once.
"""

from __future__ import annotations

import ast
import json
import re

from tagsel.bridges.order import Order, Written
from tagsel.errors import JobError, did_you_mean
from tagsel.jobs import Piece, split

SCRIPT, RUN, PIECES = "ganga_job.py", "run.sh", "pieces.jsonl"

RUNNERS = {".py": "python3", ".sh": "sh"}
"""What runs the user's program, by the end of its name."""

SETTINGS = {
    "name": "what Ganga calls the job",
    "backend": "where it runs: Local, Condor, Slurm, …",
    "outputfiles": "files that a subjob leaves, with commas",
}

_SCRIPT = """# {title}: ganga {script}
# One subjob a piece; each runs the program with the name of a file that holds its piece.
import os
import sys

PIECES = {pieces}
FILES = {files}

places = [os.path.dirname(os.path.abspath(sys.argv[0])), os.getcwd()]
HERE = next((p for p in places if all(os.path.isfile(os.path.join(p, name)) for name in FILES)), None)
if HERE is None:
    raise SystemExit("%s are not here: run ganga in the folder of this script" % ", ".join(FILES))
if not PIECES:
    print("the list has no events: nothing is to be done")
else:
    job = Job(name={name}, application=Executable(exe="/bin/sh"), backend={backend}())
    job.inputfiles = [LocalFile(os.path.join(HERE, name)) for name in FILES]
    job.splitter = ArgSplitter(args=[[{run}, str(piece)] for piece in range(PIECES)])
    job.outputfiles = [LocalFile(name) for name in {output}]
    job.submit()
"""

_RUN = """#!/bin/sh
# sh {run} NUMBER: the program on one piece, which is a line of {pieces}.
set -e
piece=$(printf 'piece%04d.json' "$1")
sed -n "$(($1 + 1))p" {pieces} > "$piece"
exec {runner} {program} "$piece"
"""


def write(order: Order) -> Written:
    """The pieces, the program with what runs it, and the script."""
    program, text = _program(order)
    by = "file" if order.events_per_job is None else "events"
    pieces = [p for p in split(order.map, order.events, by=by, events_per_job=order.events_per_job) if p.n_events]
    script = _SCRIPT.format(
        title=order.title,
        script=SCRIPT,
        pieces=len(pieces),
        files=ascii([program, RUN, PIECES]),
        run=ascii(RUN),
        output=ascii(_outputs(order)),
        name=ascii(order.settings.get("name", f"tagsel {order.events.digest[:16]}")),
        backend=_backend(order),
    )
    run = _RUN.format(run=RUN, pieces=PIECES, runner=RUNNERS[program[-3:]], program=program)
    lines = "".join(_piece(order, piece) for piece in pieces)
    return Written({SCRIPT: script, program: text, RUN: run, PIECES: lines}, ["ganga", f"{{out}}/{SCRIPT}"])


def _program(order: Order) -> tuple[str, str]:
    """(name in the folder, text) of the user's program, under a name that means nothing to a shell or to Ganga."""
    run = order.run
    assert run is not None
    if run.suffix not in RUNNERS:
        raise JobError(f"{run}: Ganga can run {' or '.join(RUNNERS)} files here", hint=did_you_mean(run.name, RUNNERS))
    try:
        text = run.read_text("utf-8")
        tree = ast.parse(text) if run.suffix == ".py" else ast.Module([], [])
    except (SyntaxError, ValueError) as error:
        raise JobError(f"{run} does not compile: {error}", path=str(run)) from error
    defines = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "process" in defines and "argv" not in text and "__main__" not in text:
        raise JobError(
            f"{run} defines process(events) and does nothing when it is run as a program",
            hint="tagsel submit calls process; for Ganga read the piece that sys.argv[1] names",
            path=str(run),
        )
    return f"program{run.suffix}", text


def _outputs(order: Order) -> list[str]:
    return [name.strip() for name in order.settings.get("outputfiles", "").split(",") if name.strip()]


def _backend(order: Order) -> str:
    name = order.settings.get("backend", "Local")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        raise JobError(f"{name!r} is no name of a backend of Ganga", hint="Local, Condor, Slurm, Dirac, …")
    return name


def _piece(order: Order, piece: Piece) -> str:
    """A piece for programs that know nothing of tagsel; names of files best first."""
    files = [
        {
            "guid": f.guid,
            "lfn": f.lfn,
            "pfns": list(order.copies.get(f.guid, ())),
            "entries": f.entries.tolist(),
            "run": f.run.tolist(),
            "lumi": f.lumi.tolist(),
            "event": f.event.tolist(),
        }
        for f in piece.files
    ]
    description = {
        "list": order.events.digest,
        "stage": order.map.stage,
        "piece": piece.number,
        "events": piece.n_events,
    }
    return json.dumps({**description, "tree": order.map.layout.tree, "files": files}) + "\n"
