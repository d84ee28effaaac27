"""Named cuts and metadata queries: those that come with tagsel, and a workspace's own before them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tagsel.api.named_cuts import Named, named
from tagsel.errors import CatalogError, did_you_mean


class Queries:
    """The named cuts (`@name` wherever a cut is asked for) and metadata queries; `ws.queries`."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def list(self) -> tuple[Named, ...]:
        """List the named cuts and metadata queries, those of the workspace first."""
        return tuple(named(self._folder).values())

    def show(self, name: str) -> Named:
        """Show one: its text, what it is for, and its file. CatalogError, with the nearest name, for another."""
        queries = named(self._folder)
        key = name.removeprefix("@")
        if key not in queries:
            hint = did_you_mean(key, queries) or "tagsel queries"
            raise CatalogError(f"no named cut or query {name!r}", hint=hint)
        return queries[key]

    def __iter__(self) -> Iterator[Named]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def __repr__(self) -> str:
        return f"<Queries: {len(self)}>"
