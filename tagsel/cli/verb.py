"""A command is its options and one call: `verb` opens the workspace, shows the answer and sets the exit code.

Invariant: what `--json` prints is the answer's document; nothing else goes to standard output with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import OK, common, csv_option, dataset_of, interactive, wants_csv, wants_json, workspace_of
from tagsel.errors import TagselError

if TYPE_CHECKING:
    from tagsel.api import Dataset
    from tagsel.base.text_table import Table

Command = Callable[..., int]


@dataclass(frozen=True)
class Answer:
    """What a command found or did, as `--json` prints it and as people read it.

    `document` is the whole answer: a JSON value, or an object with `to_json`. People read the warnings, then `text`,
    `facts` (names with values) or a `table`, then the notes. A pipe gets `names`, one a line, in the place of the
    table. `next` is the command that comes next.
    """

    document: Any
    text: str = ""
    facts: Mapping[str, Any] | None = None
    table: Table | None = None
    names: Sequence[str] | None = None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    next: str = ""
    code: int = OK
    stdout_taken: bool = False
    """The data themselves went to standard output, as with `-o -`: the text goes to standard error."""
    csv_only: bool = False
    """The table is for `--csv` only, as where a file has its numbers."""


SILENT = object()
"""The document of an answer that is on standard output already."""

Opener = Callable[..., Any]
"""Makes the first argument of a command's function, of the context and the flag `--workspace`."""


def verb(*, csv: bool = False, opens: Opener = workspace_of) -> Callable[[Callable[..., Answer]], Command]:
    """Make a function of the workspace and of a command's options a command; with `csv` it has `--csv`, too.

    The command has `--workspace`, `--json` and `--debug`. Its exit code is the answer's. `opens` gives the function
    something else than the workspace.
    """

    def decorate(function: Callable[..., Answer]) -> Command:
        @wraps(function)
        def command(workspace: str | None, as_json: bool, as_csv: bool = False, **options: Any) -> int:
            answer = function(opens(click.get_current_context(), workspace), **options)
            show(answer, as_json=as_json, as_csv=as_csv)
            return answer.code

        with_options = common(command)
        return csv_option(with_options) if csv else with_options

    return decorate


def question(*, csv: bool = False) -> Callable[[Callable[..., Answer]], Command]:
    """Make a function of a dataset and of a command's options a command, whose argument DATASET names the dataset."""

    def decorate(function: Callable[..., Answer]) -> Command:
        @wraps(function)
        def command(data: Dataset, /, dataset: str, **options: Any) -> Answer:
            del dataset  # it is open
            return function(data, **options)

        return verb(csv=csv, opens=_dataset)(command)

    return decorate


def _dataset(context: click.Context, flag: str | None) -> Dataset:
    return dataset_of(context, flag, context.params["dataset"])


def show(answer: Answer, *, as_json: bool = False, as_csv: bool = False) -> None:
    """Print an answer: the data to standard output, all else to standard error."""
    if as_json:
        if answer.document is not SILENT:
            render.document(answer.document)
        return
    render.warn(answer.warnings)
    if answer.text:
        print(answer.text, file=sys.stderr if answer.stdout_taken else sys.stdout)
    if answer.facts is not None:
        render.facts(answer.facts)
    if answer.names is not None and not as_csv and not sys.stdout.isatty():
        print("".join(f"{name}\n" for name in answer.names), end="")
    elif answer.table is not None and (as_csv or not answer.csv_only):
        render.table(answer.table.columns, answer.table.rows, as_csv=as_csv)
    for note in answer.notes:
        render.note(note)
    if answer.next:
        render.suggest(answer.next)


def preview(answer: Answer) -> None:
    """Show what a command is about to do, to people only: `--json` prints one document, at the end."""
    if not wants_json():
        show(answer, as_csv=wants_csv())


def confirm(question: str, *, yes: bool, refusal: str, hint: str) -> None:
    """Ask before something is removed; TagselError where nobody can answer and `--yes` is not there."""
    if yes:
        return
    if not interactive():
        raise TagselError(refusal, hint=hint)
    click.confirm(question, abort=True, err=True)
