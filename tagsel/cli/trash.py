"""The group `trash`: datasets that were dropped and not yet removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tagsel.cli.options import DefaultGroup, dry_run_option
from tagsel.cli.verb import Answer, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace
    from tagsel.api.trash_folder import Dropped


@click.group("trash", cls=DefaultGroup, short_help="Datasets that were dropped and not yet removed.")
def trash() -> None:
    """Datasets that were dropped and not yet removed.

    \b
    Example:
      tagsel trash
    """


@trash.command("list")
@verb(csv=True)
def trash_list(ws: Workspace) -> Answer:
    """List the datasets that were dropped, the last first.

    \b
    Example:
      tagsel trash list
    """
    return dropped_datasets(ws.trash.list(), "")


@trash.command("recover")
@click.argument("dataset")
@verb()
def recover(ws: Workspace, dataset: str) -> Answer:
    """Put a dropped DATASET back as it was: what was dropped last, or NAME@TIME as `trash list` names it.

    \b
    Example:
      tagsel trash recover user.Zmumu.EVENTS
    """
    back = ws.trash.recover(dataset)
    return Answer(back, f"{back.name} is back, {back.events:,} events")


@trash.command("empty")
@click.option(
    "--older-than",
    type=click.IntRange(min=0),
    default=0,
    metavar="DAYS",
    help="Only what was dropped at least so many days ago.",
)
@dry_run_option
@verb(csv=True)
def empty(ws: Workspace, older_than: int, dry_run: bool) -> Answer:
    """Remove the dropped datasets for good.

    \b
    Example:
      tagsel trash empty --older-than 30 --dry-run
    """
    removed = ws.trash.empty(older_than=older_than, dry_run=dry_run)
    return dropped_datasets(removed, "removed", dry_run=dry_run)


def dropped_datasets(
    dropped: Sequence[Dropped], done: str, *, dry_run: bool = False, notes: Sequence[str] = (), next_command: str = ""
) -> Answer:
    """Dropped datasets as an answer; `done` is what became of them."""
    from tagsel.base.text_table import Table

    rows = tuple((one.name, one.events, one.bytes, one.dropped, one.who) for one in dropped)
    table = Table(("dataset", "events", "bytes", "dropped", "who"), rows)
    size = sum(one.bytes for one in dropped)
    total = f"{len(dropped):,} datasets, {size:,} B"
    if dry_run:
        total += f" would be {done}; nothing was done"
    elif done:
        total += f" {done}"
    document = {"datasets": [one.to_json() for one in dropped], "done": "" if dry_run else done}
    return Answer(document, table=table, notes=[total, *notes], next=next_command)


COMMANDS: tuple[click.Command, ...] = (trash,)
