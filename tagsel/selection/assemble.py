"""From row numbers of a snapshot to events: ids and places, by stretches where the parts keep them, else by columns.

Invariant: the events come in the list's order, by (GUID, entry), wherever the stretches say so; else as the rows did,
and the list orders them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.events import Names, Reference
from tagsel.events.names import frozen
from tagsel.schema import STAGES
from tagsel.selection.gather import Accepted
from tagsel.store import Frame, Stretches

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


def assemble(source: int, frame: Frame, rows: Ints, events: Ints) -> Accepted:
    """The accepted rows of an input, `rows` rising, with their event numbers, as identities and references."""
    order = _order(frame.places("aod"), rows) if len(rows) else None

    def arranged(values: Array) -> Array:
        return values if order is None else np.concatenate([values[piece] for piece in order])

    ids = ids_of(frame, rows)
    stages = {}
    for stage in STAGES:
        if any(f"{stage}_guid" in p.columns for p in frame.parts):
            found = stage_of(frame, stage, rows)
            codes = frozen(arranged(found.guid.codes))
            stages[stage] = Reference(Names(codes, found.guid.values), frozen(arranged(found.entry)))
    return Accepted(source, arranged(ids["run"]), arranged(ids["lumi"]), arranged(events), stages)


def _order(files: Stretches | None, rows: Ints) -> list[slice] | None:
    """Pieces of `rows`, each within a stretch of one file, in the list's order; None where they have it, or it is not
    known to be so."""
    if files is None:
        return None
    bounds, hit = _bounds(files, rows)
    rank = _ranks(files, hit)[0]
    order = np.lexsort((files.fields["entry"][hit], rank))
    if bool((order[1:] > order[:-1]).all()):
        return None
    begin, end = bounds[hit][order].tolist(), bounds[hit + 1][order].tolist()
    return [slice(*piece) for piece in zip(begin, end, strict=True)]


def _bounds(of: Stretches, rows: Ints) -> tuple[Ints, Ints]:
    """Where in `rows` each stretch's begin, and the stretches that have some."""
    bounds = np.append(np.searchsorted(rows, of.starts), len(rows))
    return bounds, np.flatnonzero(np.diff(bounds))


def _ranks(files: Stretches, hit: Ints) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """The file of each stretch that was hit, as a code into the sorted table of just these files."""
    codes, inverse = np.unique(files.fields["code"][hit], return_inverse=True)
    names = [files.names[code] for code in codes.tolist()]
    table = tuple(sorted(names))
    rank = {name: n for n, name in enumerate(table)}
    return np.array([rank[name] for name in names], np.int32)[inverse], table


def ids_of(frame: Frame, rows: Ints) -> Mapping[str, Array]:
    """Run and lumi of rows of the snapshot, rising: (len(rows),) int32 each."""
    known = frame.places("ids")
    if known is None:
        return _columns(frame, rows, {"run": np.dtype(np.int32), "lumi": np.dtype(np.int32)})
    return {name: _spread(known, known.fields[name], rows) for name in ("run", "lumi")}


def _spread(of: Stretches, values: Array, rows: Ints) -> Array:
    """The value that holds in each row's stretch."""
    if len(of.starts) > len(rows):
        return values[of.of(rows)]
    return np.repeat(values, np.diff(np.append(np.searchsorted(rows, of.starts), len(rows))))


def stage_of(frame: Frame, stage: str, rows: Ints) -> Reference:
    """Where the rows are at one stage."""
    known = frame.places(stage)
    if known is None:
        return _stage_columns(frame, stage, rows)
    bounds, hit = _bounds(known, rows)
    ranks, table = _ranks(known, hit) if len(hit) else (np.empty(0, np.int32), ())
    sizes = np.diff(bounds)[hit]
    shift = (known.fields["entry"] - known.starts)[hit]
    return Reference(Names(np.repeat(ranks, sizes), table), rows + np.repeat(shift, sizes))


def _stage_columns(frame: Frame, stage: str, rows: Ints) -> Reference:
    """The same from the columns; unknown where a part lacks them."""
    codes, entry = np.zeros(len(rows), np.int32), np.full(len(rows), -1, np.int64)
    table = {"": 0}
    for part, group, inside, where in frame.pieces(rows):
        if f"{stage}_guid" in part.columns:
            read, names = part.read_codes(group, f"{stage}_guid")
            codes[where] = np.array([table.setdefault(n, len(table)) for n in names], np.int32)[read[inside]]
            entry[where] = part.read(group, [f"{stage}_entry"])[f"{stage}_entry"][inside]
    return Reference.of(codes, tuple(table), entry)


def _columns(frame: Frame, rows: Ints, wanted: Mapping[str, np.dtype[np.int32]]) -> Mapping[str, Array]:
    found = {name: np.empty(len(rows), dtype) for name, dtype in wanted.items()}
    for part, group, inside, where in frame.pieces(rows):
        for name, values in part.read(group, wanted).items():
            found[name][where] = values[inside]
    return found
