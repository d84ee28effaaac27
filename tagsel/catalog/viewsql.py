"""What the view says to DuckDB: making the tables, migrating them, replacing rows in bulk, and fetching rows.

Rows travel as one JSON parameter a batch: a value bound one by one costs DuckDB a thousand times more.

Invariant: `apply` and each migration are one transaction each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from tagsel.base.fail_points import fail_point
from tagsel.catalog.journal import Position
from tagsel.catalog.tables import TABLES, Rows
from tagsel.errors import CatalogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_STEPS = {
    2: "locations.sql",
    4: "chain.sql",
    6: "origin.sql",
}
"""Scripts that lead to a version of the view, for what is no table of `TABLES`."""

_CHAINED = 4  # the first version that keeps a position's checksum as text
_BOUND = 6  # the first version that keeps the origin of its journal

_BATCH = 20_000


def create(connection: DuckDBPyConnection) -> None:
    """Make the tables of the current version in an empty database."""
    number = current_version()
    for table in TABLES.values():
        connection.execute(table.create(number))
    connection.execute(script("view_state.sql"))
    connection.execute("UPDATE view_state SET version = ?", [number])
    connection.execute(script("locations.sql"))


def current_version() -> int:
    """The version of the view: the last in which a table or column was new, or a script ran."""
    versions = [*_STEPS]
    for table in TABLES.values():
        versions += [table.since, *(column.since for column in table.details.values())]
    return max(versions)


def steps(number: int) -> list[str]:
    """The SQL that leads from version `number` − 1 to `number`."""
    texts = [table.migrate(number) for table in TABLES.values()]
    if number in _STEPS:
        texts.append(script(_STEPS[number]))
    return [text for text in texts if text]


@cache
def script(name: str) -> str:
    """The text of an SQL file of the folder `sql`."""
    return resources.files("tagsel.catalog").joinpath("sql", name).read_text(encoding="utf-8")


def position(connection: DuckDBPyConnection) -> Position:
    """How far in the journal the view is."""
    number = version(connection)
    if number >= _BOUND:
        return Position(*fetch_one(connection, "SELECT seq, bytes, chain, origin FROM view_state"))
    if number >= _CHAINED:
        return Position(*fetch_one(connection, "SELECT seq, bytes, chain FROM view_state"))
    seq, offset, crc = fetch_one(connection, "SELECT seq, bytes, crc FROM view_state")
    return Position(seq, offset, f"{crc:08x}" if offset else "")


def version(connection: DuckDBPyConnection) -> int:
    """The version of the view's tables."""
    return int(fetch_one(connection, "SELECT version FROM view_state")[0])


class Newer(CatalogError):
    """Tables of a newer tagsel."""


def migrate(connection: DuckDBPyConnection) -> None:
    """Lead the tables to the current version, one transaction a step; Newer for a newer tagsel's tables."""
    old, new = version(connection), current_version()
    if old > new:
        raise Newer(f"its tables have version {old}, of a newer tagsel")
    for number in range(old + 1, new + 1):
        connection.execute("BEGIN")
        for text in steps(number):
            connection.execute(text)
        connection.execute("UPDATE view_state SET version = ?", [number])
        fail_point("catalog.migrate")
        connection.execute("COMMIT")


def apply(connection: DuckDBPyConnection, delta: Rows, end: Position) -> None:
    """Bring the tables to the journal's position `end`, whose changes since are `delta`."""
    connection.execute("BEGIN")
    for table in TABLES:
        _replace(connection, table, delta)
    fail_point("catalog.apply")
    where = [end.seq, end.offset, end.check, end.origin]
    connection.execute("UPDATE view_state SET seq = ?, bytes = ?, chain = ?, origin = ?", where)
    connection.execute("COMMIT")


def _replace(connection: DuckDBPyConnection, name: str, delta: Rows) -> None:
    table = TABLES[name]
    owner = {table.key[0]: table.columns[table.key[0]]}
    keys = {column: table.columns[column] for column in table.key}
    changed = {key: row for owned in delta.rows[name].values() for key, row in owned.items()}
    _delete(connection, name, owner, [{table.key[0]: o} for o in delta.cleared[name]])
    _delete(connection, name, keys, [dict(zip(table.key, key, strict=True)) for key in changed])
    for batch in _batches([row for row in changed.values() if row is not None]):
        connection.execute(f"INSERT INTO {name} {_unnested(table.columns)}", [batch])


def _delete(connection: DuckDBPyConnection, name: str, columns: dict[str, str], keys: list[dict[str, Any]]) -> None:
    same = " AND ".join(f'{name}."{c}" = gone."{c}"' for c in columns)
    for batch in _batches(keys):
        connection.execute(f"DELETE FROM {name} USING ({_unnested(columns)}) AS gone WHERE {same}", [batch])


def _unnested(columns: Any) -> str:
    """A SELECT of `columns` from one JSON parameter, a list of objects."""
    structure = json.dumps([dict(columns)])
    wanted = ", ".join(f'r."{c}"' for c in columns)
    return f"SELECT {wanted} FROM (SELECT unnest(from_json(?::JSON, '{structure}')) AS r)"


def _batches(rows: Sequence[Any]) -> list[str]:
    return [json.dumps(rows[i : i + _BATCH]) for i in range(0, len(rows), _BATCH)]


def fetch_one(connection: DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The one row that `query` gives; fetched to its end, for DuckDB 2 does nothing else before."""
    (row,) = connection.execute(query, list(values)).fetchall()
    return tuple(row)


def fetch_rows(connection: DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of `query`, each a dictionary by column."""
    cursor = connection.execute(query, list(values))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
