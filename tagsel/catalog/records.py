"""What the catalog answers with: datasets, files, replicas, sites, jobs and their kin, as frozen records.

Invariant: a record holds plain values only, so it can go to JSON, to a table and to a job's piece unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TypeVar
from uuid import NAMESPACE_OID, uuid5

from tagsel.errors import CatalogError

Value = str | int | float | bool
"""A free key's value."""

_GUID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}")


def canonical_guid(text: str) -> str:
    """`text` as an upper-case canonical GUID; CatalogError when it is none.

    >>> canonical_guid("00d1b2c3-0000-4000-8000-00000000abcd")
    '00D1B2C3-0000-4000-8000-00000000ABCD'
    """
    guid = text.strip().strip("{}").upper()
    if not _GUID.fullmatch(guid):
        raise CatalogError(f"{text[:80]!r} is no GUID", hint="8-4-4-4-12 hexadecimal digits joined by '-'", guid=text)
    return guid


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What is kept of a dataset; `events`, `files` and `bytes` count its TAG rows, input files and parts' bytes.

    `state` is a free word (`open`, `closed`, `output`); `sample` names the simulated sample; `parents` are
    `name` or `name@snapshot`; `members` are the datasets of a container, which has no files of its own; `meta` holds
    free keys.
    """

    type: str = ""
    version: str = ""
    stream: str = ""
    year: int | None = None
    run_min: int | None = None
    run_max: int | None = None
    events: int = 0
    files: int = 0
    bytes: int = 0
    snapshot: int = 0
    simulation: bool = False
    sample: str = ""
    state: str = "open"
    cut: str = ""
    lumi: str = ""
    meta: Mapping[str, Value] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetRecord(DatasetFacts):
    """A dataset as the catalog knows it, with the change that last touched it: number, time (UTC) and who."""

    name: str
    seq: int = 0
    updated: str = ""
    who: str = ""

    @property
    def id(self) -> str:
        """A UUID of name and version, the same wherever they are registered, and for ever.

        >>> DatasetRecord(name="data18.DoubleMuon.AOD", version="1.0.0").id
        '19da1e22-5e66-5bca-9fd3-542942bb6553'
        """
        return str(uuid5(NAMESPACE_OID, f"{self.name}\n{self.version}"))

    def facts(self) -> dict[str, object]:
        """The fields that `PutDataset` takes, by name: `PutDataset(r.name, **{**r.facts(), "events": 7})`."""
        return {f.name: getattr(self, f.name) for f in fields(DatasetFacts)}


FORMER = "FORMER"
"""Kind of the AOD files that only earlier snapshots point to: lists of old are still read from them."""


@dataclass(frozen=True)
class FileRecord:
    """A file of any stage; `entries` and `bytes` are −1 where unknown, `guid` is made upper case.

    `checksum` is `adler32:` and 8 hexadecimal digits, or "" where unknown.
    """

    guid: str
    lfn: str = ""
    pfn: str = ""
    kind: str = "AOD"
    entries: int = -1
    bytes: int = -1
    uuid: str = ""
    simulation: bool = False
    dataset: str = ""
    checksum: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "guid", canonical_guid(self.guid))

    def filled(self, other: FileRecord) -> FileRecord:
        """This record with what it does not know (empty, or −1) taken from `other`, a record of the same file.

        >>> bare = FileRecord("00D1B2C3-0000-4000-8000-00000000ABCD", entries=7)
        >>> bare.filled(FileRecord(bare.guid, "a.root", entries=9)).entries
        7
        """
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: getattr(other, k) for k, v in mine.items() if v in ("", -1) and k != "dataset"})

    def same(self, other: FileRecord) -> bool:
        """Whether the two say the same of a file, of whichever dataset it is."""
        return replace(self, dataset="") == replace(other, dataset="")


@dataclass(frozen=True)
class Replica:
    """One copy of a file: where, and under which physical name."""

    site: str
    pfn: str
    guid: str = ""


@dataclass(frozen=True)
class Site:
    """A site, and the prefix that turns its logical file names into physical ones."""

    name: str
    prefix: str = ""
    meta: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class SharedCatalog:
    """Another catalog that this one mirrors: kind, settings, patterns of names, and when it was last asked (UTC)."""

    name: str
    kind: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()
    synced: str = ""


@dataclass(frozen=True)
class Rule:
    """The wish for complete copies of a dataset at a site; `done` of `files` are there.

    `state` is `waiting`, `moving`, `done` or `failed` (after `tries`, for the reason `error`); `why` names the
    subscription that made it, or is "". One that is `moving` is being carried out now; where the process that did so is
    gone, it is `waiting` and the error is `interrupted`.
    """

    dataset: str
    site: str
    state: str = "waiting"
    done: int = 0
    files: int = 0
    tries: int = 0
    error: str = ""
    why: str = ""


@dataclass(frozen=True)
class Subscription:
    """The wish that every dataset whose name matches `pattern`, new ones too, gets complete copies at `site`."""

    pattern: str
    site: str


@dataclass(frozen=True)
class Link:
    """How fast files go from one site to another, in megabytes per second."""

    source: str
    target: str
    rate: float


@dataclass(frozen=True)
class SiteTest:
    """One functional test of a site: when (UTC), whether it was good, how long it took, and what went wrong or ""."""

    site: str
    tested: str
    good: bool
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Downtime:
    """A time in which a site is not to be used: `begins` and `ends` in UTC (ISO 8601), an empty `ends` is open."""

    site: str
    begins: str
    ends: str = ""
    reason: str = ""

    def covers(self, when: datetime) -> bool:
        """Whether it is down at a time (with a time zone).

        >>> Downtime("FAR", "2026-11-25T08:00+00:00").covers(datetime.fromisoformat("2026-11-26T00:00+00:00"))
        True
        """
        begun = datetime.fromisoformat(self.begins) <= when
        return begun and (not self.ends or when < datetime.fromisoformat(self.ends))


@dataclass(frozen=True)
class RunRecord:
    """One run of a dataset: how many luminosity blocks and events of it the dataset holds."""

    run: int
    lumi_blocks: int
    events: int


@dataclass(frozen=True)
class PinRecord:
    """A snapshot that must stay readable, and why."""

    dataset: str
    snapshot: int
    reason: str
    updated: str = ""
    who: str = ""


@dataclass(frozen=True)
class RetractionRecord:
    """A file that was taken out of a dataset: `snapshot` is the first without it, `events` its rows, `who` and when.

    `record` is the commit that did it; `back` the snapshot at which the file was there again, None while it is not.
    """

    dataset: str
    snapshot: int
    guid: str
    lfn: str = ""
    events: int = 0
    reason: str = ""
    retracted: str = ""
    who: str = ""
    record: str = ""
    back: int | None = None

    @property
    def name(self) -> str:
        """The file as people call it."""
        return self.lfn or self.guid


@dataclass(frozen=True)
class JobRecord:
    """A job: its dataset, state, pieces (all, done, failed), selected events, output dataset and folder."""

    job: str
    dataset: str = ""
    state: str = ""
    pieces: int = 0
    done: int = 0
    failed: int = 0
    events: int = 0
    output: str = ""
    folder: str = ""
    note: str = ""
    seq: int = 0
    updated: str = ""
    who: str = ""


@dataclass(frozen=True)
class QueryRecord:
    """One line of the audit: who asked what of which dataset and snapshot, when, and what came out."""

    verb: str
    dataset: str = ""
    snapshot: int | None = None
    text: str = ""
    read: int | None = None
    accepted: int | None = None
    digest: str = ""
    seconds: float | None = None
    seq: int = 0
    updated: str = ""
    who: str = ""


@dataclass(frozen=True)
class Lineage:
    """A dataset in a tree of provenance; `links` are its parents (or children), `known` is false once it is gone.

    `again`: it stands in the tree before, and its links are there.
    """

    name: str
    snapshot: int | None
    known: bool
    links: tuple[Lineage, ...] = ()
    again: bool = False

    def walk(self, depth: int = 0) -> Iterable[tuple[int, Lineage]]:
        """(depth, node) of the whole tree, a node before its links."""
        yield depth, self
        for link in self.links:
            yield from link.walk(depth + 1)


_R = TypeVar("_R")


def from_row(kind: type[_R], row: Mapping[str, object]) -> _R:
    """A record of class `kind` from a row; columns that it has no field for are left out."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in row.items() if k in names})
