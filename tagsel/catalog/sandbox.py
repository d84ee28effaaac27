"""A user's SQL: one SELECT, in memory, with everything else locked away.

Three walls, each tested alone. DuckDB's own parser gives the tree of the query, and only SELECTs over known
tables with harmless table functions pass. The connection is in memory, holds copies of just the tables
named, has external access off and its configuration locked. Memory, time and the size of the answer are
bounded.

Invariant: nothing that a query says can write a file, read one that was not handed in, or outlive its limits.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.catalog.tables import TABLES
from tagsel.errors import CatalogError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat"})
"""Functions that may stand in a FROM; all others read files, settings or memory."""

CATALOG_TABLES = (*TABLES, "locations")
"""The catalog's own tables and views that a query may name."""

_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

_BATCH_ROWS = 100_000

_SETTINGS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}


@dataclass(frozen=True)
class Parsed:
    """A query that passed: its text, its tree as DuckDB's parser serialises it, and the tables that it names."""

    query: str
    tree: dict[str, Any]
    tables: frozenset[str]


@cache
def _parser() -> DuckDBPyConnection:
    """An empty database of this process, of which the parser alone is asked."""
    import duckdb

    return duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})


def parse(query: str) -> Parsed:
    """Read `query`, which must be one SELECT; CatalogError says what else it is, or where it cannot be read."""
    import duckdb

    with _parser().cursor() as connection:
        try:
            statements = connection.extract_statements(query)
            kinds = [str(s.type).rpartition(".")[2] for s in statements]
            ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        except duckdb.Error as error:
            raise CatalogError(f"the SQL cannot be read: {first_line(error)}", sql=query) from error
    if kinds != ["SELECT"]:
        said = ", ".join(kinds) or "nothing"
        raise CatalogError(f"one SELECT is allowed, this is {said}", hint="only reading is possible", sql=query)
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise CatalogError("the SQL is nested too deeply", hint="at most about 100 levels", sql=query) from error
    if document["error"]:
        raise CatalogError(f"one SELECT is allowed: {document.get('error_message', '')}", sql=query)
    tree = document["statements"][0]["node"]
    return Parsed(query, tree, frozenset(_tables(tree, query)))


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a serialised query, without recursion."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _tables(tree: Any, query: str) -> set[str]:
    """Tables named; CatalogError for what is no plain reading of tables."""
    tables: set[str] = set()
    local: set[str] = set()
    for node in walk(tree):
        kind = str(node.get("type", ""))
        if kind.endswith("_NODE") and kind not in _QUERY_NODES:
            raise CatalogError(f"one SELECT is allowed, this is {kind}", hint="only reading is possible", sql=query)
        if kind == "TABLE_FUNCTION":
            _check_function(str(node["function"].get("function_name", "")), query)
        elif kind == "BASE_TABLE":
            tables.add(_table_name(node, query))
        elif kind == "SHOW_REF" and not node.get("query"):
            raise CatalogError("SHOW is not allowed", hint="DESCRIBE a table", sql=query)
        common = node.get("cte_map")
        if isinstance(common, dict):
            local.update(str(entry["key"]).lower() for entry in common.get("map", []))
    return {t for t in tables if t.lower() not in local}


def _check_function(name: str, query: str) -> None:
    if name.lower() not in TABLE_FUNCTIONS:
        raise CatalogError(
            f"the table function {name} is not allowed",
            hint=f"a table, or one of {', '.join(sorted(TABLE_FUNCTIONS))}",
            sql=query,
        )


def _table_name(node: Mapping[str, Any], query: str) -> str:
    parts = [str(node.get(k) or "") for k in ("catalog_name", "schema_name", "table_name")]
    if any(parts[:2]):
        name = ".".join(p for p in parts if p)
        raise CatalogError(f"no table {name}", hint=f'quote a name that has dots: "{name}"', sql=query)
    return parts[2]


def run(
    parsed: Parsed,
    tables: Mapping[str, pa.Table | Sequence[Path | str]],
    *,
    memory: str = "1GB",
    seconds: float = 60,
) -> pa.Table:
    """The answer of a parsed query over `tables`, Arrow tables or lists of Parquet files, whatever the case of names.

    Memory bounds both DuckDB and the answer. Raises CatalogError for unknown tables, errors of DuckDB and
    limits.
    """
    import duckdb

    by_name = {name.lower(): (name, content) for name, content in tables.items()}
    unknown = sorted(t for t in parsed.tables if t.lower() not in by_name)
    if unknown:
        known = sorted({*tables, *CATALOG_TABLES})
        hint = did_you_mean(unknown[0], known) or f"tables are {', '.join(known[:20])}"
        raise CatalogError(f"no table {unknown[0]!r}", hint=hint, sql=parsed.query)
    limit = parse_memory(memory)
    try:
        with _sealed([by_name[t.lower()] for t in sorted(parsed.tables)], limit) as connection:
            return _bounded(connection, parsed.query, limit, seconds)
    except (duckdb.Error, OSError) as error:  # an interrupted Arrow stream is an OSError
        raise CatalogError(f"the SQL failed: {first_line(error)}", sql=parsed.query) from error


@contextmanager
def _sealed(tables: Sequence[tuple[str, Any]], limit: int) -> Iterator[DuckDBPyConnection]:
    """An in-memory connection that can read `tables` and nothing else, and whose settings nobody can change."""
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": f"{limit}B"}) as connection:
        for name, value in _SETTINGS.items():
            connection.execute(f"SET {name} = {value!r}")
        parts = [str(Path(p).absolute()) for _, t in tables if isinstance(t, Sequence) for p in t]
        if parts:
            connection.execute(f"SET allowed_paths = {_sql_list(parts)}")
        connection.execute("SET enable_external_access = false")
        for name, content in tables:
            if isinstance(content, Sequence):
                paths = _sql_list([str(Path(p).absolute()) for p in content])
                quoted = name.replace('"', '""')
                scan = f"SELECT * FROM read_parquet({paths}, union_by_name = true)"
                connection.execute(f'CREATE VIEW "{quoted}" AS {scan}')
            else:
                connection.register(name, content)
        connection.execute("SET lock_configuration = true")
        yield connection


def _bounded(connection: DuckDBPyConnection, query: str, limit: int, seconds: float) -> pa.Table:
    import pyarrow as pa

    with time_limit(connection, seconds):
        reader = connection.sql(query).to_arrow_reader(_BATCH_ROWS)
        batches, size = [], 0
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > limit:
                raise CatalogError(
                    f"the answer is larger than {limit:,} bytes", hint="aggregate, or add LIMIT", sql=query
                )
        return pa.Table.from_batches(batches, reader.schema)


@contextmanager
def time_limit(connection: DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt what `connection` does after `seconds`, and say so as a CatalogError."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        connection.interrupt()

    watch = threading.Timer(seconds, stop)
    watch.daemon = True
    watch.start()
    try:
        yield
    except Exception as error:
        if late.is_set():
            raise CatalogError(f"the query was stopped after {seconds:g} s", hint="ask for less") from error
        raise
    finally:
        watch.cancel()
        watch.join()  # a thread that lives on holds the connection, of which DuckDB complains when the process ends


def parse_memory(text: str) -> int:
    """Bytes of `512MB`, `1GB`, `2GiB`; CatalogError else.

    >>> parse_memory("1GB"), parse_memory("2 MiB")
    (1000000000, 2097152)
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*([kMGT]?)(i?)B\s*", text)
    if not match:
        raise CatalogError(f"{text[:40]!r} is no size", hint="for example 512MB or 2GiB")
    base = 1024 if match[3] else 1000
    return int(match[1]) * int(base ** " kMGT".index(match[2] or " "))


def first_line(error: BaseException) -> str:
    """The first line of a DuckDB error, with its place in the query where it says one."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _sql_list(paths: Sequence[str]) -> str:
    return "[" + ", ".join("'" + p.replace("'", "''") + "'" for p in paths) + "]"
