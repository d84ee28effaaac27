"""The `tagsel` command: its verbs, and the one place where errors become exit codes.

Exit codes: 0 done (0 accepted events too), 1 our own fault, 2 a user's error, 3 finished with losses that the
ledger names, 130 after Ctrl-C. Invariant: importing this loads click and nothing heavier.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

import click

from tagsel import __version__
from tagsel.base.memory_limit import exhausted, is_refusal
from tagsel.cli import (
    catalogs,
    datasets,
    delivery,
    ingestion,
    jobs,
    lists,
    process,
    questions,
    regions,
    sites,
    transfers,
    trash,
    workspace,
)
from tagsel.cli.options import FAULT, INTERRUPTED, OK, USER, SuggestingGroup
from tagsel.errors import TagselError

COMPLETING = "_TAGSEL_COMPLETE"
"""The variable by which a shell asks for completions."""


SECTIONS = {
    "Begin": ("init", "ingest", "schema"),
    "Ask a dataset": (
        "count",
        "select",
        "cutflow",
        "hist",
        "regions",
        "sweep",
        "estimate",
        "overlap",
        "triggers",
        "why",
        "pick",
    ),
    "Go on with an event list": ("map", "skim", "submit", "export"),
    "Groups of commands": (
        "datasets",
        "lists",
        "lumi",
        "jobs",
        "sites",
        "transfers",
        "subscriptions",
        "catalogs",
        "trash",
        "queries",
        "workspace",
        "completion",
    ),
}
"""The commands as `tagsel --help` shows them, under headings."""


class FrontPage(SuggestingGroup):
    """The group of all commands; its help shows them under headings, each with its summary on one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, section by section."""
        width = max(map(len, self.commands))
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit=200)) for name in names]
                formatter.write_dl(rows)


@click.group(
    cls=FrontPage,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Nothing needs configuring. -w/--workspace or TAGSEL_WORKSPACE names a workspace other than this folder.",
)
@click.version_option(__version__, prog_name="tagsel")
@click.option("-w", "--workspace", metavar="W", help="The workspace's folder (default: TAGSEL_WORKSPACE, else here).")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, /, workspace: str | None, debug: bool) -> None:
    """Select the events that matter, say where they live, and get just those processed.

    \b
    Example:
      tagsel init W && cd W
      tagsel ingest nano_dimuon.root --dataset data18.DoubleMuon.TAG
      tagsel select data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2" -o dimuon.events
      tagsel skim dimuon.events -o dimuon.root --branches "Muon_*,MET_*"
    """
    context.obj = {"workspace": workspace, "debug": debug}


GROUPS = (
    ingestion,
    questions,
    regions,
    delivery,
    datasets,
    lists,
    jobs,
    sites,
    transfers,
    catalogs,
    trash,
    workspace,
)
for module in GROUPS:
    for command in module.COMMANDS:
        cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    as_json = "--json" in arguments
    debug = "--debug" in arguments
    try:
        code = cli.main(list(arguments), prog_name="tagsel", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        how = "terminated" if process.terminated else "interrupted"
        cause = stop.__cause__ or stop  # click wraps Ctrl-C
        notes = getattr(cause, "__notes__", [])
        return _say(": ".join([how, *notes]), INTERRUPTED, as_json)
    except SystemExit:  # click leaves so after completing a word, and where the reader of a pipe went away
        if COMPLETING in os.environ:
            raise
        return _quiet_pipe()
    except BrokenPipeError:
        return _quiet_pipe()
    except click.exceptions.NoArgsIsHelpError as bare:  # a group without a verb
        click.echo(bare.format_message())
        return OK
    except click.ClickException as error:
        return _say(_usage(error), USER, as_json)
    except TagselError as error:
        if debug:
            raise
        fields = {k: v for k, v in error.fields.items() if isinstance(v, str | int | float | bool | list | dict)}
        return _say(str(error), USER, as_json, {**fields, "kind": type(error).__name__, "hint": error.hint})
    except RecursionError:
        return _say("the input is nested too deeply", USER, as_json)
    except PermissionError as error:
        if debug or error.filename is None:
            raise
        hint = "ask its owner, or look at the permissions of its folders"
        message = f"{error.filename}: {error.strerror}"
        return _say(f"{message}\n  try: {hint}", USER, as_json, {"kind": "AccessError", "hint": hint})
    except Exception as error:
        if is_refusal(error) and not debug:
            refused = exhausted(error)
            return _say(str(refused), USER, as_json, {"kind": type(refused).__name__, "hint": refused.hint})
        reason = process.output_error() if isinstance(error, OSError) else ""
        if reason:
            return _say(reason, USER, as_json=False)
        if debug:
            raise
        said = f"{type(error).__name__}: {error}"
        return _say(f"tagsel failed: {said}\n  try: --debug shows where; this is our fault", FAULT, as_json)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tagsel"
    return f"{error.format_message()}\n  try: {path} --help"


def _say(message: str, code: int, as_json: bool, fields: Mapping[str, object] | None = None) -> int:
    """One message: on standard error, or as `{"error": …}` on standard output with `--json`."""
    try:
        if as_json:
            document = {"error": {**(fields or {}), "message": message, "exit_code": code}}
            print(json.dumps(document, default=str), flush=True)
        else:
            print(f"tagsel: {message}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        return _quiet_pipe()
    except OSError:
        reason = process.output_error()
        if as_json and reason:
            _say(f"{message}\n{reason}", code, as_json=False)
        else:  # standard error takes nothing: only the exit code is left to say it
            process.silence(2)
        return USER if code == FAULT else code
    return code


def _quiet_pipe() -> int:
    """The reader went away: no complaint, and none from the interpreter at its end either."""
    process.silence(sys.stdout.fileno())
    return OK
