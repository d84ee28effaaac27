"""An input file opened as TAGs: what it holds, where its events lie, and its records in batches.

Invariant: a TagSource is plain data, may be pickled, and holds no open file; `batches` may be called again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.errors import IngestError
from tagsel.ingest.columns import Columns
from tagsel.ingest.damage import reading
from tagsel.ingest.makers import Maker
from tagsel.ingest.plan import Plan
from tagsel.ingest.readers import Reader
from tagsel.ingest.report import ReportLine
from tagsel.schema import Menu, Schema

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 131_072
"""Rows of a batch, and of a row group of a dataset's parts."""


FileState = tuple[int, int, int]
"""What tells whether a file was replaced or written to: its inode, size and time of change in ns."""


def state_of(path: Path) -> FileState | None:
    """The state of a file now; None where it is gone, or cannot be asked."""
    with suppress(OSError):
        state = path.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns
    return None


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
    JSON-ready, see `tagsel.ingest.bookkeeping`; `state` is that of the file as it was opened. `lines` say what became
    of each column (`tagsel.ingest.report`); an opener may set those that it alone can tell. `profile` is the one that
    the file was opened with.
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
    state: FileState | None = field(default=None, repr=False)
    lines: tuple[ReportLine, ...] = field(default=(), repr=False)
    profile: str = "standard"

    @property
    def schema(self) -> Schema:
        """The attributes of the records, in their order."""
        return self.plan.schema

    @property
    def menus(self) -> Mapping[int, Menu]:
        """The trigger menus that the records' column `menu` names."""
        return self.plan.menus

    def batches(self, rows: int = BATCH_ROWS) -> Generator[pa.RecordBatch, None, None]:
        """The records in the file's order, at most `rows` in memory at a time; none at all for 0 entries.

        Raises IngestError naming file, column and row where a value cannot be kept, or the file cannot be read, or was
        replaced or written to since it was opened.
        """
        with reading(self.path):
            for chunk in self.reader.chunks(self.plan.columns, rows):
                yield self.plan.batch(chunk)
            if self.state is not None and state_of(self.path) != self.state:
                raise IngestError(
                    f"{self.path}: changed while it was being ingested",
                    hint="ingest it again when nothing writes to it any more",
                    path=str(self.path),
                )
