"""Small files for the ingest tests, written with uproot: PHYSLITE with its TAG, as TTree and as RNTuple."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

GUID = "81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C"
PT = ak.values_astype(ak.Array([[30000.0, 20000.0], [], [5000.0]]), np.float32)
CHARGE = ak.values_astype(ak.Array([[1.0, -1.0], [], [1.0]]), np.float32)
EVENTS = np.array([11, 12, 13], dtype=np.uint64)


def token(entry: int, guid: str = GUID) -> str:
    return f"[DB={guid}][CNT=POOLContainer(DataHeader)][TECH=00000203][OID=0000000100000062-00000001{entry:08X}]"


def event_columns(sep: str) -> dict[str, Any]:
    return {
        f"EventInfoAuxDyn{sep}runNumber": np.full(3, 410000, dtype=np.uint32),
        f"EventInfoAuxDyn{sep}lumiBlock": np.array([1, 2, 3], dtype=np.uint32),
        f"EventInfoAuxDyn{sep}eventNumber": EVENTS,
        f"EventInfoAuxDyn{sep}bcid": np.array([5, 4294967295, 7], dtype=np.uint32),
        f"AnalysisMuonsAuxDyn{sep}pt": PT,
        f"AnalysisMuonsAuxDyn{sep}charge": CHARGE,
    }


def tag_columns(entries: Sequence[int], guid: str) -> dict[str, Any]:
    rows = [e % 3 for e in entries]
    return {
        "Token": [token(e, guid) for e in entries],
        "RunNumber": np.full(len(rows), 410000, dtype=np.uint32),
        "LumiBlockN": np.array([1, 2, 3], dtype=np.uint32)[rows],
        "EventNumber": EVENTS[rows],
        "EventWeight": np.array([1.0, 2.0, 3.0], dtype=np.float32)[rows],
        "IsSimulation": np.ones(len(rows), dtype=bool),
    }


def put(file: Any, kind: str, name: str, columns: dict[str, Any]) -> None:
    """Write columns (lists of text, NumPy, awkward) as a TTree or an RNTuple."""
    if kind == "RNTuple":
        file.mkrntuple(name, {n: ak.Array(v) if isinstance(v, list) else v for n, v in columns.items()})
        return
    types = {n: "string" if isinstance(v, list) else getattr(v, "type", None) or v.dtype for n, v in columns.items()}
    data = {n: np.array(v, dtype=object) if isinstance(v, list) else v for n, v in columns.items()}
    file.mktree(name, types).extend(data)


Physlite = Callable[..., Path]


@pytest.fixture
def physlite(tmp_path: Path) -> Physlite:
    """A function that writes a PHYSLITE of three events; keywords change or drop columns of events and TAG."""

    def write(
        kind: str = "TTree",
        entries: Sequence[int] | None = (0, 1, 2),
        guid: str = GUID,
        drop: str = "~",
        tag: dict[str, Any] | None = None,
    ) -> Path:
        path = tmp_path / f"physlite_{kind}.root"
        ntuple = kind == "RNTuple"
        events = {n: v for n, v in event_columns(":" if ntuple else ".").items() if drop not in n}
        with uproot.recreate(path) as file:
            put(file, kind, "##Params", {"db_string": [f"[NAME=FID][VALUE={GUID}]"]})
            if ntuple:
                words = [{"smk": 7, "efPassedRaw": w} for w in ([1, 2], [0, 0], [3, 1])]
                events["xTrigDecisionAux:"] = ak.Array(words)
                chains = {"HLT_a": {"counter": "0"}, "HLT_b": {"counter": "1"}, "HLT_c": {"counter": "33"}}
                menu = [{"key": [7], "payload": [json.dumps({"chains": chains})]}]
                put(file, kind, "MetaData", {"TriggerMenuJson_HLTAux:": ak.Array(menu)})
            put(file, kind, "EventData" if ntuple else "CollectionTree", events)
            if entries is not None:
                columns = {**tag_columns(entries, guid), **(tag or {})}
                if ntuple:
                    columns["index_ref"] = np.arange(len(entries), dtype=np.uint64)
                put(file, kind, "EventTag" if ntuple else "POOLCollectionTree", columns)
        return path

    return write
