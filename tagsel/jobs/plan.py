"""Planning a job and writing its folder: everything that happens before anything runs.

Invariant: a job's folder has its name only when it is complete and on the disk; a bad script, split or branch leaves
nothing behind.
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.aod import EventMap, example_of, forecast, provenance_of
from tagsel.aside import sync
from tagsel.errors import JobError
from tagsel.events import EventList
from tagsel.faults import step
from tagsel.jobs.broker import Brokered
from tagsel.jobs.folder import VERSION, JobFolder
from tagsel.jobs.forecast import Forecast, Pace, Rates, foretell, rates
from tagsel.jobs.piece import Piece, Recipe, blocks_of, piece_plan, write_piece
from tagsel.jobs.script import check_script
from tagsel.jobs.split import split
from tagsel.quality import format_lumi

Ints = npt.NDArray[np.int64]

BUILDING = ".new-"
"""How the folders of jobs that are being written are called, before they get their numbers."""


@dataclass(frozen=True)
class Plan:
    """What a job would do: its pieces, the recipe of all of them, and the rows of the list `without` an address.

    `forecast` is what it is thought to cost, `brokered` why its files are processed where they are, if that was asked.
    """

    pieces: tuple[Piece, ...]
    recipe: Recipe
    events: int
    without: Ints
    by: str
    forecast: Forecast | None = None
    brokered: Brokered | None = None

    @property
    def unmapped(self) -> int:
        """How many events have no address."""
        return len(self.without)

    def to_json(self) -> dict[str, object]:
        """The plan for people and programs."""
        return {
            "by": self.by, "events": self.events, "unmapped": self.unmapped,
            "branches": list(self.recipe.branches), "batch": self.recipe.batch, "script": self.recipe.sha256,
            "pieces": [p.to_json() for p in self.pieces],
            "forecast": self.forecast.to_json() if self.forecast else None,
            "brokering": self.brokered.to_json() if self.brokered else [],
        }  # fmt: skip


def plan_job(
    events: EventList,
    event_map: EventMap,
    script: Path | str,
    *,
    by: str = "events",
    events_per_job: int | None = None,
    min_events: int | None = None,
    bytes_per_job: int | None = None,
    known: Rates | None = None,
    pace: Pace | None = None,
    brokered: Brokered | None = None,
) -> Plan:
    """Check everything, split and forecast, without running anything; `known` is what earlier jobs took, `pace` that of
    the engine.

    JobError for the script (missing, not compiling, no `process`) and the split; AccessError for a branch
    pattern that the files do not have, looked up in the first local one that can be opened.
    """
    text, branches, batch = check_script(Path(script))
    example = example_of(event_map, branches)
    recipe = Recipe(text, branches, batch, event_map.layout, example)
    pieces = split(event_map, events, by=by, events_per_job=events_per_job, min_events=min_events,
                   bytes_per_job=bytes_per_job)  # fmt: skip
    told = foretell(event_map, events, branches, len(pieces), known or rates([], ""), pace)
    return Plan(pieces, recipe, len(events), event_map.unmapped, by, told, brokered)


def dry_run(events: EventList, event_map: EventMap, plan: Plan) -> dict[str, object]:
    """The plan with the bytes that it would read, measured on the files, and the losses to expect."""
    return {**plan.to_json(), "read": forecast(event_map, events, plan.recipe.branches).to_json()}


def write_folder(jobs: Path, plan: Plan, events: EventList, name: str) -> Path:
    """The folder of a new job, complete and on the disk before it gets its name: the next free number."""
    building = jobs / f"{BUILDING}{secrets.token_hex(4)}"
    for part in ("pieces", "outputs", "logs"):
        (building / part).mkdir(parents=True)
    folder = JobFolder(building)
    try:
        with folder.locked():  # so that `clean` sees that somebody is at it
            pieces = [piece_plan(p, write_piece(folder.piece(p.number), p, plan.recipe)) for p in plan.pieces]
            (building / "job.py").write_text(plan.recipe.script, "utf-8")
            events.save(building / "list.events")
            spec = {**plan.to_json(), **_spec(plan, events, name), "pieces": pieces}
            (building / "job.json").write_text(json.dumps(spec, indent=1, sort_keys=True) + "\n", "utf-8")
            _sync(building)
            step("jobs.submit")
            return _named(building, jobs)
    except OSError as error:
        raise JobError(f"cannot write a job below {jobs}: {error.strerror or error}", path=str(jobs)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _spec(plan: Plan, events: EventList, name: str) -> dict[str, object]:
    """What job.json says beside the plan; the blocks of the list, and of its events without an address, as JSON."""
    run, lumi, lost = np.asarray(events.run), np.asarray(events.lumi), plan.without
    return {
        "version": VERSION,
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "list": events.digest,
        "lumi": format_lumi(blocks_of(run, lumi), "json"),
        "lost": format_lumi(blocks_of(run[lost], lumi[lost]), "json"),
        "provenance": provenance_of(events),
    }


def _sync(folder: Path) -> None:
    """Force all files below a folder, and the folders, to the disk."""
    for path in (folder, *folder.rglob("*")):
        sync(path)


def _named(building: Path, jobs: Path) -> Path:
    """Rename to the next free number; two submitters at once get two numbers."""
    number = max((int(p.name) for p in jobs.iterdir() if p.name.isdigit()), default=0)
    while True:
        number += 1
        target = jobs / f"{number:04d}"
        try:
            building.rename(target)  # fails where the name is taken: a job's folder is never empty
        except OSError:
            if not target.exists():
                raise
        else:
            return target


def clean(jobs: Path | str, *, dry_run: bool = False) -> list[Path]:
    """Remove what submitters that were killed left half built; what was (or with `dry_run` would be) removed.

    A folder that somebody is building now is locked and stays.
    """
    left = [p for p in sorted(Path(jobs).glob(f"{BUILDING}*")) if not JobFolder(p).is_locked()]
    for path in left if not dry_run else []:
        shutil.rmtree(path)
    return left
