"""The tables of the catalog, and the net effect of changes on them.

Every change becomes row operations (`Put`, `Remove`, `Clear`); `Rows` folds operations. The same fold makes
the state kept in Python and the delta that goes to DuckDB, so the two cannot drift apart.

Invariant: a row's key is `Table.key` of its columns, its *owner* the first of them; `Clear` removes all of
one owner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tagsel.errors import CatalogError

Row = Mapping[str, Any]
Key = tuple[Any, ...]

_INT64 = 1 << 63


_KINDS: Mapping[str, tuple[type, ...]] = {
    "VARCHAR": (str,),
    "BIGINT": (int,),
    "DOUBLE": (float, int),
    "BOOLEAN": (bool,),
}


@dataclass(frozen=True)
class Table:
    """Columns with their DuckDB types, the columns that make the key, and whether Python keeps the rows at hand."""

    columns: Mapping[str, str]
    key: tuple[str, ...]
    light: bool = False

    def key_of(self, row: Row) -> Key:
        """The key of `row`."""
        return tuple(row[c] for c in self.key)

    def check(self, row: Row) -> None:
        """Raise CatalogError where a value is not of its column's type, or is one that DuckDB cannot keep."""
        for column, kind in self.columns.items():
            value = row[column]
            good = value is None and column not in self.key
            if isinstance(value, _KINDS[kind]):
                good = (
                    kind == "BOOLEAN"
                    or (isinstance(value, str) and "\0" not in value)
                    or (isinstance(value, float) and math.isfinite(value))
                    or (isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64)
                )
            if not good:
                raise CatalogError(f"{column} = {value!r:.80} does not fit its type, {kind}", column=column)


def _columns(text: str) -> dict[str, str]:
    """Columns from `name TYPE, name TYPE, …`."""
    return dict(part.split(maxsplit=1) for part in text.split(","))


TABLES: Mapping[str, Table] = {
    "datasets": Table(
        _columns(
            "name VARCHAR, type VARCHAR, version VARCHAR, stream VARCHAR, year BIGINT, run_min BIGINT, run_max BIGINT,"
            "events BIGINT, files BIGINT, bytes BIGINT, snapshot BIGINT, simulation BOOLEAN, sample VARCHAR,"
            "state VARCHAR, cut VARCHAR, lumi VARCHAR, seq BIGINT, updated VARCHAR, who VARCHAR"
        ),
        ("name",),
        light=True,
    ),
    "meta": Table(
        _columns("dataset VARCHAR, key VARCHAR, kind VARCHAR, value VARCHAR"), ("dataset", "key"), light=True
    ),
    "parents": Table(
        _columns("dataset VARCHAR, position BIGINT, parent VARCHAR, snapshot BIGINT"),
        ("dataset", "position"),
        light=True,
    ),
    "members": Table(_columns("dataset VARCHAR, position BIGINT, member VARCHAR"), ("dataset", "position"), light=True),
    "catalogs": Table(
        _columns("name VARCHAR, kind VARCHAR, settings VARCHAR, patterns VARCHAR, synced VARCHAR"),
        ("name",),
        light=True,
    ),
    "rules": Table(
        _columns(
            "dataset VARCHAR, site VARCHAR, state VARCHAR, done BIGINT, files BIGINT, tries BIGINT, error VARCHAR,"
            "why VARCHAR"
        ),
        ("dataset", "site"),
        light=True,
    ),
    "subscriptions": Table(_columns("pattern VARCHAR, site VARCHAR"), ("pattern", "site"), light=True),
    "downtimes": Table(
        _columns("site VARCHAR, begins VARCHAR, ends VARCHAR, reason VARCHAR"), ("site", "begins"), light=True
    ),
    "conditions": Table(_columns("run BIGINT, key VARCHAR, kind VARCHAR, value VARCHAR"), ("run", "key")),
    "site_tests": Table(
        _columns("site VARCHAR, tested VARCHAR, good BOOLEAN, seconds DOUBLE, error VARCHAR"), ("site", "tested")
    ),
    "links": Table(_columns("source VARCHAR, target VARCHAR, rate DOUBLE"), ("source", "target"), light=True),
    "sites": Table(_columns("name VARCHAR, prefix VARCHAR, meta VARCHAR"), ("name",), light=True),
    "jobs": Table(
        _columns(
            "job VARCHAR, dataset VARCHAR, state VARCHAR, pieces BIGINT, done BIGINT, failed BIGINT, events BIGINT,"
            "output VARCHAR, folder VARCHAR, note VARCHAR, seq BIGINT, updated VARCHAR, who VARCHAR"
        ),
        ("job",),
        light=True,
    ),
    "requests": Table(
        _columns("job VARCHAR, seq BIGINT, verb VARCHAR, options VARCHAR, who VARCHAR, updated VARCHAR"),
        ("job", "seq"),
        light=True,
    ),
    "answers": Table(
        _columns("job VARCHAR, seq BIGINT, state VARCHAR, note VARCHAR, who VARCHAR, updated VARCHAR"),
        ("job", "seq"),
        light=True,
    ),
    "pins": Table(
        _columns("dataset VARCHAR, snapshot BIGINT, reason VARCHAR, updated VARCHAR, who VARCHAR"),
        ("dataset", "snapshot", "reason"),
        light=True,
    ),
    "files": Table(
        _columns(
            "dataset VARCHAR, kind VARCHAR, guid VARCHAR, lfn VARCHAR, pfn VARCHAR, entries BIGINT, bytes BIGINT,"
            "uuid VARCHAR, simulation BOOLEAN, checksum VARCHAR"
        ),
        ("dataset", "kind", "guid"),
    ),
    "replicas": Table(_columns("guid VARCHAR, site VARCHAR, pfn VARCHAR"), ("guid", "site", "pfn")),
    "bookkeeping": Table(_columns("dataset VARCHAR, guid VARCHAR, record VARCHAR"), ("dataset", "guid")),
    "runs": Table(_columns("dataset VARCHAR, run BIGINT, lumi_blocks BIGINT, events BIGINT"), ("dataset", "run")),
    "retractions": Table(
        _columns(
            "dataset VARCHAR, snapshot BIGINT, guid VARCHAR, lfn VARCHAR, events BIGINT, reason VARCHAR,"
            "retracted VARCHAR, who VARCHAR, record VARCHAR, back BIGINT"
        ),
        ("dataset", "snapshot"),
        light=True,
    ),
    "queries": Table(
        _columns(
            "seq BIGINT, part BIGINT, verb VARCHAR, dataset VARCHAR, snapshot BIGINT, text VARCHAR, read BIGINT,"
            "accepted BIGINT, digest VARCHAR, seconds DOUBLE, updated VARCHAR, who VARCHAR"
        ),
        ("seq", "part"),
    ),
}
"""Every table of the catalog; `schema.sql` says the same to DuckDB, and a test compares the two."""

LIGHT = frozenset(name for name, table in TABLES.items() if table.light)


@dataclass(frozen=True)
class Put:
    """Insert `row`, or replace the one of the same key."""

    table: str
    row: Row


@dataclass(frozen=True)
class Remove:
    """Remove the row of `key`, if there."""

    table: str
    key: Key


@dataclass(frozen=True)
class Clear:
    """Remove every row whose first key column is `owner`."""

    table: str
    owner: Any


Op = Put | Remove | Clear


@dataclass
class Rows:
    """The fold of operations over tables: a state, or with `delta` a net effect that another state can take in.

    As a delta it remembers owners cleared (they come first) and keeps a removed row as None.

    >>> rows = Rows(delta=True)
    >>> row = {"dataset": "d", "key": "k", "kind": "int", "value": "1"}
    >>> rows.fold([Put("meta", row), Clear("meta", "d")])
    >>> rows.cleared["meta"], rows.rows["meta"]
    ({'d'}, {})
    """

    only: frozenset[str] = frozenset(TABLES)
    delta: bool = False
    rows: dict[str, dict[Any, dict[Key, Row | None]]] = field(default_factory=lambda: {t: {} for t in TABLES})
    cleared: dict[str, set[Any]] = field(default_factory=lambda: {t: set() for t in TABLES})

    def fold(self, ops: Iterable[Op]) -> None:
        """Add `ops`, in order; those on tables outside `only` are passed over."""
        for op in ops:
            if op.table in self.only:
                self._add(op)

    def _add(self, op: Op) -> None:
        owned = self.rows[op.table]
        if isinstance(op, Put):
            key = TABLES[op.table].key_of(op.row)
            owned.setdefault(key[0], {})[key] = op.row
        elif isinstance(op, Clear):
            owned.pop(op.owner, None)
            if self.delta:
                self.cleared[op.table].add(op.owner)
        elif self.delta:
            owned.setdefault(op.key[0], {})[op.key] = None
        elif op.key[0] in owned:
            owned[op.key[0]].pop(op.key, None)
            if not owned[op.key[0]]:  # who asks for owners finds none without rows
                del owned[op.key[0]]

    def of(self, table: str, owner: Any) -> list[Row]:
        """Rows of one owner, in the order put."""
        return [row for row in self.rows[table].get(owner, {}).values() if row is not None]

    def all(self, table: str) -> list[Row]:
        """All rows of a table, in the order of owners first put."""
        return [row for rows in self.rows[table].values() for row in rows.values() if row is not None]
