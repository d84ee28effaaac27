"""A user's SQL: one SELECT, in memory, with everything else locked away.

Three walls, each tested alone. DuckDB's own parser gives the tree of the query, and only SELECTs over known
tables with harmless table functions pass. The connection is in memory, holds copies of just the tables
named, has external access off and its configuration locked. It lives in a process of its own (`base.sql_child`), whose
memory and CPU time the kernel bounds: what DuckDB takes past its own limit, as for one long text, is bounded, too.

Invariant: nothing that a query says can write a file, read one that was not handed in, or outlive its limits.
"""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.base.cache import memoize
from tagsel.base.sealed_sql import REFUSED, TOO_LATE, Scan, first_line, quoted
from tagsel.catalog.comparisons import ieee, keep_headers
from tagsel.catalog.tables import TABLES
from tagsel.errors import CatalogError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat"})
"""Functions that may stand in a FROM; all others read files, settings or memory."""


def table_names() -> tuple[str, ...]:
    """Return the catalog's own tables and views that a query may name."""
    return (*TABLES, "locations")


_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})


@dataclass(frozen=True)
class Parsed:
    """A query that passed: its text, its tree as DuckDB's parser serialises it, and the tables that it names."""

    query: str
    tree: dict[str, Any]
    tables: frozenset[str]


@dataclass(frozen=True)
class NullableColumn:
    """A column, and the bitmaps (or "") that are true where a value of it, and where its whole list, is null."""

    name: str
    is_list: bool
    values_null: str
    list_null: str

    @property
    def sql(self) -> str:
        """The column with NULL where it is null."""
        text = quoted(self.name)
        if self.values_null and self.is_list:
            pairs = f"list_zip({text}, {quoted(self.values_null)})"
            values = f"list_transform({pairs}, lambda p: CASE WHEN p[2] THEN NULL ELSE p[1] END)"
            text = f"CASE WHEN {text} IS NOT NULL THEN {values} END"
        elif self.values_null:
            text = f"CASE WHEN {quoted(self.values_null)} THEN NULL ELSE {text} END"
        if self.list_null:
            text = f"CASE WHEN {quoted(self.list_null)} THEN NULL ELSE {text} END"
        return f"{text} AS {quoted(self.name)}"


@dataclass(frozen=True)
class DatasetParts:
    """The Parquet files of a dataset as a table: its columns with nulls, the bitmaps that a query does not see, and the
    columns by the names that attributes have."""

    paths: tuple[Path, ...]
    nulls: tuple[NullableColumn, ...] = ()
    hidden: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def scan(self) -> Scan:
        """The files, and what a SELECT over them takes."""
        without = f" EXCLUDE ({', '.join(map(quoted, self.hidden))})" if self.hidden else ""
        instead = f" REPLACE ({', '.join(column.sql for column in self.nulls)})" if self.nulls else ""
        return Scan([str(path.absolute()) for path in self.paths], f"*{without}{instead}")


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
        kinds_text = ", ".join(kinds) or "nothing"
        raise CatalogError(f"one SELECT is allowed, this is {kinds_text}", hint="only reading is possible", sql=query)
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise CatalogError("the SQL is nested too deeply", hint="at most about 100 levels", sql=query) from error
    if document["error"]:
        raise CatalogError(f"one SELECT is allowed: {document.get('error_message', '')}", sql=query)
    tree = document["statements"][0]["node"]
    return Parsed(query, tree, frozenset(_tables(tree, query)))


def _ask(query: str, parameter: str) -> str:
    """What the parser's database answers, as text."""
    with _parser().cursor() as connection:
        ((text,),) = connection.execute(query, [parameter]).fetchall()
        return str(text)


def _as_ieee(query: str) -> str:
    """The query with comparisons of NaN as the cut language has them."""
    import duckdb

    try:
        return ieee(query, _ask)
    except (RecursionError, duckdb.Error) as error:
        raise CatalogError(
            "comparisons in this SQL are nested too deeply to say what they are of NaN",
            hint="a WITH clause names inner ones",
            sql=query,
        ) from error


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
    tables: Mapping[str, pa.Table | DatasetParts],
    *,
    memory: str = "1GB",
    seconds: float = 60,
) -> pa.Table:
    """The answer of a parsed query over `tables`, Arrow tables or parts of datasets, whatever the case of names.

    Memory bounds the whole process in which the query runs, and the answer. Raises CatalogError for unknown tables,
    errors of DuckDB and limits.
    """
    limit = parse_memory(memory)
    used = _tables_of(parsed, tables)
    names = _twins(used, parsed.query)
    query = _with_columns(parsed.query, names) if names else parsed.query
    if any(isinstance(content, DatasetParts) for content in used.values()):
        query = _as_ieee(query)
    try:
        request = _request(query, used, limit, seconds)
    except OSError as error:
        raise CatalogError(f"the SQL failed: {first_line(error)}", sql=parsed.query) from error
    with _child() as process:
        answer = _exchange(process, request, limit)
        if answer is None:
            raise CatalogError(
                f"the answer is larger than {limit:,} bytes", hint="aggregate, or add LIMIT", sql=parsed.query
            )
        code = process.wait()
    attributes = {column: name for name, column in names.items()}
    if code == 0 and not isinstance(answer, str):
        return answer.rename_columns([attributes.get(name, name) for name in answer.column_names])
    reason = answer if isinstance(answer, str) else ""
    raise _failure(parsed, code, reason, attributes, memory, seconds)


def _tables_of(parsed: Parsed, tables: Mapping[str, pa.Table | DatasetParts]) -> dict[str, pa.Table | DatasetParts]:
    """The tables that a query names, whatever the case of their names; CatalogError for one that there is not."""
    by_name = {name.lower(): (name, content) for name, content in tables.items()}
    unknown = sorted(table for table in parsed.tables if table.lower() not in by_name)
    if unknown:
        names = sorted({*tables, *table_names()})
        hint = did_you_mean(unknown[0], names) or f"tables are {', '.join(names[:20])}"
        raise CatalogError(f"no table {unknown[0]!r}", hint=hint, sql=parsed.query)
    return dict(by_name[table.lower()] for table in sorted(parsed.tables))


def _failure(
    parsed: Parsed, code: int, reason: str, attributes: Mapping[str, str], memory: str, seconds: float
) -> CatalogError:
    """What to raise where the child ended with a code, and gave a reason or none."""
    if code in (TOO_LATE, -signal.SIGXCPU, -signal.SIGKILL):
        return CatalogError(f"the query was stopped after {seconds:g} s", hint="ask for less", sql=parsed.query)
    if code != REFUSED:
        reason = f"Out of Memory: it needs more than {memory}, and its process was ended ({_ending(code)})"
    for column, name in attributes.items():
        reason = re.sub(rf"\b{re.escape(column)}\b", name.replace("\\", "\\\\"), reason)
    return CatalogError(f"the SQL failed: {reason}", sql=parsed.query)


def _twins(tables: Mapping[str, Any], query: str) -> dict[str, str]:
    """The columns of attributes that are stored under other names, as they differ from others in letter case only."""
    datasets = [content.names for content in tables.values() if isinstance(content, DatasetParts)]
    twins: dict[str, str] = {}
    for names in datasets:
        twins |= {name: column for name, column in names.items() if name != column}
    for name, column in twins.items():
        others = sorted({names[name] for names in datasets if name in names} - {column})
        if others:
            raise CatalogError(
                f"{name} is the column {column} in one of these datasets and {others[0]} in another",
                hint="ask them one by one",
                sql=query,
            )
    return twins


def _with_columns(query: str, names: Mapping[str, str]) -> str:
    """The query with such attributes by the names of their columns: DuckDB takes `x` and `X` for one.

    They change before the query is parsed, as the parser takes `GROUP BY x, X` for `GROUP BY x`; and names that the
    query itself gives change with them, so that a name goes on meaning what it meant. Headers that DuckDB would make of
    an expression are made of the attributes' names.
    """
    document = json.loads(_ask("SELECT json_serialize_sql(?)", _rename_identifiers(query, names)))
    attributes = {column: name for name, column in names.items()}

    def is_renamed(node: Mapping[str, Any]) -> bool:
        return not names.keys().isdisjoint(node.get("column_names", ()))

    _rename_columns(document, attributes)
    keep_headers(document, is_renamed, _ask)
    _rename_columns(document, names)
    return _ask("SELECT json_deserialize_sql(?::JSON)", json.dumps(document))


def _rename_identifiers(query: str, names: Mapping[str, str]) -> str:
    """The text of a query with other identifiers, quoted or not."""
    import duckdb

    text = query.encode()
    tokens = duckdb.tokenize(query)
    starts = [start for start, _ in tokens]
    parts = [text[: starts[0]]]
    for (start, kind), end in zip(tokens, [*starts[1:], len(text)], strict=True):
        token = text[start:end].decode()
        match = _IDENTIFIER.match(token)
        if kind == duckdb.token_type.identifier and match:
            name = match[0] if match[1] is None else match[1].replace('""', '"')
            if name in names:
                token = quoted(names[name]) + token[match.end() :]
        parts.append(token.encode())
    return b"".join(parts).decode()


_IDENTIFIER = re.compile(r'"((?:[^"]|"")*)"|\w+')


def _rename_columns(document: Any, names: Mapping[str, str]) -> None:
    """Rename columns wherever a serialised query refers to them."""
    for node in walk(document):
        if "column_names" in node:
            node["column_names"] = [names.get(name, name) for name in node["column_names"]]


def _ending(code: int) -> str:
    """How a process ended, in words."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    """The process in which a query runs, in a session of its own; it is gone when the block is left."""
    command = [sys.executable, "-P", "-m", "tagsel.base.sql_child"]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}  # each arena takes address space
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
        )
    except OSError as error:
        raise CatalogError(f"cannot start {sys.executable} for the SQL: {error.strerror}") from error
    with process:
        try:
            yield process
        finally:
            process.kill()


def _request(query: str, tables: Mapping[str, Any], limit: int, seconds: float) -> list[bytes]:
    """What the process is sent: a JSON document, then each Arrow table as a stream."""
    scans = {name: content.scan for name, content in tables.items() if isinstance(content, DatasetParts)}
    arrow = {name: content for name, content in tables.items() if name not in scans}
    misleading = any(any(map(_misleads, scan.paths)) for scan in scans.values())
    document = {
        "query": query,
        "scans": {name: asdict(scan) for name, scan in scans.items()},
        "tables": list(arrow),
        "memory": limit,
        "seconds": seconds,
        "misleading": misleading,
    }
    return [json.dumps(document).encode(), *map(_stream, arrow.values())]


def _stream(table: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _exchange(process: subprocess.Popen[bytes], blocks: Sequence[bytes], limit: int) -> pa.Table | str | None:
    """The answer to a request; what the process says where it has none; None for an answer of more than `limit`."""
    import pyarrow as pa

    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for block in blocks:
            process.stdin.write(struct.pack("<Q", len(block)))
            process.stdin.write(block)
        process.stdin.close()
        batches, size = [], 0
        with pa.ipc.open_stream(process.stdout) as reader:
            for batch in reader:
                batches.append(batch)
                size += batch.nbytes
                if size > limit:
                    return None
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowInvalid, OSError):  # the process ended before its answer did
        return process.stderr.read().decode("utf-8", "replace").strip()


@memoize("float-statistics", entries=4096)
def _misleads(part: str) -> bool:
    """Whether a Parquet file carries statistics of floats, as parts of older versions do: they are silent about NaN."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(part)
    for number in range(footer.num_columns if footer.num_row_groups else 0):
        column = footer.row_group(0).column(number)
        if column.physical_type in ("FLOAT", "DOUBLE") and column.is_stats_set:
            return True
    return False


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
