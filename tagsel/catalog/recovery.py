"""Recovering a catalog whose journal is damaged or has lost lines: what can be had, and from where.

Lines before the damage are kept as they are. The effect of lost lines comes from the DuckDB view, where that was
applied beyond them; of those that the view does not know, from the checkpoint, which has the small tables only. A line
after the damage is kept where its checksum continues that of the line before it, or one that the view, the checkpoint
or the tip knows; so where a line is missing, the next one can be checked only with their help, and is lost without it.
A new line, `RecoverRows`, says what was taken from where: one of the view, one of the checkpoint.

A file that belongs to another journal, copied here, says nothing of this one: it is made again. Where it is the journal
that belongs elsewhere, none of its lines is kept.

Invariant: the old journal is kept beside the new one, and nothing is written before it is.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagsel.base.atomic_write import write_bytes
from tagsel.catalog import journal, turnstile
from tagsel.catalog.catalog import who
from tagsel.catalog.changes import Change, RecoverRows, Stamp
from tagsel.catalog.journal import Entry, Position
from tagsel.catalog.state import State, unpack
from tagsel.catalog.tables import TABLES, Key, Row, Rows, light_tables
from tagsel.catalog.view import View
from tagsel.errors import CatalogError


@dataclass(frozen=True)
class Restored:
    """So many `rows` that the file `source` gave for the journal's lines up to number `lines`."""

    source: str
    lines: int
    rows: int


@dataclass(frozen=True)
class Recovery:
    """What was, or would be, recovered of a catalog.

    The journal has `lines` whole lines before `damaged`, the number of a damaged line (0: none); `instead` is the
    number that the line in its place states, where that is another one (a line is missing or repeated). With `stray`,
    what follows the whole lines is no line of a journal, and the tip knows no further one: nothing is lost. Other files
    `known` as many lines. `restored` says which files give the effect of lost lines; `later` lines after the damage are
    kept. The effect of `lost` lines, by number, cannot be had; nor can what the lines `partly` did to the tables
    `without`, which the checkpoint does not keep. `kept` is the copy of the old journal. `foreign` are files of another
    workspace's catalog.
    """

    lines: int
    damaged: int
    known: int
    instead: int = 0
    restored: tuple[Restored, ...] = ()
    later: int = 0
    lost: tuple[int, ...] = ()
    partly: tuple[int, ...] = ()
    without: tuple[str, ...] = ()
    kept: str = ""
    stray: bool = False
    foreign: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether anything is wrong with the catalog's files."""
        return bool(self.damaged or self.restored or self.foreign) or self.known > self.lines

    @property
    def losses(self) -> bool:
        """Whether anything cannot be had."""
        return bool(self.lost or self.without)


def recover(folder: Path, *, dry_run: bool = False) -> Recovery:
    """Recover the catalog in `folder`, or with `dry_run` say what would be recovered; a whole one is left alone.

    AccessError, which says whose files they are, where this user may not lock the catalog.
    """
    with turnstile.exclusive(folder):
        return _recover(folder, dry_run)


def _recover(folder: Path, dry_run: bool) -> Recovery:
    path, state, view = folder / "catalog.journal", State(folder), View(folder)
    entries, damaged = _entries(path, Position())
    positions = _positions(state, view)
    foreign = _foreign(path, positions, entries, view)
    for name in foreign:
        positions.pop(name, None)
    if path.name in foreign:
        entries, damaged = [], False
    end = entries[-1].end if entries else Position()
    missing = positions if path.name in foreign else _missing(path, positions, end)
    last_line = max([position.seq for position in missing.values()], default=end.seq)
    recovery = Recovery(end.seq, end.seq + 1 if damaged else 0, last_line, foreign=foreign)
    if not damaged and not missing:
        if foreign and not dry_run:
            _make_again(state, view)
        return recovery
    later: dict[int, Entry] = {}
    if damaged:
        later = {entry.stamp.seq: entry for entry in _after_damage(path, end, positions)}
        tip = positions.get(state.tip.name)
        recovery = _with_damage(recovery, path, end, at_tip=tip is not None and tip.seq == end.seq)
    plan = _Plan(entries, later)
    for source in _sources(state, view, missing):
        plan.restore(source)
    recovery = plan.finish(recovery)
    if dry_run:
        return recovery
    copy = _write(path, end, plan.additions)
    _make_again(state, view)
    return replace(recovery, kept=copy)


def _positions(state: State, view: View) -> dict[str, Position]:
    """The line of the journal up to which each of the catalog's files goes, by the file's name."""
    positions = state.positions()
    view_position = view.known()
    if view_position is not None:
        positions[view.path.name] = view_position
    return positions


def _missing(path: Path, positions: Mapping[str, Position], end: Position) -> dict[str, Position]:
    """The positions that the journal does not have: it is shorter, or has another line there."""
    return {name: p for name, p in positions.items() if p.seq > end.seq or not journal.holds(path, p)}


def _with_damage(recovery: Recovery, path: Path, end: Position, *, at_tip: bool) -> Recovery:
    """What a damaged line says: the number that it states, and whether it is a stray one behind the tip."""
    stated = _stated_number(path, end)
    return replace(
        recovery,
        instead=stated if stated != end.seq + 1 else 0,
        stray=at_tip and not _has_lines(path, end),
    )


def _make_again(state: State, view: View) -> None:
    """Make the tip and the view from the journal; a checkpoint is written when the journal has grown."""
    state.tip.unlink(missing_ok=True)
    state.checkpoint.unlink(missing_ok=True)
    state.refresh()
    state.acknowledge()
    view.rebuild()


def _foreign(path: Path, positions: Mapping[str, Position], entries: Sequence[Entry], view: View) -> tuple[str, ...]:
    """The catalog's files that belong to another workspace: some of those that know `positions`, or the journal."""
    if journal.is_foreign(path, positions):
        return (path.name,)
    foreign = set(journal.foreign(path, positions))
    name = view.path.name
    unbound = name in positions and not positions[name].origin and not journal.holds(path, positions[name])
    if unbound and _contradicts(view, entries):
        foreign.add(name)
    return tuple(sorted(foreign))


def _contradicts(view: View, entries: Sequence[Entry]) -> bool:
    """Whether no row of the view is of the time of the journal's line that it names: the test of a view which an older
    tagsel wrote, and which states no journal."""
    import duckdb

    written = {entry.stamp.seq: entry.stamp.when for entry in entries}
    try:
        rows = view.rows()
    except duckdb.Error:
        return False
    verdicts = set()
    for table in TABLES:
        if {"seq", "updated"} <= TABLES[table].columns.keys():
            verdicts |= {written[row["seq"]] == row["updated"] for row in rows.all(table) if row["seq"] in written}
    return verdicts == {False}


@dataclass(frozen=True)
class _Source:
    """A file that knows lines of the journal which it lacks: what it says of its `tables` after so many lines."""

    name: str
    position: Position
    rows: Rows
    tables: Iterable[str]

    @property
    def is_whole(self) -> bool:
        """Whether it has all tables."""
        return self.tables is TABLES


class _Plan:
    """The lines that a recovery puts behind the whole ones, `entries`; `later` are whole lines after the damage.

    Invariant: `rows` are what the whole lines and the additions make.
    """

    def __init__(self, entries: Sequence[Entry], later: Mapping[int, Entry]) -> None:
        self.additions: list[tuple[Stamp, Sequence[Change]]] = []
        self._rows = Rows()
        self._later = later
        self._lines = entries[-1].stamp.seq if entries else 0
        self._kept = 0
        self._partly: list[int] = []
        self._without: tuple[str, ...] = ()
        self._restored: list[Restored] = []
        for entry in entries:
            self._rows.fold(entry.ops())

    def restore(self, source: _Source) -> None:
        """Add what a source says of the lines that it knows.

        One that has all tables takes the place of the lines up to there. Of one that has some, whole lines are added
        first, for what they say of other tables; where none of its lines is lost it is not asked.
        """
        lines = source.position.seq
        lost = [number for number in range(self._lines + 1, lines + 1) if number not in self._later]
        ahead = lines > self._lines
        if not source.is_whole:
            if ahead and not lost:
                return
            self._keep(lines)
            self._partly += lost
            self._without = tuple(sorted(TABLES.keys() - light_tables()))
        change = _change(source, self._rows, ahead=ahead)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._add(Stamp(0, now, who()), [change])
        self._restored.append(Restored(source.name, lines, change.count))
        self._lines = max(self._lines, lines)

    def finish(self, recovery: Recovery) -> Recovery:
        """Add the lines that are left, and say what is recovered, and what is not."""
        last = max([self._lines, recovery.known, *self._later])
        if not recovery.stray:
            last = max(last, recovery.damaged)
        lost = [number for number in range(self._lines + 1, last + 1) if number not in self._later]
        self._keep(last)
        return replace(
            recovery,
            restored=tuple(self._restored),
            later=self._kept,
            lost=tuple(lost),
            partly=tuple(self._partly),
            without=self._without,
        )

    def _keep(self, lines: int) -> None:
        """Add the whole lines up to a number."""
        for number, entry in self._later.items():
            if self._lines < number <= lines:
                self._add(entry.stamp, entry.changes)
                self._kept += 1

    def _add(self, stamp: Stamp, changes: Sequence[Change]) -> None:
        self.additions.append((stamp, changes))
        for part, change in enumerate(changes):
            self._rows.fold(change.ops(replace(stamp, part=part)))


def _entries(path: Path, after: Position) -> tuple[list[Entry], bool]:
    """The whole lines after a position, up to a damaged one; and whether there is one."""
    entries: list[Entry] = []
    try:
        entries.extend(journal.read(path, after))
    except CatalogError:
        return _until_damage(path, after), True
    return entries, False


def _until_damage(path: Path, after: Position) -> list[Entry]:
    entries: list[Entry] = []
    lines = journal.read(path, after)
    while True:
        try:
            entries.append(next(lines))
        except (CatalogError, StopIteration):
            return entries


def _after_damage(path: Path, end: Position, positions: Mapping[str, Position]) -> list[Entry]:
    """The lines after `end` whose checksum is right, each once and by rising number."""
    checks = {position.seq: position.check for position in positions.values()}
    entries: list[Entry] = []
    last, offset, before = end.seq, end.offset, end.check
    with path.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            number = journal.stated_number(line)
            if number > last:
                check = checks.get(number - 1, before)
                with suppress(CatalogError):  # it cannot be checked: it is lost, and counted as such
                    entries.append(journal.read_line(line, path, Position(number - 1, offset, check)))
                    last = number
            before = journal.stated_check(line)
            offset += len(line)
    return entries


def _has_lines(path: Path, end: Position) -> bool:
    """Whether any line after `end` states a number or a checksum, as those of a journal do, even a damaged one."""
    with path.open("rb") as stream:
        stream.seek(end.offset)
        return any(journal.stated_number(line) or journal.stated_check(line) for line in stream)


def _stated_number(path: Path, end: Position) -> int:
    """The number that the line after `end` states; 0: it does not."""
    with path.open("rb") as stream:
        stream.seek(end.offset)
        return journal.stated_number(stream.readline())


def _sources(state: State, view: View, missing: Mapping[str, Position]) -> list[_Source]:
    """The files that know lines which the journal lacks: the view, and the checkpoint where it knows more of them."""
    import duckdb

    sources = []
    name = view.path.name
    if name in missing:
        with suppress(duckdb.Error):  # its tables are damaged, or of an older tagsel
            sources.append(_Source(name, missing[name], view.rows(), TABLES))
    name = state.checkpoint.name
    if name in missing and all(missing[name].seq > source.position.seq for source in sources):
        rows, position = unpack(state.checkpoint.read_bytes())
        sources.append(_Source(name, position, rows, light_tables()))
    return sources


def _change(source: _Source, have: Rows, *, ahead: bool) -> RecoverRows:
    """The difference of what a file knew to the rows that the catalog has.

    Where the file is ahead, its rows take the place of the catalog's; where the journal went another way, its own rows
    stay and only rows that it lacks are added.
    """
    rows: dict[str, list[Row]] = {}
    removed: dict[str, list[list[Any]]] = {}
    for table in source.tables:
        want, mine = _by_key(source.rows, table), _by_key(have, table)
        changed: list[Row] = [dict(row) for key, row in want.items() if key not in mine or (ahead and mine[key] != row)]
        lacking = [list(key) for key in mine if key not in want] if ahead else []
        if changed:
            rows[table] = changed
        if lacking:
            removed[table] = lacking
    return RecoverRows(source.name, source.position.seq, rows, removed)


def _by_key(rows: Rows, table: str) -> dict[Key, Row]:
    return {TABLES[table].key_of(row): row for row in rows.all(table)}


def _write(path: Path, end: Position, additions: Sequence[tuple[Stamp, Sequence[Change]]]) -> str:
    """Write the journal up to `end` and lines after it, aside and renamed; the name of the copy of the old one."""
    kept = ""
    prefix = b""
    if path.exists():
        number = 1
        while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        shutil.copy2(path, copy)
        kept = copy.name
        with path.open("rb") as stream:
            prefix = stream.read(end.offset)
    linked = end.check
    if len(linked) == len("01234567"):  # of version 1
        linked = hashlib.sha256(prefix).hexdigest()
    lines = prefix
    for seq, (stamp, changes) in enumerate(additions, end.seq + 1):
        line = journal.write_line(linked, replace(stamp, seq=seq), changes)
        linked = line[-67:-3].decode()
        lines += line
    write_bytes(path, lines)
    return kept
