"""How a part of a TAG dataset is written: Parquet whose hot columns can be mapped, named by its footer's
hash.

Hot columns are REQUIRED, PLAIN, uncompressed, one page a chunk, so that the bytes in the file are the
array; cold ones are zstd, strings with a dictionary. Row groups hold `ROW_GROUP` events. The footer carries
the SHA-256 of all bytes before it, so the name, a hash of the footer, is a hash of the content. Floats carry no
statistics: minimum and maximum leave NaN out, and an engine that trusts them (DuckDB 2.0) then finds no NaN.

Invariant: a part is written aside, fsynced, renamed, and its folder fsynced, before `write_part` returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.base.atomic_write import sync, temporary_name
from tagsel.base.fail_points import fail_point
from tagsel.schema import Schema
from tagsel.store import disk, lookup, zones
from tagsel.store.conform import conforming, kinds_of
from tagsel.store.eventindex import index_path
from tagsel.store.footers import part_name, read_footer
from tagsel.store.mapping import identity
from tagsel.store.parts import Part
from tagsel.store.sink import Sink

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 131_072
"""Events a row group: the block in which selections plan and read."""

_ONE_PAGE = 1 << 30
_ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Source:
    """One input file inside a part: what a row came from, and what is kept about the file.

    `first_row` is the row of the part (in a snapshot: of the snapshot) at which the file's rows begin;
    `entries` is how many there are, 0 for a file without events. `bookkeeping` is JSON-ready.
    """

    guid: str
    lfn: str
    entries: int
    first_row: int
    bookkeeping: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """A JSON-ready form that `from_json` reads back."""
        return {
            "guid": self.guid,
            "lfn": self.lfn,
            "entries": self.entries,
            "first_row": self.first_row,
            "bookkeeping": dict(self.bookkeeping),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Source:
        """The source that `to_json` wrote."""
        return cls(**document)


@dataclass(frozen=True)
class NewPart:
    """A finished, fsynced file in the dataset's folder that no snapshot holds yet."""

    name: str
    rows: int
    bytes: int
    sources: tuple[Source, ...] = ()


def write_part(
    folder: Path, schema: Schema, batches: Iterable[pa.RecordBatch], sources: Iterable[Source] = ()
) -> NewPart | None:
    """Write the rows of `batches` as one part in `folder`; None, and no file, for 0 rows.

    The columns of each batch are those of `schema`, in any order, without nulls. Memory is bounded by one
    row group and one batch. IngestError: an id that is negative or above 2^63 - 1, a list whose length is
    not its counter. StoreError: a column missing, extra or of another type; a disk that is full, read-only
    or fails to sync.
    """
    groups = _row_groups(conforming(batches, schema))
    first = next(groups, None)
    if first is None:
        return None
    sources = tuple(sources)
    with disk.saying("write a part in", folder):
        aside = temporary_name(folder)
        sink = Sink(aside)
        try:
            rows = _write(sink, first, groups, schema, sources)
            fail_point("store.fsync")
            sink.sync()
            sink.close()
            name = part_name(read_footer(aside), rows)
            fail_point("store.rename")
            aside.rename(folder / name)
            sync(folder)
        except BaseException:
            sink.give_up()
            sink.close()
            aside.unlink(missing_ok=True)
            raise
    zones.build(identity(folder / name), kinds_of(schema), written=True)
    lookup.build(_as_part(folder / name, rows, sink.position, schema))
    return NewPart(name, rows, sink.position, sources)


def _as_part(path: Path, rows: int, size: int, schema: Schema) -> Part:
    """The part that was just written, to read from."""
    groups = tuple(min(ROW_GROUP, rows - row) for row in range(0, rows, ROW_GROUP))
    kinds = kinds_of(schema)
    return Part(path.name, path.parent, rows, size, groups, frozenset(kinds), kinds=kinds)


def caches_of(part: Path) -> tuple[Path, ...]:
    """The files beside a part that can be made again from it: its zones and its event index."""
    return zones.sidecar_path(part), index_path(part)


def _write(sink: Sink, first: pa.Table, groups: Iterator[pa.Table], schema: Schema, sources: tuple[Source, ...]) -> int:
    import pyarrow.parquet as pq

    writer = pq.ParquetWriter(sink, first.schema, **_options(schema))
    rows = 0
    try:
        for table in _chain(first, groups):
            fail_point("store.write")
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
        writer.add_key_value_metadata(
            {
                "tagsel.part": "1",
                "tagsel.content": sink.digest(),
                "tagsel.sources": json.dumps([s.guid for s in sources]),
            }
        )
        writer.close()
    except BaseException:
        sink.give_up()
        writer.close()
        raise
    return rows


def _chain(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest


def _options(schema: Schema) -> dict[str, Any]:
    """The Parquet writer's settings; columns are named by their path in the file."""
    paths = {a: f"{a.column}.list.element" if a.is_list else a.column for a in schema}
    strings = [paths[a] for a in schema if a.type == "string"]
    exact = [path for a, path in paths.items() if a.type not in ("float32", "float64")]
    return {
        "compression": {p: "NONE" if a.hot and a.type != "string" else "ZSTD" for a, p in paths.items()},
        "compression_level": {p: _ZSTD_LEVEL for a, p in paths.items() if not a.hot or a.type == "string"},
        "use_dictionary": strings or False,
        "write_statistics": exact or False,
        "write_page_checksum": True,
        "data_page_version": "1.0",
        "data_page_size": _ONE_PAGE,
        "max_rows_per_page": _ONE_PAGE,
        "store_schema": False,
    }


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut into tables of `ROW_GROUP` rows (the last one shorter, none of 0 rows)."""
    import pyarrow as pa

    held: list[pa.Table] = []
    count = 0
    for table in tables:
        while table.num_rows:
            piece = table.slice(0, ROW_GROUP - count)
            held.append(piece)
            count += piece.num_rows
            table = table.slice(piece.num_rows)
            if count == ROW_GROUP:
                yield pa.concat_tables(held).combine_chunks()
                held, count = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()
