"""What is done with the events of a list: map, skim, submit, export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tagsel.base.ranges import as_ranges
from tagsel.cli import render
from tagsel.cli.jobs import finish, forecast_notes, unreadable_file
from tagsel.cli.options import LOSSES, OK, dry_run_option, pairs, size
from tagsel.cli.outputs import force_option, output_option
from tagsel.cli.streams import read_list, retracted
from tagsel.cli.verb import Answer, preview, verb
from tagsel.errors import after

if TYPE_CHECKING:
    from tagsel.api import Workspace


@click.command("map", short_help="Say in which files, entries and sites the events are.")
@click.argument("path", metavar="EVENTS")
@click.option(
    "--stage",
    type=click.Choice(["aod", "esd", "raw"]),
    default="aod",
    show_default=True,
    help="Which files of the events: the AOD, ESD or RAW.",
)
@click.option("--refresh", is_flag=True, help="Ask other catalogs first where copies are now.")
@verb(csv=True)
def map_(ws: Workspace, path: str, stage: str, refresh: bool) -> Answer:
    """Say where the EVENTS of a list are: files, entries, sites; and whether reading them is worth it.

    \b
    Example:
      tagsel map dimuon.events
    """
    from tagsel.base.text_table import Table

    events = ws.lists[read_list(path)]
    event_map = events.map(stage, refresh=refresh)
    retracted_files = retracted(events, path)
    sites: set[str] = set()
    rows = []
    for file in event_map.files:
        sites.update(file.sites)
        entries = as_ranges(file.entries.tolist(), ",")
        rows.append((file.guid, file.lfn, len(file.entries), entries, ",".join(file.sites)))
    ages = catalog_ages(ws, sites)
    notes = [event_map.verdict]
    if len(event_map.unmapped):
        notes.append(f"{len(event_map.unmapped):,} events have no {stage.upper()} address")
    site, held = event_map.fullest_site
    if 0 < held < len(event_map.files):
        notes.append(
            f"no site has all {len(event_map.files):,} files; {site} has {held:,}: "
            f"tagsel transfers request {path} {site} brings the others"
        )
    return Answer(
        {**event_map.to_json(), "catalogs": ages, "retracted": retracted_files},
        table=Table(("guid", "lfn", "events", "entries", "sites"), tuple(rows)),
        notes=[*notes, *age_notes({} if refresh else ages)],
        next=f'tagsel skim {path} -o out.root --branches "*"',
        code=LOSSES if len(event_map.unmapped) else OK,
    )


def catalog_ages(ws: Workspace, sites: set[str]) -> dict[str, str]:
    """When the other catalogs whose sites hold copies were asked for them last, by catalog."""
    from tagsel.api import catalogs

    return dict(catalogs.ages(ws.home, sites))


def age_notes(ages: Mapping[str, str]) -> list[str]:
    """How old is what is known of copies."""
    from tagsel.api import catalogs

    return [f"copies are as {name} said {catalogs.age(when)} ago (--refresh asks again)" for name, when in ages.items()]


@click.command(short_help="Write the AOD entries of the events as ROOT or Parquet.")
@click.argument("path", metavar="EVENTS")
@output_option("-o", "--out", required=True, summary="The file to write, which must be new: .root or .parquet.")
@force_option
@click.option(
    "--branches",
    default="*",
    show_default=True,
    metavar="PATTERNS",
    help='Branches to keep, with commas: "Muon_*,MET_*".',
)
@dry_run_option
@verb()
def skim(ws: Workspace, path: str, out: str, force: bool, branches: str, dry_run: bool) -> Answer:
    """Write the selected entries of the AOD, slimmed to the branches asked for, as ROOT or Parquet.

    \b
    Example:
      tagsel skim dimuon.events -o dimuon.root --branches "Muon_*,MET_*"
    """
    events = ws.lists[read_list(path)]
    retracted_files = retracted(events, path)
    report = events.skim(out, _patterns(branches), dry_run=dry_run, force=force)
    notes = [report.verdict, report.read.amount, render.ledger(report.ledger.to_json())]
    for problem in report.read.problems:
        notes.append(unreadable_file(problem.guid, problem.pfn, problem.reason, problem.events))
    written = "would be written" if dry_run else "written"
    return Answer(
        {**report.to_json(), "retracted": retracted_files},
        f"{report.events} events, {len(report.branches)} branches {written} to {out}",
        notes=notes,
        code=LOSSES if report.ledger.unreadable or report.ledger.failed else OK,
    )


def _patterns(text: str) -> list[str]:
    return [p.strip() for p in text.split(",") if p.strip()]


@click.command(short_help="Run a script over the events: split, run, merge, register.")
@click.argument("path", metavar="EVENTS")
@click.option("--run", "script", required=True, metavar="JOB.PY", help="A script that defines process(events).")
@click.option("--events-per-job", type=click.IntRange(min=1), help="Split into pieces of about this many events.")
@click.option(
    "--by",
    type=click.Choice(["events", "file", "site", "lumi", "bytes"]),
    default="events",
    show_default=True,
    help="What a piece may not cut: nothing, a file, a site, a luminosity block; or by the bytes that it touches.",
)
@click.option(
    "--bytes-per-job", metavar="SIZE", callback=size, help="By bytes: pieces that touch about this much, such as 2GB."
)
@click.option("--min-events", type=click.IntRange(min=1), help="Merge smaller remainders into their neighbour.")
@click.option("--output", default="", metavar="NAME", help="Name of the dataset that the output becomes.")
@click.option(
    "--on", default="local", show_default=True, metavar="ENGINE", help="Where pieces run: local, condor, slurm, dask."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A setting of the engine, such as request_memory=2GB; may be repeated.",
)
@click.option("--memory", default="", metavar="AMOUNT", help="Memory that a piece may take, such as 4GB.")
@click.option("--refresh", is_flag=True, help="Ask other catalogs first where copies are now.")
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait for the end; else hand the pieces to a batch engine: tagsel jobs wait goes on.",
)
@dry_run_option
@verb()
def submit(ws: Workspace, path: str, script: str, dry_run: bool, **options: Any) -> Answer:
    """Run JOB.PY over the events of a list: split, run, merge, register the output as a dataset.

    \b
    Example:
      tagsel submit dimuon.events --run job.py --events-per-job 10
      tagsel submit dimuon.events --run job.py --by lumi --dry-run
      tagsel submit dimuon.events --run job.py --by bytes --bytes-per-job 2GB --dry-run
      tagsel submit dimuon.events --run job.py --on condor --set request_memory=2GB

    JOB.PY defines process(events) on an awkward array; it returns a record of numbers, a hist histogram, or events.
    """
    events = ws.lists[read_list(path)]
    more: dict[str, Any] = {"retracted": retracted(events, path)}
    job = events.submit(script, dry_run=dry_run, **options)
    choices = job["brokering"] if dry_run else job.choices
    sites: set[str] = set()
    for choice in choices:
        sites.update((choice["site"], *choice["refused"]))
    more["catalogs"] = ages = catalog_ages(ws, sites)
    notes_on_ages = age_notes({} if options["refresh"] else ages)
    if dry_run:
        return _plan(job, more, notes_on_ages)
    where = "" if job.engine == "local" else f" on {job.engine}"
    status = job.status()
    submitted = f"job {job.id}: {status.events:,} events in {status.pieces:,} pieces{where}"
    preview(Answer(None, notes=[*notes_on_ages, submitted, *forecast_notes(job.forecast)]))
    if options["wait"]:
        with after(f"job {job.id} is submitted", f"tagsel jobs show {job.id}"):
            return finish(job, more)
    return Answer({**job.to_json(), **more}, next=f"tagsel jobs wait {job.id}")


def _plan(plan: dict[str, Any], more: dict[str, Any], notes_on_ages: list[str]) -> Answer:
    """The plan of a job, with the exit code that it would have."""
    from tagsel.base.text_table import Table

    rows = tuple((piece["number"], piece["events"], len(piece["files"]), piece["site"]) for piece in plan["pieces"])
    read = plan["read"]
    notes = [f"{plan['events']:,} events in {len(rows):,} pieces by {plan['by']}; nothing was done"]
    notes += forecast_notes(plan["forecast"])
    moved = [choice for choice in plan["brokering"] if choice["moved"]]
    if moved:
        nbytes = sum(choice["moved"] for choice in moved)
        notes.append(f"{nbytes:,} B of {len(moved):,} files come from another site; {moved[0]['remedy']}")
    notes.append(render.ledger(read["ledger"]))
    for problem in read["problems"]:
        notes.append(unreadable_file(problem["guid"], problem["pfn"], problem["reason"], problem["events"]))
    lost = read["ledger"]["unreadable"] or read["ledger"]["failed"]
    return Answer(
        {**plan, **more},
        table=Table(("piece", "events", "files", "site"), rows),
        notes=[*notes, *notes_on_ages],
        code=LOSSES if lost else OK,
    )


@click.command(short_help="Write the list as another system takes its input.")
@click.argument("path", metavar="EVENTS")
@click.option("--for", "system", required=True, metavar="SYSTEM", help="panda, ganga, crab, edmpick or pool.")
@output_option("-o", "--out", required=True, metavar="OUT", summary="The folder to make; for pool the file to write.")
@force_option
@click.option(
    "--stage",
    type=click.Choice(["aod", "esd", "raw"]),
    default="aod",
    show_default=True,
    help="Which files of the events: the AOD, ESD or RAW.",
)
@click.option("--site", default="", metavar="SITE", help="Name the copies of this site only.")
@click.option("--run", metavar="PROGRAM", help="ganga: a .py or .sh that gets a piece; crab: a pset.py of yours.")
@click.option("--events-per-job", type=click.IntRange(min=1), help="ganga: events in a piece; else a file is one.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="What the system calls so, such as outDS=user.me.pick; may be repeated.",
)
@verb()
def export(ws: Workspace, path: str, **options: Any) -> Answer:
    """Write what another system takes as its input for just the EVENTS of a list; no server is asked.

    \b
    Example:
      tagsel export dimuon.events --for panda -o panda --set outDS=user.me.dimuon
      tagsel export dimuon.events --for ganga -o ganga --run count.py --events-per-job 1000
      tagsel export dimuon.events --for crab -o crab --set inputDataset=/A/B/C --set storageSite=T2_CH_CERN
      tagsel export dimuon.events --for edmpick -o pick --set inputDataset=/A/B/C
      tagsel export dimuon.events --for pool -o PoolFileCatalog.xml
    """
    done = ws.lists[read_list(path)].export(**options)
    files = f": {', '.join(done.files)}" if done.files else ""
    notes = list(done.notes)
    if done.lost:
        notes.append(f"{done.lost:,} events are not in it: they have no file whose place is known")
        notes += [f"no place is known of file {guid}" for guid in done.nameless]
    return Answer(
        done,
        f"{done.events} events for {done.system} in {done.out}{files}",
        notes=notes,
        next=done.command,
        code=LOSSES if done.lost else OK,
    )


COMMANDS = (map_, skim, submit, export)
