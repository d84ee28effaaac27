"""What a workspace does for what comes and goes: files retracted, lists moved on, datasets dropped and put back.

Invariant: as in `Workspace`, a method does what the verb of its name does.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.api.event_lists import Rebased, load, rebase
from tagsel.api.home import Home
from tagsel.events import EventList

if TYPE_CHECKING:
    from tagsel.api.retracting import Retracted, Touched
    from tagsel.api.trash_folder import Dropped


class Lasting:
    """The part of `Workspace` that keeps things right while files and datasets come and go."""

    home: Home

    def retract(self, file: Path | str, *, reason: str, dataset: str = "", dry_run: bool = False) -> Retracted:
        """Take the rows of a file (path, logical name, GUID) out of a dataset, or of every one that has it.

        An ingested file, or an AOD that rows point to. One commit a dataset, which `restore` undoes; with `dry_run`
        only what would go is said. CatalogError: no dataset has the file, or the name is that of several.
        """
        from tagsel.api.retracting import retract

        return retract(self.home, str(file), dataset, reason, dry_run=dry_run)

    def retracted(self, events: EventList) -> tuple[Touched, ...]:
        """The retracted files that a list still points to: how many events, why, since when."""
        from tagsel.api.retracting import touched

        return touched(self.home, events)

    def rebase(self, events: EventList | Path | str, onto: str) -> Rebased:
        """The events of a list where they are now: looked up in the dataset `onto`, each kept, moved, vanished or
        ambiguous.
        """
        chosen = events if isinstance(events, EventList) else load(events, self.home)
        return rebase(self.home, chosen, onto)

    def keep(self, dataset: str, until: date | str | None) -> str:
        """Say the last day (UTC) on which a dataset is wanted, None for ever; `expired` lists it from then on."""
        from tagsel.api import trash

        return trash.keep(self.home, dataset, until)

    def expired(self) -> dict[str, str]:
        """The datasets whose last day is over, each with what keeps it all the same (a pin, a container), or ""."""
        from tagsel.api import trash

        return trash.expired(self.home)

    def drop(self, *datasets: str, dry_run: bool = False) -> list[Dropped]:
        """Move datasets into the trash, all or none; `ws.trash.recover` puts one back.

        With `dry_run` nothing is moved, and the answer is what would be. CatalogError for one that is frozen, pinned,
        held by a container, or another catalog's.
        """
        from tagsel.api import trash

        return trash.drop(self.home, datasets, dry_run=dry_run)
