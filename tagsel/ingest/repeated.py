"""What makes two rows of data one event, and what an ingest says of events that are in several rows.

Invariant: rows that do not count, because another row has their run and event, are never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from tagsel.errors import IngestError
from tagsel.schema import Schema
from tagsel.schema.attributes import IDENTITIES
from tagsel.selection.contents import contents
from tagsel.store import Snapshot, Source
from tagsel.store.columns import Array

_MOST_NAMED = 3
"""Files of duplicates that get a warning each."""


def identity_of(asked: str, before: Schema | None, dataset: str) -> str:
    """The identity that the dataset has, or will have; IngestError where another one is asked for."""
    if before is None:
        return asked or IDENTITIES[0]
    if asked and asked != before.identity:
        raise IngestError(
            f"events of {dataset} are identified by {before.identity!r}, and {asked!r} was asked for",
            hint="a dataset keeps its identity: ingest all files into a new one",
            dataset=dataset,
        )
    return before.identity


class EntryNumbers:
    """The runs of a dataset of data, where a file's events may be numbered by their entries.

    Entries begin with 0 in every file, so the runs of such a file belong to it alone; where the identity has luminosity
    blocks, its (run, block) do.
    """

    def __init__(self, dataset: str, held: Snapshot | None, identity: str) -> None:
        self._dataset = dataset
        self._columns = ["run", "lumi"] if "lumi" in identity.split() else ["run"]
        self._files: dict[tuple[int, ...], Source] = {}  # one of the files that have these numbers
        if held is None:
            return
        rows = contents(held)
        stretches = np.column_stack([rows.source, *(getattr(rows, name) for name in self._columns)])
        for number, *key in np.unique(stretches, axis=0).tolist():
            self._files[tuple(key)] = rows.sources[number]

    def add(self, source: Source, part: Path) -> None:
        """Add the file that was written as `part`. IngestError where it or another file of its runs goes by entries."""
        import pyarrow.parquet as pq

        table = pq.read_table(part, columns=self._columns)
        numbers = np.column_stack([table[name].to_numpy() for name in self._columns])
        starts = np.any(numbers[1:] != numbers[:-1], axis=1)  # rows of one run mostly follow one another
        numbers = numbers[np.concatenate([[True], starts])[: len(numbers)]]
        keys = [tuple(key) for key in np.unique(numbers, axis=0).tolist()]
        for key in keys:
            other = self._files.get(key)
            if other is not None and (numbered_by_entry(other) or numbered_by_entry(source)):
                raise self._collision(key, source, other)
        self._files |= dict.fromkeys(keys, source)

    def _collision(self, key: tuple[int, ...], source: Source, other: Source) -> IngestError:
        which = f"run {key[0]}" + "".join(f", luminosity block {lumi}" for lumi in key[1:])
        by_entry = source if numbered_by_entry(source) else other
        free = max(run for run, *_ in self._files) + 1
        return IngestError(
            f"{_name(source)} and {_name(other)}, which {self._dataset} has, are both of {which}, and the events of "
            f"{_name(by_entry)} are numbered by their entries: different events would have the same run and number",
            hint=f"a schema for this file alone gives it a run of its own: [ids] run = {free}; where the file has runs "
            "that matter, ingest it into a dataset of its own, and select from one of the two at a time",
        )


def numbered_by_entry(source: Source) -> bool:
    """Whether the schema that a file was ingested by says `event = "entry"`."""
    layout = cast("dict[str, Any] | None", source.bookkeeping.get("layout"))
    return layout is not None and "event" not in layout["ids"]  # which lists the columns of ids; a constant is refused


def repeated_events(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """Warnings about repeated events of data that this ingest brought."""
    if before is not None and after.duplicate_rows() <= before.duplicate_rows():
        return
    split = after.split_events()
    if split is not None:
        one, other = split.blocks
        yield (
            f"{split.rows:,} rows repeat the (run, event) of a row in another luminosity block, and do not count: "
            f"the first is {split.run}:{split.event}, in blocks {one} and {other}; where numbers start anew in each "
            "block, ingest into a new dataset with --identity 'run lumi event'"
        )
    yield from _duplicate_files(before, after)


def _duplicate_files(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """Warnings about new files most of whose rows repeat rows of themselves or of files before them.

    Which of two equal rows counts depends on the GUIDs of their files; the later file is the one that repeats.
    """
    sources = _with_rows(after)
    is_new = np.array([before is None or s.guid not in before.source_guids for s in sources])
    entries = np.array([s.entries for s in sources])
    duplicates = _new_duplicates(before, after)
    if not np.any(is_new & (2 * len(duplicates) > entries)):
        return
    counted = after.counted_rows(duplicates)
    file = np.maximum(_file_of(sources, duplicates), _file_of(sources, counted))
    repeated = np.bincount(file, minlength=len(sources))
    files = np.flatnonzero(is_new & (2 * repeated > entries)).tolist()
    for number in files[:_MOST_NAMED]:
        yield _described(after, sources, number, duplicates[file == number])
    if len(files) > _MOST_NAMED:
        yield f"MOST ROWS ARE DUPLICATES in {len(files) - _MOST_NAMED:,} more files, too"


def _new_duplicates(before: Snapshot | None, after: Snapshot) -> Array:
    """Rows that are duplicates since this ingest, sorted; all where other rows have moved meanwhile."""
    rows = after.marks.rows()
    if before is None or after.state.parts[: len(before.state.parts)] != before.state.parts:
        return rows
    return np.setdiff1d(rows, before.marks.rows(), assume_unique=True)


def _with_rows(snapshot: Snapshot) -> list[Source]:
    """The snapshot's input files that have rows, in the order of these."""
    return sorted((s for s in snapshot.sources if s.entries), key=lambda s: s.first_row)


def _file_of(sources: Sequence[Source], rows: Array) -> Array:
    """The number of the file that each row of the snapshot came from."""
    return np.searchsorted([s.first_row for s in sources], rows, side="right") - 1


def _described(snapshot: Snapshot, sources: Sequence[Source], number: int, duplicates: Array) -> str:
    """The warning about one file; it names an event that repeats, and the file that has it, too."""
    source, repeated = sources[number], len(duplicates)
    identity = ", ".join(snapshot.schema.identity.split())
    first = duplicates[:1]
    counted, event = snapshot.counted_rows(first), snapshot.numbers_of(first)
    others = [n for n in _file_of(sources, np.concatenate([counted, first])).tolist() if n != number]
    other = f"in {_name(sources[others[0]])}, too" if others else "in that file more than once"
    return (
        f"MOST ROWS ARE DUPLICATES: {repeated:,} of {source.entries:,} rows of {_name(source)} repeat the "
        f"({identity}) of another row, and the file adds {source.entries - repeated:,} events; "
        f"{event['run'][0]}:{event['event'][0]} is {other}. Are these the ids of the events? Of files without ids a "
        'schema says [ids] event = "entry", with a run of its own for each file'
    )


def _name(source: Source) -> str:
    """What a user calls an input file: where it was ingested from, or its logical name."""
    return str(source.bookkeeping.get("path") or source.lfn or source.guid)
