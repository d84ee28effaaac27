"""The text forms of event lists: a table of how each is written, and one reader for all, by content.

Invariant: a line that is not what its form says is an error with its number, never skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tagsel.errors import EventListError
from tagsel.events.assemble import from_columns
from tagsel.events.eventlist import LIMITS, EventList
from tagsel.events.names import GUID, UNKNOWN, Names


@dataclass(frozen=True, slots=True)
class Form:
    """One text form: its fields in order, what parts them, and how a line of it looks."""

    fields: tuple[str, ...]
    separator: str
    example: str

    def split(self, line: str) -> list[str]:
        """The fields of a line; EventListError says what was expected."""
        parts = line.split(self.separator) if self.separator.strip() else line.split()
        if len(parts) != len(self.fields):
            raise EventListError(f"{len(parts)} fields; expected {self.example!r}")
        return [p.strip() for p in parts]

    def lines(self, events: EventList) -> Iterator[str]:
        """The lines of a list in its order; EventListError where the list lacks a field."""
        columns = [_column(events, name) for name in self.fields]
        return (self.separator.join(row) + "\n" for row in zip(*columns, strict=True))


FORMS: Mapping[str, Form] = {
    "run:lumi:event": Form(("run", "lumi", "event"), ":", "315267:93:197818706"),
    "run event": Form(("run", "event"), " ", "315267 197818706"),
    "run event guid": Form(
        ("run", "event", "guid"), " ", "315267 197818706 00000000-0000-0000-0000-000000000001"
    ),
}
"""Text forms of one event a line. A new one is one row."""


def _column(events: EventList, name: str) -> list[str]:
    """A column as strings; EventListError where it is unknown for some events."""
    values = events.columns()[name]
    known = values.known() if isinstance(values, Names) else np.asarray(values >= 0)
    column = values.strings() if isinstance(values, Names) else list(map(str, values.tolist()))
    if not known.all():
        lost = int((~known).sum())
        raise EventListError(
            f"{lost:,} of {len(events):,} events do not know their {name}",
            hint="pick them from a dataset first, or take another form",
        )
    return column


def to_json(events: EventList) -> str:
    """The list as one JSON document: kind, digest, ledger, provenance and a record for each event."""
    columns = {n: c.strings() if isinstance(c, Names) else c.tolist() for n, c in events.columns().items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    try:
        head = json.dumps({"format": "tagsel.events", **events.header()}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EventListError(f"provenance that JSON cannot hold: {error}") from error
    body = ",\n".join(json.dumps(row) for row in rows)
    return f'{head[:-1]}, "list": [\n{body}\n]}}\n' if rows else f'{head[:-1]}, "list": []}}\n'


WRITERS: Mapping[str, Callable[[EventList], Iterator[str]]] = {
    **{name: form.lines for name, form in FORMS.items()},
    "json": lambda events: iter([to_json(events)]),
}
"""Everything that can be written as text, by name."""


def parse_text(content: bytes) -> EventList:
    """The list that text describes, one event a line, in the one of `FORMS` that its first event has.

    Blank lines and what follows `#` are passed over. What the form lacks is unknown; a line that stands
    twice counts once, and the provenance says how many did. EventListError, with the line's number, for any
    other line.

    >>> [e.event for e in parse_text(b"# mine\\n7:1:20\\n7:1:10  # best\\n")]
    [10, 20]
    """
    rows: dict[tuple[int, int, int, str], int] = {}
    form: Form | None = None
    number = 0
    lines = 0
    try:
        for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            line = raw.split(b"#", 1)[0].decode("ascii").strip()
            if line:
                form = form or _form_of(line)
                rows.setdefault(_row(form, line), number)
                lines += 1
        _check_lumi(rows)
    except UnicodeDecodeError as error:
        raise EventListError(f"line {number}: not plain text", line=number) from error
    except EventListError as error:
        at = error.fields.get("line", number)
        raise EventListError(f"line {at}: {error.message}", hint=error.hint, line=at) from error
    run, lumi, event, guid = zip(*rows, strict=True) if rows else ((), (), (), ())
    guids = Names.of_strings(guid)
    imported = {"lines": lines, "repeated": lines - len(rows)}
    return EventList.from_arrays(
        np.array(run, np.int64),
        np.array(lumi, np.int64),
        np.array(event, np.int64),
        guids.codes,
        guids.values,
        provenance={"imported": imported},
    )


def _form_of(line: str) -> Form:
    """The form whose fields this line has, by separator and number."""
    for form in FORMS.values():
        parts = line.split(form.separator) if form.separator.strip() else line.split()
        if len(parts) == len(form.fields):
            return form
    said = ", ".join(repr(f.example) for f in FORMS.values())
    raise EventListError(f"{line[:60]!r} is no event; expected one of {said}")


def _row(form: Form, line: str) -> tuple[int, int, int, str]:
    """(run, lumi, event, GUID) of a line, -1 and "" for what its form lacks."""
    found = dict(zip(form.fields, form.split(line), strict=True))
    guid = found.pop("guid", "").upper()
    if "guid" in form.fields and not GUID.fullmatch(guid):
        raise EventListError(f"{guid[:60]!r} is no GUID")
    whole = {name: _number(name, text) for name, text in found.items()}
    return whole["run"], whole.get("lumi", UNKNOWN), whole["event"], guid


def _number(name: str, text: str) -> int:
    """A number of plain digits within the limits of its column."""
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) > LIMITS[name]:
        raise EventListError(f"{name} {text[:40]!r} is not a whole number from 0 to {LIMITS[name]}")
    return int(text)


def _check_lumi(rows: Mapping[tuple[int, int, int, str], int]) -> None:
    """EventListError for an event that two lines put into different luminosity blocks."""
    lumis: dict[tuple[int, int], int] = {}
    for (run, lumi, event, _), line in rows.items():
        first = lumis.setdefault((run, event), lumi)
        if first != lumi:
            message = f"run {run}, event {event} is in luminosity block {first} above and in {lumi} here"
            raise EventListError(message, line=line)


def parse_json(content: bytes) -> EventList:
    """The list that `to_json` wrote, its digest (if told) verified; EventListError names a wrong record."""
    try:
        document = json.loads(content)
        rows = document["list"]
        if not isinstance(rows, list):
            raise TypeError("list is no list")
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else _EMPTY)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EventListError(f"no event list in JSON: {type(error).__name__} {error}") from error
    return from_columns(_typed(columns), document)


_EMPTY = ("run", "lumi", "event", "guid", "entry")


def _typed(columns: Mapping[str, list[object]]) -> dict[str, object]:
    """Numbers as int64 arrays, strings as `Names`; EventListError names the column and the record."""
    typed: dict[str, object] = {}
    for name, values in columns.items():
        text = name.endswith("guid") or name == "sample"
        for position, value in enumerate(values):
            wrong = type(value) is not (str if text else int)
            if wrong or (isinstance(value, int) and not UNKNOWN <= value <= LIMITS["event"]):
                raise EventListError(f"record {position}: {name} is {value!r}", record=position, column=name)
        typed[name] = Names.of_strings([str(v) for v in values]) if text else np.array(values, np.int64)
    return typed
