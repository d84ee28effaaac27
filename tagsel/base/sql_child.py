"""The process in which a user's SQL runs: `python -P -m tagsel.base.sql_child`.

Standard input: the length of a JSON request and the request (query, Parquet files and their columns by table, names of
Arrow tables, limits), then each Arrow table as its length and its stream. Standard output: the answer as an Arrow
stream. Exit codes: 0, or one of `sealed_sql.TOO_LATE`, `NO_MEMORY`, `REFUSED` with the reason on standard error.

The kernel holds it to its limits: address space (RLIMIT_AS), CPU seconds (RLIMIT_CPU), no file larger than nothing
(RLIMIT_FSIZE), no core dump.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tagsel.base.sealed_sql import BATCH_ROWS, NO_MEMORY, REFUSED, TOO_LATE, Scan, first_line, sealed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEAST = 64 << 20
"""Bytes that a query may always take, however little was allowed: DuckDB does nothing with less."""

THREADS = 2
"""Threads of a query: each may hold buffers of its own."""

_GRACE = 1.05  # a query that does not stop when it is interrupted is ended so much later


def main() -> int:
    """Answer the request on standard input; the exit code."""
    sys.modules["numpy"] = None  # type: ignore[assignment]  # Arrow does without: a quarter less time to start
    import duckdb
    import pyarrow as pa  # before the limits: what is loaded later would count

    source, answer = sys.stdin.buffer, sys.stdout.buffer
    request: dict[str, Any] = json.loads(_block(source))
    tables: list[tuple[str, Any]] = [(name, Scan(**scan)) for name, scan in request["scans"].items()]
    tables += [(name, _table(_block(source))) for name in request["tables"]]
    try:
        with sealed(tables, request["memory"], request["misleading"], THREADS) as connection:
            connection.sql("SELECT range FROM range(300000)").to_arrow_reader(BATCH_ROWS).read_all()  # all is loaded
            _limit(request["memory"], request["seconds"])
            late = _watch(connection, request["seconds"])
            try:
                _answer(connection, request["query"], answer)
            except Exception:
                if late.is_set():
                    return TOO_LATE
                raise
    except (MemoryError, pa.ArrowMemoryError):
        return NO_MEMORY
    except (duckdb.Error, OSError, RuntimeError) as error:  # an interrupted Arrow stream is an OSError
        print(first_line(error), file=sys.stderr)
        return REFUSED
    return 0


def _block(source: BinaryIO) -> bytes:
    """The next block of standard input."""
    (size,) = struct.unpack("<Q", source.read(8))
    return source.read(size)


def _table(stream: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(stream).read_all()


def _answer(connection: DuckDBPyConnection, query: str, out: BinaryIO) -> None:
    """Write the answer batch by batch: it is never held here as a whole."""
    import pyarrow as pa

    reader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
    with pa.ipc.new_stream(out, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            out.flush()
    out.flush()


def _watch(connection: DuckDBPyConnection, seconds: float) -> threading.Event:
    """Interrupt the query after `seconds`, and end the process where that does not help."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        connection.interrupt()

    for delay, act in ((seconds, interrupt), (seconds * _GRACE + 0.1, lambda: os._exit(TOO_LATE))):
        watch = threading.Timer(delay, act)
        watch.daemon = True
        watch.start()
    return late


def _limit(memory: int, seconds: float) -> None:
    """Have the kernel hold this process to `memory` bytes, all that it has now included."""
    now = _status("VmSize")
    room = max(memory - _status("VmRSS"), LEAST)
    limits = {
        resource.RLIMIT_AS: now + room,
        resource.RLIMIT_CPU: int(seconds * THREADS * _GRACE) + 2,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _status(field: str) -> int:
    """A size of this process in bytes, as the kernel states it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status says no {field}")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # nothing is torn down: it may need memory that is not there
