"""What tells one input file from another: its GUID and its content.

A GUID alone does not: programs give two files one UUID, and a file is written to in place. So a dataset keeps of each
file its size, its entries, a hash of its header and a hash of its ids, and a file whose GUID is known is compared with
what was kept. Invariant: a file is taken for a known one only where all of these agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.catalog import FORMER, Catalog, FileRecord
from tagsel.errors import IngestError
from tagsel.ingest.makers import RowNumber, Same, Scalar, makers_of
from tagsel.ingest.plan import Plan
from tagsel.ingest.source import TagSource
from tagsel.rootio import is_remote
from tagsel.schema import IDS
from tagsel.store import Snapshot, Source

if TYPE_CHECKING:
    import pyarrow as pa

HEADER_BYTES = 512
"""Bytes at the begin of a file that are hashed: of a ROOT file its header, name, dates and UUID."""

KEY = "content"
"""The key of a file's bookkeeping that holds its `FileContent`."""

_BATCH_ROWS = 131_072


@dataclass(frozen=True)
class FileContent:
    """What a file holds, as far as it tells the file from others: -1 and "" where it is not known.

    `ids` is a hash of run, lumi and event of all entries, which were read from `columns`; `mtime_ns` is when the file
    was last written to.
    """

    bytes: int = -1
    entries: int = -1
    header: str = ""
    ids: str = ""
    columns: str = ""
    mtime_ns: int = -1

    def differences(self, other: FileContent) -> list[str]:
        """In what the two differ, in words, of all that both know."""
        differences = []
        if self.bytes != other.bytes and min(self.bytes, other.bytes) >= 0:
            differences.append(f"{self.bytes:,} and {other.bytes:,} B")
        if self.entries != other.entries and min(self.entries, other.entries) >= 0:
            differences.append(f"{self.entries:,} and {other.entries:,} entries")
        if self.columns == other.columns and self.ids != other.ids and self.ids and other.ids:
            differences.append("other run, luminosity block or event numbers")
        if not differences and self.header != other.header and self.header and other.header:
            differences.append(f"other first {HEADER_BYTES} bytes")
        return differences


class IdHash:
    """SHA-256 of the ids of batches of records, the same however the batches are cut."""

    def __init__(self) -> None:
        self._states = {name: hashlib.sha256() for name in IDS}

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, each hashed as it passes."""
        for batch in batches:
            for name, state in self._states.items():
                state.update(batch.column(name).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
            yield batch

    def digest(self) -> str:
        """The hash of all that passed."""
        joined = b"".join(state.digest() for state in self._states.values())
        return hashlib.sha256(b"tagsel.ids 1\n" + joined).hexdigest()


def content_of(source: TagSource, ids: IdHash | None = None) -> FileContent:
    """The content of an opened file; its ids are read, unless `ids` has seen them already."""
    if ids is None:
        ids = IdHash()
        plan = _id_plan(source)
        for chunk in source.reader.chunks(plan.columns, _BATCH_ROWS) if plan.columns else ():
            for _ in ids.through([plan.batch(chunk)]):
                pass
    digest = ids.digest()
    return FileContent(**{**asdict(_outside_of(source)), "ids": digest, "columns": _id_columns(source)})


def _outside_of(source: TagSource) -> FileContent:
    """The content as far as no event is read."""
    status = source.path.stat()
    return FileContent(status.st_size, source.entries, _header(source.path), mtime_ns=status.st_mtime_ns)


def _header(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(HEADER_BYTES)).hexdigest()


def _id_plan(source: TagSource) -> Plan:
    return Plan(makers_of(source.plan.makers, IDS), {})


def _id_columns(source: TagSource) -> str:
    """Where each id is read from: a column, a number that all rows have, or the entry."""
    reasons = []
    for maker in _id_plan(source).makers:
        if isinstance(maker, Scalar):
            place = maker.column
        elif isinstance(maker, Same):
            place = str(maker.value)
        else:
            place = "entry" if isinstance(maker, RowNumber) else type(maker).__name__
        reasons.append(f"{maker.attributes[0].name}={place}")
    return " ".join(reasons)


def kept_content(bookkeeping: Mapping[str, Any], guid: str) -> FileContent:
    """What a dataset kept of a file; of one that an older tagsel ingested, what it said of the file as an AOD."""
    if KEY in bookkeeping:
        return FileContent(**bookkeeping[KEY])
    own = next((a for a in bookkeeping.get("aod", ()) if a["guid"] == guid), None)
    return FileContent(own["bytes"], own["entries"]) if own else FileContent()


@dataclass(frozen=True)
class KnownFile:
    """A file that a dataset knows: by which name, where it lies, and what it held."""

    dataset: str
    guid: str
    name: str
    path: str
    content: FileContent

    def differences(self, source: TagSource) -> list[str]:
        """In what an opened file of this GUID differs; its ids are read where it may have been written to."""
        outside = _outside_of(source)
        differs = self.content.differences(outside)
        untouched = self.path == str(source.path.resolve()) and self.content.mtime_ns == outside.mtime_ns
        if differs or untouched or not self.content.ids:
            return differs
        return self.content.differences(content_of(source))

    def is_gone(self) -> bool:
        """Whether the file lies no more where it did: nothing is there, or another file."""
        if not self.path or is_remote(self.path):
            return False
        try:
            status = Path(self.path).stat()
            header = _header(Path(self.path))
        except OSError:
            return True
        return bool(self.content.differences(FileContent(status.st_size, header=header)))


@dataclass(frozen=True)
class Moved:
    """A file that was found at `path`, and no longer where it was ingested from, `former`."""

    guid: str
    path: str
    former: str


@dataclass
class KnownFiles:
    """What a dataset and the catalog know of some GUIDs; records of the catalog say where a file lies now."""

    dataset: str
    catalog: Catalog
    snapshot: Snapshot | None
    guids: Sequence[str] = ()
    _bookkeeping: dict[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict, repr=False)

    @cached_property
    def _records(self) -> list[FileRecord]:
        """The catalog's records of files that were ingested under these GUIDs, in any dataset."""
        return self.catalog.files(guids=list(self.guids), kind="TAG") if self.guids else []

    @cached_property
    def _sources(self) -> dict[str, Source]:
        return {s.guid: s for s in self.snapshot.sources} if self.snapshot else {}

    @cached_property
    def _places(self) -> dict[str, str]:
        """Where the dataset's files lie, by GUID: as the catalog says, else as the dataset kept it."""
        paths = {guid: str(s.bookkeeping.get("path", "")) for guid, s in self._sources.items()}
        if self.dataset in self.catalog.names():
            paths |= {f.guid: f.pfn for f in self.catalog.files(self.dataset, kind="TAG") if f.guid in paths and f.pfn}
        return paths

    def here(self, guid: str) -> KnownFile | None:
        """The dataset's own file of this GUID."""
        source = self._sources.get(guid)
        if source is None:
            return None
        content = kept_content(source.bookkeeping, guid)
        return KnownFile(self.dataset, guid, source.lfn or guid, self._places[guid], content)

    def elsewhere(self, guid: str) -> Iterator[KnownFile]:
        """Files of this GUID in other datasets."""
        for record in self._records:
            if record.guid != guid or record.dataset == self.dataset:
                continue
            if record.dataset not in self._bookkeeping:
                self._bookkeeping[record.dataset] = self.catalog.bookkeeping(record.dataset)
            kept = self._bookkeeping[record.dataset].get(guid, {})
            yield KnownFile(record.dataset, guid, record.lfn or guid, record.pfn, kept_content(kept, guid))

    def replaced(self, source: TagSource) -> KnownFile | None:
        """The dataset's file of another GUID that was ingested from where this one lies."""
        path = str(source.path.resolve())
        for guid, place in self._places.items():
            if place == path and guid != source.guid:
                return self.here(guid)
        return None

    def check(self, source: TagSource) -> list[str]:
        """Warnings about a file that is new to the dataset; IngestError where its GUID is that of another file."""
        warnings = []
        path = str(source.path.resolve())
        for other in self.elsewhere(source.guid):
            differs = other.differences(source)
            if differs and other.path != path:
                raise collision(str(source.path), other, differs)
            if differs:
                warnings.append(
                    f"{source.path}: has changed since it was ingested into {other.dataset} "
                    f"({differs[0]}): lists of that dataset cannot read it any more"
                )
        replaced = self.replaced(source)
        if replaced is not None:
            warnings.append(
                f"{source.path}: is another file than the one that was ingested from there, whose rows "
                f"stay in {self.dataset}: tagsel datasets retract {replaced.guid} takes them out"
            )
        return warnings

    def check_again(self, source: Source) -> None:
        """IngestError where another dataset has another file of this GUID: it may have come in since `check`."""
        path = str(source.bookkeeping["path"])
        content = kept_content(source.bookkeeping, source.guid)
        for other in self.elsewhere(source.guid):
            differs = other.content.differences(content)
            if differs and other.path != path:
                raise collision(path, other, differs)

    def check_unchanged(self, source: TagSource, here: KnownFile) -> None:
        """IngestError where the file is not the one that the dataset has under its GUID."""
        differs = here.differences(source)
        if not differs:
            return
        if here.path != str(source.path.resolve()):
            raise collision(str(source.path), here, differs)
        raise IngestError(
            f"{source.path}: has changed since it was ingested into {self.dataset}, whose rows are those of before: "
            f"{'; '.join(differs)} (then and now)",
            hint=f"take its rows out first: tagsel datasets retract {source.guid} --dataset {self.dataset}, "
            "and ingest it again",
            path=str(source.path),
            guid=source.guid,
        )


def check_twins(one: TagSource, other: TagSource) -> None:
    """IngestError where two files of one ingest have one GUID and different content."""
    if one.path.resolve() == other.path.resolve():
        return
    differs = content_of(one).differences(content_of(other))
    if differs:
        first = KnownFile("", one.guid, one.path.name, str(one.path), FileContent())
        raise collision(str(other.path), first, differs)


def collision(path: str, other: KnownFile, differs: Sequence[str]) -> IngestError:
    """The error for the file at `path`, which has the GUID of another file."""
    where = f" (in {other.dataset})" if other.dataset else ""
    name = other.path or other.name
    return IngestError(
        f"{path} and {name}{where} have one GUID, {other.guid}, and other content: {'; '.join(differs)}",
        hint="no list could tell them apart: write one of them again, with a UUID of its own (hadd does)",
        path=path,
        other=name,
        guid=other.guid,
    )


def relocated(catalog: Catalog, moved: Iterable[Moved]) -> dict[str, list[FileRecord]]:
    """By dataset, the records of moved files as they are right now."""
    by_guid = {m.guid: m for m in moved}
    found: dict[str, list[FileRecord]] = {}
    for record in catalog.files(guids=list(by_guid)) if by_guid else ():
        move = by_guid[record.guid]
        if record.pfn == move.former and record.kind in ("TAG", "AOD", FORMER):
            found.setdefault(record.dataset, []).append(replace(record, pfn=move.path))
    return found
