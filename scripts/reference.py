"""The reference of the command line, docs/reference/command-line.md, and the public names of the reference of Python.

python scripts/reference.py            writes the page; a test compares: run it after changing a verb or an option
python scripts/reference.py --rooms    prints the rooms of the package, and one line for each file
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import tagsel
import tagsel.api
from tagsel.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tagsel"
DOCS = ROOT / "docs" / "reference"

COMMAND_LINE = """# The command line

A command of a group is a method of the collection of that name: `tagsel datasets find` is `ws.datasets.find`. A
question is a method of a dataset, `ws[name].count`, and what is done with a list is a method of the list,
`ws.lists[file].map`. This page is made from the commands by `python scripts/reference.py`; `tagsel VERB --help` prints
the same, and needs nothing set up.

- Data goes to standard output, all else to standard error. In a pipe there is no header, box, colour or truncation.
- `--json` gives one JSON document on standard output, an error too: `{"error": …}`. `--csv` gives a table as CSV.
- Exit codes: 0 done (0 accepted events is an answer), 1 our fault, 2 a user's error, 3 finished with losses that the
  ledger names, 130 after Ctrl-C. Standard output that is full or closed is said, with code 2; a reader that goes away
  is no error. SIGTERM cleans up, and ends the program by that signal.
- `-o FILE` never destroys a file. A file that exists is refused; `--force` replaces one that tagsel wrote and nobody
  changed since: an event list by its own checksums, anything else by its SHA-256 in `outputs/` of the workspace that it
  is in, or in your state folder (`~/.local/state/tagsel/outputs`). Refused always: an input of the command, a file that
  the workspace, or another that you ever opened, has registered, what tagsel made in a workspace, and a
  symbolic link (name the file itself). Devices and pipes are written as they are. A new file appears whole under its
  name, and a replaced one keeps its mode. A command that finds none of the events that were asked for, or can read
  none of the rows (exit code 3), writes no file and says so, `--force` or not. It writes an answer of 0 events where it
  read rows and rejected them, though it lost others, and an empty list to standard output.
- A flag wins over `TAGSEL_<NAME>`, that over `tagsel.toml` in the workspace, that over the default.
"""

INTERNAL = ("tagsel.api.home", "tagsel.store", "tagsel.catalog.catalog")
"""What a public attribute may lead to, and is no part of the public interface."""

RECORDS = ("tagsel.api", "tagsel.selection", "tagsel.events", "tagsel.jobs")
"""Rooms whose records a result may hold: a count has a ledger, a cutflow has steps."""


def commands(group: click.Group, path: str = "tagsel") -> Iterator[tuple[str, click.Command]]:
    """Every verb and sub-verb with its full name, in the order of the help."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def command_line() -> str:
    """The page of verbs: the help of each."""
    parts = [COMMAND_LINE, _help("tagsel", cli)]
    parts += [f"## {path}\n\n{_help(path, command)}" for path, command in commands(cli)]
    return "\n".join(parts)


def _help(path: str, command: click.Command) -> str:
    names = {"help_option_names": ["-h", "--help"]}
    context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100, **names)
    return f"```text\n{command.get_help(context)}\n```\n"


def api(kind: str) -> Iterator[tuple[str, Any]]:
    """Public names of a kind: `functions`, `classes` and `errors` of `tagsel`, and `results`, which these return."""
    if kind == "results":
        yield from sorted(_results().items())
        return
    for name in tagsel.__all__:
        value = getattr(tagsel, name)
        if _kind(value) == kind:
            yield name, value


def _kind(value: Any) -> str:
    if inspect.isfunction(value):
        return "functions"
    if not inspect.isclass(value):
        return ""
    return "errors" if issubclass(value, Exception) else "classes"


def _results() -> dict[str, type]:
    """Classes of ours that the public functions and methods return, and the records that these hold: by name."""
    public = [value for _, value in api("classes")]
    returns = [kind for _, function in api("functions") for kind in types_of(function)]
    for kind in public:
        returns += _types_of_members(kind)
    waiting = [kind for kind in returns if not kind.__module__.startswith(INTERNAL)]
    classes: dict[str, type] = {}
    while waiting:
        kind = waiting.pop(0)
        if kind not in public and kind not in classes.values():
            classes[_free_name(kind, classes)] = kind
            waiting += [part for part in _types_of_members(kind) if part.__module__.startswith(RECORDS)]
    return classes


def _free_name(kind: type, classes: dict[str, type]) -> str:
    """The name of a class, with its room where another class has that name."""
    return kind.__name__ if kind.__name__ not in classes else f"{kind.__name__} of {kind.__module__.split('.')[1]}"


def _types_of_members(kind: type) -> list[type]:
    return [part for _, member in members(kind) for part in types_of(member)]


def types_of(member: Any) -> list[type]:
    """Public classes of ours that a function, method or property returns, or that an annotation names.

    A method that returns Any names its class in its docstring, in backticks.
    """
    function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
    if isinstance(member, Annotation):
        text, names = member.text, _names_for_types(member.module)
    elif inspect.isfunction(function):
        names = _names_for_types(sys.modules[function.__module__])
        text = str(function.__annotations__.get("return", ""))
        if text == "Any":
            text = " ".join(re.findall(r"`(\w+)`", inspect.getdoc(function) or ""))
            names = _names_of_api() | names
    else:
        return []
    classes = [names[word] for word in re.findall(r"\w+", text) if word in names]
    return [kind for kind in classes if inspect.isclass(kind) and _is_ours(kind)]


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("tagsel.") and not kind.__name__.startswith("_") and _kind(kind) == "classes"


@cache
def _names_of_api() -> dict[str, Any]:
    """Names of all modules of `tagsel.api`."""
    names: dict[str, Any] = {}
    for module in pkgutil.iter_modules(tagsel.api.__path__):
        names |= vars(importlib.import_module(f"tagsel.api.{module.name}"))
    return names


@cache
def _names_for_types(module: ModuleType) -> dict[str, Any]:
    """Names of a module, with those that it imports for type checkers only."""
    names = dict(vars(module))
    tree = ast.parse(inspect.getsource(module))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    for block in blocks:
        for node in block.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tagsel"):
                source = importlib.import_module(str(node.module))
                names |= {alias.asname or alias.name: getattr(source, alias.name) for alias in node.names}
    return names


@dataclass(frozen=True)
class Annotation:
    """The type of a field, as its class writes it."""

    text: str
    module: ModuleType


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public members of a class, those of our own bases too, in the order they are written; a field by its type."""
    seen = set()
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("tagsel"):
            continue
        fields = vars(base).get("__annotations__", {})
        for name in [*fields, *vars(base)]:
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if name in fields:
                yield name, Annotation(str(fields[name]), sys.modules[base.__module__])
            else:
                yield name, inspect.getattr_static(kind, name)


def rooms() -> str:
    """The rooms of the package in the order of the layers: what each is, and one line for each of its files."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = configuration["tool"]["importlinter"]["contracts"][0]["layers"]
    parts = ["### tagsel/\n", *_files(PACKAGE)]
    for layer in layers:
        for room in re.findall(r"\w+", layer):
            folder = PACKAGE / room
            if folder.is_dir():
                parts += [f"\n### {room}/\n", f"{_first_sentence(folder / '__init__.py')}\n", *_files(folder)]
    return "\n".join(parts) + "\n"


def _files(folder: Path) -> list[str]:
    """A line for each module of a folder, those of its folders too."""
    files = sorted(folder.glob("*.py") if folder == PACKAGE else folder.rglob("*.py"))
    return [f"- `{file.relative_to(folder)}`: {_first_sentence(file)}" for file in files if _says_something(file)]


def _says_something(file: Path) -> bool:
    """Whether a file is more than the head of a room, which the room's own line describes."""
    return file.name != "__init__.py" or file.parent == PACKAGE


def _first_sentence(file: Path) -> str:
    """The first paragraph of a module's docstring, on one line, up to the end of its first sentence."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = re.sub(r"\s+", " ", text.split("\n\n")[0])
    return re.split(r"(?<=[a-z`)]\.) (?=[A-Z`])", paragraph)[0]


PAGES = {"command-line.md": command_line}


if __name__ == "__main__":
    if "--rooms" in sys.argv:
        print(rooms())
        sys.exit()
    for page, made in PAGES.items():
        (DOCS / page).write_text(made(), encoding="utf-8")
