"""`events rebase`: a list's events where they are now, in a new list that is pinned to the snapshot it was found in.

Invariant: every event of the old list is kept, moved, vanished or ambiguous, and those lost are named; the new list
says which list it came from, both snapshots, and the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tagsel.api.catalogs import home_of
from tagsel.api.inputs import DATA
from tagsel.api.lists import Events
from tagsel.api.origins import Origin, home_of_origin, origins
from tagsel.catalog import LogQuery
from tagsel.errors import EventListError, TagselError
from tagsel.events import EventList, RebaseLedger
from tagsel.selection import Query
from tagsel.selection.query import named_inputs
from tagsel.selection.rebase import AMBIGUOUS, VANISHED, Found, files_of, find, gathered
from tagsel.store import Snapshot, Table
from tagsel.store import log as commits

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Rebased:
    """What a rebase found: the new list, the ledger, and of the `old` list what vanished or is ambiguous.

    `onto` and `came_from` are the snapshots, `name@3`, of the new list and the old one.
    """

    events: Events
    old: EventList
    onto: tuple[str, ...]
    came_from: tuple[str, ...]
    found: Found

    @property
    def ledger(self) -> RebaseLedger:
        """list = kept + moved + vanished + ambiguous (+ repeated rows of the list)."""
        return self.found.ledger

    @property
    def vanished(self) -> EventList:
        """Events that no row of the target is."""
        return self.old[self.found.rows(VANISHED)]

    @property
    def ambiguous(self) -> EventList:
        """Events that one of several rows of the target may be."""
        return self.old[self.found.rows(AMBIGUOUS)]

    def lost(self) -> list[dict[str, Any]]:
        """Each event that the new list does not hold: its identity and old place, its fate, and what is known of it."""
        rows = np.sort(np.concatenate([self.found.rows(VANISHED), self.found.rows(AMBIGUOUS)]))
        said = []
        for row, event in zip(rows.tolist(), self.old[rows], strict=True):
            there, places = int(self.found.lumi[row]), self.found.places.get(row, ())
            known = (
                {"fate": "ambiguous", "places": [{"guid": g, "entry": e} for g, e in places]}
                if places
                else {"fate": "vanished", "in_lumi": there if there >= 0 else None}
            )
            said.append({**event._asdict(), **known})
        return said

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        lost = self.lost()
        return {
            "events": len(self.events),
            "digest": self.events.digest,
            "list": {"events": len(self.old), "digest": self.old.digest},
            "from": list(self.came_from),
            "onto": list(self.onto),
            "ledger": self.ledger.to_json(),
            "vanished": [e for e in lost if e["fate"] == "vanished"],
            "ambiguous": [e for e in lost if e["fate"] == "ambiguous"],
        }


def rebase(workspace: Workspace, events: EventList, onto: str) -> Rebased:
    """Look the events of a list up in the datasets `onto`; see `Workspace.rebase`."""
    query = workspace.query(onto, [])
    _same_kind(query, events)
    came_from, former = tuple(home_of(events)), frozenset[str]()
    samples = _samples(workspace, query, events)
    if query.simulation:
        own = [origin for origin in origins(events.provenance) if str(origin) in came_from]
        former = former.union(*(_former(workspace, origin) for origin in own))
    found = find(query, events, former, samples)
    targets = tuple(i.pinned for i in query.inputs)
    history = {
        **EventList._derived("rebase", events),
        **named_inputs(query.inputs),
        "rebase": {"from": list(came_from), "onto": list(targets), "events": len(events), **found.ledger.to_json()},
    }
    made = Events.of(gathered(query, found, events, history), workspace)
    said = f"rebase of {events.digest[:16]}"
    workspace.catalog.record(
        *(
            LogQuery("rebase", i.dataset, i.snapshot.number, said, len(events), len(made), made.digest)
            for i in query.inputs
        )
    )
    return Rebased(made, events, targets, came_from, found)


def _same_kind(query: Query, events: EventList) -> None:
    if query.simulation != events.simulation and len(events) and any(i.snapshot.rows for i in query.inputs):
        kinds = ("simulation", "data") if events.simulation else ("data", "simulation")
        raise EventListError(
            f"the list is {kinds[0]}, {', '.join(i.dataset for i in query.inputs)} is {kinds[1]}",
            hint="lists read from text count as data: tagsel pick finds them in a simulated dataset",
        )


def _samples(workspace: Workspace, query: Query, events: EventList) -> Mapping[str, str]:
    """What the list's samples are called now: a dataset that was given no sample's name goes by its own.

    EventListError where none of them is a sample of the target.
    """
    if events.sample is None or not len(events):
        return {}
    names = set(workspace.catalog.names())
    now = {s: workspace.catalog.dataset(s).sample or s if s in names else s for s in events.sample.values}
    targets = {i.sample or i.dataset for i in query.inputs}
    if not targets & set(now.values()):
        raise EventListError(
            f"the list is of {', '.join(sorted(set(now.values())))}, the dataset of {', '.join(sorted(targets))}: "
            "simulated events of other samples are other events",
            hint="tagsel ingest FILES --dataset NAME --sample SAMPLE says of which sample a dataset is, later too",
            samples=sorted(targets),
        )
    return now


def _former(workspace: Workspace, origin: Origin) -> frozenset[str]:
    """The AOD files of a snapshot; of one whose parts are gone, as its log names them."""
    folder = home_of_origin(workspace, origin)[0] / DATA / origin.name
    if origin.snapshot is None or not Table.exists(folder):
        return frozenset()
    try:
        return files_of(Table.open(folder).snapshot(origin.snapshot).frame)
    except TagselError:
        pass
    try:
        sources = Snapshot(folder, commits.at(folder, origin.snapshot)).sources
    except TagselError:
        return frozenset()
    said = [cast("list[dict[str, str]]", s.bookkeeping.get("aod", [])) for s in sources]
    return frozenset(a["guid"] for files in said for a in files) | {s.guid for s in sources}
