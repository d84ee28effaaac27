"""An input file opened as TAGs: what it holds, where its events lie, and its records in batches.

Invariant: a TagSource is plain data, may be pickled, and holds no open file; `batches` may be called again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.ingest.columns import Columns
from tagsel.ingest.damage import reading
from tagsel.ingest.makers import Maker
from tagsel.ingest.plan import Plan
from tagsel.ingest.readers import Reader
from tagsel.schema import Menu, Schema

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 131_072
"""Rows of a batch, and of a row group of a dataset's parts."""


@dataclass(frozen=True, slots=True)
class AodFile:
    """A file that rows point to: GUID, logical name or "", entries and bytes (-1 = unknown)."""

    guid: str
    lfn: str = ""
    entries: int = -1
    bytes: int = -1


def files_of(head: Iterable[Maker], reader: Reader, own: AodFile | None = None) -> tuple[AodFile, ...]:
    """The AOD files that a file's references name, in order of first use; more than the GUID is known of `own`."""
    guids: dict[str, None] = {}
    for maker in head:
        names = [a.name for a in maker.attributes]
        if "aod_guid" in names and maker.columns:
            for chunk in reader.chunks(maker.columns, BATCH_ROWS):
                guids |= dict.fromkeys(maker.make(chunk)[names.index("aod_guid")].unique().to_pylist())
    known = {own.guid: own} if own else {}
    return tuple(known.get(g) or AodFile(g) for g in guids if g)


@dataclass(frozen=True)
class TagSource:
    """An input file opened as TAGs by `open_source`.

    `guid` is the file's identity and `lfn` its name; `entries` the number of rows; `aod` the files that its rows
    point to, as far as this file knows them; `columns` are all that the file has, read or not; `bookkeeping` is
    JSON-ready, see `tagsel.ingest.bookkeeping`.
    """

    path: Path
    format: str
    guid: str
    lfn: str
    entries: int
    plan: Plan = field(repr=False)
    reader: Reader = field(repr=False)
    columns: Columns = field(repr=False)
    bookkeeping: Mapping[str, object] = field(default_factory=dict)
    aod: tuple[AodFile, ...] = ()
    is_simulation: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """The attributes of the records, in their order."""
        return self.plan.schema

    @property
    def menus(self) -> Mapping[int, Menu]:
        """The trigger menus that the records' column `menu` names."""
        return self.plan.menus

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The records in the file's order, at most `rows` in memory at a time; none at all for 0 entries.

        Raises IngestError naming file, column and row where a value cannot be kept, or the file cannot be read.
        """
        with reading(self.path):
            for chunk in self.reader.chunks(self.plan.columns, rows):
                yield self.plan.batch(chunk)
