"""The DuckDB file: a view of the journal, behind the turnstile, made again whenever it cannot be trusted.

Every connection is short and held under the turnstile. The view keeps the position in the journal up to
which it was applied, in the same transaction as the rows, so it is never half a change ahead or behind; a
reader who finds it behind brings it up first. A file that DuckDB cannot read is said in the log, thrown
away, and replayed from the journal. Where the view cannot be written (a read-only folder, a full disk) the
journal is replayed in memory. So it is, too, where a writer holds the view and does not let go (one that was stopped):
a reader never waits for a stuck writer.

Invariant: nothing is in the view that is not in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from tagsel.base.memory_limit import exhausted, is_refusal
from tagsel.catalog import journal, turnstile, viewsql
from tagsel.catalog.attached import attached
from tagsel.catalog.journal import Position
from tagsel.catalog.tables import TABLES, Put, Rows
from tagsel.errors import AccessError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

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
                except (duckdb.Error, viewsql.Newer, journal.Foreign) as error:
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
                return viewsql.position(connection)
        except duckdb.Error:
            return None

    def rows(self) -> Rows:
        """All rows of the view as it is, whether the journal has them or not. Errors: duckdb.Error."""
        rows = Rows()
        with attached(self.path, read_only=True) as connection:
            for name, table in TABLES.items():
                columns = ", ".join(f'"{column}"' for column in table.columns)
                rows.fold(Put(name, row) for row in viewsql.fetch_rows(connection, f"SELECT {columns} FROM {name}"))
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
                known = viewsql.version(connection) == viewsql.current_version()
                position = viewsql.position(connection)
            except duckdb.Error as error:
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error
            try:
                self._need(position)
            except journal.Foreign as error:
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error
            if not known or position.offset != self.journal.stat().st_size:
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
            viewsql.migrate(connection)
            start = viewsql.position(connection)
            self._need(start)
            start = journal.with_origin(self.journal, start)
            rest, end = _fold(self.journal, start)
            if end != start:
                viewsql.apply(connection, rest, end)
        journal.trim(self.journal, end)

    def _replay(self, connection: DuckDBPyConnection) -> Position:
        rows, end = _fold(self.journal, Position())
        journal.need_all(self.journal, self._positions())
        viewsql.create(connection)
        viewsql.apply(connection, rows, end)
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
