"""A group's commands are the methods of its collection, and a command's options are the method's parameters."""

from __future__ import annotations

import inspect

import click
import pytest

from tagsel.api.sites import Sites
from tagsel.api.trash import Trash
from tagsel.cli.main import cli

NOUNS = {"sites": Sites, "trash": Trash}
"""Groups of commands and the collections of a workspace whose verbs they are; a noun that is done joins."""

OF_EVERY_COMMAND = {"workspace", "as_json", "as_csv", "debug"}
"""What the command line itself adds to a command."""


def methods(collection: type) -> dict[str, list[str]]:
    """The public methods of a class, each with its parameters."""
    functions = inspect.getmembers(collection, inspect.isfunction)
    return {
        name: [parameter for parameter in inspect.signature(function).parameters if parameter != "self"]
        for name, function in functions
        if not name.startswith("_")
    }


@pytest.mark.parametrize("noun", NOUNS)
def test_commands_are_methods_and_options_are_parameters(noun: str) -> None:
    group = cli.commands[noun]
    assert isinstance(group, click.Group)
    commands = {}
    for name, command in group.commands.items():
        given = [str(parameter.name) for parameter in command.params]
        commands[name] = sorted(set(given) - OF_EVERY_COMMAND)
    assert commands == {name: sorted(parameters) for name, parameters in methods(NOUNS[noun]).items()}


@pytest.mark.parametrize("noun", NOUNS)
def test_keywords_are_written_out(noun: str) -> None:
    for name in methods(NOUNS[noun]):
        signature = inspect.signature(getattr(NOUNS[noun], name))
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, name
        assert signature.return_annotation not in ("Any", inspect.Signature.empty), name
