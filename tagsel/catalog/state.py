"""The small tables of the catalog, kept in Python: folded from the journal, with a checkpoint to start from.

Names, records, sites, jobs and pins are wanted by a shell's completion and by `tagsel count`, which have no
time to load DuckDB. `catalog.json` is a checkpoint: a header line (format, position), the tables, and the
SHA-256 of both. It is a cache: deleted or damaged, the journal is replayed from its beginning. `catalog.tip` holds the
position after the last line that was acknowledged. A journal that lacks a position which one of the two knew has lost
lines: that is an error, and nothing is overwritten. Both state the origin of their journal, so that a file of another
workspace, copied here, is not taken for one of this journal.

Invariant: `refresh` gives the fold of the journal's whole lines, whether there is a checkpoint or not.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagsel.base.atomic_write import write_bytes
from tagsel.base.checksum import seal, unseal
from tagsel.catalog import journal
from tagsel.catalog.journal import Entry, Position
from tagsel.catalog.names import DatasetSpec
from tagsel.catalog.records import DatasetRecord
from tagsel.catalog.tables import TABLES, Row, Rows, light_tables
from tagsel.catalog.values import read_value
from tagsel.errors import CatalogError

FORMAT = 2
_TAIL = 1 << 18
"""A checkpoint is written when the journal has grown by more bytes than this, and than the last checkpoint."""


class State:
    """The light tables of the catalog in `folder`, as of the last `refresh`."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "catalog.journal"
        self.checkpoint = folder / "catalog.json"
        self.tip = folder / journal.TIP
        self._view = folder / "catalog.duckdb"
        self.rows = Rows(light_tables())
        self.end = Position()

    def refresh(self) -> Rows:
        """The tables at the journal's end; no lock is needed, for whole lines never change.

        Raises CatalogError where the journal is damaged, shorter than what was known of it, or gone.
        """
        if journal.ends_at(self.journal, self.end):
            return self.rows
        if not self.journal.exists() and any(p.exists() for p in (self._view, self.checkpoint, self.tip)):
            raise CatalogError(
                f"{self.journal}: the journal is gone",
                hint=journal.RECOVER,
                path=str(self.journal),
            )
        if not journal.holds(self.journal, self.end):  # a line that could not be made safe was taken back
            self.forget()
        fresh = not self.end.offset
        if fresh:
            self._load()
        for entry in journal.read(self.journal, self.end):
            self.take(entry)
        if fresh:
            try:
                journal.need_all(self.journal, self.positions())
            except CatalogError:
                self.forget()
                raise
        return self.rows

    def positions(self) -> dict[str, Position]:
        """The positions of the journal that the tip and the checkpoint know, by the name of the file; damaged files
        know nothing."""
        positions = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            tip = unseal(self.tip.read_bytes())
            positions[self.tip.name] = Position(tip["seq"], tip["bytes"], tip["check"], tip.get("origin", ""))
        with suppress(OSError, ValueError, KeyError, TypeError):
            positions[self.checkpoint.name] = unpack(self.checkpoint.read_bytes())[1]
        return positions

    def acknowledge(self) -> None:
        """Note where the journal ends now; the caller holds the turnstile alone, and the line is on the disk."""
        document = {"version": FORMAT, **_where(self.end)}
        with suppress(OSError):  # an older tip is right, too: the journal is longer
            write_bytes(self.tip, seal(document), durable=False)

    def take(self, entry: Entry) -> None:
        """Fold one entry that was just appended."""
        self.rows.fold(entry.ops())
        self.end = entry.end

    def forget(self) -> None:
        """Start from nothing at the next refresh."""
        self.rows, self.end = Rows(light_tables()), Position()

    def save(self) -> None:
        """Write a checkpoint if the journal has grown enough; the caller holds the turnstile alone."""
        with suppress(OSError):  # a cache: without it the journal is replayed
            old = self.checkpoint.stat().st_size if self.checkpoint.exists() else 0
            if self.end.offset - self._saved_offset() <= max(_TAIL, old):
                return
            write_bytes(self.checkpoint, _pack(self.rows, self.end), durable=False)

    def _saved_offset(self) -> int:
        """How many bytes of this journal the checkpoint has."""
        try:
            with self.checkpoint.open("rb") as stream:
                end = _position(json.loads(stream.readline()))
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return end.offset if journal.holds(self.journal, end) else 0

    def _load(self) -> None:
        """Start from the checkpoint if it is whole and one of this journal."""
        try:
            rows, end = unpack(self.checkpoint.read_bytes())
            if journal.holds(self.journal, end):
                self.rows, self.end = rows, journal.with_origin(self.journal, end)
        except (OSError, ValueError, KeyError, TypeError):
            return


def _pack(state: Rows, end: Position) -> bytes:
    """Header, tables (rows as lists of values, in the order of the table's columns) and checksum, a line each."""
    tables: dict[str, list[list[Any]]] = {}
    for name in sorted(light_tables()):
        tables[name] = [_values(name, row) for row in state.all(name)]
    header = {"v": FORMAT, **_where(end)}
    whole = "\n".join(json.dumps(part, separators=(",", ":")) for part in (header, tables)).encode()
    return b"%s\n%s" % (whole, hashlib.sha256(whole).hexdigest().encode())


def _values(table: str, row: Row) -> list[Any]:
    return [row[column] for column in TABLES[table].columns]


def unpack(packed: bytes) -> tuple[Rows, Position]:
    """What `_pack` packed; ValueError where it is damaged. Rows are put in place at once: `fold` takes longer."""
    whole, _, check = packed.rpartition(b"\n")
    head, _, body = whole.partition(b"\n")
    header, state = json.loads(head), Rows(light_tables())
    expected = {1: f"{zlib.crc32(whole):08x}", FORMAT: hashlib.sha256(whole).hexdigest()}
    if check.decode() != expected.get(header["v"]):
        raise ValueError("damaged, or of another version")
    for name, rows in json.loads(body).items():
        columns, table = tuple(TABLES[name].columns), state.rows[name]
        places = [columns.index(column) for column in TABLES[name].key]
        for values in rows:
            key = tuple([values[place] for place in places])
            table.setdefault(key[0], {})[key] = dict(zip(columns, values, strict=True))
    return state, _position(header)


def _where(end: Position) -> dict[str, int | str]:
    """A position, as the tip and the header of a checkpoint say it."""
    return {"seq": end.seq, "bytes": end.offset, "check": end.check, "origin": end.origin}


def _position(header: Mapping[str, Any]) -> Position:
    """The position in the header of a checkpoint; one of an older tagsel does not say the journal's origin."""
    check = f"{header['crc']:08x}" if header["v"] == 1 else header["check"]
    return Position(header["seq"], header["bytes"], check, header.get("origin", ""))


def dataset_record(state: Rows, name: str) -> DatasetRecord:
    """The record of the dataset `name`, which must be in `state`, with its keys and parents."""
    row = state.of("datasets", name)[0]
    meta = {r["key"]: read_value(r["kind"], r["value"]) for r in state.of("meta", name)}
    parents = [str(DatasetSpec(r["parent"], r["snapshot"])) for r in state.ordered("parents", name)]
    members = [r["member"] for r in state.ordered("members", name)]
    return DatasetRecord(**row, meta=meta, parents=tuple(parents), members=tuple(members))
