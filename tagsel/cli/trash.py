"""Verbs for datasets that are not wanted any more: keep, drop, trash, recover."""

from __future__ import annotations

from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.data import datasets
from tagsel.cli.options import common, csv_option, dataset_argument, dry_run_option, workspace_of


@datasets.command("keep")
@dataset_argument
@click.option("--until", metavar="DAY", help="The last day on which it is wanted, as 2027-12-31 (UTC).")
@click.option("--forever", is_flag=True, help="Without an end, as a new dataset is.")
@common
@click.pass_context
def datasets_keep(
    context: click.Context, /, dataset: str, until: str | None, forever: bool, workspace: str | None, as_json: bool
) -> None:
    """Say until when DATASET is wanted; `datasets drop --expired` drops it afterwards, and nothing else does.

    \b
    Example:
      tagsel datasets keep user.Zmumu.EVENTS --until 2027-12-31
    """
    if (until is None) is not forever:
        raise click.UsageError("give --until DAY or --forever", context)
    day = workspace_of(context, workspace).keep(dataset, until)
    if as_json:
        render.document({"dataset": dataset, "until": day or None})
    else:
        print(f"{dataset} is kept {f'until {day}' if day else 'for ever'}")


@datasets.command("drop")
@click.argument("names", metavar="[DATASET]...", nargs=-1)
@click.option("--expired", is_flag=True, help="All whose last day is over.")
@dry_run_option
@csv_option
@common
@click.pass_context
def datasets_drop(
    context: click.Context,
    /,
    names: tuple[str, ...],
    expired: bool,
    dry_run: bool,
    as_csv: bool,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Move DATASETs into the trash of the workspace: all of them, or none where one may not be dropped.

    \b
    Example:
      tagsel datasets drop user.Zmumu.EVENTS --dry-run
      tagsel datasets drop --expired

    Nothing is lost: `datasets recover` puts one back, and only `datasets trash --empty` removes files. A dataset that
    is pinned, frozen, or held by a container is not dropped; AOD, ESD and RAW files are never touched.
    """
    home = workspace_of(context, workspace)
    if bool(names) is expired:
        raise click.UsageError("name datasets, or give --expired", context)
    kept = home.expired() if expired else dict.fromkeys(names, "")
    gone = home.drop(*(name for name, why in kept.items() if not why), dry_run=dry_run)
    _show(gone, "dropped", dry_run, as_csv, as_json)
    for why in filter(None, kept.values()):
        render.note(f"stays: {why}")
    for one in () if as_json else gone:
        if one.from_it:
            render.note(f"{one.name}: {len(one.from_it)} datasets were made from it and stay ({one.from_it[0]}, …)")
    if gone and not as_json:
        render.suggest(f"tagsel datasets {'drop' if dry_run else 'recover'} {gone[0].name}")


@datasets.command("trash")
@click.option("--empty", is_flag=True, help="Remove for good what is in it.")
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=0),
    default=0,
    metavar="DAYS",
    help="Only what was dropped at least so many days ago.",
)
@dry_run_option
@csv_option
@common
@click.pass_context
def datasets_trash(
    context: click.Context, /, empty: bool, days: int, dry_run: bool, as_csv: bool, workspace: str | None, as_json: bool
) -> None:
    """List the datasets that were dropped; with --empty, remove them for good.

    \b
    Example:
      tagsel datasets trash
      tagsel datasets trash --empty --older-than 30 --dry-run
    """
    home = workspace_of(context, workspace)
    if (days or dry_run) and not empty:
        raise click.UsageError("--older-than and --dry-run go with --empty", context)
    found = home.empty_trash(days, dry_run=dry_run) if empty else home.trash()
    _show(found, "removed" if empty else "", dry_run, as_csv, as_json)


@datasets.command("recover")
@click.argument("dataset")
@common
@click.pass_context
def datasets_recover(context: click.Context, /, dataset: str, workspace: str | None, as_json: bool) -> None:
    """Put a dropped DATASET back as it was: what was dropped last, or NAME@TIME as `datasets trash` names it.

    \b
    Example:
      tagsel datasets recover user.Zmumu.EVENTS
    """
    back = workspace_of(context, workspace).recover(dataset)
    render.document(back.to_json()) if as_json else print(f"{back.name} is back, {back.events:,} events")


def _show(found: list[Any], done: str, dry_run: bool, as_csv: bool, as_json: bool) -> None:
    """Datasets of the trash; `done` is what became of them."""
    if as_json:
        render.document({"datasets": [d.to_json() for d in found], "done": "" if dry_run else done})
        return
    columns = ("dataset", "events", "bytes", "dropped", "who")
    render.table(columns, [(d.name, d.events, d.bytes, d.dropped, d.who) for d in found], as_csv=as_csv)
    size = sum(d.bytes for d in found)
    verb = f" would be {done}; nothing was done" if dry_run else f" {done}" * bool(done)
    render.note(f"{len(found):,} datasets, {size:,} B{verb}")


COMMANDS: tuple[click.Command, ...] = ()
