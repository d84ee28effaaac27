"""The output of one attempt at a piece: one file, which says of which piece it is and accounts for every
event.

Invariant: a file under its final name is whole. An output counts only for the piece whose digest it carries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tagsel.aside import aside
from tagsel.errors import JobError
from tagsel.faults import step
from tagsel.jobs.events import write_events
from tagsel.jobs.values import NONE, Result, decode, encode

VERSION = 3
READS = (1, 2, 3)
"""Versions of headers that are read: a field that an older one lacks takes its default."""
HEADER = b"tagsel.piece"


@dataclass(frozen=True, slots=True)
class Header:
    """What an attempt says of itself. `status` is "ok" or "failed"; `error` is {} when ok.

    `delivered` events went through `process`, `unreadable` ones could not be read (`problems` names the
    files); `lumi` are the luminosity blocks of those delivered, `lost` of those unreadable, as good-run lists in JSON.
    `error` has `class` and `cause`, and as evidence `origin`, `message`, `kinds`, `code`, `hold`, `where` (the batch's
    first and last event) and `trace`; see `failures`. `start_s`, `read_s` and `process_s` are CPU seconds;
    `began` is when its process began, in seconds since 1970, and `wall_s` how long it took from then on.
    """

    piece: int
    digest: str
    script: str
    attempt: int
    status: str
    kind: str = "none"
    events: int = 0
    delivered: int = 0
    unreadable: int = 0
    bytes_read: int = 0
    bytes_total: int = 0
    problems: tuple[Mapping[str, object], ...] = ()
    error: Mapping[str, object] = field(default_factory=dict)
    note: str = ""
    start_s: float = 0.0
    read_s: float = 0.0
    process_s: float = 0.0
    began: float = 0.0
    wall_s: float = 0.0
    lumi: str = ""
    lost: str = ""


def write_output(stem: Path, header: Header, result: Result) -> Path:
    """Write the output of an attempt as `<stem>.json`, or `<stem>.parquet` for events; its path is
    returned."""
    if header.kind == "events":
        path = stem.with_name(f"{stem.name}.parquet")
        with aside(path) as temporary:
            write_events(temporary, result[1], {HEADER: json.dumps({"version": VERSION, **asdict(header)})})
            _may_die(header)
        return path
    path = stem.with_name(f"{stem.name}.json")
    content = {"version": VERSION, "header": asdict(header), "value": encode(result[1])}
    text = json.dumps(content, sort_keys=True)
    check = hashlib.sha256(text.encode()).hexdigest()
    with aside(path) as temporary:
        temporary.write_text(f"{check}\n{text}\n", "utf-8")
        _may_die(header)
    return path


def _may_die(header: Header) -> None:
    """The numbered step; not where the submitter records how a worker died."""
    if header.status == "ok":
        step("jobs.piece")


def read_header(path: Path) -> Header:
    """The header of an output; JobError, naming the file, where it is damaged or of another version."""
    return _read(path)[0]


def read_output(path: Path) -> tuple[Header, Result]:
    """(header, result) of an output; the value of events is the path, to be read in parts. JobError as
    `read_header`."""
    return _read(path)


def _read(path: Path) -> tuple[Header, Result]:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                document: dict[str, Any] = json.loads((file.schema_arrow.metadata or {})[HEADER])
            return _header(document), ("events", path)
        check, _, text = path.read_bytes().partition(b"\n")
        if hashlib.sha256(text.rstrip(b"\n")).hexdigest().encode() != check:
            raise ValueError("its checksum differs")
        content = json.loads(text)
        header = _header({"version": content["version"], **content["header"]})
        return header, NONE if header.kind == "none" else (header.kind, decode(content["value"]))
    except JobError:
        raise
    except Exception as error:  # Arrow, JSON and the file system each have their own errors for damage
        raise JobError(f"{path}: not an output of a piece: {error}", path=str(path)) from error


def _header(document: dict[str, Any]) -> Header:
    if (version := document.pop("version")) not in READS:
        raise JobError(f"an output of version {version}, of another tagsel than this one, which reads {READS[-1]}")
    return Header(**{**document, "problems": tuple(document["problems"])})
