"""Planning a job and writing its folder: everything that happens before anything runs.

Invariant: a job's folder has its name only when it is complete and on the disk; a bad script, split or branch leaves
nothing behind.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.aod import EventMap, example_of, forecast, provenance_of
from tagsel.base.atomic_write import sync
from tagsel.base.fail_points import fail_point
from tagsel.errors import JobError
from tagsel.events import EventList
from tagsel.events.parquet import write_parquet
from tagsel.jobs.broker import Brokered
from tagsel.jobs.engines import LOCAL, Chosen
from tagsel.jobs.executors import FOLDER_MODE, MODE
from tagsel.jobs.folder import JobFolder, write_document
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
    `units` are those that the script gives, `carried` those of the branches that it reads.
    """

    pieces: tuple[Piece, ...]
    recipe: Recipe
    events: int
    without: Ints
    by: str
    forecast: Forecast | None = None
    brokered: Brokered | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    carried: Mapping[str, str] = field(default_factory=dict)

    @property
    def unmapped(self) -> int:
        """How many events have no address."""
        return len(self.without)

    def to_json(self) -> dict[str, object]:
        """The plan for people and programs."""
        return {
            "by": self.by,
            "events": self.events,
            "unmapped": self.unmapped,
            "branches": list(self.recipe.branches),
            "batch": self.recipe.batch,
            "script": self.recipe.sha256,
            "units": {"given": dict(self.units), "carried": dict(self.carried)},
            "pieces": [p.to_json() for p in self.pieces],
            "forecast": self.forecast.to_json() if self.forecast else None,
            "brokering": self.brokered.to_json() if self.brokered else [],
        }


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
    units: Mapping[str, str] | None = None,
) -> Plan:
    """Check everything, split and forecast, without running anything; `known` is what earlier jobs took, `pace` that of
    the engine, `units` those of the branches, as far as somebody knows them.

    JobError for the script (missing, not compiling, no `process`) and the split; AccessError for a branch
    pattern that the files do not have, looked up in the first local one that can be opened.
    """
    text, branches, batch, given = check_script(Path(script))
    example = example_of(event_map, branches)
    recipe = Recipe(text, branches, batch, event_map.layout, example)
    pieces = split(
        event_map, events, by=by, events_per_job=events_per_job, min_events=min_events, bytes_per_job=bytes_per_job
    )
    forecast = foretell(event_map, pieces, recipe, known or rates([], ""), pace)
    read = {}
    for name, unit in (units or {}).items():
        if any(fnmatchcase(name, pattern) for pattern in branches):
            read[name] = unit
    return Plan(pieces, recipe, len(events), event_map.unmapped, by, forecast, brokered, given, read)


def dry_run(events: EventList, event_map: EventMap, plan: Plan) -> dict[str, object]:
    """The plan with the losses to expect, found by opening all files; bytes there are those of one piece of all."""
    read = forecast(event_map, events, plan.recipe.branches, plan.recipe.batch)
    return {**plan.to_json(), "read": read.to_json()}


def write_folder(jobs: Path, plan: Plan, events: EventList, name: str, on: Chosen = LOCAL) -> Path:
    """The folder of a new job, complete and on the disk before it gets its name: the next free number.

    `on` is the engine that the job keeps; the folder records it before it gets its name, so no crash separates the two.
    """
    building = jobs / f"{BUILDING}{secrets.token_hex(4)}"
    for part in ("pieces", "outputs", "logs", "engine"):
        (building / part).mkdir(parents=True)
    folder = JobFolder(building)
    try:
        with folder.locked():  # so that `clean` sees that somebody is at it
            fail_point("jobs.submit")
            pieces = []
            for piece in plan.pieces:
                digest = write_piece(folder.piece(piece.number), piece, plan.recipe)
                pieces.append(piece_plan(piece, digest))
            fail_point("jobs.submit")
            (building / "job.py").write_text(plan.recipe.script, "utf-8")
            fail_point("jobs.submit")
            write_parquet(building / "list.events", events.columns(), events.header())
            fail_point("jobs.submit")
            spec = {**plan.to_json(), **_spec(plan, events, name), "pieces": pieces, "engine": on.to_json()}
            named = _named(building, jobs, spec)
            sync(jobs)
            fail_point("jobs.submit")
            return named
    except OSError as error:
        raise JobError(f"cannot write a job below {jobs}: {error.strerror or error}", path=str(jobs)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _spec(plan: Plan, events: EventList, name: str) -> dict[str, object]:
    """What job.json says beside the plan; the blocks of the list, and of its events without an address, as JSON."""
    run, lumi, lost = np.asarray(events.run), np.asarray(events.lumi), plan.without
    return {
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "list": events.digest,
        "lumi": format_lumi(blocks_of(run, lumi), "json"),
        "lost": format_lumi(blocks_of(run[lost], lumi[lost]), "json"),
        "provenance": provenance_of(events),
    }


def _sync(folder: Path) -> None:
    """Give all files below a folder, and the folders, their permissions, and force them to the disk."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(FOLDER_MODE if path.is_dir() else MODE)
        sync(path)


def _named(building: Path, jobs: Path, spec: Mapping[str, object]) -> Path:
    """Write job.json, which states the number, and rename to the next free one; two submitters at once get two."""
    number = max((int(p.name) for p in jobs.iterdir() if p.name.isdigit()), default=0)
    while True:
        number += 1
        target = jobs / f"{number:04d}"
        write_document(building / "job.json", {**spec, "job": target.name})
        fail_point("jobs.submit")
        _sync(building)
        fail_point("jobs.submit")
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
