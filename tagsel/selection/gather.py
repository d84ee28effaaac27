"""From accepted rows of row groups to an event list: identities and references at every stage that the part knows.

Invariant: columns come from the parts as they are; a stage that a part lacks is unknown there, never invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.events import EventList, Ledger, Names, Reference
from tagsel.schema import STAGES
from tagsel.selection.plan import Unit
from tagsel.selection.query import Input

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Accepted:
    """Accepted rows of one unit: identities, and per stage GUID codes into a table, and entries."""

    source: int
    run: npt.NDArray[np.int32]
    lumi: npt.NDArray[np.int32]
    event: npt.NDArray[np.int64]
    stages: Mapping[str, tuple[npt.NDArray[np.int32], Sequence[str], Rows]]
    weight: npt.NDArray[np.float64] | None = None

    def take(self, rows: Rows) -> Accepted:
        """Only the given positions."""
        stages = {s: (codes[rows], table, entry[rows]) for s, (codes, table, entry) in self.stages.items()}
        weight = None if self.weight is None else self.weight[rows]
        return Accepted(self.source, self.run[rows], self.lumi[rows], self.event[rows], stages, weight)


def gather(unit: Unit, rows: Rows) -> Accepted:
    """Identities and references of the given rows of a row group."""
    part, group = unit.part, unit.group
    ids = part.read(group, ["run", "lumi", "event"])
    stages = {}
    for stage in STAGES:
        if f"{stage}_guid" in part.columns:
            codes, table = part.read_codes(group, f"{stage}_guid")
            entry = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"]
            stages[stage] = (codes[rows], table, entry[rows].astype(np.int64))
    return Accepted(unit.source, ids["run"][rows], ids["lumi"][rows], ids["event"][rows], stages)


def event_list(
    blocks: Sequence[Accepted],
    inputs: Sequence[Input],
    ledger: Ledger | None,
    provenance: Mapping[str, object],
) -> EventList:
    """The list of all gathered rows; simulation carries its sample, the dataset's where none is given."""
    simulation = any(i.simulation for i in inputs)
    references = {stage: _reference(blocks, stage) for stage in STAGES if any(stage in b.stages for b in blocks)}
    aod = references.pop("aod", Reference.unknown(sum(len(b.event) for b in blocks)))
    samples = [i.sample or i.dataset for i in inputs]
    sizes = [len(b.event) for b in blocks]
    sources = np.repeat(np.array([b.source for b in blocks], np.int64), sizes) if blocks else np.empty(0, np.int64)
    return EventList.from_arrays(
        _joined([b.run for b in blocks], np.int32),
        _joined([b.lumi for b in blocks], np.int32),
        _joined([b.event for b in blocks], np.int64),
        aod.guid.codes,
        aod.guid.values or ("",),
        aod.entry,
        simulation=simulation,
        sample=Names.of(sources, samples) if simulation else "",
        references=references,
        ledger=ledger,
        provenance=provenance,
    )


def _joined(arrays: Sequence[npt.NDArray[np.generic]], dtype: type[np.generic]) -> npt.NDArray[np.generic]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _reference(blocks: Sequence[Accepted], stage: str) -> Reference:
    """One reference over all blocks: their tables joined, unknown where a block lacks the stage."""
    tables: list[str] = [""]
    codes: list[npt.NDArray[np.int64]] = []
    entries: list[Rows] = []
    for block in blocks:
        if stage in block.stages:
            mine, table, entry = block.stages[stage]
            codes.append(mine.astype(np.int64) + len(tables))
            tables.extend(table)
            entries.append(entry)
        else:
            codes.append(np.zeros(len(block.event), np.int64))
            entries.append(np.full(len(block.event), -1, np.int64))
    return Reference.of(_joined(codes, np.int64), tables, _joined(entries, np.int64))
