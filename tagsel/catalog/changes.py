"""The kinds of change that the catalog takes, one frozen dataclass each.

A change says what it does to the tables by `ops`, and what must hold before it by `check`; `coding.py` writes it to the
journal. Where data are wanted is in `placement.py`.

Invariant: `ops` depends on the change and its journal entry alone, never on the state, so that replaying
the journal gives the same tables always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from tagsel.catalog.names import check_dataset_name, parse_reference
from tagsel.catalog.records import (
    DatasetFacts,
    FileRecord,
    JobRecord,
    QueryRecord,
    RetractionRecord,
    Value,
    canonical_guid,
)
from tagsel.catalog.standing import check_content, check_drop, need_dataset, need_open
from tagsel.catalog.tables import TABLES, Clear, Op, Put, Remove, Rows
from tagsel.catalog.values import check_key, write_value
from tagsel.errors import CatalogError, did_you_mean

OWNED_TABLES = ("datasets", "meta", "parents", "members", "files", "bookkeeping", "runs", "rules", "retractions")
"""Tables whose rows go when their dataset is dropped; pins must be released before, jobs and queries are history."""


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
        return {"seq": self.seq, "updated": self.when, "who": self.who}


class Change:
    """Base of all changes; `quiet` ones wait for the next other change, or reader, to reach the DuckDB view."""

    quiet: ClassVar[bool] = False

    def check(self, state: Rows) -> None:
        """Raise CatalogError where this change may not be made on `state` (its light tables)."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """The row operations of this change."""
        raise NotImplementedError


def _put_meta(dataset: str, key: str, value: Value) -> Put:
    kind, text = write_value(value)
    return Put("meta", {"dataset": dataset, "key": key, "kind": kind, "value": text})


def check_meta(meta: Mapping[str, Value | None]) -> None:
    """CatalogError for free keys that cannot be kept."""
    folded: dict[str, str] = {}
    for key, value in meta.items():
        check_key(key, TABLES["datasets"].columns)
        if folded.setdefault(key.lower(), key) != key:
            raise CatalogError(f"keys {folded[key.lower()]!r} and {key!r} differ in letter case only", key=key)
        if value is not None:
            write_value(value)


@dataclass(frozen=True)
class PutDataset(DatasetFacts, Change):
    """Register a dataset, or replace the whole record of one, free keys, parents and members included.

    `after` is the number of the change that last touched the record which this one was made of: 0 where there must be
    none yet, None where that does not matter.
    """

    name: str
    after: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(self.parents))
        object.__setattr__(self, "members", tuple(self.members))

    def check(self, state: Rows) -> None:
        """Name, keys and the parents' form, who may be unknown here (or gone); what a closed dataset allows."""
        check_dataset_name(self.name)
        check_meta(self.meta)
        check_content(state, self.name, self, self.after)
        for parent in self.parents:
            parse_reference(parent)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of datasets; its keys and parents anew."""
        columns = TABLES["datasets"].columns
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name in columns}
        yield Put("datasets", {**row, **stamp.columns})
        yield Clear("meta", self.name)
        yield Clear("parents", self.name)
        yield Clear("members", self.name)
        for position, member in enumerate(self.members):
            yield Put("members", {"dataset": self.name, "position": position, "member": member})
        for key, value in self.meta.items():
            yield _put_meta(self.name, key, value)
        for position, parent in enumerate(self.parents):
            name, snapshot = parse_reference(parent)
            yield Put("parents", {"dataset": self.name, "position": position, "parent": name, "snapshot": snapshot})


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
        """One row of meta a key."""
        for key, value in self.meta.items():
            yield Remove("meta", (self.name, key)) if value is None else _put_meta(self.name, key, value)


def unpinning(dataset: str, pins: Sequence[tuple[int, str]]) -> str:
    """The commands that take back all pins of a dataset, which are given as (snapshot, reason).

    >>> unpinning("a.TAG", [(1, "paper")])
    'tagsel datasets unpin a.TAG@1 --reason "paper"'
    >>> unpinning("a.TAG", [(1, "paper"), (3, "talk"), (1, "thesis")])
    'tagsel datasets unpin a.TAG@1 && tagsel datasets unpin a.TAG@3'
    """
    if len(pins) == 1:
        number, reason = pins[0]
        return f'tagsel datasets unpin {dataset}@{number} --reason "{reason}"'
    snapshots = sorted({number for number, _ in pins})
    return " && ".join(f"tagsel datasets unpin {dataset}@{number}" for number in snapshots)


@dataclass(frozen=True)
class DropDataset(Change):
    """Forget a dataset and what belongs to it; refused while a snapshot of it is pinned, or where it is frozen."""

    name: str

    def check(self, state: Rows) -> None:
        """The dataset exists, is not frozen, and nothing pins it."""
        need_dataset(state, self.name)
        check_drop(state, self.name)
        pins = state.of("pins", self.name)
        if pins:
            reasons = "; ".join(f"@{p['snapshot']}: {p['reason']}" for p in pins[:5])
            more = f"; and {len(pins) - 5:,} more" if len(pins) > 5 else ""
            hint = unpinning(self.name, [(p["snapshot"], p["reason"]) for p in pins])
            raise CatalogError(f"dataset {self.name} is pinned ({reasons}{more})", hint=hint, dataset=self.name)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Clear all that the dataset owns."""
        for table in OWNED_TABLES:
            yield Clear(table, self.name)


@dataclass(frozen=True)
class PutFiles(Change):
    """Register files that a dataset holds (kind TAG) or points to (AOD, ESD, RAW); same kind and GUID: replaced.

    `known` says that it has them already, and that more is known of them now.
    """

    dataset: str
    files: Sequence[FileRecord]
    known: bool = False

    def __post_init__(self) -> None:
        files = tuple(f if isinstance(f, FileRecord) else FileRecord(**f) for f in self.files)
        object.__setattr__(self, "files", files)

    def check(self, state: Rows) -> None:
        """The dataset exists and is open; a closed one may learn more of the files it points to."""
        need_dataset(state, self.dataset)
        if not self.known and any(file.kind == "TAG" for file in self.files):
            need_open(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of files a file."""
        for file in self.files:
            yield Put("files", {**asdict(file), "dataset": self.dataset})


@dataclass(frozen=True)
class DropFiles(Change):
    """Forget files of a dataset: pairs (kind, guid)."""

    dataset: str
    files: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple((kind, canonical_guid(guid)) for kind, guid in self.files))

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of files a file, and of what such a file said of its making where it is a TAG."""
        for kind, guid in self.files:
            yield Remove("files", (self.dataset, kind, guid))
            if kind == "TAG":
                yield Remove("bookkeeping", (self.dataset, guid))


@dataclass(frozen=True)
class PutRetraction(RetractionRecord, Change):
    """Say that a file was taken out of a dataset, or, with `back`, that it is there again; fields as the record's."""

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of retractions."""
        yield Put("retractions", asdict(self))


@dataclass(frozen=True)
class PutReplicas(Change):
    """Say that a site holds copies of files: pairs (guid, pfn)."""

    site: str
    replicas: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "replicas", tuple((canonical_guid(g), p) for g, p in self.replicas))

    def check(self, state: Rows) -> None:
        """The site exists."""
        if not state.of("sites", self.site):
            raise CatalogError(
                f"no site {self.site!r}", hint=did_you_mean(self.site, state.rows["sites"]), site=self.site
            )

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of replicas a copy."""
        for guid, pfn in self.replicas:
            yield Put("replicas", {"guid": guid, "site": self.site, "pfn": pfn})


@dataclass(frozen=True)
class DropReplicas(PutReplicas):
    """Forget copies that a site no longer holds."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of replicas a copy."""
        for guid, pfn in self.replicas:
            yield Remove("replicas", (guid, self.site, pfn))


@dataclass(frozen=True)
class PutBookkeeping(Change):
    """Keep what a file says of its own making (processed blocks, generated counts and sums): any JSON record."""

    dataset: str
    guid: str
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "guid", canonical_guid(self.guid))

    def check(self, state: Rows) -> None:
        """The dataset exists, the record can be JSON."""
        need_dataset(state, self.dataset)
        as_json(self.record)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of bookkeeping."""
        yield Put("bookkeeping", {"dataset": self.dataset, "guid": self.guid, "record": as_json(self.record)})


@dataclass(frozen=True)
class PutRuns(Change):
    """State runs of a dataset: triples (run, number of luminosity blocks, number of events).

    They are all of its runs, or with `keep` those that are new or have changed.
    """

    dataset: str
    runs: Sequence[tuple[int, int, int]]
    keep: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(tuple(map(int, row)) for row in self.runs))

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """The dataset's rows of runs, the others cleared unless they are kept."""
        if not self.keep:
            yield Clear("runs", self.dataset)
        for run, lumi_blocks, events in self.runs:
            yield Put("runs", {"dataset": self.dataset, "run": run, "lumi_blocks": lumi_blocks, "events": events})


@dataclass(frozen=True)
class PutJob(Change):
    """Register a job, or replace the record of one; fields as `JobRecord`."""

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

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of jobs."""
        yield Put("jobs", asdict(JobRecord(**asdict(self), **stamp.columns)))


@dataclass(frozen=True)
class Pin(Change):
    """Keep a snapshot readable for a reason (an event list's digest, an output, a tag)."""

    quiet: ClassVar[bool] = True

    dataset: str
    snapshot: int
    reason: str

    def check(self, state: Rows) -> None:
        """The dataset exists."""
        need_dataset(state, self.dataset)

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of pins."""
        stamped = {"updated": stamp.when, "who": stamp.who}
        yield Put("pins", {**asdict(self), **stamped})


@dataclass(frozen=True)
class Unpin(Pin):
    """Take back one reason for which a snapshot is kept."""

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Remove one row of pins."""
        yield Remove("pins", (self.dataset, self.snapshot, self.reason))


@dataclass(frozen=True)
class LogQuery(Change):
    """Note in the audit that someone asked something; fields as `QueryRecord`."""

    quiet: ClassVar[bool] = True

    verb: str
    dataset: str = ""
    snapshot: int | None = None
    text: str = ""
    read: int | None = None
    accepted: int | None = None
    digest: str = ""
    seconds: float | None = None

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """One row of queries."""
        yield Put("queries", {**asdict(QueryRecord(**asdict(self), **stamp.columns)), "part": stamp.part})


@dataclass(frozen=True)
class RecoverRows(Change):
    """Make rows what another file than the journal knew, whose lines up to `lines` were lost; see `recovery`.

    `rows` are put and the keys `removed` go, both by table.
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
        """Every row as it was."""
        for table, keys in self.removed.items():
            yield from (Remove(table, tuple(key)) for key in keys)
        for table, rows in self.rows.items():
            yield from (Put(table, row) for row in rows)


KINDS = (
    PutDataset,
    SetMeta,
    DropDataset,
    PutFiles,
    DropFiles,
    PutReplicas,
    DropReplicas,
    PutBookkeeping,
    PutRuns,
    PutRetraction,
    PutJob,
    Pin,
    Unpin,
    LogQuery,
    RecoverRows,
)
"""Every kind of change of this module."""


def as_json(document: Mapping[str, Any]) -> str:
    """`document` as JSON text, keys sorted; CatalogError where it holds what JSON cannot say."""
    try:
        return json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CatalogError(f"cannot be kept as JSON: {error}") from error
