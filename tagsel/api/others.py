"""What a workspace shares with other systems: lists exported for them.

Invariant: as in `Workspace`, a method does what the verb of its name does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace
    from tagsel.bridges import Exported
    from tagsel.events import EventList


class Others:
    """The part of `Workspace` that speaks to other systems."""

    def export(self, events: EventList | Path | str, system: str, out: Path | str, **options: Any) -> Exported:
        """Write what another system takes as its input for just these events: a folder, or one file.

        `system` is panda, ganga, crab, edmpick or pool. Options: `stage` (aod, esd, raw), `site` (its copies only),
        `run` (the user's program), `events_per_job`, and `settings`, a mapping of what the system calls its own.
        """
        from tagsel.api.exporting import export

        return export(cast("Workspace", self), events, system, Path(out), **options)
