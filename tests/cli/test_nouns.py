"""A group's commands are the methods of its collection, and a command's options are the method's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
import pytest

from tagsel.api import Dataset, Events, Workspace
from tagsel.api.catalogs import Catalogs
from tagsel.api.datasets import Datasets
from tagsel.api.jobs import Jobs, WorkspaceJob
from tagsel.api.lists import Lists
from tagsel.api.lumi import Lumi
from tagsel.api.queries import Queries
from tagsel.api.sites import Sites
from tagsel.api.transfers import Subscriptions, Transfers
from tagsel.api.trash import Trash
from tagsel.cli.main import cli

NOUNS: dict[str, type] = {
    "catalogs": Catalogs,
    "datasets": Datasets,
    "lists": Lists,
    "lumi": Lumi,
    "queries": Queries,
    "sites": Sites,
    "subscriptions": Subscriptions,
    "transfers": Transfers,
    "trash": Trash,
}
"""Groups of commands and the collections of a workspace whose verbs they are."""

OF_EVERY_COMMAND = {"workspace", "as_json", "as_csv", "debug", "yes"}
"""What the command line itself adds to a command: how it shows the answer, and whether it asks first."""

AT_THE_PROMPT = {
    "datasets find": {"sql"},
    "datasets drop": {"expired"},
    "lists show": {"number"},
    **{f"lists {name}": {"out", "force"} for name in ("union", "intersect", "minus", "xor", "rebase")},
    **{f"lumi {name}": {"out", "force", "form"} for name in ("show", "union", "intersect", "minus", "xor")},
}
"""Options of commands alone: those that choose among methods, and where the answer, a list, is written."""

IN_PYTHON = {"progress"}
"""Parameters of methods alone."""

OF_ANY_QUESTION = {"lumi", "weight", "duplicates", "threads", "allow_losses", "remember"}
"""Keywords that every question has; the command line says `no_remember`."""

QUESTIONS = ("count", "cutflow", "estimate", "hist", "overlap", "pick", "regions", "select", "sweep", "triggers", "why")
OF_A_LIST = ("export", "map", "skim", "submit")
WITHOUT_A_NOUN = {"completion", "ingest", "init", "schema"}


def methods(collection: type) -> dict[str, list[str]]:
    """The public methods of a class, each with its parameters."""
    functions = inspect.getmembers(collection, inspect.isfunction)
    return {
        name: [parameter for parameter in inspect.signature(function).parameters if parameter != "self"]
        for name, function in functions
        if not name.startswith("_")
    }


def group(name: str) -> click.Group:
    command = cli.commands[name]
    assert isinstance(command, click.Group)
    return command


def options(command: click.Command) -> set[str]:
    return {str(parameter.name) for parameter in command.params} - OF_EVERY_COMMAND


@pytest.mark.parametrize("noun", NOUNS)
def test_commands_are_methods_and_options_are_parameters(noun: str) -> None:
    commands = {
        name: sorted(options(command) - AT_THE_PROMPT.get(f"{noun} {name}", set()))
        for name, command in group(noun).commands.items()
        if name != "import"  # a word of Python's own: there it is `ws.lists[path].save(out)`
    }
    assert commands == {name: sorted(set(names) - IN_PYTHON) for name, names in methods(NOUNS[noun]).items()}


def test_commands_of_jobs_are_methods_of_all_or_of_one() -> None:
    commands = {name: options(command) - {"job"} for name, command in group("jobs").commands.items()}
    of_all, of_one = methods(Jobs), methods(WorkspaceJob)
    assert commands.pop("list") == set(of_all.pop("list"))
    assert of_all == {}
    assert commands == {name: set(of_one[name]) - IN_PYTHON for name in commands}


def test_commands_of_the_workspace_are_its_methods() -> None:
    commands = {name: options(command) for name, command in group("workspace").commands.items()}
    of_workspace = methods(Workspace)
    assert commands == {name: set(of_workspace[name]) for name in commands}


@pytest.mark.parametrize("verb", QUESTIONS)
def test_questions_are_methods_of_a_dataset(verb: str) -> None:
    """With their options; names that differ are those of the command line's own forms."""
    names = {"dask": "client", "common_cuts": "cuts", "no_remember": "remember", "path": "ids"}
    of_command = {names.get(option, option) for option in options(cli.commands[verb])}
    of_command -= {"dataset", "out", "force", "plot", "explain"}
    of_method = set(methods(Dataset)[verb]) - IN_PYTHON
    if verb in ("regions", "overlap"):  # their CUTs are the regions, and whether lists are kept is what -o says
        of_method -= {"regions", "lists"}
    if verb == "hist":  # a text has its bins
        of_method -= {"bins"}
    if verb == "pick":
        of_method -= {"threads", "allow_losses"}
    assert of_command == of_method
    assert verb == "pick" or of_method >= OF_ANY_QUESTION


@pytest.mark.parametrize("verb", OF_A_LIST)
def test_what_is_done_with_a_list_is_a_method_of_it(verb: str) -> None:
    names = {"script": "run"}
    of_command = {names.get(option, option) for option in options(cli.commands[verb])} - {"path"}
    assert of_command == set(methods(Events)[verb])


def test_every_command_has_its_place() -> None:
    assert set(cli.commands) == {*NOUNS, "jobs", "workspace", *QUESTIONS, *OF_A_LIST, *WITHOUT_A_NOUN}


def public_methods() -> Iterator[tuple[str, str]]:
    for kind in (*NOUNS.values(), Jobs, WorkspaceJob, Workspace):
        for name in methods(kind):
            yield kind.__name__, name


@pytest.mark.parametrize(("kind", "name"), list(public_methods()))
def test_keywords_are_written_out(kind: str, name: str) -> None:
    classes = {one.__name__: one for one in (*NOUNS.values(), Jobs, WorkspaceJob, Workspace)}
    signature = inspect.signature(getattr(classes[kind], name))
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert signature.return_annotation not in ("Any", inspect.Signature.empty) or (kind, name) == ("Workspace", "sql")
