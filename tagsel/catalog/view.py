"""The DuckDB file: a view of the journal, behind the turnstile, made again whenever it cannot be trusted.

Every connection is short and held under the turnstile. The view keeps the position in the journal up to which it was
applied, in the same transaction as the rows, so it is never half a change ahead or behind; a reader who finds it behind
brings it up first. tagsel logs a file that DuckDB cannot read, throws it away, and replays the journal. Where the view
cannot be written (a read-only folder, a full disk), or where a stopped writer holds it, tagsel replays the journal in
memory: a reader never waits for a stuck writer.

Rows travel as one JSON parameter a batch: a value bound one by one costs DuckDB a thousand times more.

Invariant: nothing is in the view that is not in the journal. `apply` and each migration are one transaction each.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tagsel.base.fail_points import fail_point
from tagsel.base.memory_limit import exhausted, is_refusal
from tagsel.catalog import journal, turnstile
from tagsel.catalog.duckdb_instance import attached
from tagsel.catalog.journal import Position
from tagsel.catalog.tables import TABLES, Key, Put, Row, Rows
from tagsel.errors import AccessError, CatalogError

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
    """Make the tables of the current version in an empty database, in one transaction: each waits for the disk."""
    number = current_version()
    connection.execute("BEGIN")
    for table in TABLES.values():
        connection.execute(table.create(number))
    connection.execute(script("view_state.sql"))
    connection.execute("UPDATE view_state SET version = ?", [number])
    connection.execute(script("locations.sql"))
    connection.execute("COMMIT")


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


def view_position(connection: DuckDBPyConnection) -> Position:
    """How far in the journal the view is."""
    number = view_version(connection)
    if number >= _BOUND:
        return Position(*fetch_one(connection, "SELECT seq, bytes, chain, origin FROM view_state"))
    if number >= _CHAINED:
        return Position(*fetch_one(connection, "SELECT seq, bytes, chain FROM view_state"))
    seq, offset, crc = fetch_one(connection, "SELECT seq, bytes, crc FROM view_state")
    return Position(seq, offset, f"{crc:08x}" if offset else "")


def view_version(connection: DuckDBPyConnection) -> int:
    """The version of the view's tables."""
    return int(fetch_one(connection, "SELECT version FROM view_state")[0])


class Newer(CatalogError):
    """Tables of a newer tagsel."""


def migrate(connection: DuckDBPyConnection) -> None:
    """Lead the tables to the current version, one transaction a step; Newer for a newer tagsel's tables."""
    old, new = view_version(connection), current_version()
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
    changed: dict[Key, Row | None] = {}
    for owned in delta.rows[name].values():
        changed.update(owned)
    _delete(connection, name, owner, [{table.key[0]: cleared} for cleared in delta.cleared[name]])
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


log = logging.getLogger("tagsel")

READER_PATIENCE = 3.0
"""Seconds that a reader waits for a writer, before the journal is replayed in memory instead."""

T = TypeVar("T")


class Readable(Protocol):
    """Tables of a catalog that can be asked: a `View`, or those of several catalogs together."""

    def read(self, ask: Callable[[DuckDBPyConnection], T], sealed: bool = False) -> T:
        """`ask(connection)`, read-only; a `sealed` connection, for what a user wrote, reaches no file."""


class _Unfit(Exception):
    """The file cannot answer: it is missing or behind the journal, or `damaged`."""

    def __init__(self, damaged: bool) -> None:
        super().__init__()
        self.damaged = damaged


@contextmanager
def ctrl_c() -> Iterator[None]:
    """DuckDB answers Ctrl-C with a RuntimeError while it is at work: say what it was."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error


_replayed: set[Path] = set()
"""The views whose journals this process replays in memory, and has said so."""


class View:
    """The DuckDB view of the journal in `folder`; `read` is the only way to ask it.

    `positions` gives those of the journal that other files know: none of them may be missing where the whole journal is
    replayed.
    """

    def __init__(self, folder: Path, positions: Callable[[], Mapping[str, Position]] = dict) -> None:
        self.folder = folder
        self._positions = positions
        self.path = folder / "catalog.duckdb"
        self.journal = folder / "catalog.journal"

    @ctrl_c()
    def read(self, ask: Callable[[DuckDBPyConnection], T], sealed: bool = False) -> T:
        """`ask(connection)` on the current view, read-only; errors of DuckDB that `ask` causes pass through.

        A `sealed` connection, for what a user wrote, reaches no other file and keeps its settings.
        """
        if not self.journal.exists():
            return self._in_memory(ask, sealed)
        try:
            with turnstile.shared(self.folder, READER_PATIENCE):
                return self._ask(ask, sealed)
        except turnstile.Busy as busy:
            return self._around(busy, ask, sealed)
        except _Unfit as unfit:
            damaged = unfit.damaged
        try:
            with turnstile.exclusive(self.folder, READER_PATIENCE):
                self.bring_up(damaged)
                return self._ask(ask, sealed)
        except turnstile.Busy as busy:
            return self._around(busy, ask, sealed)
        except (_Unfit, AccessError):
            if self.path not in _replayed:
                _replayed.add(self.path)
                log.warning("%s cannot be brought up to date: replaying the journal in memory", self.path)
            return self._in_memory(ask, sealed)

    def _around(self, busy: turnstile.Busy, ask: Callable[[DuckDBPyConnection], T], sealed: bool) -> T:
        """The answer of the journal, where a writer that holds the view does not let go."""
        log.warning("%s: answering from the journal", busy.message)
        return self._in_memory(ask, sealed)

    @ctrl_c()
    def bring_up(self, damaged: bool = False) -> None:
        """Apply what the journal has more; the caller holds the turnstile alone.

        A view that cannot be brought up is made anew; one that cannot be written (a full disk) is left, and
        said. Raises CatalogError only where the journal itself is damaged, or has lost lines that the view knew.
        """
        import duckdb

        try:
            if not damaged and self.path.exists():
                try:
                    self._apply_rest()
                    return
                except (duckdb.Error, Newer, journal.Foreign) as error:
                    self._say_damaged(error)
            self.rebuild()
        except (duckdb.Error, OSError) as error:
            log.warning("%s cannot be written, the journal has it all: %s", self.path, error)

    def known(self) -> Position | None:
        """The position of the journal up to which the view was applied; None where there is none, or it is damaged."""
        import duckdb

        if not self.path.exists():
            return None
        try:
            with attached(self.path, read_only=True) as connection:
                return view_position(connection)
        except duckdb.Error:
            return None

    def rows(self) -> Rows:
        """All rows of the view as it is, whether the journal has them or not. Errors: duckdb.Error."""
        rows = Rows()
        with attached(self.path, read_only=True) as connection:
            for name, table in TABLES.items():
                columns = ", ".join(f'"{column}"' for column in table.columns)
                rows.fold(Put(name, row) for row in fetch_rows(connection, f"SELECT {columns} FROM {name}"))
        return rows

    def rebuild(self) -> int:
        """Make the view anew from the whole journal, aside and renamed; the number of lines replayed.

        The caller holds the turnstile alone. Raises CatalogError where the journal is damaged.
        """
        fresh = self.path.with_suffix(".new")
        try:
            for path in (fresh, _wal(fresh)):
                path.unlink(missing_ok=True)
            with attached(fresh) as connection:
                end = self._replay(connection)
                connection.execute("CHECKPOINT")  # here a full disk is an error; while closing it is not
            for path in (self.path, _wal(self.path)):
                path.unlink(missing_ok=True)
            fresh.rename(self.path)
        finally:
            for path in (fresh, _wal(fresh)):
                path.unlink(missing_ok=True)
        return end.seq

    def _ask(self, ask: Callable[[DuckDBPyConnection], T], sealed: bool) -> T:
        """The answer of the file as it is; raises _Unfit where it cannot give one."""
        import duckdb

        if not self.path.exists():
            raise _Unfit(damaged=False)
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(_opened(self.path, sealed))
            except duckdb.Error as error:
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error
            try:
                is_current = view_version(connection) == current_version()
                position = view_position(connection)
            except duckdb.Error as error:
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error
            try:
                self._need(position)
            except journal.Foreign as error:
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error
            if not is_current or position.offset != self.journal.stat().st_size:
                raise _Unfit(damaged=False)
            try:
                return ask(connection)
            except duckdb.Error as error:
                if not _is_damage(error):
                    raise
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error

    def _in_memory(self, ask: Callable[[DuckDBPyConnection], T], sealed: bool) -> T:
        with in_memory(self._replay, sealed) as connection:
            return ask(connection)

    def _apply_rest(self) -> None:
        with attached(self.path) as connection:
            migrate(connection)
            start = view_position(connection)
            self._need(start)
            start = journal.with_origin(self.journal, start)
            rest, end = _fold(self.journal, start)
            if end != start:
                apply(connection, rest, end)
        journal.trim(self.journal, end)

    def _replay(self, connection: DuckDBPyConnection) -> Position:
        rows, end = _fold(self.journal, Position())
        journal.need_all(self.journal, self._positions())
        create(connection)
        apply(connection, rows, end)
        return end

    def _need(self, position: Position) -> None:
        """Foreign where the view, which was applied up to `position`, is that of another journal; CatalogError where
        this one has lost lines that the view knew."""
        if journal.holds(self.journal, position):
            return
        if self.path.name in journal.foreign(self.journal, {**self._positions(), self.path.name: position}):
            raise journal.Foreign("it is that of another workspace")
        journal.need(self.journal, position, self.path.name)

    def need_journal(self) -> None:
        """CatalogError where the view knows lines that the journal does not have; one of another journal knows none."""
        position = self.known()
        if position is not None:
            with suppress(journal.Foreign):
                self._need(position)

    def _say_damaged(self, error: Exception) -> None:
        """Say that the view does not serve. MemoryLimitError: memory was refused, and the view may be whole."""
        if is_refusal(error):
            raise exhausted(error, "the catalog's database") from error
        first = str(error).splitlines()[0][:200]
        log.warning("%s does not serve, it is made again from the journal: %s", self.path, first)


@contextmanager
def in_memory(fill: Callable[[DuckDBPyConnection], object], sealed: bool) -> Iterator[DuckDBPyConnection]:
    """A database in memory that `fill` has filled; `sealed`: it reaches no file and keeps its settings from then on."""
    with _opened(None, sealed) as connection:
        fill(connection)
        if sealed:
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        yield connection


def _opened(path: Path | None, sealed: bool) -> AbstractContextManager[DuckDBPyConnection]:
    """The file, read-only, or an empty database in memory; `sealed` in an instance of its own."""
    import duckdb

    if not sealed:
        return attached(path, read_only=path is not None)
    config: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
    if path is None:  # it is filled first
        return closing(duckdb.connect(":memory:", config=config))
    config |= {"enable_external_access": False, "lock_configuration": True}
    return closing(duckdb.connect(str(path), read_only=True, config=config))


def _fold(path: Path, start: Position) -> tuple[Rows, Position]:
    rows, end = Rows(delta=True), start
    for entry in journal.read(path, start):
        rows.fold(entry.ops())
        end = entry.end
    return rows, end


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _is_damage(error: Exception) -> bool:
    """Whether DuckDB says that a file's content is broken, rather than the question; a bad block is a bare `Error`."""
    import duckdb

    kinds = (
        duckdb.IOException,
        duckdb.SerializationException,
        duckdb.FatalException,
        duckdb.InternalException,
    )
    return isinstance(error, kinds) or type(error) is duckdb.Error
