"""Events by identity in files whose GUID is already known: no TAG is read.

Invariant: every event asked for is at an entry of the file that carries its run and event (and lumi, where it is
given), or among those that the file does not have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.errors import AccessError
from tagsel.events import EventList
from tagsel.rootio import RootFile, id_columns

Ints = npt.NDArray[np.int64]


def find_entries(path: Path | str, guid: str, wanted: EventList) -> tuple[Ints, Ints]:
    """(entry, lumi) of each event of a list in one file, (n,) int64 each; -1 where the file does not have it.

    AccessError for a file that cannot be read, has another GUID, or no readable ids.
    """
    with RootFile(path) as file:
        if file.guid != guid:
            raise AccessError(f"{path}: its GUID is {file.guid}, {guid} was asked for", path=str(path), guid=guid)
        tree = file.events()
        columns = id_columns(tree, {})
        if not {"run", "event"} <= set(columns):
            raise AccessError(f"{path}: no readable run and event numbers", path=str(path))
        ids = tree.arrays(list(columns.values()), 0, tree.entries)
    run, event = (np.asarray(ids[columns[name]], np.int64) for name in ("run", "event"))
    lumi = np.asarray(ids[columns["lumi"]], np.int64) if "lumi" in columns else np.full(len(run), -1, np.int64)
    rows: dict[tuple[int, int], list[int]] = {}
    for entry, key in enumerate(zip(run.tolist(), event.tolist(), strict=True)):
        rows.setdefault(key, []).append(entry)
    found = np.full(len(wanted), -1, np.int64)
    for k, one in enumerate(wanted):
        agree = (e for e in rows.get((one.run, one.event), ()) if one.lumi < 0 or lumi[e] in (one.lumi, -1))
        found[k] = next(agree, -1)
    return found, np.where(found >= 0, lumi[found], -1) if len(lumi) else found.copy()
