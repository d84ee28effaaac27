"""Verbs for datasets that are not wanted any more: keep and drop, and those of the trash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tagsel.cli import render
from tagsel.cli.data import datasets
from tagsel.cli.options import DefaultGroup, common, csv_option, dataset_argument, dry_run_option, workspace_of

if TYPE_CHECKING:
    from tagsel.api.trash_folder import Dropped


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

    Nothing is lost: `trash recover` puts one back, and only `trash empty` removes files. A dataset that is pinned,
    frozen, or held by a container is not dropped; AOD, ESD and RAW files are never touched.
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
        render.suggest(f"tagsel {'datasets drop' if dry_run else 'trash recover'} {gone[0].name}")


@click.group("trash", cls=DefaultGroup)
def trash() -> None:
    """Datasets that were dropped and not yet removed.

    \b
    Example:
      tagsel trash
    """


@trash.command("list")
@csv_option
@common
@click.pass_context
def trash_list(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the datasets that were dropped, the last first.

    \b
    Example:
      tagsel trash list
    """
    _show(workspace_of(context, workspace).trash.list(), "", False, as_csv, as_json)


@trash.command("recover")
@click.argument("dataset")
@common
@click.pass_context
def trash_recover(context: click.Context, /, dataset: str, workspace: str | None, as_json: bool) -> None:
    """Put a dropped DATASET back as it was: what was dropped last, or NAME@TIME as `trash list` names it.

    \b
    Example:
      tagsel trash recover user.Zmumu.EVENTS
    """
    back = workspace_of(context, workspace).trash.recover(dataset)
    render.document(back.to_json()) if as_json else print(f"{back.name} is back, {back.events:,} events")


@trash.command("empty")
@click.option(
    "--older-than",
    type=click.IntRange(min=0),
    default=0,
    metavar="DAYS",
    help="Only what was dropped at least so many days ago.",
)
@dry_run_option
@csv_option
@common
@click.pass_context
def trash_empty(
    context: click.Context, /, older_than: int, dry_run: bool, as_csv: bool, workspace: str | None, as_json: bool
) -> None:
    """Remove the dropped datasets for good.

    \b
    Example:
      tagsel trash empty --older-than 30 --dry-run
    """
    removed = workspace_of(context, workspace).trash.empty(older_than=older_than, dry_run=dry_run)
    _show(removed, "removed", dry_run, as_csv, as_json)


def _show(dropped: Sequence[Dropped], done: str, dry_run: bool, as_csv: bool, as_json: bool) -> None:
    """Datasets of the trash; `done` is what became of them."""
    if as_json:
        render.document({"datasets": [one.to_json() for one in dropped], "done": "" if dry_run else done})
        return
    columns = ("dataset", "events", "bytes", "dropped", "who")
    render.table(columns, [(one.name, one.events, one.bytes, one.dropped, one.who) for one in dropped], as_csv=as_csv)
    size = sum(one.bytes for one in dropped)
    verb = f" would be {done}; nothing was done" if dry_run else f" {done}" * bool(done)
    render.note(f"{len(dropped):,} datasets, {size:,} B{verb}")


COMMANDS: tuple[click.Command, ...] = (trash,)
