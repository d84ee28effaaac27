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

from tagsel.base.atomic_write import atomic_write
from tagsel.base.fail_points import fail_point
from tagsel.errors import JobError
from tagsel.jobs.events import write_events
from tagsel.jobs.executors import MODE
from tagsel.jobs.values import NONE, Result, decode, encode

VERSION = 4
READS = (1, 2, 3, 4)
"""Versions of headers that are read: a field that an older one lacks takes its default. Since version 4 a file of
events carries a checksum."""
HEADER = b"tagsel.piece"

CHECKSUM = b"tagsel.sha256"
"""Key in the footer of a file of events under which the SHA-256 of all its bytes stands, of these 64 as zeros."""

_BLANK = b"0" * 64
_VALUE = CHECKSUM + b"\x18\x40"  # then come 64 bytes: the footer is Thrift, compact protocol, field 2, a text


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
    version: int = field(default=VERSION, compare=False)


def write_output(stem: Path, header: Header, result: Result) -> Path:
    """Write the output of an attempt as `<stem>.json`, or `<stem>.parquet` for events; its path is
    returned."""
    if header.kind == "events":
        path = stem.with_name(f"{stem.name}.parquet")
        with atomic_write(path, MODE) as temporary:
            document = json.dumps({**asdict(header), "version": VERSION})
            write_events(temporary, result[1], {HEADER: document, CHECKSUM: _BLANK.decode()})
            _stamp(temporary)
            _may_die(header)
        return path
    path = stem.with_name(f"{stem.name}.json")
    content = {"version": VERSION, "header": asdict(header), "value": encode(result[1])}
    text = json.dumps(content, sort_keys=True)
    check = hashlib.sha256(text.encode()).hexdigest()
    with atomic_write(path, MODE) as temporary:
        temporary.write_text(f"{check}\n{text}\n", "utf-8")
        _may_die(header)
    return path


def _may_die(header: Header) -> None:
    """The numbered step; not where the submitter records how a worker died."""
    if header.status == "ok":
        fail_point("jobs.piece")


def _stamp(path: Path) -> None:
    """Write the checksum of a file of events into the place that its footer has for it."""
    place = _place(path)
    checksum = _sha256(path, place).encode()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(checksum)


def verify_output(path: Path) -> None:
    """JobError where a file of events is damaged: not one of its bytes may differ from what its worker wrote."""
    hint = "remove the file; tagsel jobs resubmit then runs its piece again"
    try:
        header = read_header(path)
        if header.version < _CHECKED:
            return
        place = _place(path)
        with path.open("rb") as file:
            file.seek(place)
            stated = file.read(len(_BLANK)).decode("ascii", "replace")
        is_whole = stated == _sha256(path, place)
    except (OSError, ValueError) as error:
        raise JobError(f"{path} is damaged: {error}", hint=hint, path=str(path)) from error
    if not is_whole:
        message = f"{path} is damaged: its content does not match its checksum"
        raise JobError(message, hint=hint, path=str(path))


_CHECKED = 4  # the first version with a checksum


def _place(path: Path) -> int:
    """Where the checksum stands in a file of events. ValueError: nowhere."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        begin = size - 8 - length
        if begin < 0:
            raise ValueError("its footer is longer than the file")
        file.seek(begin)
        footer = file.read(length)
    at = footer.rfind(_VALUE)
    if at < 0:
        raise ValueError("its footer has no checksum")
    return begin + at + len(_VALUE)


def _sha256(path: Path, place: int) -> str:
    """SHA-256 (hex) of a file whose checksum, at a place, is zeros."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = place
        while left:
            block = file.read(min(left, 1 << 20))
            if not block:
                raise ValueError("it is shorter than its footer says")
            digest.update(block)
            left -= len(block)
        file.read(len(_BLANK))
        digest.update(_BLANK)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
        header = _header({**content["header"], "version": content["version"]})
        return header, NONE if header.kind == "none" else (header.kind, decode(content["value"]))
    except JobError:
        raise
    except Exception as error:  # Arrow, JSON and the file system each have their own errors for damage
        raise JobError(f"{path}: not an output of a piece: {error}", path=str(path)) from error


def _header(document: dict[str, Any]) -> Header:
    if (version := document.pop("version")) not in READS:
        raise JobError(f"an output of version {version}, of another tagsel than this one, which reads {READS[-1]}")
    return Header(**{**document, "problems": tuple(document["problems"]), "version": version})
