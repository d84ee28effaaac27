"""Which format a file has, and the one function that opens any of them.

Invariant: a file is recognised by its content, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tagsel.errors import AccessError, IngestError, did_you_mean
from tagsel.ingest.columns import Columns
from tagsel.ingest.derive import drafted_schema, is_parquet
from tagsel.ingest.nanoaod import open_tree
from tagsel.ingest.parquet import open_tag_parquet
from tagsel.ingest.physlite import open_physlite
from tagsel.ingest.pool import open_pool, tag_tree
from tagsel.ingest.readers import open_parquet, parquet_types, tree_types
from tagsel.ingest.source import TagSource
from tagsel.rootio import RootFile
from tagsel.schema import STANDARD, SourceSchema, load_source_schema

Opener = Callable[[Path, SourceSchema], TagSource]

OPENERS: dict[str, Opener] = {
    "nanoaod": open_tree,
    "physlite": open_physlite,
    "pool": open_pool,
    "tree": open_tree,
    "parquet": open_tag_parquet,
}
"""Formats and what opens them."""


def open_source(
    path: Path | str,
    source_schema: SourceSchema | None = None,
    format: str | None = None,  # noqa: A002
) -> TagSource:
    """A file opened as TAGs: as `format`, by a source schema, or as what it is recognised to be.

    Raises IngestError naming the file where it is missing, damaged, of no known format, or without the ids of its
    events.
    """
    path = Path(path)
    if format is not None and format not in OPENERS:
        hint = did_you_mean(format, OPENERS) or f"one of {', '.join(OPENERS)}"
        raise IngestError(f"unknown format {format!r}", hint=hint, format=format)
    try:
        return _open(path, source_schema, format)
    except AccessError as error:
        raise IngestError(error.message, hint=error.hint, **{"path": str(path), **error.fields}) from error


def _open(path: Path, source: SourceSchema | None, wanted: str | None) -> TagSource:
    if is_parquet(path):
        if wanted not in (None, "parquet"):
            raise IngestError(f"{path}: a Parquet file, not {wanted}", path=str(path))
        return open_tag_parquet(path, source or _parquet_schema(path))
    if wanted == "parquet":
        raise IngestError(f"{path}: not a Parquet file", path=str(path))
    source = source or _root_schema(path, wanted)
    # A schema made for columns of Parquet or of a POOL collection serves a tree with the same names, too.
    kind = wanted or ("tree" if source.format == "parquet" else source.format)
    return OPENERS[kind](path, source)


def _parquet_schema(path: Path) -> SourceSchema:
    """The standard schema that recognises the columns, else one drafted from them."""
    with open_parquet(path) as file:
        columns = Columns(path, parquet_types(file))
    return _recognised(columns, STANDARD) or drafted_schema(columns, "parquet")


def _recognised(columns: Columns, names: tuple[str, ...]) -> SourceSchema | None:
    """The first of these standard schemas that recognises a column, most telling ones first."""
    for name in sorted(names, key=_TELLING.index):
        source = load_source_schema(name)
        if columns.first(source.recognise) or columns.first(source.recognise, is_list=True):
            return source
    return None


_TELLING = ("atlas_tag_2011", "nanoaod", "physlite", "pool")


def _root_schema(path: Path, wanted: str | None) -> SourceSchema:
    with RootFile(path) as file:
        tag = tag_tree(file)
        if wanted == "pool" or (wanted is None and tag is not None and not _has_events(file)):
            columns = Columns(path, tree_types(tag) if tag is not None else {})
            return _recognised(columns, ("atlas_tag_2011", "pool")) or load_source_schema("pool")
        if wanted in ("nanoaod", "physlite"):
            return load_source_schema(wanted)
        events = file.events()
        columns = Columns(path, tree_types(events))
        if events.name in ("EventData", "CollectionTree"):
            return load_source_schema("physlite")
        return _recognised(columns, ("nanoaod", "atlas_tag_2011")) or _drafted(columns, events.name)


def _drafted(columns: Columns, tree: str) -> SourceSchema:
    source = load_source_schema("nanoaod")
    return source if tree == "Events" else drafted_schema(columns, "tree")


def _has_events(file: RootFile) -> bool:
    return any(file.tree(name) is not None for name in ("EventData", "CollectionTree", "Events"))
