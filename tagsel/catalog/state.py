"""The small tables of the catalog, kept in Python: folded from the journal, with a checkpoint to start from.

Names, records, sites, jobs and pins are wanted by a shell's completion and by `tagsel count`, which have no
time to load DuckDB. `catalog.json` is a checkpoint: a header line (format, position, CRC-32 of the rest),
then the tables. It is a cache: deleted or damaged, the journal is replayed from its beginning.

Invariant: `refresh` gives the fold of the journal's whole lines, whether there is a checkpoint or not.
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path

from tagsel.catalog import journal
from tagsel.catalog.journal import Entry, Position
from tagsel.catalog.names import DatasetSpec
from tagsel.catalog.records import DatasetRecord
from tagsel.catalog.tables import LIGHT, TABLES, Rows
from tagsel.catalog.values import read_value
from tagsel.errors import CatalogError

FORMAT = 1
_TAIL = 1 << 18
"""A checkpoint is written when the journal has grown by more bytes than this, and than the last checkpoint."""


class State:
    """The light tables of the catalog in `folder`, as of the last `refresh`."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "catalog.journal"
        self.checkpoint = folder / "catalog.json"
        self._view = folder / "catalog.duckdb"
        self.rows = Rows(LIGHT)
        self.end = Position()

    def refresh(self) -> Rows:
        """The tables at the journal's end; no lock is needed, for whole lines never change.

        Raises CatalogError where the journal is damaged, or gone while its view is there.
        """
        if journal.ends_at(self.journal, self.end):
            return self.rows
        if not self.journal.exists() and (self._view.exists() or self.checkpoint.exists()):
            raise CatalogError(
                f"{self.journal}: the journal is gone",
                hint="restore it from a backup",
                path=str(self.journal),
            )
        if not journal.holds(self.journal, self.end):  # a line that could not be made safe was taken back
            self.forget()
        if not self.end.offset:
            self._load()
        for entry in journal.read(self.journal, self.end):
            self.take(entry)
        return self.rows

    def take(self, entry: Entry) -> None:
        """Fold one entry that was just appended."""
        self.rows.fold(entry.ops())
        self.end = entry.end

    def forget(self) -> None:
        """Start from nothing at the next refresh."""
        self.rows, self.end = Rows(LIGHT), Position()

    def save(self) -> None:
        """Write a checkpoint if the journal has grown enough; the caller holds the turnstile alone."""
        with suppress(OSError):  # a cache: without it the journal is replayed
            old = self.checkpoint.stat().st_size if self.checkpoint.exists() else 0
            if self.end.offset - self._saved_offset() <= max(_TAIL, old):
                return
            whole = _pack(self.rows, self.end)
            fresh = self.checkpoint.with_suffix(".json.new")
            fresh.write_bytes(whole)
            fresh.replace(self.checkpoint)

    def _saved_offset(self) -> int:
        try:
            with self.checkpoint.open("rb") as stream:
                return int(json.loads(stream.readline())["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _load(self) -> None:
        """Start from the checkpoint if it is whole and one of this journal."""
        try:
            rows, end = _unpack(self.checkpoint.read_bytes())
            if journal.holds(self.journal, end):
                self.rows, self.end = rows, end
        except (OSError, ValueError, KeyError, TypeError):
            return


def _pack(state: Rows, end: Position) -> bytes:
    """Header, tables (rows as lists of values, in the order of the table's columns) and checksum, a line each."""
    tables = {t: [[row[c] for c in TABLES[t].columns] for row in state.all(t)] for t in sorted(LIGHT)}
    header = {"v": FORMAT, "seq": end.seq, "bytes": end.offset, "crc": end.crc}
    whole = "\n".join(json.dumps(part, separators=(",", ":")) for part in (header, tables)).encode()
    return b"%s\n%08x" % (whole, zlib.crc32(whole))


def _unpack(packed: bytes) -> tuple[Rows, Position]:
    """What `_pack` packed; ValueError where it is damaged. Rows are put in place at once: `fold` takes longer."""
    whole, _, crc = packed.rpartition(b"\n")
    head, _, body = whole.partition(b"\n")
    if crc != b"%08x" % zlib.crc32(whole) or json.loads(head)["v"] != FORMAT:
        raise ValueError("damaged, or of another version")
    header, state = json.loads(head), Rows(LIGHT)
    for name, rows in json.loads(body).items():
        columns, table = tuple(TABLES[name].columns), state.rows[name]
        places = [columns.index(column) for column in TABLES[name].key]
        for values in rows:
            key = tuple([values[place] for place in places])
            table.setdefault(key[0], {})[key] = dict(zip(columns, values, strict=True))
    return state, Position(header["seq"], header["bytes"], header["crc"])


def dataset_record(state: Rows, name: str) -> DatasetRecord:
    """The record of the dataset `name`, which must be in `state`, with its keys and parents."""
    row = state.of("datasets", name)[0]
    meta = {r["key"]: read_value(r["kind"], r["value"]) for r in state.of("meta", name)}
    links = sorted(state.of("parents", name), key=lambda r: int(r["position"]))
    parents = tuple(str(DatasetSpec(r["parent"], r["snapshot"])) for r in links)
    held = sorted(state.of("members", name), key=lambda r: int(r["position"]))
    return DatasetRecord(**row, meta=meta, parents=parents, members=tuple(r["member"] for r in held))
