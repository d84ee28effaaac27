"""Event lists from and to files, where `-` is standard input or output."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tagsel.cli import render
from tagsel.cli.options import wants_json

if TYPE_CHECKING:
    from tagsel.api import Events
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


def save_list(events: EventList, out: str, *, force: bool = False) -> None:
    """Save a list as `.events`, to a file or to standard output."""
    if out != STREAM:
        events.save(out, force=force)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="tagsel-") as folder:
        copy = Path(folder) / "list.events"
        events.save(copy)
        sys.stdout.buffer.write(copy.read_bytes())
        sys.stdout.buffer.flush()


def retracted(events: Events, path: str) -> list[dict[str, object]]:
    """Retracted files that a list touches, for `--json`; else a warning of each, and what to do."""
    files = events.retracted()
    if files and not wants_json():
        render.warn(map(str, files))
        from tagsel.api.origins import own_snapshots

        names = [snapshot.partition("@")[0] for snapshot in own_snapshots(events)]
        onto = ",".join(dict.fromkeys(names or [file.dataset for file in files]))
        list_ = "LIST" if path == STREAM else path
        render.note(f"  try: tagsel lists rebase {list_} --onto {onto} -o NEW.events")
    return [asdict(file) for file in files]


def check_streams(out: str | None) -> None:
    """Refuse two documents on standard output."""
    if out == STREAM and wants_json():
        raise click.UsageError("--json and -o - would both be standard output")
