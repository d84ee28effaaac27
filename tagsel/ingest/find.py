"""Which format a file has, and the one function that opens any of them.

Invariant: a file is recognised by its content, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tagsel.ingest.nanoaod import open_nanoaod, open_tree
from tagsel.ingest.source import TagSource
from tagsel.schema import SourceSchema, load_source_schema

_OPENERS: dict[str, Callable[[Path, SourceSchema], TagSource]] = {
    "nanoaod": open_nanoaod,
    "tree": open_tree,
}


def open_source(
    path: Path | str, source_schema: SourceSchema | None = None, format: str | None = None
) -> TagSource:
    """A file opened as TAGs, by a source schema, as a format, or as what it is recognised to be."""
    path = Path(path)
    source = source_schema or load_source_schema("nanoaod")
    return _OPENERS[format or source.format](path, source)
