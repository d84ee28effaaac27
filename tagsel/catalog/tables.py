"""Tables of the catalog: a record class says what a table is, and row operations change its rows.

A dataclass with `@table` is a table. Its fields are the columns; what SQL calls them, how a row becomes a record and
back, and the SQL that makes the table come from the class. Every change becomes row operations (`Put`, `Remove`,
`Clear`); `Rows` folds operations. The same fold makes the state kept in Python and the delta that goes to DuckDB, so
the two cannot drift apart.

Invariant: a row's key is `Table.key` of its columns, its *owner* the first of them; `Clear` removes all of one owner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeVar

from tagsel.errors import CatalogError

Row = Mapping[str, Any]
Key = tuple[Any, ...]

R = TypeVar("R")

_INT64 = 1 << 63

_SQL_TYPES = {
    "str": "VARCHAR",
    "int": "BIGINT",
    "int | None": "BIGINT",
    "float": "DOUBLE",
    "float | None": "DOUBLE",
    "bool": "BOOLEAN",
}
"""DuckDB's type of a column, by the annotation of its field."""

JSON = {"json": True}
"""Metadata of a field whose column is its JSON text."""

STAMP = {"stamp": True}
"""Metadata of a field that the journal's line fills in: `seq`, `part`, `updated` or `who`."""

ELSEWHERE = {"elsewhere": True}
"""Metadata of a field that is no column: other tables keep it."""


def since(version: int) -> dict[str, int]:
    """Metadata of a column that is younger than its table: the first version of the view that has it."""
    return {"since": version}


@dataclass(frozen=True)
class Column:
    """One column: DuckDB's type, the value in rows that are older than the column, and how a record gives it."""

    type: str
    default: Any = None
    since: int = 1
    is_json: bool = False
    is_stamp: bool = False


@dataclass(frozen=True)
class Table:
    """Columns with their DuckDB types, the columns that make the key, and how the catalog treats the rows.

    `light`: Python keeps the rows at hand. `owned`: the rows go when the dataset does that is their owner. `private`:
    they concern one workspace, not those that share its datasets. `since`: the first version of the view with the
    table.
    """

    name: str
    details: Mapping[str, Column]
    key: tuple[str, ...]
    light: bool = False
    owned: bool = False
    private: bool = False
    since: int = 1

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """DuckDB's type of each column."""
        return {name: column.type for name, column in self.details.items()}

    def key_of(self, row: Row) -> Key:
        """The key of `row`."""
        return tuple([row[column] for column in self.key])

    def row(self, record: object, stamp: Row) -> dict[str, Any]:
        """The row of a record, or of anything with its fields, with the columns of a journal line from `stamp`."""
        names, values_of = self._own_columns
        row: dict[str, Any] = dict(zip(names, values_of(record), strict=True))
        for name in self._encoded_columns:
            column = self.details[name]
            if column.is_stamp:
                row[name] = stamp[name]
            elif column.is_json:
                row[name] = as_json(row[name])
            elif type(row[name]) is int:
                row[name] = float(row[name])
        return row

    @cached_property
    def _own_columns(self) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
        """The columns that a record gives, and a fast function from a record to their values."""
        names = tuple([name for name, column in self.details.items() if not column.is_stamp])
        if len(names) == 1:  # an attrgetter of one name gives no tuple
            return names, lambda record: (getattr(record, names[0]),)
        return names, attrgetter(*names)

    @cached_property
    def _encoded_columns(self) -> tuple[str, ...]:
        """The columns that are not simply the value of a field."""
        encoded = [n for n, c in self.details.items() if c.is_stamp or c.is_json or c.type == "DOUBLE"]
        return tuple(encoded)

    def complete(self, row: Row) -> Row:
        """A row that an older version wrote, with the default of each column that it lacks."""
        missing = {name: column.default for name, column in self.details.items() if name not in row}
        return {**row, **missing} if missing else row

    def check(self, row: Row) -> None:
        """Raise CatalogError where a value does not fit its column's type, or is one that DuckDB cannot keep."""
        for name, column in self.details.items():
            value = row[name]
            if value is None and name not in self.key:
                continue
            if not _fits(value, column.type):
                raise CatalogError(f"{name} = {value!r:.80} does not fit its type, {column.type}", column=name)

    def create(self, version: int) -> str:
        """The SQL that makes the table as a version of the view has it."""
        columns = [f'"{name}" {c.type}' for name, c in self.details.items() if c.since <= version]
        return f"CREATE TABLE {self.name} ({', '.join(columns)});"

    def migrate(self, version: int) -> str:
        """The SQL that leads to a version from the one before: the table or columns that are new in it."""
        if self.since == version:
            return self.create(version)
        new = [(name, column) for name, column in self.details.items() if column.since == version]
        return "\n".join(
            f'ALTER TABLE {self.name} ADD COLUMN "{name}" {column.type} DEFAULT {_literal(column.default)};'
            for name, column in new
            if self.since < version
        )


def _fits(value: object, kind: str) -> bool:
    """Whether a column of a type can keep a value."""
    if isinstance(value, bool):
        return kind == "BOOLEAN"
    if isinstance(value, int):
        return kind in ("BIGINT", "DOUBLE") and -_INT64 <= value < _INT64
    if isinstance(value, float):
        return kind == "DOUBLE" and math.isfinite(value)
    return isinstance(value, str) and kind == "VARCHAR" and "\0" not in value


def _literal(value: object) -> str:
    """A default as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


TABLES: dict[str, Table] = {}
"""Every table of the catalog by its name."""

_TABLE_OF: dict[type, Table] = {}


def table(
    name: str,
    *key: str,
    light: bool = False,
    owned: bool = False,
    private: bool = False,
    since: int = 1,
) -> Callable[[type[R]], type[R]]:
    """Make a dataclass the record of the table `name`, whose key are the columns `key`; see `Table`.

    The columns are those of the key, then the other fields in their order. A field's metadata may be `JSON`, `STAMP`,
    `ELSEWHERE` or `since(version)`. A new column is the last field, and has a default.
    """

    def register(record: type[R]) -> type[R]:
        details = {f.name: _column(f) for f in fields(record) if not f.metadata.get("elsewhere")}  # type: ignore[arg-type]
        ordered = {column: details[column] for column in [*key, *details]}
        TABLES[name] = _TABLE_OF[record] = Table(name, ordered, key, light, owned, private, since)
        return record

    return register


def _column(of: Field[Any]) -> Column:
    is_json = bool(of.metadata.get("json"))
    annotation = "str" if is_json else str(of.type)
    if annotation not in _SQL_TYPES:
        raise TypeError(f"the field {of.name} of type {annotation} needs metadata: JSON or ELSEWHERE")
    default = None if of.default is MISSING else of.default
    return Column(
        _SQL_TYPES[annotation],
        default,
        int(of.metadata.get("since", 1)),
        is_json,
        bool(of.metadata.get("stamp")),
    )


def table_of(record: type) -> Table:
    """The table of a record class, or of a class that inherits from one."""
    return next(_TABLE_OF[base] for base in record.__mro__ if base in _TABLE_OF)


def light_tables() -> frozenset[str]:
    """Names of the tables that Python keeps at hand."""
    return frozenset(name for name, table in TABLES.items() if table.light)


def owned_tables() -> tuple[str, ...]:
    """Names of the tables whose rows go with their dataset.

    Pins must be released before a dataset goes; jobs and queries are history.
    """
    return tuple(name for name, table in TABLES.items() if table.owned)


def from_row(record: type[R], row: Row) -> R:
    """The record of a row; columns that it has no field for are left out."""
    details = table_of(record).details
    values: dict[str, Any] = {}
    for f in fields(record):  # type: ignore[arg-type]
        if f.name in row:
            value = row[f.name]
            values[f.name] = from_json(value) if details[f.name].is_json else value
    return record(**values)


def as_json(document: object) -> str:
    """`document` as JSON text, keys sorted; CatalogError where it holds what JSON cannot say."""
    try:
        return json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CatalogError(f"cannot be kept as JSON: {error}") from error


def from_json(text: str) -> Any:
    """The value of a JSON column; a list becomes a tuple, as records have it."""
    value = json.loads(text)
    return tuple(value) if isinstance(value, list) else value


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

    As a delta it remembers owners cleared (they come first) and keeps a removed row as None. `only` names the tables
    that it takes; by default all.

    >>> rows = Rows(delta=True)
    >>> row = {"dataset": "d", "key": "k", "kind": "int", "value": "1"}
    >>> rows.fold([Put("meta", row), Clear("meta", "d")])
    >>> rows.cleared["meta"], rows.rows["meta"]
    ({'d'}, {})
    """

    only: frozenset[str] = field(default_factory=lambda: frozenset(TABLES))
    delta: bool = False
    rows: dict[str, dict[Any, dict[Key, Row | None]]] = field(default_factory=lambda: {name: {} for name in TABLES})
    cleared: dict[str, set[Any]] = field(default_factory=lambda: {name: set() for name in TABLES})

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
            if not owned[op.key[0]]:  # a lookup of owners finds none without rows
                del owned[op.key[0]]

    def of(self, table: str, owner: Any) -> list[Row]:
        """Rows of one owner, in the order put."""
        return [row for row in self.rows[table].get(owner, {}).values() if row is not None]

    def all(self, table: str) -> list[Row]:
        """All rows of a table, in the order of owners first put."""
        rows: list[Row] = []
        for owned in self.rows[table].values():
            rows += [row for row in owned.values() if row is not None]
        return rows

    def ordered(self, table: str, owner: Any, column: str = "position") -> Sequence[Row]:
        """Rows of one owner, in the order of a column of numbers."""
        return sorted(self.of(table, owner), key=lambda row: int(row[column]))
