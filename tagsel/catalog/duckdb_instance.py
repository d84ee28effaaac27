"""One DuckDB instance a process, to which a database is attached while it is asked.

An instance of DuckDB costs 20 ms to make; to attach a file to one that is there, 2. The file is locked while it is
attached, and let go with it, as it would be with an instance of its own.

Invariant: a child after a fork, whose threads are gone, makes an instance of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tagsel.base.memory_limit import require_a_thread

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORAGE = "v1.2.0"
"""DuckDB's storage version of a file: every DuckDB that we allow reads it."""

_instance: DuckDBPyConnection | None = None
_making = Lock()
_numbers = itertools.count()
_abandoned: list[DuckDBPyConnection] = []


@contextmanager
def attached(path: Path | None, read_only: bool = False) -> Iterator[DuckDBPyConnection]:
    """A connection to the database in `path`, or to an empty one in memory; one thread uses it. Errors: duckdb.Error.

    >>> with attached(None) as connection:
    ...     connection.execute("CREATE TABLE runs AS SELECT range AS run FROM range(3)")
    ...     connection.execute("SELECT max(run) FROM runs").fetchone()
    <...>
    (2,)
    """
    import duckdb

    connection = _one().cursor()
    name = f"database_{next(_numbers)}"
    try:
        connection.execute(f"ATTACH {_quoted(path)} AS {name} {_options(path, read_only)}")
        try:
            connection.execute(f"USE {name}")
            yield connection
        finally:
            with suppress(duckdb.TransactionException):  # mostly there is none to roll back
                connection.execute("ROLLBACK")
            connection.execute("USE memory")
            connection.execute(f"DETACH {name}")
    except (duckdb.FatalException, duckdb.InternalException):
        _abandon()  # a fatal error of one database makes its instance useless
        raise
    finally:
        connection.close()


def _one() -> DuckDBPyConnection:
    import duckdb

    global _instance
    with _making:
        if _instance is None:
            require_a_thread("the catalog's database")
            _instance = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
        return _instance


def _abandon() -> None:
    global _instance
    _instance = None


def _quoted(path: Path | None) -> str:
    text = ":memory:" if path is None else str(path)
    return "'" + text.replace("'", "''") + "'"


def _options(path: Path | None, read_only: bool) -> str:
    if path is None:
        return ""
    return "(TYPE duckdb, READ_ONLY)" if read_only else f"(TYPE duckdb, STORAGE_VERSION '{STORAGE}')"


def _forked() -> None:
    """The child has none of the instance's threads; what is closed would wait for them, so it is left as it is."""
    global _making
    _making = Lock()
    if _instance is not None:
        _abandoned.append(_instance)
    _abandon()


os.register_at_fork(after_in_child=_forked)
