"""A sealed DuckDB connection for the process in which a user's SQL runs: in memory, over given tables, settings locked.

It stands here, and imports nothing of tagsel's, because that process starts anew for each query: importing the catalog
would take longer than most queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

BATCH_ROWS = 100_000
"""Rows of a batch of an answer."""

TOO_LATE, NO_MEMORY, REFUSED = 3, 4, 5
"""Exit codes of the process in which a query runs: it took too long, too much memory, or DuckDB refused it."""

_SETTINGS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}


@dataclass(frozen=True)
class Scan:
    """Parquet files as a table: their absolute paths, and the columns that a SELECT takes."""

    paths: Sequence[str]
    columns: str = "*"


def quoted(name: str) -> str:
    """A name of a table or column."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def sealed(
    tables: Sequence[tuple[str, pa.Table | Scan]], limit: int, misleading: bool = False, threads: int = 2
) -> Iterator[DuckDBPyConnection]:
    """An in-memory connection that can read `tables` and nothing else, and whose settings nobody can change."""
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": f"{limit}B", "threads": threads}) as connection:
        for name, value in _SETTINGS.items():
            connection.execute(f"SET {name} = {value!r}")
        allowed_paths: list[str] = []
        for _, content in tables:
            if isinstance(content, Scan):
                allowed_paths.extend(content.paths)
        if allowed_paths:
            connection.execute(f"SET allowed_paths = {_sql_list(allowed_paths)}")
        if misleading:
            connection.execute(f"SET disabled_optimizers = '{_TRUST_STATISTICS}'")
        connection.execute("SET enable_external_access = false")
        for name, content in tables:
            if isinstance(content, Scan):
                scan = f"SELECT {content.columns} FROM read_parquet({_sql_list(content.paths)}, union_by_name = true)"
                connection.execute(f"CREATE VIEW {quoted(name)} AS {scan}")
            else:
                connection.register(name, content)
        connection.execute("SET lock_configuration = true")
        yield connection


_TRUST_STATISTICS = "statistics_propagation,filter_pushdown"
"""What DuckDB does by the statistics of Parquet columns, as if a column without NaN in them had none."""


def first_line(error: BaseException) -> str:
    """The first line of a DuckDB error, and the names that it offers for one that is not there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    offers = [line for line in lines[1:] if line.startswith(("Candidate bindings", "Did you mean"))]
    return " ".join([lines[0], *offers])[:300]


def _sql_list(paths: Sequence[str]) -> str:
    return "[" + ", ".join("'" + p.replace("'", "''") + "'" for p in paths) + "]"
