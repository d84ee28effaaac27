"""Which columns of an event file hold run, luminosity block and event, and whether they are the list's.

Invariant: a file whose ids differ from the list's in one entry is refused whole; where a file has no
readable ids, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.aod.wanted import Wanted
from tagsel.rootio import EventTree, plain_name

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


def id_names(tree: EventTree, columns: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """id → (plain name, NumPy type) of the id columns that a tree has: what a slimmed copy keeps."""
    return {name: (plain_name(c), str(tree.column_type(c))) for name, c in columns.items()}


def mismatch(wanted: Wanted, found: Any, columns: Mapping[str, str]) -> str:
    """What differs between the ids read from a file, record array `found`, and the list's; "" where nothing
    does.

    An id that the list does not know (-1, as in lists read from text) is not compared.
    """
    expected: dict[str, npt.NDArray[np.integer]] = {
        "run": wanted.run,
        "lumi": wanted.lumi,
        "event": wanted.event,
    }
    bad = np.zeros(len(wanted.entries), bool)
    for name, column in columns.items():
        bad |= (whole(found[column]) != expected[name]) & (expected[name] >= 0)
    if not bad.any():
        return ""
    first = int(np.flatnonzero(bad)[0])
    there = ":".join(str(whole(found[column])[first]) for column in columns.values())
    listed = ":".join(str(expected[name][first]) for name in columns)
    return (
        f"entry {wanted.entries[first]} holds {':'.join(columns)} {there} and the list says {listed} "
        f"({int(bad.sum())} of {len(bad)} entries differ)"
    )


def whole(values: Any) -> npt.NDArray[np.int64]:
    """A column of whole numbers as int64."""
    import awkward as ak

    return np.asarray(ak.to_numpy(values)).astype(np.int64)
