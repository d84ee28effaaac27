"""Event lists from and to files, where `-` is standard input or output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tagsel.events import EventList

STREAM = "-"


def read_list(path: str) -> EventList:
    """The event list in a file of any form, or on standard input."""
    from tagsel.events import read_events

    if path != STREAM:
        return read_events(path)
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="tagsel-") as folder:
        copy = Path(folder) / "standard input"
        copy.write_bytes(sys.stdin.buffer.read())
        return read_events(copy)


def save_list(events: EventList, out: str) -> None:
    """Save a list as `.events`, to a file or to standard output."""
    if out != STREAM:
        events.save(out)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="tagsel-") as folder:
        copy = Path(folder) / "list.events"
        events.save(copy)
        sys.stdout.buffer.write(copy.read_bytes())
        sys.stdout.buffer.flush()


def check_streams(out: str | None, as_json: bool) -> None:
    """Refuse two documents on standard output."""
    if out == STREAM and as_json:
        raise click.UsageError("--json and -o - would both be standard output")
