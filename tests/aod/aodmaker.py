"""Small AOD files like NanoAOD, with the truth about them kept beside, for the tests of aod and jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from tagsel.aod import EventMap, map_events
from tagsel.events import EventList

BASKET = 10
"""Entries in a basket."""

TYPES = {
    "run": "uint32",
    "luminosityBlock": "uint32",
    "event": "uint64",
    "MET_pt": "float32",
    "HLT_mu": "bool",
    "Muon": "var * {pt: float32, charge: int32, tight: bool}",
    "PSWeight": "var * float32",
    "Note": "string",
}


@dataclass(frozen=True)
class File:
    """A file as a catalog knows it."""

    guid: str
    lfn: str
    pfn: str
    entries: int
    bytes: int


@dataclass(frozen=True)
class Replica:
    """A copy at a site."""

    site: str
    pfn: str = ""


@dataclass
class Sample:
    """Files and what is in them: `rows[k]` is (file index, entry, run, lumi, event, MET_pt, [Muon_pt])."""

    files: list[File]
    rows: list[tuple[int, int, int, int, int, float, list[float]]]
    replicas: Mapping[str, Sequence[Replica]] = field(default_factory=dict)

    def events(self, rows: Sequence[int], **more: Any) -> EventList:
        """The list of some rows."""
        chosen = [self.rows[k] for k in rows]
        column = [np.array([r[i] for r in chosen], np.int64) for i in range(5)]
        return EventList.from_arrays(
            column[2], column[3], column[4], column[0], [f.guid for f in self.files], column[1], **more
        )

    def map(self, events: EventList, **more: Any) -> EventMap:
        """The map of a list."""
        return map_events(events, self.files, self.replicas, **more)

    def truth(self, events: EventList) -> list[tuple[int, int, int, int, int, float, list[float]]]:
        """The rows of a list, in its order, looked up by file and entry."""
        by_place = {(self.files[r[0]].guid, r[1]): r for r in self.rows}
        return [by_place[e.guid, e.entry] for e in events]


def write_file(path: Path, first: int, count: int, seed: int = 0, extra: Mapping[str, str] | None = None) -> list[Any]:
    """Write `count` events numbered from `first` on, in disorder, in baskets of `BASKET`; their truth."""
    random = np.random.default_rng([seed, first])
    event = random.permutation(np.arange(first, first + count)) + 2**53
    lumi = 1 + (event - 2**53) // 7
    run = 100 + (event - 2**53) // 40
    met = random.exponential(30, count).astype(np.float32)
    counts = random.integers(0, 4, count)
    pt = ak.unflatten(random.exponential(20, counts.sum()).astype(np.float32), counts)
    charge = ak.unflatten(random.choice(np.array([-1, 1], np.int32), counts.sum()), counts)
    columns = {
        "run": run.astype(np.uint32),
        "luminosityBlock": lumi.astype(np.uint32),
        "event": event.astype(np.uint64),
        "MET_pt": met,
        "HLT_mu": met > 30,
        "Muon": ak.zip({"pt": pt, "charge": charge, "tight": pt > 15}),
        "PSWeight": ak.unflatten(np.arange(2 * count, dtype=np.float32), np.full(count, 2)),
        "Note": ak.Array([f"event {e}" for e in event.tolist()]),
    }
    types = dict(TYPES)
    for name, kind in (extra or {}).items():
        types[name], columns[name] = kind, np.arange(count).astype(kind)
    with uproot.recreate(path) as file:
        tree = file.mktree("Events", types)
        for start in range(0, count, BASKET):
            tree.extend({name: column[start : start + BASKET] for name, column in columns.items()})
    return list(zip(range(count), run.tolist(), lumi.tolist(), event.tolist(), met.tolist(), pt.tolist(), strict=True))


def make(folder: Path, counts: Sequence[int] = (50, 30, 40), seed: int = 1) -> Sample:
    """A sample of some files in `folder`."""
    from tagsel.rootio import guid_of

    files, rows, first = [], [], 1
    for i, count in enumerate(counts):
        path = folder / f"AOD.{i:02d}.root"
        rows += [(i, *truth) for truth in write_file(path, first, count, seed)]
        files.append(File(guid_of(path), f"aod/{path.name}", str(path), count, path.stat().st_size))
        first += count
    return Sample(files, rows)
