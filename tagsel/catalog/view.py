"""The DuckDB file: a view of the journal, behind the turnstile, made again whenever it cannot be trusted.

Every connection is short and held under the turnstile. The view keeps the position in the journal up to
which it was applied, in the same transaction as the rows, so it is never half a change ahead or behind; a
reader who finds it behind brings it up first. A file that DuckDB cannot read is said in the log, thrown
away, and replayed from the journal. Where the view cannot be written (a read-only folder, a full disk) the
journal is replayed in memory.

Invariant: nothing is in the view that is not in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tagsel.catalog import journal, turnstile, viewsql
from tagsel.catalog.journal import Position
from tagsel.catalog.tables import Rows
from tagsel.errors import AccessError, CatalogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger("tagsel")

STORAGE = "v1.2.0"
"""DuckDB's storage version of the file: every DuckDB that we allow reads it."""

T = TypeVar("T")


class _Unfit(Exception):
    """The file cannot answer: it is missing or behind the journal, or `damaged`."""

    def __init__(self, damaged: bool) -> None:
        super().__init__()
        self.damaged = damaged


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """DuckDB answers Ctrl-C with a RuntimeError while it is at work: say what it was."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error


class View:
    """The DuckDB view of the journal in `folder`; `read` is the only way to ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "catalog.duckdb"
        self.journal = folder / "catalog.journal"

    @_ctrl_c()
    def read(self, ask: Callable[[DuckDBPyConnection], T]) -> T:
        """`ask(connection)` on the current view, read-only; errors of DuckDB that `ask` causes pass through."""
        if not self.journal.exists():
            return self._in_memory(ask)
        try:
            with turnstile.shared(self.folder):
                return self._ask(ask)
        except _Unfit as unfit:
            damaged = unfit.damaged
        try:
            with turnstile.exclusive(self.folder):
                self.bring_up(damaged)
                return self._ask(ask)
        except (_Unfit, AccessError):
            log.warning("%s cannot be brought up to date: replaying the journal in memory", self.path)
            return self._in_memory(ask)

    @_ctrl_c()
    def bring_up(self, damaged: bool = False) -> None:
        """Apply what the journal has more; the caller holds the turnstile alone.

        A view that cannot be brought up is made anew; one that cannot be written (a full disk) is left, and
        said. Raises CatalogError only where the journal itself is damaged.
        """
        import duckdb

        try:
            if not damaged and self.path.exists():
                try:
                    self._apply_rest()
                    return
                except (duckdb.Error, CatalogError) as error:
                    self._say_damaged(error)
            self.rebuild()
        except (duckdb.Error, OSError) as error:
            log.warning("%s cannot be written, the journal has it all: %s", self.path, error)

    def rebuild(self) -> int:
        """Make the view anew from the whole journal, aside and renamed; the number of lines replayed.

        The caller holds the turnstile alone. Raises CatalogError where the journal is damaged.
        """
        fresh = self.path.with_suffix(".new")
        try:
            for path in (fresh, _wal(fresh)):
                path.unlink(missing_ok=True)
            with closing(self._connect(fresh)) as connection:
                end = self._replay(connection)
                connection.execute("CHECKPOINT")  # here a full disk is an error; while closing it is not
            for path in (self.path, _wal(self.path)):
                path.unlink(missing_ok=True)
            fresh.rename(self.path)
        finally:
            for path in (fresh, _wal(fresh)):
                path.unlink(missing_ok=True)
        return end.seq

    def _ask(self, ask: Callable[[DuckDBPyConnection], T]) -> T:
        """The answer of the file as it is; raises _Unfit where it cannot give one."""
        import duckdb

        if not self.path.exists():
            raise _Unfit(damaged=False)
        try:
            connection = self._connect(self.path, read_only=True)
        except duckdb.Error as error:
            self._say_damaged(error)
            raise _Unfit(damaged=True) from error
        with closing(connection):
            try:
                known = viewsql.version(connection) == viewsql.VERSION
                current = known and self._is_end(viewsql.position(connection))
            except duckdb.Error as error:
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error
            if not current:
                raise _Unfit(damaged=False)
            try:
                return ask(connection)
            except duckdb.Error as error:
                if not _is_damage(error):
                    raise
                self._say_damaged(error)
                raise _Unfit(damaged=True) from error

    def _in_memory(self, ask: Callable[[DuckDBPyConnection], T]) -> T:
        with closing(self._connect(None)) as connection:
            self._replay(connection)
            return ask(connection)

    def _is_end(self, position: Position) -> bool:
        return position.offset == self.journal.stat().st_size and journal.holds(self.journal, position)

    def _apply_rest(self) -> None:
        with closing(self._connect(self.path)) as connection:
            viewsql.migrate(connection)
            start = viewsql.position(connection)
            if not journal.holds(self.journal, start):
                raise CatalogError("it goes another way than the journal")
            rest, end = _fold(self.journal, start)
            if end != start:
                viewsql.apply(connection, rest, end)
        journal.trim(self.journal, end)

    def _replay(self, connection: DuckDBPyConnection) -> Position:
        rows, end = _fold(self.journal, Position())
        viewsql.create(connection)
        viewsql.apply(connection, rows, end)
        return end

    def _connect(self, path: Path | None, read_only: bool = False) -> DuckDBPyConnection:
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
        if read_only:  # one set for all: connections of one process to one file share their settings
            config |= {"enable_external_access": False, "lock_configuration": True}
        elif path is not None:
            config["storage_compatibility_version"] = STORAGE
        return duckdb.connect(":memory:" if path is None else str(path), read_only=read_only, config=config)

    def _say_damaged(self, error: Exception) -> None:
        first = str(error).splitlines()[0][:200]
        log.warning("%s does not serve, it is made again from the journal: %s", self.path, first)


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
