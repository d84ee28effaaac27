"""From the text that people type to datasets at pinned snapshots: names, `name@3`, globs, several with commas.

Invariant: every input of a query is pinned to one snapshot before anything is read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from tagsel.catalog import Catalog, DatasetRecord
from tagsel.catalog.sandbox import parse
from tagsel.errors import CatalogError, TagselError
from tagsel.selection import Input
from tagsel.store import Snapshot, Table

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
        kinds = ", ".join(f"{r.name} ({r.type or 'no type'})" for r, _ in records[:5])
        raise CatalogError(f"no events to select from: {kinds}", hint="only datasets of TAGs hold rows", dataset=text)
    return with_tags


def inputs(folder: Path, catalog: Catalog, text: str) -> tuple[Input, ...]:
    """The inputs of a selection over the datasets that `text` asks for."""
    return tuple(_input(folder, catalog, record, snapshot) for record, snapshot in resolve(folder, catalog, text))


def caught_up(catalog: Catalog, record: DatasetRecord, newest: Snapshot) -> DatasetRecord:
    """The record of a dataset at its newest snapshot: one that a crash kept from the catalog is registered now.

    A catalog that cannot take it is said in the log: the dataset itself can be read all the same.
    """
    if newest.number == record.snapshot or not os.access(catalog.folder, os.W_OK):
        return record
    from tagsel.ingest.registration import register

    try:
        register(catalog, record.name, newest, {})
    except TagselError as error:
        logging.getLogger("tagsel").warning("dataset %s cannot be registered: %s", record.name, error.message)
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


def tables(folder: Path, catalog: Catalog, query: str) -> dict[str, Sequence[Path]]:
    """The parts of the latest snapshots of just the datasets that an SQL query names."""
    asked = {table.lower() for table in parse(query).tables}
    chosen = [n for n in catalog.names() if n.lower() in asked and Table.exists(folder / DATA / n)]
    snapshots = {name: Table.open(folder / DATA / name).snapshot() for name in chosen}
    return {name: [part.path for part in s.parts] for name, s in snapshots.items() if s.parts}
