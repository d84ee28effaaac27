"""What must hold before parts may join a dataset: ids, columns and types, whole files, nothing twice.

Invariant: a part that passes reads back with the dataset's own types, in tagsel and in every engine that
reads Delta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.errors import SchemaError, StoreError
from tagsel.schema import IDS, Schema, describe_type
from tagsel.store import columns, disk, log
from tagsel.store.conform import arrow_schema, kinds_of, same_kind
from tagsel.store.layout import NewPart, Source
from tagsel.store.log import PartRecord, State
from tagsel.store.mapping import identity
from tagsel.store.parts import MOST_ROWS, Part

if TYPE_CHECKING:
    import pyarrow as pa

_ID_TYPES = dict(zip(IDS, ("int32", "int32", "int64"), strict=True))


def ids(schema: Schema) -> None:
    """Refuse a schema without the columns that identify an event."""
    for name, kind in _ID_TYPES.items():
        attribute = schema.by_column.get(name)
        if attribute is None or attribute.type != kind or attribute.is_list:
            given = describe_type(attribute) if attribute else "missing"
            raise StoreError(f"a dataset needs the attribute {name} as {kind}; it is {given}", column=name)


def merged(mine: Schema, given: Schema, evolve: bool, dataset: str) -> Schema:
    """The dataset's schema after parts of schema `given` join it; StoreError names what does not fit."""
    ids(given)
    try:
        both = mine.union(given)
    except SchemaError as error:
        raise StoreError(f"cannot add to dataset {dataset}: {error.message}") from error
    missing = sorted(set(mine.by_column) - set(given.by_column))
    extra = sorted(set(given.by_column) - set(mine.by_column))
    if (missing or extra) and not evolve:
        said = [f"{word} {_some(names)}" for word, names in (("lacks", missing), ("adds", extra)) if names]
        raise StoreError(
            f"cannot add to dataset {dataset}: the input {' and '.join(said)}",
            hint="with --evolve a column is taken as missing where a file lacks it",
            missing=missing,
            extra=extra,
        )
    return both


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def all_sources(parts: Iterable[NewPart], sources: Iterable[Source]) -> list[Source]:
    """The files of new parts, and the files that have no rows."""
    return list(chain(*(part.sources for part in parts), sources))


def fresh(state: State, parts: Iterable[NewPart], sources: Iterable[Source]) -> None:
    """Refuse a part or an input file that the dataset holds already: its rows would count twice."""
    present = {p.name for p in state.parts}
    guids = set(state.guids)
    for part in parts:
        if part.name in present:
            raise StoreError(f"part {part.name} is in the dataset already (snapshot {state.number})", part=part.name)
        present.add(part.name)
    for source in all_sources(parts, sources):
        if source.guid in guids:
            raise StoreError(
                f"file {source.lfn} (GUID {source.guid}) is in the dataset already (snapshot {state.number})",
                guid=source.guid,
                lfn=source.lfn,
            )


def record(folder: Path, part: NewPart, schema: Schema, evolve: bool) -> PartRecord:
    """What the log keeps of a part, once its file is found whole and of the types of `schema`."""
    path = folder / part.name
    meta = columns.metadata(identity(path, part.bytes))
    fields = {f.name: f for f in meta.schema.to_arrow_schema()}
    _check_columns(path, fields, schema, evolve)
    if meta.num_rows != part.rows:
        raise StoreError(f"{path} holds {meta.num_rows} rows, not {part.rows}", path=str(path))
    groups = tuple(meta.row_group(g).num_rows for g in range(meta.num_row_groups))
    if groups and max(groups) > MOST_ROWS:
        raise StoreError(f"{path} has a row group of {max(groups):,} rows: at most {MOST_ROWS:,}", path=str(path))
    if b"tagsel.content" not in (meta.metadata or {}):  # another program wrote it
        _check_lists(Part(part.name, folder, part.rows, part.bytes, groups, frozenset(fields)), schema)
    listed = disk.write_document(log.commits_folder(folder), [c for c in kinds_of(schema) if c in fields])
    return PartRecord(part.name, part.rows, part.bytes, groups, listed)


def _check_columns(path: Path, fields: Mapping[str, pa.Field], schema: Schema, evolve: bool) -> None:
    """StoreError where a part's columns, or their types, are not those of the schema; `evolve` lets some be missing."""
    for expected in arrow_schema(schema):
        field = fields.get(expected.name)
        if field is not None and not same_kind(field.type, expected.type):
            raise StoreError(
                f"column {expected.name} of {path} is {field.type}, the schema says {expected.type}",
                path=str(path),
                column=expected.name,
            )
    missing = [column for column in kinds_of(schema) if column not in fields]
    if set(fields) - set(kinds_of(schema)) or (missing and not evolve) or set(IDS) & set(missing):
        raise StoreError(f"the columns of {path} are not those of its schema", path=str(path), missing=missing)


def _check_lists(part: Part, schema: Schema) -> None:
    """Compare the lists of a part with their counters, event by event. StoreError: a list has another length."""
    kinds = {column: kind for column, kind in kinds_of(schema).items() if column in part.columns}
    counters = {a.column: a.counter for a in schema if a.is_list}
    described = replace(part, kinds=kinds, counters=counters)
    for group in range(len(part.groups)):
        described.check_lists(group)


def placed(parts: Sequence[NewPart], sources: Iterable[Source]) -> list[tuple[int, dict[str, Any]]]:
    """Every source with the first row, in the commit, of its part; those of 0 rows come last."""
    return list(_placed(parts, sources))


def _placed(parts: Sequence[NewPart], sources: Iterable[Source]) -> Iterator[tuple[int, dict[str, Any]]]:
    row = 0
    for part in parts:
        yield from ((row, s.to_json()) for s in part.sources)
        row += part.rows
    yield from ((row, s.to_json()) for s in sources)
