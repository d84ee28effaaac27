"""Handing a job over: where its files are read, what it is thought to cost, and that nothing stands in its way.

Invariant: whatever may be refused is refused before anything runs, or is written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.brokering import brokered
from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.api.jobs import ENDED, JOBS, WorkspaceJob, executor_of
from tagsel.api.maps import map_list
from tagsel.api.origins import snapshots_of
from tagsel.api.pins import check_pins, pin_list
from tagsel.base.cpus import cores
from tagsel.catalog import check_dataset_name
from tagsel.errors import AccessError, CatalogError, JobError
from tagsel.events import EventList
from tagsel.jobs.engines import Chosen
from tagsel.store import Table, disk

log = logging.getLogger("tagsel")

if TYPE_CHECKING:
    from tagsel.aod import EventMap
    from tagsel.jobs import Executor, Plan
    from tagsel.jobs.broker import Brokered
    from tagsel.jobs.forecast import Pace, Rates


@dataclass(frozen=True)
class _Prepared:
    """A job that nothing speaks against: its map with places in the order to try them, its plan, engine, executor."""

    event_map: EventMap
    plan: Plan
    engine: Chosen
    executor: Executor


def submit(
    home: Home,
    events: EventList,
    run: Path,
    *,
    dry_run: bool,
    output: str,
    by: str = "events",
    events_per_job: int | None = None,
    min_events: int | None = None,
    bytes_per_job: int | None = None,
    on: str = "local",
    settings: Mapping[str, str] | None = None,
    wait: bool = True,
    refresh: bool = False,
    memory: str = "",
) -> Any:
    """Split, run, merge, register; with `dry_run` the plan as a record, and nothing is done.

    `on` is an engine (`local`, `condor`, `slurm`, `dask`) with its `settings`; `memory` is what a piece may take, such
    as "4GB", in the terms of the engine; without `wait` the pieces are handed to
    it, and nothing more is done before `wait()`. With `refresh` other catalogs are asked first where copies are.
    What is refused is refused alike with `dry_run` and without, before anything runs or is written: JobError for the
    script, the split, the engine, and files whose copies are all at sites that cannot be used; CatalogError for an
    output that exists; AccessError for a workspace that this user may not change.
    """
    from tagsel.jobs import dispatch, memory_setting
    from tagsel.jobs import dry_run as planned

    bounds = memory_setting(on, memory) if memory else {}

    prepared = _prepare(
        home,
        events,
        run,
        output=output,
        by=by,
        events_per_job=events_per_job,
        min_events=min_events,
        bytes_per_job=bytes_per_job,
        engine=Chosen(on, {**bounds, **(settings or {})}),
        wait=wait,
        refresh=refresh,
    )
    if dry_run:
        prepared.executor.close()
        return planned(events, prepared.event_map, prepared.plan)
    jobs = home.folder / JOBS
    try:
        pin_list(home, events)
        jobs.mkdir(exist_ok=True)
        with disk.locked(jobs, disk.LONG_PATIENCE, "submitting a job"):  # two who ask for one name
            if output:
                _refuse_promised(home, output)
            job = dispatch(jobs, prepared.plan, events, prepared.executor, name=output, on=prepared.engine, drive=wait)
    except BaseException:
        prepared.executor.close()
        raise
    return WorkspaceJob(home, job)


def _prepare(
    home: Home,
    events: EventList,
    run: Path,
    *,
    output: str,
    by: str,
    events_per_job: int | None,
    min_events: int | None,
    bytes_per_job: int | None,
    engine: Chosen,
    wait: bool,
    refresh: bool,
) -> _Prepared:
    """Plan a job and look for all that speaks against it: the one place that refuses. Nothing is written.

    What cannot be known before is an engine that refuses later, as where its queue is full.
    """
    from tagsel.jobs import plan_job, refuse_leaving

    if output:
        check_dataset_name(output)
        _refuse_promised(home, output)
    if by == "events" and events_per_job is None and len(events):
        by = "file"
    choices, event_map = brokered(home, map_list(home, events, "aod", refresh), here=engine.name == "local")
    known, pace = _known(home, run, engine.name)
    plan = plan_job(
        events,
        event_map,
        run,
        by=by,
        events_per_job=events_per_job,
        min_events=min_events,
        bytes_per_job=bytes_per_job,
        known=known,
        pace=pace,
        brokered=choices,
        units=_units_of(home, events),
    )
    _refuse_unreachable(choices)
    home.catalog.need_writable()
    _refuse_closed(home.folder / JOBS)
    check_pins(home, events)
    executor = executor_of(home, engine)
    try:
        refuse_leaving(executor, drive=wait)
        engine.check()
    except JobError:
        executor.close()
        raise
    return _Prepared(event_map, plan, engine, executor)


def _refuse_closed(jobs: Path) -> None:
    """AccessError where this user may not make the folder of a job."""
    place = jobs if jobs.exists() else jobs.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        raise AccessError(
            f"no job can be written below {place}: you may not write there",
            hint="the owner of the workspace can open the folder to its group: chmod g+w",
            path=str(place),
        )


def _units_of(home: Home, events: EventList) -> dict[str, str]:
    """The units of the attributes of a list's datasets, by all names of each, where the datasets agree."""
    units: dict[str, set[str]] = {}
    for dataset in {snapshot.partition("@")[0] for snapshot in snapshots_of(events.provenance)}:
        for source in home.inputs(dataset) if dataset in home else ():
            for attribute in source.snapshot.schema:
                for name in (attribute.name, attribute.column, *attribute.aliases):
                    units.setdefault(name, set()).add(attribute.unit)
    return {name: unit for name, (unit, *others) in units.items() if unit and not others}


def _refuse_promised(home: Home, output: str) -> None:
    """CatalogError where a dataset has the name, or a job will give it to its output when it is done."""
    from tagsel.jobs import list_jobs

    said = ""
    if output in home.catalog.names() or Table.exists(home.folder / DATA / output):
        said = f"there is a dataset {output} already"
    for job in list_jobs(home.folder / JOBS):
        if job.folder.spec["name"] == output and job.status().state not in ENDED:
            said = said or f"job {job.id} makes the dataset {output}"
    if said:
        raise CatalogError(said, hint="give --output another name", dataset=output)


def _known(home: Home, run: Path, on: str) -> tuple[Rates, Pace | None]:
    """What earlier jobs of the workspace took, those of this script if there are any; and the pace of the engine."""
    from tagsel.jobs import list_jobs
    from tagsel.jobs.forecast import Pace, pace, rates
    from tagsel.jobs.piece import Recipe
    from tagsel.jobs.script import check_script

    costs = []
    for job in list_jobs(home.folder / JOBS):
        try:
            if job.folder.cost.exists():
                costs.append((job, job.cost.to_json()))
        except JobError as error:
            log.warning("%s; the forecast does without it", error.message)
    known = rates([(job.folder.spec["script"], cost) for job, cost in costs], Recipe(check_script(run).text).sha256)
    if on == "local":
        return known, Pace(home.setting("processes") or cores())
    return known, pace(cost for job, cost in costs if job.engine.name == on)


def _refuse_unreachable(choices: Brokered) -> None:
    """JobError where all copies of a file are at sites that cannot be used."""
    if lost := choices.refused:
        first = lost[0]
        sites = "; ".join(f"{site} is {why}" for site, why in first.refused.items())
        raise JobError(
            f"{len(lost)} of {len(choices.choices)} files can be processed nowhere, {first.lfn or first.guid} for one: "
            f"{first.problem} ({sites})",
            hint=first.remedy,
            files=[c.guid for c in lost],
        )
