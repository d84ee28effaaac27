"""`python -m soak`: what scripts/soak runs."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from soak import failing_disk, forks, world
from soak.crowd import crowd
from soak.damage import damage
from soak.kills import kills
from soak.memory import ANSWERS, memory
from soak.tally import Counts, Part
from soak.texts import texts
from soak.turns import run
from soak.verbs import VERBS
from tagsel.base.cpus import cores

KILLS, DAMAGES, TEXTS, MINUTES = 1_000, 10_000, 1_000_000, 10.0
"""The full size: kills of each verb, damaged files, cut texts, minutes of the crowd."""

KINDS = ("kills", "damage", "disk", "texts", "crowd", "memory")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Run the fault suite at its size. It stops by itself."
    )
    parser.add_argument("--only", choices=KINDS, action="append", help="this kind of fault only; may be repeated")
    parser.add_argument("--verb", action="append", help="kills and disk: this verb only; may be repeated")
    parser.add_argument(
        "--share", type=float, default=1.0, metavar="S", help="the part of the full counts (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="repeats a run")
    parser.add_argument(
        "--counts", type=Path, metavar="FILE", help="keep the figures here, and go on where an earlier run stopped"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="stop after so many minutes, whole or not (0: print the figures)"
    )
    parser.add_argument(
        "--processes", type=int, default=cores(), metavar="N", help="run so many trials at once (default: one a core)"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        default=_memory(),
        metavar="FOLDER",
        help="make copies of the workspace there (default: a folder in memory)",
    )
    return parser.parse_args()


def parts_of(asked: argparse.Namespace, seed: int, folder: Path) -> Iterator[Part]:
    """What is to be run."""
    kinds = set(asked.only or KINDS)
    verbs = [verb for verb in VERBS if not asked.verb or verb.name in asked.verb]
    pristine = folder / "world"
    if "texts" in kinds:
        yield texts(seed, max(1, round(TEXTS * asked.share)))
    if "memory" in kinds:
        yield memory(seed, max(1, round(ANSWERS * asked.share)))
    if kinds <= {"texts", "memory"}:
        return
    pristine.mkdir()
    world.make(pristine, job=True)
    if "crowd" in kinds:
        yield crowd(seed, MINUTES * asked.share, pristine)
    if "damage" in kinds:
        yield damage(seed, max(1, round(DAMAGES * asked.share)), pristine)
    for verb in verbs:
        if "disk" in kinds and failing_disk.PRELOADED in os.environ:
            most = 0 if asked.share >= 1 else max(1, round(100 * asked.share))
            yield failing_disk.failing_disk(seed, verb, pristine, folder / "scratch", most)
        if "kills" in kinds:
            yield kills(seed, max(1, round(KILLS * asked.share)), verb, pristine)


def main() -> int:
    """Run, print a row for each part as it ends, and all figures as a table at the end."""
    asked = parsed()
    counts = Counts(asked.counts, asked.seed)
    if asked.minutes != 0:
        _run(asked, counts)
    print(counts.table(), flush=True)
    return 1 if any(tally.failures for tally in counts.parts.values()) else 0


def _run(asked: argparse.Namespace, counts: Counts) -> None:
    """Run what is asked for."""
    os.environ["TAGSEL_PROCESSES"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # workers of jobs would compile all of tagsel each time
    until = float("inf") if asked.minutes is None else time.monotonic() + 60 * asked.minutes
    counts.note_commit()
    print(f"seed {counts.seed}", flush=True)
    forks.warm()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=asked.scratch) as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        run(list(parts_of(asked, counts.seed, folder)), counts, until, asked.processes, folder)


def _memory() -> Path | None:
    """A folder in memory, where the machine has one."""
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


def started() -> int:
    """Start under the shim that makes calls fail, where it can be built."""
    if failing_disk.PRELOADED in os.environ:
        return main()
    with tempfile.TemporaryDirectory(prefix="soak-shim-") as folder:
        library = failing_disk.build(Path(folder))
        if library is None:
            print("there is no C compiler: failing disks are left out", file=sys.stderr)
            return main()
        command = [sys.executable, "-m", "soak", *sys.argv[1:]]
        return subprocess.run(command, env=failing_disk.under_the_shim(library)).returncode


if __name__ == "__main__":
    sys.exit(started())
