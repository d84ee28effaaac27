"""The text forms of event lists: a table of how each is written, and one reader for all, by content.

Invariant: a line that is not what its form says is an error with its number, never skipped.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tagsel.base import documents
from tagsel.errors import EventListError
from tagsel.events.assemble import from_columns
from tagsel.events.eventlist import LIMITS, EventList
from tagsel.events.names import GUID, UNKNOWN, Names


@dataclass(frozen=True, slots=True)
class Form:
    """One text form that can be written: its fields in order, and what parts them."""

    fields: tuple[str, ...]
    separator: str

    def lines(self, events: EventList) -> Iterator[str]:
        """The lines of a list in its order; EventListError where the list lacks a field."""
        columns = [_column(events, name) for name in self.fields]
        return (self.separator.join(row) + "\n" for row in zip(*columns, strict=True))


FORMS: Mapping[str, Form] = {
    "run:lumi:event": Form(("run", "lumi", "event"), ":"),
    "run:event": Form(("run", "event"), ":"),
    "run lumi event": Form(("run", "lumi", "event"), " "),
    "run event": Form(("run", "event"), " "),
    "run event guid": Form(("run", "event", "guid"), " "),
}
"""Text forms of one event a line that are written. A new one is one row."""

EXAMPLES = {"run": "315267", "lumi": "93", "event": "197818706", "guid": "00000000-0000-0000-0000-000000000001"}
"""How the fields of a line look, for errors."""

NAMES = {
    "run": ("run", "runnumber", "runnr"),
    "lumi": ("lumi", "luminosityblock", "lumiblock", "lumiblocknumber", "lumisection", "lbn", "lb", "ls"),
    "event": ("event", "eventnumber", "eventnr", "evt"),
    "guid": ("guid", "fid", "aodguid"),
}
"""What headers call the fields, in lower case without `_`; of `EventInfo.runNumber` the last part counts."""

SCAN_WIDTH = 8
"""`TTree::Scan` cuts names off at 9 characters: a name that is this long may be the beginning of one of `NAMES`."""

SCAN_REMARKS = ("==>", "Type <CR> to continue", "(long long)", "(Long64_t)")
"""How the lines begin that ROOT prints after the table: how many entries there were."""

SCAN_REMEDY = 'Scan("run:luminosityBlock:event", "", "colsize=20 precision=20") prints whole numbers'


COMMENT = re.compile(rb"#.*|/\*.*?\*/")
"""A comment that ends in its line."""

UTF16_REMEDY = "copy the file again, or save it as plain text"


@dataclass(frozen=True, slots=True)
class Layout:
    """What the lines of one text hold: the field of each column ("" = not taken), and what parts them.

    The separator is ":", ",", "*" (as `TTree::Scan` prints), or " " for blanks and tabs.
    """

    fields: tuple[str, ...]
    separator: str
    example: str

    def row(self, line: str) -> dict[str, str]:
        """The fields of a line; EventListError says what was expected."""
        cells = _cells(line, self.separator)
        if self.separator == "," and len(cells) == len(self.fields) + 1 and not cells[-1]:
            cells.pop()  # a comma that ends the line
        if len(cells) != len(self.fields):
            raise EventListError(f"{len(cells)} fields; expected {self.example!r}")
        return {name: cell for name, cell in zip(self.fields, cells, strict=True) if name}


def _column(events: EventList, name: str) -> list[str]:
    """A column as strings; EventListError where it is unknown for some events."""
    values = events.columns()[name]
    present = values.known() if isinstance(values, Names) else np.asarray(values >= 0)
    column = values.strings() if isinstance(values, Names) else list(map(str, values.tolist()))
    if not present.all():
        lost = int((~present).sum())
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
    """The list that text describes, one event a line, all as its first line says.

    The first line is a header that names the columns, in any order, or the first event: run and event, or run,
    luminosity block and event, a file's GUID after either; parted by colons, commas, or blanks and tabs. The table that
    `TTree::Scan` prints is read by its header. Blank lines, what follows `#`, what stands in `/* */` and a comma that
    ends a line are passed over. What the text lacks is unknown; a line that stands twice counts once, and the
    provenance says how many did. The text is ASCII, with comments in any 8-bit encoding, or UTF-16 with a byte order
    mark.

    Raises
    ------
    EventListError
        Any other line, with its number.

    Examples
    --------
    >>> [e.event for e in parse_text(b"# mine\\n7:1:20\\n7:1:10  # best\\n")]
    [10, 20]
    >>> [e.lumi for e in parse_text(b"event,run,luminosityBlock\\n20,7,1\\n10,7,2\\n")]
    [1, 2]
    """
    rows: dict[tuple[int, int, int, str], int] = {}
    layout: Layout | None = None
    number = 0
    lines = 0
    text = _one_byte_each(content)
    try:
        for number, code in _without_comments(text):
            line = code.decode("ascii").strip()
            if not line or _is_rule(line, layout):
                continue
            if layout is None:
                layout = _header_of(line)
                if layout is not None:
                    continue
                layout = _layout_of(line)
            rows.setdefault(_row(layout, line), number)
            lines += 1
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
        by_lumi=_restarts(rows),
    )


def _one_byte_each(content: bytes) -> bytes:
    """The text in an encoding that extends ASCII, without a byte order mark; EventListError where UTF-16 breaks off."""
    if not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-16").encode()
    except UnicodeError as error:
        raise EventListError("this is no whole UTF-16 text, as its byte order mark says", hint=UTF16_REMEDY) from error


def _without_comments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The number of each line, and what of it stands outside of comments; EventListError for one that does not end."""
    begun = 0
    for number, line in enumerate(content.splitlines(), 1):
        if begun:
            _, end, line = line.partition(b"*/")
            if not end:
                continue
            begun = 0
        code, begins, _ = COMMENT.sub(b" ", line).partition(b"/*")
        begun = number if begins else 0
        yield number, code
    if begun:
        raise EventListError("the comment /* does not end", hint="end it with */", line=begun)


def _is_rule(line: str, layout: Layout | None) -> bool:
    """Whether a line is one of those that `TTree::Scan` prints around its table."""
    if layout is not None and layout.separator != "*":
        return False
    if set(line) == {"*"}:
        return True
    return layout is not None and line.startswith(SCAN_REMARKS)


def _separator(line: str) -> str:
    if line.startswith("*") and line.endswith("*"):
        return "*"
    return next((mark for mark in ":," if mark in line), " ")


def _cells(line: str, separator: str) -> list[str]:
    """The fields of a line, without blanks and quotes around them, and without a comma that ends the line."""
    if separator == " ":
        return line.removesuffix(",").split()
    if separator == ":":
        line = line.removesuffix(",")
    text = line.strip("*") if separator == "*" else line
    cells = [cell.strip() for cell in text.split(separator)]
    if separator == ",":
        return [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]
    return cells


def _header_of(line: str) -> Layout | None:
    """The layout that a header says; None for a line that is none. EventListError where it lacks run or event."""
    separator = _separator(line)
    cells = _cells(line, separator)
    fields = tuple(_field_of(cell, cut_off=separator == "*") for cell in cells)
    if not any(fields) or any(cell[:1].isdigit() for cell in cells):
        return None
    for name in ("run", "event"):
        if name not in fields:
            accepted_names = ", ".join(NAMES[name])
            raise EventListError(f"the header {line[:60]!r} names no {name}", hint=f"it may be called {accepted_names}")
    for name in NAMES:
        if fields.count(name) > 1:
            raise EventListError(f"the header {line[:60]!r} names the {name} twice")
    return Layout(fields, separator, line[:60])


def _field_of(column: str, *, cut_off: bool) -> str:
    """The field that a column's name means, or ""."""
    name = column.rpartition(".")[2].replace("_", "").lower()
    for field, names in NAMES.items():
        if name in names:
            return field
        if cut_off and len(name) >= SCAN_WIDTH and any(full.startswith(name) for full in names):
            return field
    return ""


def _layout_of(line: str) -> Layout:
    """The layout that the first event has, by its separator and number of fields."""
    separator = _separator(line.removesuffix(","))
    cells = _cells(line.removesuffix(","), separator)
    last = cells[-1] if cells else ""
    is_guid = bool(GUID.fullmatch(last.upper()))
    has_guid = len(cells) > 2 and (is_guid or last[:1].isalpha())
    numbers = len(cells) - has_guid
    if separator == "*" or numbers not in (2, 3) or not cells[0][:1].isdigit():
        examples = ", ".join(repr(_example(form.fields, form.separator)) for form in FORMS.values())
        raise EventListError(
            f"{line[:60]!r} is no event; expected one of {examples}, or a header that names the columns"
        )
    fields = ("run", "event") if numbers == 2 else ("run", "lumi", "event")
    if has_guid:
        fields = (*fields, "guid")
    return Layout(fields, separator, _example(fields, separator))


def _example(fields: tuple[str, ...], separator: str) -> str:
    return separator.join(EXAMPLES[name] for name in fields)


def _row(layout: Layout, line: str) -> tuple[int, int, int, str]:
    """(run, lumi, event, GUID) of a line, -1 and "" for what its layout lacks."""
    cells = layout.row(line)
    guid = cells.pop("guid", "").upper()
    if "guid" in layout.fields and not GUID.fullmatch(guid):
        raise EventListError(f"{guid[:60]!r} is no GUID")
    try:
        whole = {name: _number(name, text) for name, text in cells.items()}
    except EventListError as error:
        if layout.separator == "*":
            raise EventListError(error.message, hint=SCAN_REMEDY) from error
        raise
    return whole["run"], whole.get("lumi", UNKNOWN), whole["event"], guid


def _number(name: str, text: str) -> int:
    """A number of plain digits within the limits of its column."""
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) > LIMITS[name]:
        raise EventListError(f"{name} {text[:40]!r} is not a whole number from 0 to {LIMITS[name]}")
    return int(text)


def _restarts(rows: Iterable[tuple[int, int, int, str]]) -> bool:
    """Whether a (run, event) stands in several luminosity blocks: then an event is (run, lumi, event)."""
    lumis: dict[tuple[int, int], int] = {}
    return any(lumis.setdefault((run, event), lumi) != lumi for run, lumi, event, _ in rows)


def parse_json(content: bytes) -> EventList:
    """The list that `to_json` wrote, its digest (if told) verified; EventListError names a wrong record."""
    try:
        document = documents.parse_json(content, documents.CATALOG_BYTES)
    except (ValueError, RecursionError) as error:
        raise EventListError(f"no event list in JSON: {error}") from error
    rows = document.get("list") if isinstance(document, Mapping) else None
    if not isinstance(rows, list):
        raise _no_events(document)
    try:
        columns = {}
        for name in rows[0] if rows else _EMPTY:
            columns[name] = [row[name] for row in rows]
    except KeyError as error:
        raise EventListError(f"no event list in JSON: a record has no {error}, which the first one has") from error
    except TypeError as error:
        raise EventListError("no event list in JSON: a record is no table of run, event, …") from error
    return from_columns(_typed(columns), document)


_RUN = re.compile(r"\d+")


def _no_events(document: object) -> EventListError:
    """The error for a JSON file of another kind; a good-run list is one that maps runs to ranges of blocks."""
    hint = 'a list that tagsel wrote as JSON has its events in "list"'
    if isinstance(document, Mapping) and document and all(_RUN.fullmatch(key) for key in document):
        message = "this is a good-run list: runs with their luminosity blocks, and no events"
        return EventListError(message, hint="tagsel lumi show FILE; --lumi FILE selects with it")
    return EventListError('no event list in JSON: it has no "list" of events', hint=hint)


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
