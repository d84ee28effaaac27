"""The journal: JSON lines, one a recorded set of changes; the truth of the catalog and its audit.

A line is `{"v": 1, "seq": n, "who": …, "when": …, "what": [changes], "crc": "…"}`, `crc` the CRC-32 of the
line's bytes before `,"crc"`, continued from that of the line before. So the checksum at a position vouches
for all lines before it: a journal that was put back from a copy and went another way is noticed. Lines are
ordered by `seq`, which grows by one; the clock is kept for people and never compared.

Invariant: a line is in the journal whole, ending in a newline, or not at all. What follows the last newline
is an append that was cut off before it was acknowledged: readers pass over it, and the next who holds the
lock cuts it away and says so.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagsel.aside import sync
from tagsel.catalog.changes import Change, Stamp
from tagsel.catalog.coding import decode, encode
from tagsel.catalog.tables import Op
from tagsel.errors import CatalogError
from tagsel.faults import step

FORMAT = 1
"""Version of the line format that is written; older ones are read, newer ones refused."""

_LINE_END = len(b'01234567"}\n')
_CRC = slice(-_LINE_END, -3)

log = logging.getLogger("tagsel")


@dataclass(frozen=True)
class Position:
    """A place between two lines: how many lines lie before it, how many bytes, and the checksum of all of them."""

    seq: int = 0
    offset: int = 0
    crc: int = 0


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


def write_line(after: Position, stamp: Stamp, changes: Sequence[Change]) -> bytes:
    """The bytes of the line after a position, with its newline; CatalogError for what JSON cannot say."""
    document: dict[str, Any] = {"v": FORMAT, "seq": stamp.seq, "who": stamp.who, "when": stamp.when}
    try:
        document["what"] = [encode(change) for change in changes]
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text[:-1].encode()  # refuses half characters, such as undecodable file names have
    except (TypeError, ValueError) as error:
        raise CatalogError(f"a change cannot be written to the journal: {error}") from error
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body, after.crc))


def read_line(line: bytes, path: Path, after: Position) -> Entry:
    """The entry of a `line` that begins at `after`; CatalogError naming file and line number when it is damaged."""
    number = after.seq + 1
    body, mark, crc = line.rstrip(b"\n").rpartition(b',"crc":')
    try:
        if not mark or crc != b'"%08x"}' % zlib.crc32(body, after.crc):
            raise CatalogError("its checksum does not fit")
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
            hint="restore the journal from a backup; lines before it are whole",
            path=str(path),
            line=number,
        ) from error
    return Entry(stamp, changes, _after(line, after))


def _after(line: bytes, before: Position) -> Position:
    return Position(before.seq + 1, before.offset + len(line), int(line[_CRC], 16))


def holds(path: Path, position: Position) -> bool:
    """Whether `position` is one of this journal: no shorter, and with the same checksum there."""
    if not position.offset:
        return True
    try:
        with path.open("rb") as stream:
            stream.seek(position.offset - _LINE_END)
            return stream.read(_LINE_END)[_CRC] == b"%08x" % position.crc
    except (OSError, ValueError):
        return False


def ends_at(path: Path, position: Position) -> bool:
    """Whether `position` is the end of this journal: of that length, with the same checksum there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_size != position.offset or not position.offset:
            return False
        return os.pread(descriptor, _LINE_END, position.offset - _LINE_END)[_CRC] == b"%08x" % position.crc
    except OSError:
        return False
    finally:
        os.close(descriptor)


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
    line = write_line(after, stamp, changes)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
    return Entry(stamp, tuple(changes), _after(line, after))


def _write_and_sync(descriptor: int, line: bytes, offset: int) -> None:
    half = len(line) // 2
    written = os.pwrite(descriptor, line[:half], offset)
    step("catalog.journal")  # in the middle of a line: what a power cut would leave
    while written < len(line):
        written += os.pwrite(descriptor, line[written:], offset + written)
    os.fsync(descriptor)


def trim(path: Path, end: Position) -> None:
    """Cut away what follows the last whole line, which ends at `end`; the caller holds the lock alone."""
    if path.exists() and path.stat().st_size > end.offset:
        log.warning("%s: line %d was cut off while it was written: removed", path, end.seq + 1)
        os.truncate(path, end.offset)
