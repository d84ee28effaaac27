"""The groups `workspace` and `queries`, and `completion`: what keeps a workspace itself in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tagsel.cli.options import LOSSES, OK, DefaultGroup, SuggestingGroup, dry_run_option, group_flag, yes_option
from tagsel.cli.verb import Answer, confirm, preview, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace
    from tagsel.api.queries import Queries


@click.group(cls=SuggestingGroup, short_help="A workspace itself: its catalog, settings and caches.")
def workspace() -> None:
    """Look after a workspace itself: its catalog, settings and caches.

    \b
    Example:
      tagsel workspace config
      tagsel workspace recover --dry-run
    """


@workspace.command("caches")
@click.option(
    "--clear", "clear", is_flag=False, flag_value="all", default="", metavar="[NAME]", help="Clear NAME, or all caches."
)
@verb(csv=True)
def caches(ws: Workspace, clear: str) -> Answer:
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
    from tagsel.base.text_table import Table

    usage = ws.caches(clear)
    on_disk = tuple(row for row in usage.rows if row[1] != MEMORY)  # the memory of this command ends with it
    table = Table(usage.columns, on_disk)
    cleared = " cleared" if clear else ""
    size = sum(row[3] for row in on_disk)
    noun = "cache" if len(on_disk) == 1 else "caches"
    note = f"{len(on_disk)} {noun}, {size:,} B{cleared}"
    return Answer({"caches": table, "cleared": bool(clear)}, table=table, notes=[note])


@workspace.command("conditions")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@verb()
def conditions(ws: Workspace, file: Path) -> Answer:
    """Take over conditions of runs from a CSV FILE with a column `run`: the table `conditions` of datasets --sql.

    \b
    Example:
      tagsel workspace conditions magnet.csv
      tagsel datasets --sql "select magnet, sum(events) from runs join conditions using (run) group by magnet"
    """
    runs = ws.conditions(file)
    return Answer({"runs": runs}, f"conditions of {runs:,} runs")


def _folder(context: click.Context, flag: str | None) -> Path:
    """The folder that a flag, the environment or the current folder names: a workspace or not."""
    from tagsel.base.settings import resolve

    return Path(str(resolve("workspace", flag or group_flag(context), None).value))


@workspace.command("config")
@verb(csv=True, opens=_folder)
def config(folder: Path) -> Answer:
    """List every setting with its value and where it came from, in a workspace or outside.

    \b
    Example:
      tagsel workspace config

    A flag wins over the environment (TAGSEL_NAME), that over tagsel.toml in the workspace, that over the default.
    """
    from tagsel.base.settings import all_settings
    from tagsel.base.text_table import Table

    context = click.get_current_context()
    flag = context.params["workspace"] or group_flag(context)
    values = all_settings({"workspace": flag}, folder)
    table = Table(
        ("name", "value", "origin", "help"), tuple((one.name, one.value, one.origin, one.help) for one in values)
    )
    return Answer({"settings": table}, table=table)


@workspace.command("rebuild")
@verb()
def rebuild(ws: Workspace) -> Answer:
    """Make the catalog's database anew from its journal.

    \b
    Example:
      tagsel workspace rebuild
    """
    replayed = ws.rebuild()
    return Answer({"replayed": replayed}, f"the catalog is rebuilt from {replayed:,} changes of its journal")


@workspace.command("recover")
@dry_run_option
@yes_option
@verb()
def recover(ws: Workspace, dry_run: bool, yes: bool) -> Answer:
    """Recover a damaged catalog: says what can be had from where, asks, and does it; losses are exit code 3.

    \b
    Example:
      tagsel workspace recover --dry-run
    """
    plan = ws.recover(dry_run=True)
    lines: list[str] = []
    if dry_run or not yes or not plan.needed:
        lines = plan.lines()
        preview(Answer(None, "\n".join(lines)))
    done = plan
    text = ""
    if plan.needed and not dry_run:
        confirm("recover this?", yes=yes, refusal="the catalog would be recovered", hint="--yes does it")
        done = ws.recover()
        text = "\n".join(line for line in done.lines() if line not in lines)
    elif not plan.needed:
        text = "nothing to recover: the journal is whole, and the catalog knows what is on disk"
    return Answer(
        {"needed": plan.needed, "dry_run": dry_run, **done.to_json()},
        text,
        code=LOSSES if done.lost or done.journal.losses else OK,
    )


def _queries(context: click.Context, flag: str | None) -> Queries:
    """The named queries of a folder, a workspace or not."""
    from tagsel.api.queries import Queries

    return Queries(_folder(context, flag))


@click.group(cls=DefaultGroup, short_help="Named cuts and named metadata queries.")
def queries() -> None:
    """Named cuts (@name wherever a cut is asked for) and named metadata queries.

    \b
    Example:
      tagsel queries
      tagsel count data18.DoubleMuon.TAG @dimuon
    """


@queries.command("list")
@verb(csv=True, opens=_queries)
def queries_list(queries: Queries) -> Answer:
    """List the named cuts and metadata queries, those of the workspace first.

    \b
    Example:
      tagsel queries
    """
    from tagsel.base.text_table import Table

    rows = tuple((one.name, one.kind, one.text, one.description) for one in queries)
    table = Table(("name", "kind", "text", "description"), rows)
    return Answer({"queries": [vars(one) for one in queries]}, table=table)


@queries.command("show")
@click.argument("name")
@verb(opens=_queries)
def queries_show(queries: Queries, name: str) -> Answer:
    """Show the named cut or metadata query NAME: its text, what it is for, and its file.

    \b
    Example:
      tagsel queries show dimuon
    """
    facts = vars(queries.show(name))
    return Answer(facts, facts=facts)


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def completion(shell: str, as_json: bool) -> None:
    """Print the completion script of a shell: datasets, attributes, verbs and options.

    \b
    Example:
      tagsel completion bash > ~/.local/share/bash-completion/completions/tagsel
    """
    from tagsel.base.settings import completion as script
    from tagsel.cli.verb import show

    text = script(shell)
    show(Answer({"shell": shell, "script": text}, text), as_json=as_json)


COMMANDS: tuple[click.Command, ...] = (queries, workspace, completion)
