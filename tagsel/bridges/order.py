"""What a system's writer is given, and what it gives back; and names and texts that no reader takes for another.

Invariant: a text that leaves here for a shell or a Python program is quoted as one word there, and a name that would
be two lines, or two names, of a list is refused.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from tagsel.aod import EventMap
from tagsel.errors import AccessError, JobError
from tagsel.events import EventList


@dataclass(frozen=True, eq=False)
class Order:
    """A list with its map at a stage; `copies` are the physical names of each GUID; the rest is the user's wish.

    `settings` are in the system's own words; `run` is the user's program.
    """

    events: EventList
    map: EventMap
    copies: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, str] = field(default_factory=dict)
    run: Path | None = None
    events_per_job: int | None = None

    @property
    def title(self) -> str:
        """The list in a few words, for the head of a file."""
        return f"{len(self.events)} events of list {self.events.digest[:16]}, chosen with tagsel"


@dataclass(frozen=True)
class Written:
    """Texts by file name; the words that start the work, `{out}` for where they lie; and what a user must know."""

    files: Mapping[str, str]
    command: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def plain_name(name: str, also: str = "") -> str:
    """Return a file's name if it can stand on a line of its own; characters of `also` are refused, too."""
    wrong = (
        "it is empty"
        if not name
        else "it holds control characters"
        if any(ord(c) < 32 or ord(c) == 127 for c in name)
        else "it has blanks at an end"
        if name != name.strip()
        else f"it holds one of {also!r}"
        if set(name) & set(also)
        else ""
    )
    if wrong:
        raise AccessError(f"file name {name[:120]!r} cannot stand in a list of files: {wrong}", lfn=name)
    return name


def name_lines(names: Iterable[str], also: str = "") -> str:
    """Names, one a line, each once, in their order."""
    return "".join(f"{plain_name(name, also)}\n" for name in dict.fromkeys(names))


def column(order: Order, name: str) -> list[str]:
    """A column of the list as texts; `guid` is that of the map's stage. JobError where some events do not know it."""
    reference = order.events.stage(order.map.stage)
    values = reference.guid.strings() if name == "guid" else getattr(order.events, name).tolist()
    lost = sum(v == "" or v == -1 for v in values)
    if lost:
        raise JobError(
            f"{lost:,} of {len(values):,} events do not know their {name}", hint="pick them from a dataset first"
        )
    return list(map(str, values))


def event_lines(order: Order, *fields: str, separator: str) -> str:
    """The events of a list, one a line, in its order: the fields as `column` gives them."""
    columns = [column(order, name) for name in fields]
    return "".join(separator.join(row) + "\n" for row in zip(*columns, strict=True))


def shell_script(title: str, command: Sequence[str | PurePath], *, within: bool = False, empty: bool = False) -> str:
    """A POSIX script that runs a command with its own arguments behind; a path is that of a file beside the script.

    `within` runs it in the script's folder. For a list without events it says so and does nothing else.
    """
    head = ["#!/bin/sh", f"# {title}. What follows the script's name goes to {command[0]}, too.", "set -e"]
    if empty:
        return "\n".join([*head, 'echo "the list has no events: nothing is to be done" >&2', ""])
    words = [shlex.quote(w) if isinstance(w, str) else f'"$here"/{shlex.quote(w.name)}' for w in command]
    head += ['here=$(cd "$(dirname "$0")" && pwd)', *(['cd "$here"'] if within else [])]
    return "\n".join([*head, f'exec {" ".join(words)} "$@"', ""])


def options(settings: Mapping[str, str]) -> list[str]:
    """Settings as `--name value`, in their order; one without a value is a flag."""
    words = []
    for name, value in settings.items():
        words.append(f"--{name}")
        if value:
            words.append(value)
    return words
