"""What a workspace does for lists that outlive their files: files retracted, lists that touch them, lists moved on.

Invariant: as in `Workspace`, a method does what the verb of its name does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from tagsel.events import EventList

if TYPE_CHECKING:
    from tagsel.api.rebasing import Rebased
    from tagsel.api.retracting import Retracted, Touched
    from tagsel.api.workspace import Workspace


class Lasting:
    """The part of `Workspace` that keeps lists right while files come and go."""

    def retract(self, file: Path | str, *, reason: str, dataset: str = "", dry_run: bool = False) -> Retracted:
        """Take the rows of a file (path, logical name, GUID) out of a dataset, or of every one that has it.

        An ingested file, or an AOD that rows point to. One commit a dataset, which `restore` undoes; with `dry_run`
        only what would go is said. CatalogError: no dataset has the file, or the name is that of several.
        """
        from tagsel.api.retracting import retract

        return retract(cast("Workspace", self), str(file), dataset, reason, dry_run=dry_run)

    def retracted(self, events: EventList) -> tuple[Touched, ...]:
        """The retracted files that a list still points to: how many events, why, since when."""
        from tagsel.api.retracting import touched

        return touched(cast("Workspace", self), events)

    def rebase(self, events: EventList | Path | str, onto: str) -> Rebased:
        """The events of a list where they are now: looked up in the dataset `onto`, each kept, moved, vanished or
        ambiguous.
        """
        from tagsel.api.rebasing import rebase

        home = cast("Workspace", self)
        return rebase(home, events if isinstance(events, EventList) else home.read_events(events), onto)
