"""From the text that people type to datasets at pinned snapshots: names, `name@3`, globs, several with commas.

Invariant: every input of a query is pinned to one snapshot before anything is read.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from tagsel.catalog import Catalog, DatasetRecord, DatasetSpec, others, parse_dataset_spec
from tagsel.catalog.sandbox import DatasetParts, NullableColumn
from tagsel.errors import CatalogError, TagselError
from tagsel.selection import Input
from tagsel.store import Snapshot, Table, at_least

log = logging.getLogger("tagsel")

DATA = "data"
"""The folder of a workspace that holds its datasets, one Delta table each."""

FILE_SUFFIXES = (".root", ".parquet", ".pool.root.1", ".root.1")


def is_file_name(text: str) -> bool:
    """Whether `text` names an existing ROOT or Parquet file, and so a dataset by itself."""
    return text.endswith(FILE_SUFFIXES) and Path(text).is_file()


def resolve(folder: Path, catalog: Catalog, text: str) -> list[tuple[DatasetRecord, int | None]]:
    """The datasets that `text` asks for, each once, with the snapshot asked for (None = latest).

    CatalogError for a name that does not exist (with the nearest) and for a glob that matches nothing.
    """
    records = catalog.resolve(text)
    with_tags = [(r, s) for r, s in records if (folder / DATA / r.name).is_dir()]
    if not with_tags:
        raise _no_rows(text, [record for record, _ in records])
    return with_tags


def _no_rows(text: str, records: Sequence[DatasetRecord]) -> CatalogError:
    """The error for datasets none of which holds rows."""
    kinds = ", ".join(f"{r.name} ({r.type or 'no type'})" for r in records[:5])
    return CatalogError(f"no events to select from: {kinds}", hint="only datasets of TAGs hold rows", dataset=text)


def one_dataset(dataset: str) -> DatasetSpec:
    """The one dataset that `name` or `name@3` asks for; CatalogError for a glob or several."""
    specs = parse_dataset_spec(dataset)
    if len(specs) != 1 or specs[0].is_glob:
        raise CatalogError(f"{dataset!r}: one dataset is asked for here", hint="no glob, no comma")
    return specs[0]


def inputs(folder: Path, catalog: Catalog, text: str) -> tuple[Input, ...]:
    """The inputs of a selection over the datasets that `text` asks for, of named workspaces, too."""
    if not others.named(folder):
        return tuple(_input(folder, catalog, record, snapshot) for record, snapshot in resolve(folder, catalog, text))
    chosen: dict[str, Input] = {}
    for part in text.split(","):
        records = _resolve_in_all(folder, catalog, part)
        with_tags = [(home, r, s) for home, r, s in records if (home[0] / DATA / r.name).is_dir()]
        if not with_tags:
            raise _no_rows(part, [record for _, record, _ in records])
        for home, record, snapshot in with_tags:
            if record.name not in chosen:
                chosen[record.name] = _input(*home, record, snapshot)
    return tuple(chosen.values())


Place = tuple[Path, Catalog]
"""A workspace's folder and its catalog."""


def _resolve_in_all(folder: Path, catalog: Catalog, part: str) -> list[tuple[Place, DatasetRecord, int | None]]:
    """The datasets that a name, `name@3` or glob asks for, each from the first workspace that has it.

    A warning names the others that have it, too. CatalogError where no workspace has one, or where one that may have it
    cannot be read.
    """
    is_glob = parse_dataset_spec(part)[0].is_glob
    chosen: dict[str, tuple[Place, DatasetRecord, int | None]] = {}
    for home in others.unchecked(folder, catalog):
        records = _resolve_in(folder, home, part, needed=is_glob or not chosen)
        hiding = {record.name: chosen[record.name][0][0] for record, _ in records if record.name in chosen}
        for name, first in hiding.items():
            _warn_hidden(name, first, home[0])
        if is_glob or not chosen:
            new = {record.name: (home, record, snapshot) for record, snapshot in records}
            chosen = new | chosen
    if not chosen:
        return [((folder, catalog), record, snapshot) for record, snapshot in catalog.resolve(part)]  # which raises
    return list(chosen.values())


def _resolve_in(folder: Path, home: Place, part: str, *, needed: bool) -> list[tuple[DatasetRecord, int | None]]:
    """The datasets that a name or glob asks for of one workspace: that of `folder`, or one that it names.

    Where it cannot be read, this is an error if they are `needed`, else a warning.
    """
    place, catalog = home
    try:
        if place != folder:
            others.need_workspace(folder, place)
        catalog.names()
    except (TagselError, OSError) as error:
        if needed:
            raise
        _warn_unread(place, str(error))
        return []
    try:
        return catalog.resolve(part)
    except CatalogError:
        return []


@cache  # once in a process, however many questions it asks
def _warn_unread(place: Path, reason: str) -> None:
    log.warning("%s", unread(place, reason))


def unread(place: Path, reason: str) -> str:
    """What a warning says of a named workspace that cannot be read, where only names are compared with its own."""
    return f"whether {place} has a dataset of that name, too, cannot be read: {reason}"


@cache  # once in a process, however many questions it asks
def _warn_hidden(dataset: str, first: Path, other: Path) -> None:
    log.warning("%s", hidden(dataset, first, other))


def hidden(dataset: str, first: Path, other: Path) -> str:
    """What a warning says of a name that two workspaces have."""
    return f"{dataset} is the dataset of {first}; it hides the one of {other} (tagsel -w {other} asks that one)"


def caught_up(catalog: Catalog, record: DatasetRecord, newest: Snapshot) -> DatasetRecord:
    """The record of a dataset at its newest snapshot: one that a crash kept from the catalog is registered now.

    A catalog that cannot take it is said in the log: the dataset itself can be read all the same. StoreError where the
    catalog knows a later snapshot than the dataset's own log: entries of the log are missing.
    """
    newest = at_least(newest, record.snapshot, record.events)
    if newest.number == record.snapshot or not catalog.may_write() or catalog.is_held():
        return record
    from tagsel.ingest.registration import register

    try:
        register(catalog, record.name, newest, {})
    except TagselError as error:
        log.warning("dataset %s cannot be registered: %s", record.name, error.message)
    return catalog.dataset(record.name)


def _input(folder: Path, catalog: Catalog, record: DatasetRecord, number: int | None) -> Input:
    table = Table.open(folder / DATA / record.name)
    newest = table.snapshot()
    record = caught_up(catalog, record, newest)
    snapshot = newest if number is None else table.snapshot(number)
    priority = record.meta.get("priority", 0)
    if isinstance(priority, bool | str):
        raise CatalogError(f"dataset {record.name}: priority is {priority!r}, a number was expected")
    return Input(record.name, snapshot, record.simulation, record.sample or record.name, float(priority))


def tables(folder: Path, catalog: Catalog, asked: Collection[str]) -> dict[str, DatasetParts]:
    """The parts of the latest snapshots of just the datasets that an SQL query names, in lower case."""
    chosen = [n for n in catalog.names() if n.lower() in asked and Table.exists(folder / DATA / n)]
    snapshots = {name: Table.open(folder / DATA / name).snapshot() for name in chosen}
    return {name: _parts(s) for name, s in snapshots.items() if s.parts}


def _parts(snapshot: Snapshot) -> DatasetParts:
    """The parts of a snapshot as one table, in which nulls are NULL."""
    stored: set[str] = set()
    stored.update(*(part.columns for part in snapshot.parts))
    schema = snapshot.schema
    nulls = []
    for attribute in schema:
        null = schema.nulls_of(attribute)
        counter = schema.by_column.get(attribute.counter) if attribute.is_list else None
        absent = schema.nulls_of(counter) if counter is not None and attribute.role != "null" else None
        bitmaps = [found.column if found is not None and found.column in stored else "" for found in (null, absent)]
        if any(bitmaps) and attribute.column in stored:
            nulls.append(NullableColumn(attribute.column, attribute.is_list, *bitmaps))
    hidden = tuple(a.column for a in schema if a.role == "null" and a.column in stored)
    names = {a.flat_name: a.column for a in schema.shown() if a.column in stored}
    return DatasetParts(tuple(part.path for part in snapshot.parts), tuple(nulls), hidden, names)
