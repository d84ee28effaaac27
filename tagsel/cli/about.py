"""Verbs about tagsel itself: queries, config, completion."""

from __future__ import annotations

import click

from tagsel.cli import render
from tagsel.cli.options import SuggestingGroup, common, csv_option, group_flag


@click.command()
@csv_option
@common
@click.pass_context
def queries(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the named cuts (@name wherever a cut is asked for) and named metadata queries.

    \b
    Example:
      tagsel queries
      tagsel count data18.DoubleMuon.TAG @dimuon
    """
    from pathlib import Path

    from tagsel.api.named import named
    from tagsel.base.settings import resolve

    flag = workspace or group_flag(context)
    found = named(Path(str(resolve("workspace", flag, None).value))).values()
    if as_json:
        render.document({"queries": [vars(q) if hasattr(q, "__dict__") else q for q in found]})
    else:
        rows = [(q.name, q.kind, q.text, q.description) for q in found]
        render.table(("name", "kind", "text", "description"), rows, as_csv=as_csv)


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Settings: flag over environment (TAGSEL_NAME) over tagsel.toml in the workspace over default.

    \b
    Example:
      tagsel config show
    """


@config.command("show")
@csv_option
@common
@click.pass_context
def config_show(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """Every setting with its value and where it came from.

    \b
    Example:
      tagsel config show
    """
    from pathlib import Path

    from tagsel.base.settings import all_settings, resolve

    flag = workspace or group_flag(context)
    folder = Path(str(resolve("workspace", flag, None).value))
    rows = [(r.name, r.value, r.origin, r.help) for r in all_settings({"workspace": flag}, folder)]
    if as_json:
        render.document({"settings": [dict(zip(("name", "value", "origin", "help"), r, strict=True)) for r in rows]})
    else:
        render.table(("name", "value", "origin", "help"), rows, as_csv=as_csv)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def completion(shell: str, as_json: bool) -> None:
    """Print the completion script of a shell: datasets, attributes, verbs and options.

    \b
    Example:
      tagsel completion bash > ~/.local/share/bash-completion/completions/tagsel
    """
    from tagsel.base.settings import completion as script

    text = script(shell)
    if as_json:
        render.document({"shell": shell, "script": text})
    else:
        print(text)


COMMANDS = (queries, config, completion)
