"""From accepted rows of row groups to an event list: identities and references at every stage that the part knows.

Invariant: columns come from the parts as they are; a stage that a part lacks is unknown there, never invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.memory_limit import require
from tagsel.events import EventList, Ledger, Names, Reference
from tagsel.events.names import frozen
from tagsel.schema import STAGES
from tagsel.selection.plan import Unit
from tagsel.selection.query import Input
from tagsel.store import Stretches

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Accepted:
    """Accepted rows of one unit, or of a whole input: identities, and where they are at each stage. `in_order`: they
    are in the list's order, without ties."""

    source: int
    run: npt.NDArray[np.int32]
    lumi: npt.NDArray[np.int32]
    event: npt.NDArray[np.int64]
    stages: Mapping[str, Reference]
    weight: npt.NDArray[np.float64] | None = None
    in_order: bool = False

    def take(self, rows: Rows) -> Accepted:
        """Only the given positions."""
        stages = {stage: reference.take(rows) for stage, reference in self.stages.items()}
        weight = None if self.weight is None else self.weight[rows]
        return Accepted(self.source, self.run[rows], self.lumi[rows], self.event[rows], stages, weight)


def gather(unit: Unit, rows: Rows) -> Accepted:
    """Identities and references of the given rows of a row group."""
    part, group = unit.part, unit.group
    ids = part.read(group, ["run", "lumi", "event"])
    places, stages = part.places() if len(rows) else {}, {}
    for stage in STAGES:
        if stage in places:
            stages[stage] = _from_stretches(places[stage], rows + sum(part.groups[:group]))
        elif f"{stage}_guid" in part.columns:
            codes, table = part.read_codes(group, f"{stage}_guid")
            entry = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"]
            stages[stage] = Reference.of(codes[rows], table, entry[rows])
    return Accepted(unit.source, ids["run"][rows], ids["lumi"][rows], ids["event"][rows], stages)


def _from_stretches(known: Stretches, rows: Rows) -> Reference:
    """Where rows of a part are, by its stretches: nothing is read or decoded."""
    at = known.of(rows)
    used, codes = np.unique(known.fields["code"][at], return_inverse=True)
    entry = known.fields["entry"][at] + (rows - known.starts[at])
    return Reference.of(codes, [known.names[code] for code in used.tolist()], entry)


def bytes_of(events: int, stages: int) -> int:
    """Bytes of the columns of a list: run, lumi and event, and a file's code and an entry for each stage."""
    return events * (4 + 4 + 8 + stages * (4 + 8))


def event_list(
    blocks: Sequence[Accepted],
    inputs: Sequence[Input],
    ledger: Ledger | None,
    provenance: Mapping[str, object],
) -> EventList:
    """The list of all gathered rows; simulation carries its sample, the dataset's where none is given."""
    simulation = any(i.simulation for i in inputs)
    stages = [stage for stage in STAGES if any(_says(b.stages.get(stage)) for b in blocks)]
    samples = [i.sample or i.dataset for i in inputs]
    sizes = [len(b.event) for b in blocks]
    if len(blocks) > 1:  # they are joined into new columns
        require(bytes_of(sum(sizes), len(stages)), f"the list of {sum(sizes):,} events")
    sources = np.repeat(np.array([b.source for b in blocks], np.int64), sizes) if simulation else _NONE
    return EventList.of_stored(
        _joined([b.run for b in blocks], np.int32),
        _joined([b.lumi for b in blocks], np.int32),
        _joined([b.event for b in blocks], np.int64),
        {stage: _reference(blocks, stage) for stage in stages},
        Names.of(sources, samples) if simulation else None,
        ledger,
        provenance,
        in_order=len(blocks) == 1 and blocks[0].in_order,
        by_lumi=not simulation and any(i.by_lumi for i in inputs),
    )


_NONE = np.empty(0, np.int64)


def _says(reference: Reference | None) -> bool:
    """Whether it knows the file of any event; a stage of which nothing is known is none of the list's."""
    return reference is not None and any(reference.guid.values)


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _reference(blocks: Sequence[Accepted], stage: str) -> Reference:
    """One reference over all blocks: their tables joined, unknown where a block lacks the stage."""
    found = [b.stages.get(stage) or Reference.unknown(len(b.event)) for b in blocks]
    if len(found) == 1:
        return found[0]
    starts = np.cumsum([0, *(len(r.guid.values) for r in found)]).tolist()
    codes = [r.guid.codes.astype(np.int64) + start for r, start in zip(found, starts, strict=False)]
    names = [name for r in found for name in r.guid.values]
    return Reference(Names.of(_joined(codes, np.int64), names), frozen(_joined([r.entry for r in found], np.int64)))
