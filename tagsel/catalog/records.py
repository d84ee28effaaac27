"""The records of the catalog: datasets, files, replicas, sites, jobs and their kin, one frozen dataclass a table.

To add a table, write its dataclass here; to add a column, write its field last, with a default and the metadata
`since(version)`. The columns, the key, the SQL of the view and its migration follow (`tables`); a change that puts
a row inherits the fields (`changes`).

Invariant: a record holds plain values only, so it can go to JSON, to a table and to a job's piece unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from tagsel.catalog.tables import ELSEWHERE, JSON, STAMP, since, table
from tagsel.catalog.values import Value
from tagsel.errors import CatalogError

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
    meta: Mapping[str, Value] = field(default_factory=dict, metadata=ELSEWHERE)
    parents: tuple[str, ...] = field(default=(), metadata=ELSEWHERE)
    members: tuple[str, ...] = field(default=(), metadata=ELSEWHERE)


@table("datasets", "name", light=True, owned=True)
@dataclass(frozen=True, kw_only=True)
class DatasetRecord(DatasetFacts):
    """A dataset as the catalog knows it, with the change that last touched it: number, time (UTC) and who."""

    name: str
    seq: int = field(default=0, metadata=STAMP)
    updated: str = field(default="", metadata=STAMP)
    who: str = field(default="", metadata=STAMP)

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


@table("meta", "dataset", "key", light=True, owned=True)
@dataclass(frozen=True)
class FreeKey:
    """One free key of a dataset, its value as the text and the kind of `values.write_value`."""

    dataset: str
    key: str
    kind: str
    value: str


@table("parents", "dataset", "position", light=True, owned=True)
@dataclass(frozen=True)
class Parent:
    """One dataset from which another was made, and its snapshot."""

    dataset: str
    position: int
    parent: str
    snapshot: int | None = None


@table("members", "dataset", "position", light=True, owned=True, since=3)
@dataclass(frozen=True)
class Member:
    """One dataset of a container."""

    dataset: str
    position: int
    member: str


FORMER = "FORMER"
"""Kind of the AOD files that only earlier snapshots point to: lists of old are still read from them."""


@table("files", "dataset", "kind", "guid", owned=True)
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
    checksum: str = field(default="", metadata=since(3))

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


@table("replicas", "guid", "site", "pfn")
@dataclass(frozen=True)
class Replica:
    """One copy of a file: where, and under which physical name."""

    site: str
    pfn: str
    guid: str = ""


@table("sites", "name", light=True)
@dataclass(frozen=True)
class Site:
    """A site, and the prefix that turns its logical file names into physical ones."""

    name: str
    prefix: str = ""
    meta: Mapping[str, Value] = field(default_factory=dict, metadata=JSON)


@table("catalogs", "name", light=True, private=True, since=3)
@dataclass(frozen=True)
class SharedCatalog:
    """Another catalog that this one mirrors: kind, settings, patterns of names, and when it was last asked (UTC)."""

    name: str
    kind: str
    settings: Mapping[str, Value] = field(default_factory=dict, metadata=JSON)
    patterns: tuple[str, ...] = field(default=(), metadata=JSON)
    synced: str = ""


@table("rules", "dataset", "site", light=True, owned=True, private=True, since=3)
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


@table("subscriptions", "pattern", "site", light=True, private=True, since=3)
@dataclass(frozen=True)
class Subscription:
    """The wish that every dataset whose name matches `pattern`, new ones too, gets complete copies at `site`."""

    pattern: str
    site: str


@table("links", "source", "target", light=True, private=True, since=3)
@dataclass(frozen=True)
class Link:
    """How fast files go from one site to another, in megabytes per second."""

    source: str
    target: str
    rate: float


@table("site_tests", "site", "tested", private=True, since=3)
@dataclass(frozen=True)
class SiteTest:
    """One functional test of a site: when (UTC), whether it was good, how long it took, and what went wrong or ""."""

    site: str
    tested: str
    good: bool
    seconds: float = 0.0
    error: str = ""


@table("downtimes", "site", "begins", light=True, private=True, since=3)
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


@table("runs", "dataset", "run", owned=True)
@dataclass(frozen=True)
class RunRecord:
    """One run of a dataset: how many luminosity blocks and events of it the dataset holds."""

    dataset: str
    run: int
    lumi_blocks: int
    events: int


@table("conditions", "run", "key", since=3)
@dataclass(frozen=True)
class Condition:
    """One condition of a run, its value as the text and the kind of `values.write_value`."""

    run: int
    key: str
    kind: str
    value: str


@table("bookkeeping", "dataset", "guid", owned=True)
@dataclass(frozen=True)
class Bookkeeping:
    """What a file states of its own making: processed blocks, generated counts and sums, as any JSON record."""

    dataset: str
    guid: str
    record: Mapping[str, Any] = field(metadata=JSON)

    def __post_init__(self) -> None:
        object.__setattr__(self, "guid", canonical_guid(self.guid))


@table("pins", "dataset", "snapshot", "reason", light=True)
@dataclass(frozen=True)
class PinRecord:
    """A snapshot that must stay readable, and why."""

    dataset: str
    snapshot: int
    reason: str
    updated: str = field(default="", metadata=STAMP)
    who: str = field(default="", metadata=STAMP)


@table("retractions", "dataset", "snapshot", light=True, owned=True, since=3)
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


@table("jobs", "job", light=True, private=True)
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
    seq: int = field(default=0, metadata=STAMP)
    updated: str = field(default="", metadata=STAMP)
    who: str = field(default="", metadata=STAMP)


@table("requests", "job", "seq", light=True, private=True, since=5)
@dataclass(frozen=True)
class RequestRecord:
    """What a member of the group asks of another's job: a verb and its options."""

    job: str
    seq: int = field(default=0, kw_only=True, metadata=STAMP)
    verb: str
    options: Mapping[str, Any] = field(metadata=JSON)
    who: str = field(default="", metadata=STAMP)
    updated: str = field(default="", metadata=STAMP)


@table("answers", "job", "seq", light=True, private=True, since=5)
@dataclass(frozen=True)
class AnswerRecord:
    """The submitter's answer to the request `seq` for a job: done, or refused and why."""

    job: str
    seq: int
    state: str
    note: str
    who: str = field(default="", metadata=STAMP)
    updated: str = field(default="", metadata=STAMP)


@table("queries", "seq", "part", private=True)
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
    seq: int = field(default=0, metadata=STAMP)
    updated: str = field(default="", metadata=STAMP)
    who: str = field(default="", metadata=STAMP)
    part: int = field(default=0, metadata=STAMP)
