"""What is wanted of each file: entries, and the ids that the list says they have.

This is all that a reader needs, so a job's piece is made of it and its worker opens neither catalog nor list.
Invariant: no two rows of all files together are the same position of what is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tagsel.aod.mapping import EventMap
from tagsel.events import EventList

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Wanted:
    """Selected entries of one file; row i is position `rows[i]` of the answer and holds entry `entries[i]`.

    `rows`, `entries`, `event`: (n,) int64; `run`, `lumi`: (n,) int32, -1 = unknown; `file_entries` -1 =
    unknown; `others` are places where it may be read if `pfn` cannot.
    """

    guid: str
    pfn: str
    lfn: str
    file_entries: int
    rows: Ints
    entries: Ints
    run: npt.NDArray[np.int32]
    lumi: npt.NDArray[np.int32]
    event: Ints
    others: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def name(self) -> str:
        """What to call the file in messages: its path, else its logical name, else its GUID."""
        return self.pfn or self.lfn or self.guid

    def take(self, which: npt.NDArray[np.generic]) -> Wanted:
        """The chosen rows (mask or indices)."""
        return replace(
            self,
            rows=self.rows[which],
            entries=self.entries[which],
            run=self.run[which],
            lumi=self.lumi[which],
            event=self.event[which],
        )


def wanted_of(event_map: EventMap, events: EventList) -> tuple[Wanted, ...]:
    """What the map of a list asks of each file, by GUID; rows are those of the list."""
    return tuple(
        Wanted(
            f.guid,
            f.pfn,
            f.lfn,
            f.file_entries,
            f.rows,
            f.entries,
            events.run[f.rows],
            events.lumi[f.rows],
            events.event[f.rows],
            f.others,
        )
        for f in event_map.files
    )
