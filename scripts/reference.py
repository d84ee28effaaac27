"""Writes the reference pages docs/command-line.md and docs/python.md from the commands and classes themselves.

python scripts/reference.py        (a test compares: run it after changing a verb, an option or a docstring)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import click

import tagsel
from tagsel.cli.main import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"

COMMAND_LINE = """# The command line

Every verb is a method of `tagsel.Workspace` of the same name and meaning. This page is made from the commands by
`python scripts/reference.py`; `tagsel VERB --help` prints the same, and needs nothing set up.

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

PYTHON = """# Python

Everything public stands in `tagsel`, or is reached from what that returns. This page is made from the docstrings by
`python scripts/reference.py`; [tour.md](tour.md) shows how it is used.
"""

CLASSES = ("Workspace", "Dataset", "Selection", "Events", "LumiSet", "Cut")
"""Public classes whose methods are listed."""


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


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class, its bases' too, in the order they are written."""
    seen = set()
    for base in reversed(kind.__mro__[:-1]):
        for name in vars(base):
            if not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, inspect.getattr_static(kind, name)


def python() -> str:
    """The page of names: functions, then classes with their methods, then errors."""
    public = {name: getattr(tagsel, name) for name in tagsel.__all__ if name != "__version__"}
    functions = [n for n, v in public.items() if inspect.isfunction(v)]
    errors = [n for n, v in public.items() if inspect.isclass(v) and issubclass(v, Exception)]
    parts = [PYTHON, "## Functions\n", *(_entry(f"tagsel.{n}", public[n]) for n in functions)]
    for name in CLASSES:
        parts += ["", f"## {name}\n", f"{_said(public[name])}\n"]
        parts += [_entry(n, m) for n, m in members(public[name]) if _documented(m)]
    parts += ["", "## Errors\n", *(f"- `{n}`: {_said(public[n])}" for n in errors)]
    return "\n".join(parts) + "\n"


def _documented(member: Any) -> bool:
    """Methods and properties; not the fields of a dataclass, which its docstring tells of."""
    return isinstance(member, classmethod | staticmethod | property | cached_property) or inspect.isfunction(member)


def _entry(name: str, member: Any) -> str:
    """One line: a property by its name, a function or method with its arguments."""
    function = getattr(member, "__func__", member)
    signature = f"({_arguments(function)})" if inspect.isfunction(function) else ""
    return f"- `{name}{signature}`: {_said(function)}"


def _arguments(function: Any) -> str:
    """Arguments as a caller sees them: without self and annotations."""
    found = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found]
    return str(inspect.Signature(bare))[1:-1]


def _said(member: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    text = inspect.getdoc(member) or ""
    return re.sub(r"\s+", " ", text.split("\n\n")[0])


PAGES = {"command-line.md": command_line, "python.md": python}


if __name__ == "__main__":
    for page, made in PAGES.items():
        (DOCS / page).write_text(made(), encoding="utf-8")
