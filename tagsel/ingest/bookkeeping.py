"""What a file says of the events that were processed to make it, kept rows or not.

The record, JSON-ready: `processed` [[run, luminosity block], …] or null with `processed_reason`; `genEventCount`,
`sumw`, `sumw2` of the generated events or null; `runs` of a NanoAOD's Runs tree; `cutbookkeepers` of a PHYSLITE's
metadata. Invariant: a number that the file does not hold is null, never computed from its rows.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from tagsel.rootio import EventTree, RootFile

Record = dict[str, Any]


def nothing(reason: str) -> Record:
    """The record of a file without any bookkeeping."""
    return {"processed": None, "processed_reason": reason, "genEventCount": None, "sumw": None, "sumw2": None}


def of_nanoaod(file: RootFile) -> Record:
    """Bookkeeping of a NanoAOD: the trees LuminosityBlocks and Runs."""
    record = nothing("the file has no tree LuminosityBlocks")
    lumis = file.tree("LuminosityBlocks")
    if lumis is not None and {"run", "luminosityBlock"} <= set(lumis.columns()):
        record["processed"] = _pairs(*lumis.arrays(["run", "luminosityBlock"]).values())
        record["processed_reason"] = None
    runs = file.tree("Runs")
    if runs is None:
        return record
    # Some releases end the names with an underscore.
    for key, name in (("genEventCount", "genEventCount"), ("sumw", "genEventSumw"), ("sumw2", "genEventSumw2")):
        column = runs.find(name) or runs.find(f"{name}_")
        if column is not None:
            record[key] = runs.arrays([column])[column].sum().item()
    if runs.find("run"):
        record["runs"] = np.unique(runs.arrays(["run"])["run"]).tolist()
    return record


def of_physlite(metadata: EventTree | None) -> Record:
    """Bookkeeping of a PHYSLITE: CutBookkeepers and LumiBlocks of its tree MetaData."""
    if metadata is None:
        return nothing("the file has no tree MetaData")
    record = nothing("MetaData holds no luminosity-block list")
    blocks = _columns(metadata, "LumiBlocksAux", _RANGE)
    if blocks is not None:
        record["processed"] = _spread(blocks)
        record["processed_reason"] = None
    keepers = _columns(metadata, "CutBookkeepersAux", _KEEPER)
    if keepers is None:
        return record
    rows = [dict(zip(_KEEPER, values, strict=True)) for values in zip(*keepers, strict=True)]
    record["cutbookkeepers"] = rows
    executed = [r for r in rows if r["name"] == "AllExecutedEvents" and r["inputStream"] == "StreamAOD"]
    if executed:
        # Each processing step adds a cycle; the highest counts the events that this file was made from.
        last = max(r["cycle"] for r in executed)
        final = [r for r in executed if r["cycle"] == last]
        record["genEventCount"] = sum(r["nAcceptedEvents"] for r in final)
        record["sumw"] = sum(r["sumOfEventWeights"] for r in final)
        record["sumw2"] = sum(r["sumOfEventWeightsSquared"] for r in final)
    return record


_KEEPER = ("name", "cycle", "inputStream", "nAcceptedEvents", "sumOfEventWeights", "sumOfEventWeightsSquared")
_RANGE = ("startRunNumber", "startLumiBlockNumber", "stopRunNumber", "stopLumiBlockNumber")


def _columns(metadata: EventTree, container: str, members: tuple[str, ...]) -> list[list[Any]] | None:
    """The members of a metadata container, over all entries of the tree; None where one is not there."""
    names = [metadata.find(f"{container}.{m}") for m in members]
    if any(n is None for n in names):
        return None
    arrays = metadata.arrays([n for n in names if n is not None])
    return [list(chain.from_iterable(values.to_list())) for values in arrays.values()]


def _pairs(runs: Any, lumis: Any) -> list[list[int]]:
    return np.unique(np.stack([runs, lumis], axis=1).astype(np.int64), axis=0).reshape(-1, 2).tolist()


def _spread(ranges: list[list[int]]) -> list[list[int]]:
    """Every luminosity block of closed ranges within a run."""
    pairs: set[tuple[int, int]] = set()
    for run, first, last_run, last in zip(*ranges, strict=True):
        if run == last_run:
            pairs.update((run, lumi) for lumi in range(first, last + 1))
    return [list(pair) for pair in sorted(pairs)]
