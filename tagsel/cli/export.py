"""The verb for other systems: export."""

from __future__ import annotations

from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.options import LOSSES, OK, common, pairs, workspace_of
from tagsel.cli.outputs import force_option, output_option
from tagsel.cli.streams import read_list


@click.command()
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
@common
@click.pass_context
def export(context: click.Context, /, path: str, workspace: str | None, as_json: bool, **options: Any) -> int:
    """Write what another system takes as its input for just the EVENTS of a list; no server is asked.

    \b
    Example:
      tagsel export dimuon.events --for panda -o panda --set outDS=user.me.dimuon
      tagsel export dimuon.events --for ganga -o ganga --run count.py --events-per-job 1000
      tagsel export dimuon.events --for crab -o crab --set inputDataset=/A/B/C --set storageSite=T2_CH_CERN
      tagsel export dimuon.events --for edmpick -o pick --set inputDataset=/A/B/C
      tagsel export dimuon.events --for pool -o PoolFileCatalog.xml
    """
    done = workspace_of(context, workspace).export(read_list(path), **options)
    if as_json:
        render.document(done.to_json())
        return LOSSES if done.lost else OK
    named = ", ".join(done.files)
    print(f"{done.events} events for {done.system} in {done.out}{f': {named}' if named else ''}")
    for text in done.notes:
        render.note(text)
    if done.lost:
        render.note(f"{done.lost:,} events are not in it: they have no file whose place is known")
        for guid in done.nameless:
            render.note(f"no place is known of file {guid}")
    if done.command:
        render.suggest(done.command)
    return LOSSES if done.lost else OK


COMMANDS = (export,)
