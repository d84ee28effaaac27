"""The small tables of the catalog, kept in Python: folded from the journal, with a checkpoint to start from.

Names, records, sites, jobs and pins are wanted by a shell's completion and by `tagsel count`, which have no
time to load DuckDB. `catalog.json` is a checkpoint: a header line (format, position, CRC-32 of the rest),
then the tables. It is a cache: deleted or damaged, the journal is replayed from its beginning.

Invariant: `refresh` gives the fold of the journal's whole lines, whether there is a checkpoint or not.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

from tagsel.catalog import journal
from tagsel.catalog.journal import Entry, Position
from tagsel.catalog.tables import LIGHT, Put, Rows
from tagsel.errors import CatalogError

FORMAT = 1
_TAIL = 1 << 18
"""A checkpoint is written when the journal has grown by more than this, and than the last checkpoint, since."""


class State:
    """The light tables of the catalog in `folder`, as of the last `refresh`."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "catalog.journal"
        self.checkpoint = folder / "catalog.json"
        self.rows = Rows(LIGHT)
        self.end = Position()

    def refresh(self) -> Rows:
        """The tables at the journal's end; no lock is needed, for whole lines never change.

        Raises CatalogError where the journal is damaged, or gone while its view is there.
        """
        size = self.journal.stat().st_size if self.journal.exists() else 0
        if size < self.end.offset:  # a line that could not be made safe was taken back
            self.forget()
        if not self.end.offset and size:
            self._load(size)
        if size > self.end.offset:
            try:
                self._read_on()
            except CatalogError:
                if not self.checkpoint.exists():
                    raise
                self.forget()
                self._read_on()
        return self.rows

    def take(self, entry: Entry) -> None:
        """Fold one entry that was just appended."""
        self.rows.fold(entry.ops())
        self.end = entry.end

    def forget(self) -> None:
        """Start from nothing at the next refresh."""
        self.rows, self.end = Rows(LIGHT), Position()

    def _read_on(self) -> None:
        for entry in journal.read(self.journal, self.end):
            self.take(entry)

    def save(self) -> None:
        """Write a checkpoint if the journal has grown enough; the caller holds the turnstile alone."""
        with suppress(OSError):  # a cache: without it the journal is replayed
            old = self.checkpoint.stat().st_size if self.checkpoint.exists() else 0
            if self.end.offset - self._saved_offset() <= max(_TAIL, old):
                return
            body = json.dumps({t: self.rows.all(t) for t in sorted(LIGHT)}, separators=(",", ":")).encode()
            header = {"v": FORMAT, "seq": self.end.seq, "bytes": self.end.offset, "crc": zlib.crc32(body)}
            with tempfile.NamedTemporaryFile(dir=self.checkpoint.parent, delete=False) as stream:
                stream.write(json.dumps(header).encode() + b"\n" + body)
            os.replace(stream.name, self.checkpoint)

    def _saved_offset(self) -> int:
        try:
            with self.checkpoint.open("rb") as stream:
                return int(json.loads(stream.readline())["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _load(self, size: int) -> None:
        """Start from the checkpoint if it is whole and lies within the journal."""
        try:
            head, _, body = self.checkpoint.read_bytes().partition(b"\n")
            header = json.loads(head)
            if header["v"] != FORMAT or header["crc"] != zlib.crc32(body) or header["bytes"] > size:
                return
            tables = json.loads(body)
            rows = Rows(LIGHT)
            rows.fold(Put(table, row) for table in sorted(LIGHT) for row in tables[table])
            self.rows, self.end = rows, Position(int(header["seq"]), int(header["bytes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
