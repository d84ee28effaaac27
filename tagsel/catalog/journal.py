"""The journal: JSON lines, one a recorded set of changes; the truth of the catalog and its audit.

A line is `{"v": 2, "seq": n, "who": …, "when": …, "what": [changes], "sha256": "…"}`, `sha256` the SHA-256 of the one
of the line before (as hexadecimal text) and of the line's bytes before `,"sha256"`. So the checksum at a position
vouches for all lines before it: a line that somebody changed, took out or put in breaks the chain there, and a journal
that was put back from a copy and went another way is noticed. Lines are ordered by `seq`, which grows by one; the clock
is kept for people and never compared.

Lines of version 1 end in `"crc": "…"`, the CRC-32 of their bytes, continued from that of the line before. A journal
that begins with them goes on in version 2: the first such line continues the SHA-256 of all bytes before it.

A change is written as its class name and fields. A field that holds its default is left out, and an older line that
lacks a field takes the default, so fields are only ever added, with a default. `decode(encode(change)) == change`.

Invariant: a line is in the journal whole, ending in a newline, or not at all. What follows the last newline
is an append that was cut off before it was acknowledged: readers pass over it, and the next who holds the
lock cuts it away and says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from tagsel.base.atomic_write import sync
from tagsel.base.fail_points import fail_point
from tagsel.catalog.changes import KINDS, Change, Stamp
from tagsel.catalog.tables import Op
from tagsel.errors import CatalogError

FORMAT = 2
"""Version of the line format that is written; older ones are read, newer ones refused."""

TIP = "catalog.tip"
"""The file that states where the journal ends, and nothing else of it."""

_TAIL = re.compile(rb',"(?:(crc)":"([0-9a-f]{8})|(sha256)":"([0-9a-f]{64}))"}\n?$')
_CLOSE = b'"}\n'

RECOVER = "put the journal back from a backup; else tagsel workspace recover says what can be had, and from where"
"""What to try where the journal is damaged."""

log = logging.getLogger("tagsel")


@dataclass(frozen=True)
class Position:
    """A place between two lines: how many lines lie before it, how many bytes, and the checksum of all of them.

    `check` is the text at the end of the line before: 64 hexadecimal digits, 8 of a line of version 1, "" of none.
    `origin` is that of the first line, which tells this journal from others; "" where it is not known.
    """

    seq: int = 0
    offset: int = 0
    check: str = ""
    origin: str = field(default="", compare=False)


@dataclass(frozen=True)
class Entry:
    """One line: its number, time, author and changes, and the position after it."""

    stamp: Stamp
    changes: tuple[Change, ...]
    end: Position

    def ops(self) -> Iterator[Op]:
        """The row operations of all changes, in order."""
        for part, change in enumerate(self.changes):
            yield from change.ops(Stamp(self.stamp.seq, self.stamp.when, self.stamp.who, part))


def encode(change: Change) -> dict[str, Any]:
    """Return the form of `change` that goes to JSON; fields that hold their default are left out, in files too."""
    return {"do": type(change).__name__, **_encoded_fields(change)}


def _encoded_fields(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if value == f.default or f.metadata.get("stamp"):
            continue
        if isinstance(value, tuple):
            value = [_encoded_fields(item) if is_dataclass(item) else item for item in value]
        values[f.name] = value
    return values


def decode(document: Mapping[str, Any]) -> Change:
    """Return the change that `encode` wrote; CatalogError for one that this version does not know."""
    kind = KINDS.get(str(document.get("do")))
    if kind is None:
        raise CatalogError(f"unknown change {document.get('do')!r:.80}")
    values = {name: value for name, value in document.items() if name != "do"}
    try:
        return kind(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"{kind.__name__}: {error}") from error


def link(path: Path, position: Position) -> str:
    """What the line after a position continues: the checksum there, or the SHA-256 of all lines of version 1."""
    if len(position.check) != _CRC_DIGITS:
        return position.check
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(position.offset)).hexdigest()


_CRC_DIGITS = 8


def write_line(linked: str, stamp: Stamp, changes: Sequence[Change]) -> bytes:
    """The bytes of a line that continues `linked`, with its newline; CatalogError for what JSON cannot say."""
    document: dict[str, Any] = {"v": FORMAT, "seq": stamp.seq, "who": stamp.who, "when": stamp.when}
    try:
        document["what"] = [encode(change) for change in changes]
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text[:-1].encode()  # refuses half characters, such as undecodable file names have
    except (TypeError, ValueError) as error:
        raise CatalogError(f"a change cannot be written to the journal: {error}") from error
    return b'%s,"sha256":"%s"}\n' % (body, _chained(linked, body).encode())


def _chained(linked: str, body: bytes) -> str:
    return hashlib.sha256(linked.encode() + body).hexdigest()


def read_line(line: bytes, path: Path, after: Position) -> Entry:
    """The entry of a `line` of the journal `path` that begins at `after`; CatalogError naming file and line number when
    it is damaged."""
    number = after.seq + 1
    try:
        body, check = _verified(line, path, after)
        document: dict[str, Any] = json.loads(body + b"}")
        if document["v"] > FORMAT:
            raise CatalogError(f"it has format {document['v']}, written by a newer tagsel")
        if document["seq"] != number:
            raise CatalogError(f"its number is {document['seq']}, expected {number}")
        changes = tuple(decode(change) for change in document["what"])
        stamp = Stamp(number, str(document["when"]), str(document["who"]))
    except (CatalogError, ValueError, KeyError, TypeError) as error:
        reason = error.message if isinstance(error, CatalogError) else f"{type(error).__name__}: {error}"
        raise CatalogError(
            f"{path}: line {number} is damaged: {reason}",
            hint=f"lines before it are whole; {RECOVER}",
            path=str(path),
            line=number,
        ) from error
    return Entry(stamp, changes, _end(after, number, len(line), check))


def _end(after: Position, number: int, size: int, check: str) -> Position:
    """The position behind a line of `size` bytes that begins at `after`."""
    origin = check if number == 1 else after.origin
    return Position(number, after.offset + size, check, origin)


def _verified(line: bytes, path: Path, after: Position) -> tuple[bytes, str]:
    """A line without its checksum, and the checksum, which must be that of the line after `after`."""
    tail = _TAIL.search(line)
    if tail is None:
        raise CatalogError("it has no checksum")
    body = line[: tail.start()]
    if tail[3]:
        check = tail[4].decode()
        expected = _chained(link(path, after), body)
    else:
        check = tail[2].decode()
        if len(after.check) > _CRC_DIGITS:
            raise CatalogError("it is of an older format than the line before")
        expected = f"{zlib.crc32(body, int(after.check or '0', 16)):08x}"
    if check != expected:
        raise CatalogError("its checksum does not fit: it, or a line before it, is not the one that was written")
    return body, check


def stated_check(line: bytes) -> str:
    """The checksum at the end of a line as the line itself states it, right or not; "": it has none."""
    tail = _TAIL.search(line)
    return (tail[4] or tail[2]).decode() if tail is not None else ""


def stated_number(line: bytes) -> int:
    """The number of a line as the line itself states it, right or not; 0: it has none."""
    try:
        number = json.loads(line)["seq"]
    except (ValueError, KeyError, TypeError):
        return 0
    return number if isinstance(number, int) else 0


def holds(path: Path, position: Position) -> bool:
    """Whether `position` is one of this journal: no shorter, and with the same checksum there."""
    if not position.offset:
        return True
    end = position.check.encode() + _CLOSE
    try:
        with path.open("rb") as stream:
            stream.seek(position.offset - len(end))
            return stream.read(len(end)) == end
    except (OSError, ValueError):
        return False


def ends_at(path: Path, position: Position) -> bool:
    """Whether `position` is the end of this journal: of that length, with the same checksum there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    end = position.check.encode() + _CLOSE
    try:
        if os.fstat(descriptor).st_size != position.offset or not position.offset:
            return False
        return os.pread(descriptor, len(end), position.offset - len(end)) == end
    except OSError:
        return False
    finally:
        os.close(descriptor)


def origin(path: Path) -> str:
    """The checksum of the journal's first line; "" where there is none, or it is damaged."""
    with suppress(CatalogError):
        for entry in read(path):
            return entry.end.check
    return ""


def with_origin(path: Path, position: Position) -> Position:
    """A position of this journal; one that an older tagsel wrote down gets its origin."""
    if position.origin or not position.offset:
        return position
    return replace(position, origin=origin(path))


class Foreign(CatalogError):
    """A file that belongs to another journal."""


def foreign(path: Path, positions: Mapping[str, Position]) -> frozenset[str]:
    """The files, of those that know `positions`, that belong to another journal than this one.

    Each names its journal by the origin. Those that name another are foreign, unless `is_foreign`: then the journal is,
    and none of the files.
    """
    own = origin(path)
    if not own or is_foreign(path, positions):
        return frozenset()
    return frozenset(name for name, position in positions.items() if position.origin not in ("", own))


def is_foreign(path: Path, positions: Mapping[str, Position]) -> bool:
    """Whether the journal itself belongs elsewhere: a file with rows names another one, and no file vouches for it.

    The tip has no rows, so nothing can be recovered from it: where it alone names another journal, the tip is foreign.
    """
    own = origin(path)
    if not own or any(_vouches(path, position, own) for position in positions.values()):
        return False
    return any(position.origin for name, position in positions.items() if name != TIP)


def _need_own(path: Path, positions: Mapping[str, Position]) -> None:
    """CatalogError where the journal is the one that is of another workspace."""
    if is_foreign(path, positions):
        raise CatalogError(
            f"{path} is that of another workspace: it is not the journal of {' and '.join(sorted(positions))}",
            hint=f"nothing was overwritten; {RECOVER}",
            path=str(path),
        )


def _vouches(path: Path, position: Position, own: str) -> bool:
    """Whether a file that knows `position` belongs to the journal with the origin `own`."""
    return position.origin == own or (position.offset > 0 and holds(path, position))


def need_all(path: Path, positions: Mapping[str, Position]) -> None:
    """CatalogError where the journal lacks a position that a file knew; files of another journal know nothing of it."""
    missing = {name: position for name, position in positions.items() if not holds(path, position)}
    if not missing:
        return
    _need_own(path, positions)
    others = foreign(path, positions)
    for source, position in missing.items():
        if source not in others:
            need(path, position, source)


def need(path: Path, position: Position, source: str) -> None:
    """CatalogError where the journal lacks a position that `source` knew: lines that were acknowledged are gone."""
    if not holds(path, position):
        raise CatalogError(
            f"{path} is damaged: {source} knew {position.seq:,} lines of it, which it does not have",
            hint=f"nothing was overwritten; {RECOVER}",
            path=str(path),
            known=position.seq,
        )


def read(path: Path, after: Position = Position()) -> Iterator[Entry]:
    """Entries after a position, in order; a last line that is not whole is passed over.

    The caller makes sure that the journal `holds` that position. Raises CatalogError where a whole line is
    damaged.
    """
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(after.offset)
        for line in stream:
            if not line.endswith(b"\n"):  # being written just now, or cut off: `trim` says so
                return
            entry = read_line(line, path, after)
            yield entry
            after = entry.end


def append(path: Path, after: Position, stamp: Stamp, changes: Sequence[Change]) -> Entry:
    """Append one line after the last whole one, which ends at `after`, and fsync; the caller holds the lock.

    On any error nothing of the line stays, and CatalogError names the file. A new journal's folder is
    fsynced too.
    """
    line = write_line(link(path, after), stamp, changes)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CatalogError(f"cannot write the journal {path}: {error.strerror}", path=str(path)) from error
    try:
        trim(path, after)
        _write_and_sync(descriptor, line, after.offset)
        if after.offset == 0:
            sync(path.parent)
    except OSError as error:
        with suppress(OSError):  # a failed fsync is never retried: what stays is a line nobody was told of
            os.ftruncate(descriptor, after.offset)
        raise CatalogError(
            f"cannot write the journal {path}: {error.strerror}; nothing was recorded", path=str(path)
        ) from error
    finally:
        os.close(descriptor)
    return Entry(stamp, tuple(changes), _end(after, stamp.seq, len(line), line[-67:-3].decode()))


def _write_and_sync(descriptor: int, line: bytes, offset: int) -> None:
    half = len(line) // 2
    written = os.pwrite(descriptor, line[:half], offset)
    fail_point("catalog.journal")  # in the middle of a line: what a power cut would leave
    while written < len(line):
        written += os.pwrite(descriptor, line[written:], offset + written)
    os.fsync(descriptor)


def trim(path: Path, end: Position) -> None:
    """Cut away what follows the last whole line, which ends at `end`; the caller holds the lock alone."""
    if path.exists() and path.stat().st_size > end.offset:
        log.warning("%s: line %d was cut off while it was written: removed", path, end.seq + 1)
        os.truncate(path, end.offset)
