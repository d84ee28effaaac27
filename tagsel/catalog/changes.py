"""Changes of the catalog: what a line of the journal does to the rows of the tables.

The changes that put one row inherit the fields of the table's record (`PutRow`); those that remove one have the fields
of the key (`DropRow`). The others are special. One that adds no field is no `@dataclass` of its own, which would cost
each start a millisecond. The journal keeps a change as its class name and fields (`journal`).

Invariant: `ops` depends on the change and its journal entry alone, never on the state, so that a replay of the journal
always gives the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from tagsel.catalog.constraints import (
    check_content,
    check_drop,
    check_meta,
    check_site,
    need_dataset,
    need_open,
    need_site,
    no_subscription,
)
from tagsel.catalog.names import check_dataset_name, parse_reference
from tagsel.catalog.records import (
    AnswerRecord,
    Bookkeeping,
    Condition,
    DatasetFacts,
    Downtime,
    FileRecord,
    FreeKey,
    JobRecord,
    Link,
    Member,
    Parent,
    PinRecord,
    QueryRecord,
    Replica,
    RequestRecord,
    RetractionRecord,
    Rule,
    RunRecord,
    SharedCatalog,
    Site,
    SiteTest,
    Subscription,
    canonical_guid,
)
from tagsel.catalog.requests import OPEN, VERBS, requests
from tagsel.catalog.tables import TABLES, Clear, Op, Put, Remove, Row, Rows, as_json, owned_tables, table_of
from tagsel.catalog.values import Value, check_key, write_value
from tagsel.errors import CatalogError, did_you_mean

KINDS: dict[str, type[Change]] = {}
"""Every kind of change by the name that the journal gives it."""


@dataclass(frozen=True)
class Stamp:
    """Number, time (UTC, ISO 8601) and author of a journal entry, and the change's place in it."""

    seq: int
    when: str
    who: str
    part: int = 0

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that say which change last touched a row."""
        return {"seq": self.seq, "part": self.part, "updated": self.when, "who": self.who}


class Change:
    """Base of all changes; `quiet` ones wait for the next other change, or reader, to reach the DuckDB view."""

    quiet: ClassVar[bool] = False

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        """Add a kind of change to `KINDS`, unless it is a base of others."""
        super().__init_subclass__()
        if not abstract:
            KINDS[cls.__name__] = cls

    def check(self, state: Rows) -> None:
        """Raise CatalogError where this change may not be made on `state` (its light tables)."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Yield the row operations of this change."""
        raise NotImplementedError


class PutRow(Change, abstract=True):
    """Base of the changes that put one row; a subclass inherits from the table's record, too."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put the row of this record."""
        yield put(self, stamp)


class DropRow(Change, abstract=True):
    """Base of the changes that remove one row of `table`; a subclass has the fields of its key."""

    table: ClassVar[str]

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove the row of this key."""
        key = TABLES[self.table].key
        yield Remove(self.table, tuple([getattr(self, column) for column in key]))


def put(record: object, stamp: Stamp) -> Put:
    """Return the operation that puts the row of a record."""
    table = table_of(type(record))
    return Put(table.name, table.row(record, stamp.columns))


# --- datasets ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PutDataset(DatasetFacts, Change):
    """Register a dataset, or replace the whole record of one, free keys, parents and members included.

    `after` is the number of the change that last touched the record from which this one was made: 0 where there must
    be none yet, None where that does not matter.
    """

    name: str
    after: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(self.parents))
        object.__setattr__(self, "members", tuple(self.members))

    def check(self, state: Rows) -> None:
        """Check the name, the keys, the form of the parents, and what the dataset's state allows.

        A parent may be unknown here, or gone.
        """
        check_dataset_name(self.name)
        check_meta(self.meta)
        check_content(state, self.name, self, self.after)
        for parent in self.parents:
            parse_reference(parent)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put one row of datasets; replace its keys, parents and members."""
        yield Put("datasets", TABLES["datasets"].row(self, stamp.columns))
        for table in ("meta", "parents", "members"):
            yield Clear(table, self.name)
        for position, member in enumerate(self.members):
            yield put(Member(self.name, position, member), stamp)
        for key, value in self.meta.items():
            yield put(FreeKey(self.name, key, *write_value(value)), stamp)
        for position, parent in enumerate(self.parents):
            yield put(Parent(self.name, position, *parse_reference(parent)), stamp)


@dataclass(frozen=True)
class SetMeta(Change):
    """Set free keys of a dataset; None removes a key."""

    name: str
    meta: Mapping[str, Value | None]

    def check(self, state: Rows) -> None:
        """The dataset exists; no key differs from one that it has in letter case only."""
        need_dataset(state, self.name)
        present = {str(row["key"]): None for row in state.of("meta", self.name)}
        check_meta({**present, **self.meta})

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put or remove one row of meta for each key."""
        for key, value in self.meta.items():
            if value is None:
                yield Remove("meta", (self.name, key))
            else:
                yield put(FreeKey(self.name, key, *write_value(value)), stamp)


@dataclass(frozen=True)
class DropDataset(Change):
    """Forget a dataset and what belongs to it; refused while a snapshot of it is pinned, or where it is frozen."""

    name: str

    def check(self, state: Rows) -> None:
        """The dataset exists, is not frozen, and nothing pins it."""
        check_drop(state, self.name)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Clear all that the dataset owns."""
        for table in owned_tables():
            yield Clear(table, self.name)


@dataclass(frozen=True)
class RecoverDataset(Change):
    """Put a dataset back that was dropped; `rows` are those of each table that it owned (`Catalog.owned_rows`)."""

    name: str
    rows: Mapping[str, Sequence[Row]]

    def check(self, state: Rows) -> None:
        """The name is free, the rows are its own, and the members of a container exist."""
        check_dataset_name(self.name)
        if state.of("datasets", self.name):
            raise CatalogError(f"there is a dataset {self.name} again", hint="drop or rename that", dataset=self.name)
        for table, rows in self.rows.items():
            if table not in owned_tables() or any(row.get(TABLES[table].key[0]) != self.name for row in rows):
                raise CatalogError(f"rows of {table} are not those of dataset {self.name}", dataset=self.name)
        for row in self.rows.get("members", ()):
            need_dataset(state, row["member"])

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put every row as it was; that of the dataset states who put it back."""
        columns = TABLES["datasets"].columns
        author = {name: value for name, value in stamp.columns.items() if name in columns}
        for table, rows in self.rows.items():
            for row in rows:
                whole = TABLES[table].complete(row)
                yield Put(table, {**whole, **author} if table == "datasets" else whole)


# --- files, replicas, runs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PutFiles(Change):
    """Register files that a dataset holds (kind TAG) or points to (AOD, ESD, RAW); same kind and GUID: replaced.

    `known` says that the dataset has these files already, and that more is known of them now.
    """

    dataset: str
    files: Sequence[FileRecord]
    known: bool = False

    def __post_init__(self) -> None:
        files = [file if isinstance(file, FileRecord) else FileRecord(**file) for file in self.files]
        object.__setattr__(self, "files", tuple(files))

    def check(self, state: Rows) -> None:
        """The dataset exists and is open; a closed one may learn more of the files to which it points."""
        need_dataset(state, self.dataset)
        if not self.known and any(file.kind == "TAG" for file in self.files):
            need_open(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put one row of files for each file."""
        table = TABLES["files"]
        for file in self.files:
            yield Put("files", {**table.row(file, stamp.columns), "dataset": self.dataset})


@dataclass(frozen=True)
class DropFiles(Change):
    """Forget files of a dataset: pairs (kind, guid)."""

    dataset: str
    files: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple([(kind, canonical_guid(guid)) for kind, guid in self.files]))

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of files for each file, and the bookkeeping of a TAG file."""
        for kind, guid in self.files:
            yield Remove("files", (self.dataset, kind, guid))
            if kind == "TAG":
                yield Remove("bookkeeping", (self.dataset, guid))


@dataclass(frozen=True)
class PutReplicas(Change):
    """State that a site holds copies of files: pairs (guid, pfn)."""

    site: str
    replicas: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "replicas", tuple([(canonical_guid(guid), pfn) for guid, pfn in self.replicas]))

    def check(self, state: Rows) -> None:
        """The site exists."""
        need_site(state, self.site)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put one row of replicas for each copy."""
        row = TABLES["replicas"].row(Replica(self.site, ""), stamp.columns)
        for guid, pfn in self.replicas:
            yield Put("replicas", {**row, "guid": guid, "pfn": pfn})


class DropReplicas(PutReplicas):
    """Forget copies that a site no longer holds."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of replicas for each copy."""
        for guid, pfn in self.replicas:
            yield Remove("replicas", (guid, self.site, pfn))


class PutRetraction(RetractionRecord, PutRow):
    """State that a file was taken out of a dataset, or, with `back`, that it is there again."""

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)


class PutBookkeeping(Bookkeeping, PutRow):
    """Keep what a file states of its own making."""

    def check(self, state: Rows) -> None:
        """The dataset exists, the record can be JSON."""
        need_dataset(state, self.dataset)
        as_json(self.record)


@dataclass(frozen=True)
class PutRuns(Change):
    """State runs of a dataset: triples (run, number of luminosity blocks, number of events).

    They are all of its runs, or with `keep` those that are new or have changed.
    """

    dataset: str
    runs: Sequence[tuple[int, int, int]]
    keep: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple([tuple(map(int, row)) for row in self.runs]))

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put the dataset's rows of runs; clear the others unless they are kept."""
        if not self.keep:
            yield Clear("runs", self.dataset)
        row = TABLES["runs"].row(RunRecord(self.dataset, 0, 0, 0), stamp.columns)
        for run, lumi_blocks, events in self.runs:
            yield Put("runs", {**row, "run": run, "lumi_blocks": lumi_blocks, "events": events})


@dataclass(frozen=True)
class PutConditions(Change):
    """State conditions of runs: pairs (run, values by key); other keys and runs keep theirs."""

    runs: Sequence[tuple[int, Mapping[str, Value]]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple([(int(run), dict(values)) for run, values in self.runs]))

    def check(self, state: Rows) -> None:
        """Keys are plain words, values can be kept."""
        for _, values in self.runs:
            for key, value in values.items():
                check_key(key, ("run",))
                write_value(value)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put one row of conditions for each run and key."""
        for run, values in self.runs:
            for key, value in values.items():
                yield put(Condition(run, key.lower(), *write_value(value)), stamp)


# --- sites, other catalogs, wishes for copies --------------------------------------------------------------


@dataclass(frozen=True)
class PutSite(Site, PutRow):
    """Register a site, or replace the record of one.

    `after` is the `site_mark` of the record from which it was made, "" where there must be none yet, None for any.
    """

    after: str | None = None

    def check(self, state: Rows) -> None:
        """The name is one that a dataset could have, too; the site has not changed since."""
        check_dataset_name(self.name)
        check_meta(self.meta)
        check_site(state, self.name, self.after)


@dataclass(frozen=True)
class PutCatalog(SharedCatalog, PutRow):
    """Mirror another catalog from now on, or replace the record of one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "patterns", tuple(self.patterns))

    def check(self, state: Rows) -> None:
        """The name is one that a dataset could have, too."""
        check_dataset_name(self.name)


@dataclass(frozen=True)
class DropCatalog(DropRow):
    """Mirror a catalog no more; what was mirrored stays."""

    table: ClassVar[str] = "catalogs"

    name: str

    def check(self, state: Rows) -> None:
        """The catalog exists."""
        if not state.of("catalogs", self.name):
            hint = did_you_mean(self.name, state.rows["catalogs"]) or "`tagsel catalogs list` lists them"
            raise CatalogError(f"no catalog {self.name!r}", hint=hint)


class PutRule(Rule, PutRow):
    """Wish for complete copies of a dataset at a site, or state how far they are."""

    def check(self, state: Rows) -> None:
        """Dataset and site exist."""
        need_dataset(state, self.dataset)
        need_site(state, self.site)


@dataclass(frozen=True)
class DropRule(DropRow):
    """Wish for the copies of a dataset at a site no more; those that are there stay."""

    table: ClassVar[str] = "rules"

    dataset: str
    site: str


class PutSubscription(Subscription, PutRow):
    """Wish for copies of all datasets of a pattern at a site."""

    def check(self, state: Rows) -> None:
        """The site exists."""
        need_site(state, self.site)


class DropSubscription(Subscription, DropRow):
    """End a subscription; rules that it made stay."""

    table: ClassVar[str] = "subscriptions"

    def check(self, state: Rows) -> None:
        """The subscription exists."""
        subscriptions = [Subscription(row["pattern"], row["site"]) for row in state.all("subscriptions")]
        wish = Subscription(self.pattern, self.site)
        if wish not in subscriptions:
            raise no_subscription(wish, subscriptions)


class PutLink(Link, PutRow):
    """State how fast files go from one site to another."""

    def check(self, state: Rows) -> None:
        """Both sites exist, and the rate is positive."""
        need_site(state, self.source)
        need_site(state, self.target)
        if not self.rate > 0:
            raise CatalogError(f"link from {self.source} to {self.target}: its rate is {self.rate}, in MB/s")


class PutSiteTest(SiteTest, PutRow):
    """Keep the result of a functional test of a site."""

    def check(self, state: Rows) -> None:
        """The site exists."""
        need_site(state, self.site)


class PutDowntime(Downtime, PutRow):
    """Do not use a site for a time."""

    def check(self, state: Rows) -> None:
        """The site exists, the times can be read and are in order."""
        need_site(state, self.site)
        times = [_parse_time(text) for text in (self.begins, self.ends) if text]
        if not self.begins or times != sorted(times):
            raise CatalogError(f"downtime from {self.begins or 'nothing'} to {self.ends}: its end is before its begin")


@dataclass(frozen=True)
class DropDowntime(DropRow):
    """Take a downtime back."""

    table: ClassVar[str] = "downtimes"

    site: str
    begins: str


def _parse_time(text: str) -> datetime:
    hint = "as 2026-11-25T08:00+00:00"
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise CatalogError(f"{text!r:.60} is no time", hint=hint) from error
    if when.tzinfo is None:
        raise CatalogError(f"{text!r:.60} has no time zone", hint=hint)
    return when


# --- jobs, pins, audit, recovery ---------------------------------------------------------------------------


class PutJob(JobRecord, PutRow):
    """Register a job, or replace the record of one."""


class RequestJob(RequestRecord, PutRow):
    """Ask the submitter of a job for a verb."""

    def check(self, state: Rows) -> None:
        """The verb is one of those that can be asked for."""
        if self.verb not in VERBS:
            raise CatalogError(f"nobody can ask for {self.verb!r} of a job", hint=", ".join(VERBS))
        as_json(self.options)


class AnswerRequest(AnswerRecord, PutRow):
    """Answer a request: done, or refused and why. Who asked, and when, stays."""

    def check(self, state: Rows) -> None:
        """There is such a request, and it is open."""
        numbers = [request.seq for request in requests(state, self.job) if request.state == OPEN]
        if self.seq not in numbers:
            raise CatalogError(f"job {self.job} has no open request {self.seq}", job=self.job)


class Pin(PinRecord, PutRow):
    """Keep a snapshot readable for a reason (an event list's digest, an output, a tag)."""

    quiet: ClassVar[bool] = True

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)


class Unpin(Pin):
    """Take back one reason for which a snapshot is kept."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of pins."""
        yield Remove("pins", (self.dataset, self.snapshot, self.reason))


class LogQuery(QueryRecord, PutRow):
    """Note in the audit that someone asked something."""

    quiet: ClassVar[bool] = True


@dataclass(frozen=True)
class RecoverRows(Change):
    """Take over rows that another file knew and the journal does not, whose lines up to `lines` were lost.

    `rows` are put and the keys `removed` go, both by table; see `recovery`.
    """

    source: str
    lines: int
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    removed: Mapping[str, Sequence[Sequence[Any]]]

    @property
    def count(self) -> int:
        """How many rows change."""
        return sum(map(len, self.rows.values())) + sum(map(len, self.removed.values()))

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Put every row as it was."""
        for table, keys in self.removed.items():
            for key in keys:
                yield Remove(table, tuple(key))
        for table, rows in self.rows.items():
            for row in rows:
                yield Put(table, TABLES[table].complete(row))
