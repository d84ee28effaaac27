"""Which format a file has, and the one function that opens any of them.

Invariant: a file is recognised by its content, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tagsel.base.local_path import local_path
from tagsel.errors import IngestError, did_you_mean
from tagsel.ingest.columnar import columnar_format, open_columnar
from tagsel.ingest.columns import Columns
from tagsel.ingest.damage import reading
from tagsel.ingest.derive import COPY_FIRST, drafted_schema
from tagsel.ingest.nanoaod import open_tree
from tagsel.ingest.parquet import open_tag_parquet
from tagsel.ingest.physlite import open_physlite
from tagsel.ingest.pool import open_pool, tag_tree
from tagsel.ingest.profile import with_profile
from tagsel.ingest.readers import tree_columns
from tagsel.ingest.remarks import column_lines, remarks
from tagsel.ingest.source import TagSource, state_of
from tagsel.rootio import EVENT_TREES, RootFile, note_of
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
    profile: str = "standard",
) -> TagSource:
    """A file opened as TAGs: as `format`, by a source schema, or as what it is recognised to be.

    `profile` says how much of it is taken: slim, standard or full (`tagsel.ingest.profile`).

    Raises IngestError naming the file where it is missing, damaged, of no known format, or without the ids of its
    events.
    """
    path = local_path(path, COPY_FIRST)
    if format is not None and format not in OPENERS:
        hint = did_you_mean(format, OPENERS) or f"one of {', '.join(OPENERS)}"
        raise IngestError(f"unknown format {format!r}", hint=hint, format=format)
    if path.exists() and not path.is_file():
        raise IngestError(f"{path}: not a regular file", hint="a ROOT, Parquet, Arrow or Feather file", path=str(path))
    with reading(path):
        state = state_of(path)
        source, kind = _way(path, source_schema, format)
        source = with_profile(source, profile)
        opened = OPENERS[kind](path, source)
        # A skim, or a job's output, may have lost the branches that tell simulation; its note has not.
        note = note_of(path) or {}
        simulation = opened.is_simulation or note.get("simulation") is True
        warnings = (*opened.warnings, *remarks(opened, source))
        lines = (*opened.lines, *column_lines(opened.columns, opened.plan, source))
        return replace(opened, is_simulation=simulation, warnings=warnings, state=state, lines=lines, profile=profile)


def _way(path: Path, source: SourceSchema | None, wanted: str | None) -> tuple[SourceSchema, str]:
    """The source schema to open a file by, given or found, and the format of what opens it."""
    if columnar_format(path):
        if wanted not in (None, "parquet"):
            raise IngestError(f"{path}: a Parquet file, not {wanted}", path=str(path))
        return source or _parquet_schema(path), "parquet"
    if wanted == "parquet":
        raise IngestError(f"{path}: not a Parquet file", path=str(path))
    source = source or _root_schema(path, wanted)
    # A schema made for columns of Parquet or of a POOL collection serves a tree with the same names, too.
    return source, wanted or ("tree" if source.format == "parquet" else source.format)


def _parquet_schema(path: Path) -> SourceSchema:
    """The standard schema that recognises the columns, else one drafted from them."""
    with open_columnar(path) as file:
        columns = file.columns()
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
    if wanted in ("nanoaod", "physlite"):
        return load_source_schema(wanted)
    with RootFile(path) as file:
        names = file.trees()
        if wanted == "pool" or (wanted is None and not set(names) & set(EVENT_TREES)):
            tag = tag_tree(file)
            if tag is not None:
                return _recognised(tree_columns(tag), ("atlas_tag_2011", "pool")) or load_source_schema("pool")
        if "Events" not in names and wanted is None and set(names) & set(EVENT_TREES):
            return load_source_schema("physlite")
        events = file.events()
        # A tree Events without NanoAOD's ids is told so by its schema; any other tree is drafted from what it has.
        if wanted is None:
            return load_source_schema("nanoaod")
        return drafted_schema(tree_columns(events), "tree")
