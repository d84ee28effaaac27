"""ROOT's lists of entries as event lists: the ids are read from the files that a TEntryList names.

Invariant: every entry of the list is an event of the answer, or nothing is answered.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.errors import AccessError, EventListError
from tagsel.events.eventlist import EventList
from tagsel.events.names import UNKNOWN
from tagsel.rootio import RootFile, TreeEntries, entry_lists, id_columns

Ints = npt.NDArray[np.int64]

SCAN_ENTRIES = (
    "tree->SetEventList(elist) or tree->SetEntryList(enlist); tree->SetScanField(0); then .> list.txt at the prompt of "
    'ROOT, tree->Scan("run:luminosityBlock:event", "", "colsize=20 precision=20"), .> again: list.txt is read here'
)


def read_root(path: Path | str) -> EventList:
    """The events of the one TEntryList in a ROOT file; EventListError where there is none, or a file is not here."""
    try:
        with RootFile(path) as file:
            lists = entry_lists(file)
            bare = [*file.objects("TEventList")]
    except AccessError as error:
        raise EventListError(error.message, hint=error.hint) from error
    if bare and not lists:
        reason = f"the TEventList {bare[0]} holds numbers of entries, and neither their file nor ids of events"
        raise EventListError(reason, hint=SCAN_ENTRIES)
    if not lists:
        raise EventListError("this ROOT file holds no TEntryList", hint="ingest a file of events, and select")
    if len(lists) > 1:
        names = ", ".join(sorted(lists))
        raise EventListError(f"this ROOT file holds {len(lists)} lists: {names}", hint="write one list to a file")
    (parts,) = lists.values()
    return _events_of([part for part in parts if len(part.entries)])


def _events_of(parts: list[TreeEntries]) -> EventList:
    """The events at these entries; one that is named twice, in copies of a file, too, counts once."""
    ids = {name: [np.zeros(0, np.int64)] for name in ("run", "lumi", "event", "entry", "code")}
    guids: list[str] = []
    for part in parts:
        guid, columns = _ids_at(part)
        if guid not in guids:
            guids.append(guid)
        columns |= {"entry": part.entries, "code": np.full(len(part.entries), guids.index(guid), np.int64)}
        for name, values in ids.items():
            values.append(columns[name])
    run, lumi, event, entry, code = (np.concatenate(values) for values in ids.values())
    _, first = np.unique(np.stack([code, entry]), axis=1, return_index=True)
    imported = {"lines": len(entry), "repeated": len(entry) - len(first), "files": [part.file for part in parts]}
    places = np.stack([run, event, lumi])[:, first]
    by_lumi = np.unique(places, axis=1).shape[1] > np.unique(places[:2], axis=1).shape[1]
    return EventList.from_arrays(
        run[first],
        lumi[first],
        event[first],
        code[first].astype(np.int32),
        guids or ("",),
        entry[first],
        provenance={"imported": imported},
        by_lumi=by_lumi,
    )


def _ids_at(part: TreeEntries) -> tuple[str, dict[str, Ints]]:
    """The GUID of the file, and run, lumi and event of its entries."""
    try:
        with RootFile(part.file) as file:
            tree = file.events(part.tree)
            columns = id_columns(tree, {})
            if not {"run", "event"} <= set(columns):
                raise EventListError(
                    f"{part.file}: the tree {part.tree} has no run and event that are whole numbers",
                    hint="ingest the file with a schema that names its ids, and select",
                )
            if part.entries[-1] >= tree.entries:
                raise EventListError(
                    f"{part.file}: the list has entry {part.entries[-1]}, and its tree {part.tree} ends at "
                    f"{tree.entries - 1}",
                    hint="the file changed since: make the list again",
                )
            values = tree.arrays_at(list(columns.values()), part.entries)
            ids = {name: np.asarray(values[column]).astype(np.int64) for name, column in columns.items()}
            ids.setdefault("lumi", np.full(len(part.entries), UNKNOWN, np.int64))
            return file.guid, ids
    except AccessError as error:
        hint = f"the list holds entries of that file, and its ids are read there; where it is not: {SCAN_ENTRIES}"
        raise EventListError(error.message, hint=error.hint or hint) from error
