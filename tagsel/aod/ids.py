"""Whether run, luminosity block and event of an event file are the list's.

Invariant: a file whose ids differ from the list's in one entry is refused whole; where a file has no
readable ids, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.aod.wanted import Wanted
from tagsel.rootio import EventTree, plain_name


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
