"""What commands share: options, dataset completion, suggestions for what nearly exists, and opening the workspace."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tagsel.errors import did_you_mean

if TYPE_CHECKING:
    from tagsel.api import Dataset, Workspace

F = TypeVar("F", bound=Callable[..., Any])

OK, FAULT, USER, LOSSES, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: done, our own fault, a user's error, finished with losses that the ledger names, after Ctrl-C."""


OTHER_WORDS = {
    ("datasets", "list"): "tagsel datasets find",
    ("datasets", "delete"): "tagsel datasets drop NAME",
    ("datasets", "remove"): "tagsel datasets drop NAME",
}
"""What people call a verb, by its group and their word, and the command that does it."""


class SuggestingGroup(click.Group):
    """A group that answers an unknown verb with the nearest that exist; verbs keep the order they were added in."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of the work."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which ones are near."""
        name = args[0] if args else ""
        if not name.startswith("-") and name not in self.commands:
            command_line = OTHER_WORDS.get((self.name or "", name))
            if command_line:
                raise click.UsageError(f"no verb {name!r}: {command_line} does that", ctx)
            hint = self._in_groups(name, ctx) or did_you_mean(name, self.commands)
            raise click.UsageError(f"no verb {name!r}: {hint or 'verbs: ' + ', '.join(self.commands)}", ctx)
        found, command, rest = super().resolve_command(ctx, args)
        return found, command, rest if command is None else positive(command, rest)

    def _in_groups(self, name: str, ctx: click.Context) -> str:
        """The commands of this group's groups that have the name; "" where there are none."""
        paths = []
        for group_name, group in self.commands.items():
            if isinstance(group, click.Group) and name in group.commands:
                paths.append(f"{ctx.command_path} {group_name} {name}")
        return f"there is {', '.join(paths)}" if paths else ""


_EXPRESSION = re.compile(r"-(?:[\d.(].*|[A-Za-z_].*[<>=!&|*/+(\s-].*)", re.DOTALL)


def positive(command: click.Command, args: list[str]) -> list[str]:
    """The arguments, where one such as `-MET_pt < -30` begins with a blank: click would take it for options."""
    takes_cuts = any(p.name in EXPRESSIONS for p in command.params if isinstance(p, click.Argument))
    if not takes_cuts:
        return args
    end = args.index("--") if "--" in args else len(args)
    return [f" {a}" if _EXPRESSION.fullmatch(a) else a for a in args[:end]] + args[end:]


EXPRESSIONS = frozenset({"cut", "cuts", "values", "what"})
"""Arguments of verbs that may begin with a minus."""


class DefaultGroup(SuggestingGroup):
    """A group whose first verb is meant when none is named: `datasets "year = 2018"` is `datasets find "…"`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default verb in front where none stands."""
        if args and (self.name, args[0]) in OTHER_WORDS:
            return super().parse_args(ctx, args)
        asks_help = args and args[0] in ("-h", "--help")
        default = next(iter(self.commands))
        takes_words = any(isinstance(p, click.Argument) for p in self.commands[default].params)
        if (
            not asks_help
            and (not args or args[0] not in self.commands)
            and (takes_words or not args or args[0].startswith("-"))
        ):
            args = [default, *args]
        return super().parse_args(ctx, args)


def workspace_of(context: click.Context, /, flag: str | None = None) -> Workspace:
    """The workspace that a flag, the environment or the current folder names."""
    from tagsel.api import Workspace
    from tagsel.base.settings import resolve

    return Workspace(str(resolve("workspace", flag or group_flag(context), None).value))


def workspace_here(context: click.Context, /, flag: str | None = None) -> Workspace | None:
    """The same for verbs that need none: None where nobody named one, and this folder is none."""
    from tagsel.errors import CatalogError

    try:
        return workspace_of(context, flag)
    except CatalogError:
        if flag or group_flag(context) or "TAGSEL_WORKSPACE" in os.environ:
            raise
        return None


def dataset_of(context: click.Context, /, flag: str | None, dataset: str) -> Dataset:
    """The dataset, or several, of a name; a ROOT or Parquet file is a dataset of its own."""
    from tagsel.api.inputs import is_file_name

    if is_file_name(dataset):
        from tagsel.api.bare_file import bare_file

        _, file = bare_file(Path(dataset))
        return file
    return workspace_of(context, flag)[dataset]


def wants_json() -> bool:
    """Whether the command that runs has `--json`."""
    return bool(click.get_current_context().params.get("as_json"))


def wants_csv() -> bool:
    """Whether the command that runs has `--csv`."""
    return bool(click.get_current_context().params.get("as_csv"))


def group_flag(context: click.Context) -> str | None:
    """The workspace that was named before the verb."""
    root = context.find_root()
    return root.obj.get("workspace") if isinstance(root.obj, dict) else None


def _folder(context: click.Context) -> Path:
    from tagsel.base.settings import resolve

    return Path(str(resolve("workspace", context.params.get("workspace") or group_flag(context), None).value))


def complete_datasets(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of datasets, of named workspaces, too, from the catalogs' journals alone."""
    from tagsel.catalog import Catalog, others
    from tagsel.errors import TagselError

    head, comma, last = incomplete.rpartition(",")
    folder = _folder(context).resolve()
    try:
        names = others.names(folder, Catalog(folder))
        return [f"{head}{comma}{name}" for name in names if name.startswith(last)]
    except (TagselError, OSError):
        return []


def _complete_cut(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Attributes and chains that go on from the last word of a cut, from the dataset's manifest alone."""
    from tagsel.catalog import Catalog, others
    from tagsel.errors import TagselError
    from tagsel.store import Table

    stem = incomplete.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")
    word = incomplete[len(stem) :]
    name = str(context.params.get("dataset") or "").partition("@")[0]
    try:
        folder = _folder(context).resolve()
        home = others.home_of(folder, Catalog(folder), name)[0]
        snapshot = Table.open(home / "data" / name).snapshot()
        names = [attribute.name for attribute in snapshot.schema.shown()]
        for menu in snapshot.menus.values():
            names += menu.bits
        return [f"{stem}{n}" for n in dict.fromkeys(names) if n.startswith(word)] if word and name else []
    except (TagselError, OSError):
        return []


def pairs(context: click.Context, parameter: click.Option, given: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE texts as a dict, the callback of an option that may be repeated; the last of a key counts."""
    if wrong := [text for text in given if not text.partition("=")[0] or "=" not in text]:
        raise click.UsageError(f"{parameter.opts[0]} {wrong[0]!r} is not {parameter.metavar}", context)
    return dict(text.split("=", 1) for text in given)


def values(given: dict[str, str]) -> dict[str, Any]:
    """Free keys: a value is a number or a truth value where its text is exactly how one is written (1.10 is text)."""
    from tagsel.catalog import parse_value

    return {key: parse_value(text) for key, text in given.items()}


UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
"""Units of sizes, in bytes, whatever the letter case."""


def size(context: click.Context, parameter: click.Option, given: str | None) -> int | None:
    """Bytes of a text such as 2GB or 1.5 TB, the callback of an option; a number without a unit is bytes."""
    if given is None:
        return None
    number = given.rstrip("BKMGTbkmgt ")
    try:
        bytes_ = round(float(number) * UNITS[given[len(number) :].strip().lower()])
    except (ValueError, KeyError, OverflowError):
        bytes_ = 0
    if bytes_ < 1:
        raise click.UsageError(f"{parameter.opts[0]} {given!r} is no size such as 500MB or 2GB", context)
    return bytes_


workspace_option = click.option(
    "-w", "--workspace", metavar="W", help="The workspace's folder (default: TAGSEL_WORKSPACE, else here)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
dask_option = click.option(
    "--dask", metavar="ADDRESS", default=None, help="Have a Dask cluster do it; its workers see the same files."
)
csv_option = click.option("--csv", "as_csv", is_flag=True, help="The table as CSV.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dataset_argument = click.argument("dataset", shell_complete=complete_datasets)
optional_dataset_argument = click.argument("dataset", default="", shell_complete=complete_datasets)


def common(command: F) -> F:
    """`-w`, `--json` and `--debug` for a verb."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    return workspace_option(json_option(debug(command)))


def cut_arguments(command: F) -> F:
    """DATASET and one or more CUTs."""
    cuts = click.argument("cuts", nargs=-1, metavar="CUT...", shell_complete=_complete_cut)
    return dataset_argument(cuts(command))


def cut_option(command: F) -> F:
    """`--cut`, as often as wanted, for verbs whose arguments are something else."""
    return click.option(
        "--cut",
        "common_cuts",
        multiple=True,
        metavar="CUT",
        shell_complete=_complete_cut,
        help="Only events that pass CUT; repeat for more.",
    )(command)


def selection_options(command: F) -> F:
    """What `count`, `select`, `cutflow` and `why` share."""
    for option in reversed(
        (
            click.option(
                "--lumi",
                multiple=True,
                metavar="FILE",
                type=click.Path(),
                help="A good-run list, XML or JSON by content; repeat to intersect.",
            ),
            click.option("--weight", default="", metavar="ATTR", help="Weight events by an attribute or expression."),
            click.option(
                "--duplicates",
                type=click.Choice(["error", "first", "all"]),
                default=None,
                help="Events that stand in several rows (default: first for data, all for simulation).",
            ),
            click.option("--threads", type=click.IntRange(min=0), default=None, help="Threads; 0 = one for each core."),
            click.option("--allow-losses", is_flag=True, help="Go on without damaged parts; they are named, exit 3."),
            click.option("--no-remember", is_flag=True, help="Neither use nor keep masks of earlier answers."),
        )
    ):
        command = option(command)
    return command


def chosen(**options: Any) -> dict[str, Any]:
    """The selection options that were given, as `Dataset.query` takes them."""
    keys = ("lumi", "weight", "duplicates", "threads", "allow_losses")
    given = {k: options[k] for k in keys if options.get(k)}
    return {**given, "remember": False} if options.get("no_remember") else given


def cuts_of(cuts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Cuts as (name, text): `name: cut` names it; no cut is `true`."""
    return [_named(text) for text in cuts] or [("", "true")]


CUT_NAME = re.compile(r"\w[\w.+-]*")
"""The name of a cut: it may begin with a digit (`2mu`), and is the name of a region's file, too."""

_NAMED_CUT = re.compile(rf"\s*({CUT_NAME.pattern})\s*:(?!:)")


def _named(text: str) -> tuple[str, str]:
    named = _NAMED_CUT.match(text)
    return (named.group(1), text[named.end() :].strip()) if named else ("", text)


def interactive() -> bool:
    """Whether a person can answer a question."""
    return os.isatty(0) and os.isatty(2)
