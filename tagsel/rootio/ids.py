"""Which columns of a tree hold run, luminosity block and event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tagsel.rootio.trees import EventTree

_PHYSLITE, _OLDER = "EventInfoAuxDyn", "EventInfoAux"

ID_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "run": ("run", f"{_PHYSLITE}.runNumber", f"{_OLDER}.runNumber", "RunNumber", "runNumber"),
    "lumi": (
        "luminosityBlock",
        f"{_PHYSLITE}.lumiBlock",
        f"{_OLDER}.lumiBlock",
        "LumiBlockN",
        "lumiBlock",
        "lumi",
    ),
    "event": ("event", f"{_PHYSLITE}.eventNumber", f"{_OLDER}.eventNumber", "EventNumber", "eventNumber"),
}
"""Columns of the ids in NanoAOD, PHYSLITE (new and old) and plain trees, in the order in which they are
looked for."""


def id_columns(tree: EventTree, ids: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """id → column of this tree, for the ids whose column is there and holds one whole number an event."""
    found = {}
    for name, usual in ID_COLUMNS.items():
        for candidate in (*ids.get(name, ()), *usual):
            column = tree.find(candidate)
            kind = tree.column_type(column) if column else None
            if column and kind and not kind.is_list and np.issubdtype(np.dtype(kind.base), np.integer):
                found[name] = column
                break
    return found
