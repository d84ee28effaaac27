"""The verb that takes a file out of datasets: retract."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tagsel.cli import render
from tagsel.cli.options import LOSSES, OK, common, csv_option, dry_run_option, interactive, workspace_of, yes_option
from tagsel.errors import TagselError


@click.command()
@click.argument("file")
@click.option("--dataset", default="", metavar="NAME", help="Of this dataset only (default: of every one that has it).")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept, and shown to users with events of it.")
@dry_run_option
@yes_option
@csv_option
@common
@click.pass_context
def retract(
    context: click.Context,
    /,
    file: str,
    dataset: str,
    reason: str,
    dry_run: bool,
    yes: bool,
    as_csv: bool,
    workspace: str | None,
    as_json: bool,
) -> int:
    """Take the rows of FILE out of its datasets; lists what would go first, and asks.

    \b
    Example:
      tagsel retract nano_dimuon.root --reason "wrong beam spot" --dry-run

    FILE is an ingested file or an AOD that rows point to: its path, logical name or GUID. Old snapshots stay readable,
    tagsel datasets restore undoes it, and lists with events of the file warn from then on. Datasets that are closed or
    frozen keep their rows: they are named, and the exit code is 3.
    """
    home = workspace_of(context, workspace)
    found = home.retract(file, dataset=dataset, reason=reason, dry_run=True)
    if not as_json:
        rows = [(x.dataset, x.rows, x.of, ",".join(x.files), _partly(x.partly)) for x in found.losses]
        render.table(("dataset", "rows", "of", "files", "partly"), rows, as_csv=as_csv)
    if not dry_run:
        if not yes and not interactive():
            raise TagselError(f"{found.rows:,} rows would be retracted with {found.name}", hint="--yes retracts them")
        if not yes:
            click.confirm(f"retract {found.rows:,} rows with {found.name}?", abort=True, err=True)
        found = home.retract(file, dataset=dataset, reason=reason)
    if as_json:
        render.document({**found.to_json(), "done": not dry_run})
        return LOSSES if found.kept else OK
    render.note(f"{found.rows:,} rows {'would be retracted' if dry_run else 'retracted'} with {found.name}")
    for loss in () if dry_run else found.losses:
        render.note(f"{loss.dataset}@{loss.snapshot}: {loss.of - loss.rows:,} rows are left")
    for kept in found.kept:
        render.note(f"{kept.dataset} is {kept.state}: it keeps its {kept.rows:,} rows of {found.name}")
    if not dry_run:
        render.suggest("tagsel events rebase LIST --onto DATASET -o NEW.events")
    return LOSSES if found.kept else OK


def _partly(lost: Mapping[str, int]) -> str:
    """Files that stay without some of their rows."""
    return ",".join(f"{name} ({rows:,} rows)" for name, rows in lost.items())


COMMANDS = (retract,)
