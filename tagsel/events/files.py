"""Event lists on disk: one reader for every form, by content, and one writer for each form by name.

Invariant: an error names the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TextIO

from tagsel.base.output_file import output_file
from tagsel.errors import EventListError, did_you_mean
from tagsel.events.assemble import KNOWN, from_columns
from tagsel.events.eventlist import EventList
from tagsel.events.forms import WRITERS, parse_json, parse_text
from tagsel.events.parquet import from_stream, read_parquet
from tagsel.events.root_lists import read_root

PARQUET = "parquet"


class ArrowStream(Protocol):
    """What polars, pyarrow, DuckDB and others hand out as a table."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


def read_events(path: Path | str | ArrowStream) -> EventList:
    """The event list in a file: `.events` or other Parquet, JSON, a ROOT TEntryList, or any of the text forms, by its
    content.

    A table of another library (anything with an Arrow stream) is taken too, by its columns' names.
    EventListError, naming the file (and the line), for one that is missing, damaged or holds anything else.
    """
    if not isinstance(path, Path | str):
        return from_columns(from_stream(path, KNOWN), None)
    try:
        with Path(path).open("rb") as file:
            magic = file.read(4)
            content = b"" if magic == b"PAR1" else magic + file.read()
        if magic == b"PAR1":
            return from_columns(*read_parquet(path, KNOWN))
        if magic == b"root":
            return read_root(path)
        if content.lstrip().startswith(b"<"):
            hint = "tagsel lumi show FILE reads a good-run list"
            raise EventListError("this is XML, and no event list is", hint=hint)
        return parse_json(content) if content.lstrip().startswith(b"{") else parse_text(content)
    except OSError as error:
        raise EventListError(f"event list {path}: {error.strerror}", path=str(path)) from error
    except EventListError as error:
        fields = {**error.fields, "path": str(path)}
        raise EventListError(f"event list {path}: {error.message}", hint=error.hint, **fields) from error


def write_events(events: EventList, target: Path | str | TextIO, form: str = PARQUET, *, force: bool = False) -> None:
    """Write a list in a form: "parquet" (as `.events`), "json", or a text form, without a header line.

    `target` is a path or, for all but Parquet, an open text file. A file that exists is refused (AccessError);
    `force` replaces one that tagsel wrote.
    EventListError for an unknown form and for a list that lacks what the form needs.
    """
    if form == PARQUET and isinstance(target, Path | str):
        events.save(target, force=force)
        return
    if form not in WRITERS:
        forms = (*WRITERS, PARQUET)
        reason = "Parquet needs a file name" if form == PARQUET else f"unknown form {form!r} of an event list"
        hint = did_you_mean(form, forms) or f"one of {', '.join(forms)}"
        raise EventListError(reason, hint=hint, form=form)
    lines = WRITERS[form](events)
    if isinstance(target, Path | str):
        with output_file(target, force=force) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    else:
        target.writelines(lines)
