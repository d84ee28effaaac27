"""Event lists in files: read, combine, rebase, and write them in other forms. A workspace is needed to rebase only."""

from __future__ import annotations

from functools import reduce
from operator import and_, or_, sub, xor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tagsel.api.event_lists import Events, Rebased, load
from tagsel.api.home import Home
from tagsel.errors import CatalogError
from tagsel.events import EventList

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagsel.api.retracting import Touched

ListLike = EventList | Path | str
"""An event list, or the name of its file, of any form."""


class Lists:
    """Event lists, by the names of their files; `ws.lists`.

    `ws.lists["dimuon.events"]` knows its workspace, and goes on from there: `map`, `skim`, `submit`.
    """

    def __init__(self, home: Home | None = None) -> None:
        self._home = home

    def __getitem__(self, events: ListLike) -> Events:
        """The event list in a file of any form, or a list, bound to this workspace."""
        if isinstance(events, EventList):
            return Events.of(events, self._home)
        return load(events, self._home)

    def show(self, events: ListLike) -> dict[str, Any]:
        """Show what a list says of itself: size, digest, ledger, provenance, files; and its retracted files."""
        chosen = self[events]
        retracted: tuple[Touched, ...] = chosen.retracted() if self._home is not None else ()
        files = [guid for guid in chosen.guids if guid]
        return {**chosen.header(), "files": len(files), "retracted": retracted}

    def union(self, *events: ListLike) -> Events:
        """The events of any list, each once."""
        return self._combined("union", or_, events)

    def intersect(self, *events: ListLike) -> Events:
        """The events that all lists hold."""
        return self._combined("intersect", and_, events)

    def minus(self, *events: ListLike) -> Events:
        """The events of the first list that no other holds."""
        return self._combined("minus", sub, events)

    def xor(self, *events: ListLike) -> Events:
        """The events that just one of two lists holds; of several, left to right."""
        return self._combined("xor", xor, events)

    def _combined(
        self, name: str, operation: Callable[[EventList, EventList], EventList], events: tuple[ListLike, ...]
    ) -> Events:
        if not events:
            raise CatalogError(f"{name} of no list is no list", hint="name two lists or more")
        operands: list[EventList] = [self[one] for one in events]
        combined = reduce(operation, operands)
        return Events.of(combined, self._home)

    def rebase(self, events: ListLike, onto: str) -> Rebased:
        """Look the events of a list up again, in the dataset `onto`: each is kept, moved, vanished or ambiguous."""
        return self[events].rebase(onto)

    def export(
        self, events: ListLike, out: Path | TextIO, *, form: str = "run:lumi:event", force: bool = False
    ) -> None:
        """Write a list in another form: lines of `run:lumi:event`, `run:event`, …, json or parquet.

        A file that exists is refused (AccessError); `force` replaces one that tagsel wrote.
        """
        from tagsel.events.files import write_events

        write_events(self[events], out, form, force=force)

    def __repr__(self) -> str:
        return f"<Lists of {self._home.folder}>" if self._home is not None else "<Lists>"
