"""Handing a job over: where its files are read, what it is thought to cost, and that nothing stands in its way.

Invariant: whatever may be refused is refused before anything runs, or is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.brokering import brokered
from tagsel.api.delivery import ENDED, JOBS, WorkspaceJob, executor_of
from tagsel.api.inputs import DATA
from tagsel.catalog import check_dataset_name
from tagsel.cores import cores
from tagsel.errors import CatalogError, JobError
from tagsel.events import EventList
from tagsel.store import Table, disk

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace
    from tagsel.jobs.broker import Brokered
    from tagsel.jobs.forecast import Pace, Rates


def submit(
    workspace: Workspace, events: EventList, run: Path, *, dry_run: bool, output: str, by: str = "events",
    events_per_job: int | None = None, min_events: int | None = None, bytes_per_job: int | None = None,
    on: str = "local", settings: Mapping[str, str] | None = None, wait: bool = True, refresh: bool = False,
) -> Any:  # fmt: skip
    """Split, run, merge, register; with `dry_run` the plan as a record, and nothing is done.

    `on` is an engine (`local`, `condor`, `slurm`, `dask`) with its `settings`; without `wait` the pieces are handed to
    it, and nothing more is done before `wait()`. With `refresh` other catalogs are asked first where copies are.
    JobError for the script, the split, the engine, and files whose copies are all at sites that cannot be used, before
    anything runs; CatalogError for an output that exists.
    """
    from tagsel.jobs import Chosen, plan_job
    from tagsel.jobs import dry_run as planned
    from tagsel.jobs import submit as start

    if output:
        check_dataset_name(output)
        _refuse_promised(workspace, output)
    if by == "events" and events_per_job is None and len(events):
        by = "file"
    choices, event_map = brokered(workspace, workspace.map(events, refresh=refresh), here=on == "local")
    known, pace = _known(workspace, run, on)
    plan: dict[str, Any] = {
        "by": by, "events_per_job": events_per_job, "min_events": min_events, "bytes_per_job": bytes_per_job,
        "known": known, "pace": pace, "brokered": choices,
    }  # fmt: skip
    if dry_run:
        return planned(events, event_map, plan_job(events, event_map, run, **plan))
    _refuse_unreachable(choices)
    workspace.pin_list(events)
    home = workspace.folder / JOBS
    home.mkdir(exist_ok=True)
    with disk.locked(home):  # two who ask for one name
        if output:
            _refuse_promised(workspace, output)
        engine = Chosen(on, dict(settings or {}))
        job = start(home, events, event_map, run, executor=executor_of(workspace, engine), name=output, on=engine,
                    drive=wait, **plan)  # fmt: skip
    return WorkspaceJob(workspace, job)


def _refuse_promised(workspace: Workspace, output: str) -> None:
    """CatalogError where a dataset has the name, or a job will give it to its output when it is done."""
    from tagsel.jobs import list_jobs

    said = ""
    if output in workspace.catalog.names() or Table.exists(workspace.folder / DATA / output):
        said = f"there is a dataset {output} already"
    for job in list_jobs(workspace.folder / JOBS):
        if job.folder.spec["name"] == output and job.status().state not in ENDED:
            said = said or f"job {job.id} makes the dataset {output}"
    if said:
        raise CatalogError(said, hint="give --output another name", dataset=output)


def _known(workspace: Workspace, run: Path, on: str) -> tuple[Rates, Pace | None]:
    """What earlier jobs of the workspace took, those of this script if there are any; and the pace of the engine."""
    from tagsel.jobs import list_jobs
    from tagsel.jobs.forecast import Pace, pace, rates
    from tagsel.jobs.piece import Recipe
    from tagsel.jobs.script import check_script

    costs = [(job, job.cost.to_json()) for job in list_jobs(workspace.folder / JOBS) if job.folder.cost.exists()]
    known = rates([(job.folder.spec["script"], cost) for job, cost in costs], Recipe(check_script(run)[0]).sha256)
    if on == "local":
        return known, Pace(workspace.setting("processes") or cores())
    return known, pace(cost for job, cost in costs if job.engine.name == on)


def _refuse_unreachable(choices: Brokered) -> None:
    """JobError where all copies of a file are at sites that cannot be used."""
    if lost := choices.refused:
        first = lost[0]
        sites = "; ".join(f"{site} is {why}" for site, why in first.refused.items())
        raise JobError(
            f"{len(lost)} of {len(choices.choices)} files can be processed nowhere, {first.lfn or first.guid} for one: "
            f"{first.problem} ({sites})",
            hint=first.remedy, files=[c.guid for c in lost],
        )  # fmt: skip
