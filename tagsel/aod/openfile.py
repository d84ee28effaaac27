"""One event file opened and checked against what the list says of it.

Invariant: an `OpenFile` is the file that is meant: its GUID, its number of entries and the ids of all
wanted entries are the list's. Anything else is an AccessError that names the file and what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.aod.branches import resolve
from tagsel.aod.ids import mismatch
from tagsel.aod.mapping import USUAL, Layout
from tagsel.aod.wanted import Wanted
from tagsel.errors import AccessError
from tagsel.rootio import EventTree, RootFile, id_columns


class OpenFile:
    """A checked file; `ids` maps run, lumi, event to its columns (empty where it has no readable ids).

    Of several copies the first that can be read and is the file that is meant is taken. Close it, or use it in a `with`
    statement.
    """

    def __init__(self, wanted: Wanted, layout: Layout = USUAL) -> None:
        if not wanted.pfn:
            what = f"file {wanted.lfn or wanted.guid}"
            problem = "has no local copy" if wanted.lfn else "is in no catalog"
            raise AccessError(f"{what} {problem}", hint="ingest it, or add a replica of it", guid=wanted.guid)
        refused = []
        for place in (wanted.pfn, *wanted.others):
            try:
                self._open(replace(wanted, pfn=place), layout)
                return
            except AccessError as error:
                refused.append(error)
        if len(refused) == 1:
            raise refused[0]
        message = f"none of {len(refused)} copies can be read: {'; '.join(error.message for error in refused)}"
        raise AccessError(message, hint=refused[0].hint, path=wanted.pfn, guid=wanted.guid)

    def _open(self, wanted: Wanted, layout: Layout) -> None:
        self.wanted = wanted
        self.file = RootFile(wanted.pfn)
        try:
            self.tree = self.file.events(layout.tree or None)
            self.ids = id_columns(self.tree, layout.ids)
            self._check()
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _check(self) -> None:
        wanted = self.wanted
        if self.file.guid != wanted.guid:
            self._refuse(f"its GUID is {self.file.guid}, the list means {wanted.guid}")
        if wanted.file_entries >= 0 and self.tree.entries != wanted.file_entries:
            self._refuse(f"it has {self.tree.entries:,} entries, the catalog says {wanted.file_entries:,}")
        if len(wanted) and int(wanted.entries.max()) >= self.tree.entries:
            self._refuse(f"it has {self.tree.entries:,} entries, the list asks for entry {wanted.entries.max()}")
        if self.ids and len(wanted):
            differs = mismatch(wanted, self.tree.arrays_of(list(self.ids.values()), wanted.entries), self.ids)
            if differs:
                self._refuse(differs)

    def _refuse(self, reason: str) -> None:
        raise AccessError(
            f"{self.wanted.pfn}: not the file that is meant: {reason}",
            hint="is it a later version under the same name? ingest it again, or restore the file",
            path=self.wanted.pfn,
            guid=self.wanted.guid,
        )

    def columns(self, branches: str | Sequence[str]) -> dict[str, str]:
        """Plain name → column for the branches that the patterns ask for; see `resolve`."""
        return resolve(self.tree, branches)

    def read(self, columns: Mapping[str, str], wanted: Wanted) -> Any:
        """The wanted entries as a record array with run, lumi, event (of the list), then `columns` by plain
        name."""
        return read_entries(self.tree, columns, wanted)

    def bytes_of_all(self, columns: Mapping[str, str]) -> int:
        """Compressed bytes of the columns and the ids for all entries."""
        return self.tree.bytes_of(sorted({*columns.values(), *self.ids.values()}), None)

    def bytes_of_ids(self, entries: npt.NDArray[np.int64]) -> int:
        """Compressed bytes that comparing the ids of these entries touches, as it is done whenever a file is opened."""
        return self.tree.bytes_of(list(self.ids.values()), entries)

    def bytes_of(self, columns: Mapping[str, str], entries: npt.NDArray[np.int64]) -> int:
        """Compressed bytes that `read` touches for these entries."""
        return self.tree.bytes_of(_taken(columns), entries)


def id_fields(wanted: Wanted) -> dict[str, Any]:
    """run, lumi, event as fields of a record array."""
    import awkward as ak

    return {name: ak.from_numpy(getattr(wanted, name)) for name in ("run", "lumi", "event")}


def _taken(columns: Mapping[str, str]) -> list[str]:
    """The columns that are read: run, lumi and event are those of the list."""
    return [column for name, column in columns.items() if name not in ("run", "lumi", "event")]


def read_entries(tree: EventTree, columns: Mapping[str, str], wanted: Wanted) -> Any:
    """Wanted entries of a tree as a record array: the ids of the list, then `columns` by plain name."""
    import awkward as ak

    ids = id_fields(wanted)
    raw = tree.arrays_of(_taken(columns), wanted.entries)
    taken = {name: raw[column] for name, column in columns.items() if name not in ids}
    return ak.zip({**ids, **taken}, depth_limit=1)
