"""Verbs that say why a job went as it did, and mend it: `jobs diagnose`, `jobs resplit`, `explain`."""

from __future__ import annotations

import click

from tagsel.cli import render
from tagsel.cli.deliver import finish, jobs, not_run, requested
from tagsel.cli.options import OK, common, csv_option, workspace_of


@jobs.command("diagnose")
@click.argument("job")
@csv_option
@common
@click.pass_context
def jobs_diagnose(context: click.Context, /, job: str, as_csv: bool, workspace: str | None, as_json: bool) -> int:
    """Group the failures of a job by cause: how many, of which class, who must act, and what comes next.

    \b
    Example:
      tagsel jobs diagnose 1
    """
    home = workspace_of(context, workspace)
    groups = home.jobs("diagnose", job)
    left = not_run(home.jobs("show", job).status().to_json())
    if as_json:
        render.document({"job": job, "causes": [g.to_json() for g in groups], "not_run": left})
        return OK
    columns = ("class", "cause", "pieces", "events", "example", "owner", "action", "signature")
    render.table(columns, [tuple(g.to_json()[name] for name in columns) for g in groups], as_csv=as_csv)
    if left:
        render.note(f"job {job}: {left}")
    elif not groups:
        render.note(f"job {job}: nothing failed")
    if groups and not as_csv:
        render.suggest(f"tagsel jobs peek {job} {groups[0].example} --err")
    return OK


@jobs.command("resplit")
@click.argument("job")
@click.argument("pieces", type=click.IntRange(min=0), nargs=-1, metavar="PIECE...")
@click.option("--into", type=click.IntRange(min=2), help="So many pieces of about equal length.")
@click.option("--events-per-job", type=click.IntRange(min=1), help="Pieces of at most this many events.")
@common
@click.pass_context
def jobs_resplit(
    context: click.Context,
    /,
    job: str,
    pieces: tuple[int, ...],
    into: int | None,
    events_per_job: int | None,
    workspace: str | None,
    as_json: bool,
) -> int:
    """Split pieces of a job that failed anew, inside the job, and run the new ones; nothing else runs again.

    \b
    Example:
      tagsel jobs resplit 1 2 --into 4
      tagsel jobs resplit 1 2 3 --events-per-job 100
    """
    if (into is None) == (events_per_job is None):
        raise click.UsageError("one of --into and --events-per-job was expected", context)
    home = workspace_of(context, workspace)
    chosen = home.jobs("resplit", job, pieces=pieces, into=into, events_per_job=events_per_job)
    return OK if requested(chosen, as_json) else finish(chosen, as_json)


@click.command()
@click.argument("job")
@csv_option
@common
@click.pass_context
def explain(context: click.Context, /, job: str, as_csv: bool, workspace: str | None, as_json: bool) -> int:
    """Say where the files of JOB are processed, from which copies, why not elsewhere, and what would help.

    \b
    Example:
      tagsel explain 1
    """
    home = workspace_of(context, workspace)
    if as_json:
        render.document({"job": job, "files": home.jobs("show", job).choices})
        return OK
    found = home.explain(job)
    render.table(found.columns, found.rows, as_csv=as_csv)
    return OK


COMMANDS = (jobs, explain)  # the group of all verbs on jobs, now whole
