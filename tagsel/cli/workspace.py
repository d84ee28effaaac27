"""The group `workspace`: what keeps a workspace itself in order."""

from __future__ import annotations

import click

from tagsel.cli import render
from tagsel.cli.options import SuggestingGroup, common, csv_option, workspace_of


@click.group("workspace", cls=SuggestingGroup)
def group() -> None:
    """Look after a workspace itself.

    \b
    Example:
      tagsel workspace caches
    """


@group.command("caches")
@click.option(
    "--clear", "clear", is_flag=False, flag_value="all", default="", metavar="[NAME]", help="Clear NAME, or all caches."
)
@csv_option
@common
@click.pass_context
def workspace_caches(context: click.Context, /, clear: str, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the caches on disk, or clear them.

    \b
    Example:
      tagsel workspace caches
      tagsel workspace caches --clear masks

    A row a cache: name, place, entries, bytes. No answer changes when one is cleared: tagsel makes again what it needs,
    and the next questions take longer. `zones`, `stacks` and `event-index` lie in the workspace's datasets; `masks` and
    `kernels` are yours, in $TAGSEL_CACHE or your folder for caches, and serve all workspaces.
    """
    from tagsel.base.cache import MEMORY

    usage = workspace_of(context, workspace).caches(clear)
    on_disk = [row for row in usage.rows if row[1] != MEMORY]  # the memory of this command ends with it
    if as_json:
        rows = [dict(zip(usage.columns, row, strict=True)) for row in on_disk]
        render.document({"caches": rows, "cleared": bool(clear)})
        return
    render.table(usage.columns, on_disk, as_csv=as_csv)
    done = " cleared" if clear else ""
    size = sum(row[3] for row in on_disk)
    render.note(f"{len(on_disk)} {'cache' if len(on_disk) == 1 else 'caches'}, {size:,} B{done}")


COMMANDS: tuple[click.Command, ...] = (group,)
