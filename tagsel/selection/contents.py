"""What a snapshot holds, run by run and file by file: events, luminosity blocks, files, without reading its columns.

Where the parts know their stretches (rows of one run and luminosity block) these are met with the rows of each ingested
file; elsewhere the ids are read. Invariant: the events of all runs, and of all files, add up to the snapshot's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.store import Snapshot, Source, watched
from tagsel.store.places import stretches

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class InRun:
    """One run: its luminosity blocks that have events, its events (rows), and the ingested files they came from."""

    run: int
    lumi_blocks: int
    events: int
    files: int


@dataclass(frozen=True)
class InFile:
    """One ingested file: its runs, luminosity blocks that have events, and events (rows)."""

    file: str
    guid: str
    runs: int
    lumi_blocks: int
    events: int


@dataclass(frozen=True)
class Contents:
    """Stretches of rows, n of them: `source` (the ingested file, by number), `run`, `lumi`, `rows`, (n,) int64 each."""

    sources: Sequence[Source]
    source: Ints
    run: Ints
    lumi: Ints
    rows: Ints

    def by_run(self) -> list[InRun]:
        """The runs, rising."""
        order = np.argsort(self.run, kind="stable")
        runs, starts = np.unique(self.run[order], return_index=True)
        events = np.add.reduceat(self.rows[order], starts) if len(runs) else starts
        blocks, files = (self._each(self.run, of) for of in (self.lumi, self.source))
        return [
            InRun(run, blocks[run], int(n), files[run]) for run, n in zip(runs.tolist(), events.tolist(), strict=True)
        ]

    def by_file(self) -> list[InFile]:
        """The ingested files in order, those without rows too."""
        events = np.bincount(self.source, self.rows, len(self.sources)).astype(np.int64).tolist()
        runs = self._each(self.source, self.run)
        blocks = self._each(self.source, self.run, self.lumi)
        return [
            InFile(s.lfn, s.guid, runs.get(at, 0), blocks.get(at, 0), events[at]) for at, s in enumerate(self.sources)
        ]

    def blocks(self) -> npt.NDArray[np.int64]:
        """The luminosity blocks that have events: (n_blocks, 2), run and block, rising."""
        return _distinct(self.run, self.lumi)

    @staticmethod
    def _each(of: Ints, *counted: Ints) -> dict[int, int]:
        """For each value of `of`, how many different values stand beside it."""
        values, counts = np.unique(_distinct(of, *counted)[:, 0], return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))


@watched
def contents(snapshot: Snapshot) -> Contents:
    """What a snapshot holds. StoreError: a part is damaged."""
    sources = snapshot.sources
    starts, run, lumi = _ids(snapshot)
    firsts = np.array([s.first_row for s in sources if s.entries], np.int64)
    numbers = np.array([at for at, s in enumerate(sources) if s.entries], np.int64)
    edges = np.unique(np.concatenate([starts, firsts]))
    within = np.searchsorted(starts, edges, side="right") - 1
    order = np.argsort(firsts, kind="stable")
    source = numbers[order][np.searchsorted(firsts[order], edges, side="right") - 1] if len(edges) else edges
    rows = np.diff(np.append(edges, snapshot.rows)) if len(edges) else edges
    return Contents(sources, source, run[within].astype(np.int64), lumi[within].astype(np.int64), rows)


def _ids(snapshot: Snapshot) -> tuple[Ints, Ints, Ints]:
    """First rows of the stretches of one run and luminosity block, with these."""
    known = snapshot.frame.places("ids")
    if known is not None:
        return known.starts, known.fields["run"], known.fields["lumi"]
    found, first = [(np.zeros(0, np.int64),) * 3], 0
    for part in snapshot.parts:
        for group, rows in enumerate(part.groups):
            ids = part.read(group, ["run", "lumi"])
            begin = stretches(ids)
            found.append((begin + first, ids["run"][begin], ids["lumi"][begin]))
            first += rows
    starts, run, lumi = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return starts, run, lumi


def _distinct(*columns: Ints) -> Ints:
    """The different rows of columns, sorted: (n, columns)."""
    if not len(columns[0]):
        return np.zeros((0, len(columns)), np.int64)
    order = np.lexsort(columns[::-1])
    ordered = np.stack([c[order] for c in columns], axis=1).astype(np.int64)
    fresh = np.ones(len(ordered), np.bool_)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.asarray(ordered[fresh])
