"""Options that name a file to write: `-o`, `--plot`, and `--force`.

Invariant: a command with such an option refuses, before it reads anything, each file that the writing would refuse, and
each that is one of its own inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from tagsel.cli import render
from tagsel.cli.options import workspace_here
from tagsel.errors import AccessError

F = TypeVar("F", bound=Callable[..., Any])

STREAM = "-"
"""The name that means standard output."""


class OutputOption(click.Option):
    """An option whose value is a file or a folder that the command writes."""


def output_option(
    *names: str, summary: str, metavar: str = "FILE", required: bool = False, default: str | None = None
) -> Callable[[F], F]:
    """An option that names a file to write, with its line of help. The command needs `force_option`, too."""
    return click.option(*names, cls=OutputOption, metavar=metavar, required=required, default=default, help=summary)


def force_option(command: F) -> F:
    """`--force` for a command with output options, which are checked before the command runs."""

    @wraps(command)
    def checked(*arguments: Any, **options: Any) -> Any:
        check_outputs(click.get_current_context(), force=options["force"])
        return command(*arguments, **options)

    flag = click.option("--force", is_flag=True, help="Replace a file that tagsel wrote and nobody changed.")
    return cast("F", flag(checked))


def text_output(command: F) -> F:
    """`-o FILE` and `--force`, with standard output as the default."""
    summary = "Write to FILE, which must be new (default: standard output)."
    return output_option("-o", "--out", default=STREAM, summary=summary)(force_option(command))


def list_output(command: F) -> F:
    """`-o FILE` and `--force` of a command whose result is an event list."""
    summary = "Save the event list (.events) to FILE, which must be new."
    return output_option("-o", "--out", summary=summary)(force_option(command))


def check_outputs(context: click.Context, *, force: bool) -> None:
    """AccessError for an output that may not be written: see `tagsel.base.output_file`."""
    from tagsel.base.output_file import check_output, is_stream
    from tagsel.events.parquet import is_intact

    for name in _of_kind(context, output=True):
        given = context.params.get(name)
        if not given or given == STREAM or is_stream(Path(given)):
            continue
        target = Path(given)
        _refuse_input(context, target)
        if target.is_dir():  # the verbs that make folders say what they take
            continue
        home = workspace_here(context, context.params.get("workspace")) if force else None
        check_output(target, force=force, intact=is_intact)
        del home  # it lives until here, so that its registered files count


def writes(*outs: str | None, read: int, lost: int) -> bool:
    """Whether a command writes its outputs: not where it read no event and lost some, and then it says so.

    `read` counts the events that were found, or the rows that were judged, accepted or not. Standard output is always
    written: a reader of the pipe expects a list.
    """
    if read or not lost or STREAM in outs:
        return any(outs)
    for out in filter(None, outs):
        stays = "stays as it is" if Path(out).exists() else "is not written"
        render.note(f"{out} {stays}: none of the events was found or could be read")
    return False


def _refuse_input(context: click.Context, target: Path) -> None:
    """AccessError where an output is a file that the command reads."""
    if not target.exists():
        return
    for name in _of_kind(context, output=False):
        for text in _texts(context.params.get(name)):
            if _same_file(text, target):
                raise AccessError(f"{target} is an input of this command", hint="name another file", path=str(target))


def _same_file(text: str, target: Path) -> bool:
    """Whether a text is the name of an existing file."""
    try:
        return target.samefile(text)
    except (OSError, ValueError):  # no file, or no name of one: a cut, an id
        return False


def _of_kind(context: click.Context, *, output: bool) -> list[str]:
    """Names of the command's parameters that are, or are not, outputs."""
    return [p.name for p in context.command.params if p.name and isinstance(p, OutputOption) is output]


def _texts(value: object) -> Iterator[str]:
    """All texts in a parameter's value that may be paths: several with commas are taken apart."""
    if isinstance(value, tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str | Path) and str(value):
        text = str(value)
        yield text
        if "," in text:
            yield from text.split(",")
