"""Event lists that know their workspace: map, read, skim, submit and rebase just these events.

Invariants: an `Events` is an `EventList` in every way; algebra on it gives `Events` of the same workspace. A rebase
accounts for every event of the old list: kept, moved, vanished or ambiguous; those lost are named, and the new list
says which list it came from, both snapshots, and the counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.api.maps import map_list
from tagsel.api.origins import Origin, home_of_origin, origins, own_snapshots
from tagsel.api.pins import not_pinned, pin_list
from tagsel.api.questions import query as query_of
from tagsel.base.memory_limit import memory_for
from tagsel.catalog import LogQuery
from tagsel.errors import CatalogError, EventListError, TagselError, after
from tagsel.events import EventList, RebaseLedger, read_events
from tagsel.selection import Query
from tagsel.selection.query import named_inputs
from tagsel.selection.rebase import AMBIGUOUS, VANISHED, Locations, files_of, find, rebased_list
from tagsel.store import Snapshot, Table
from tagsel.store import log as commits

if TYPE_CHECKING:
    from tagsel.aod import EventMap, SkimReport
    from tagsel.api.retracting import Touched
    from tagsel.bridges import Exported

log = logging.getLogger("tagsel")


class Events(EventList):
    """Selected events of a workspace; see `tagsel.events.EventList` for identities, algebra, digest and forms."""

    home: Home | None = None

    @classmethod
    def of(cls, events: EventList, home: Home | None) -> Events:
        """`events` with a workspace to resolve files in."""
        made = cls(*(getattr(events, f.name) for f in fields(EventList)))
        object.__setattr__(made, "home", home)
        return made

    def _rows(self, *arguments: Any) -> EventList:
        return Events.of(EventList._rows(self, *arguments), self.home)

    def _combine(self, *arguments: Any) -> EventList:
        return Events.of(EventList._combine(self, *arguments), self.home)

    def _home(self) -> Home:
        if self.home is None:
            raise CatalogError(
                "this list knows no workspace to find its files in",
                hint='open one: tagsel.open("W").lists[path], or set TAGSEL_WORKSPACE',
            )
        return self.home

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """Write the list as a `.events` file, and pin the snapshots that it came from.

        A file that exists is refused (AccessError); `force` replaces an event list that tagsel wrote. Where this user
        may not pin the snapshots, the list carries their commit records, and the log says that they are not pinned.
        """
        if self.home is None:
            super().save(path, force=force)
            return
        records = not_pinned(self.home, self)
        if not records:
            super().save(path, force=force)
            with after(f"{path} is written"):
                pin_list(self.home, self)
            return
        provenance = {**self.provenance, "not_pinned": records}
        EventList.save(replace(self, provenance=provenance), path, force=force)
        with after(f"{path} is written"):
            pin_list(self.home, self)
        for name in records:
            log.warning(
                "%s is not pinned: you may not write where it is. %s carries its commit record; once its owner expires "
                "that snapshot, the same cut cannot be asked of it again",
                name,
                path,
            )

    def retracted(self) -> tuple[Touched, ...]:
        """The retracted files that the list still points to: how many events, why, since when."""
        from tagsel.api.retracting import touched

        return touched(self._home(), self)

    def rebase(self, onto: str) -> Rebased:
        """The same events where they are now, in the dataset `onto`; see `Lists.rebase`."""
        return rebase(self._home(), self, onto)

    def map(self, stage: str = "aod", *, refresh: bool = False) -> EventMap:
        """Files, entries and sites of these events, and whether reading them is worth it against a full scan.

        With `refresh` other catalogs are asked first where the copies are now, where theirs are mirrored here.
        """
        return map_list(self._home(), self, stage, refresh)

    def arrays(self, branches: str | Sequence[str] = "*") -> Any:
        """AOD branches of just these events as an awkward array, in the list's order, ids beside them."""
        from tagsel.aod import arrays

        return arrays(self.map(), self, branches)

    def iterate(self, branches: str | Sequence[str] = "*", batch: int = 10_000) -> Iterator[Any]:
        """The same as `arrays`, at most `batch` events at a time: memory is bounded."""
        from tagsel.aod import iterate

        return iterate(self.map(), self, branches, batch)

    def skim(
        self, out: Path | str, branches: str | Sequence[str] = "*", *, dry_run: bool = False, force: bool = False
    ) -> SkimReport:
        """Write the selected entries of the AOD as ROOT or Parquet (by suffix), and check what was written.

        A file that exists is refused (AccessError); `force` replaces one that tagsel wrote and no workspace registered.
        """
        from tagsel.aod import skim

        with memory_for(f"the skim of {len(self):,} events to {out}"):
            return skim(self.map(), self, Path(out), branches, dry_run=dry_run, force=force)

    def export(
        self,
        system: str,
        out: Path | str,
        *,
        stage: str = "aod",
        site: str = "",
        run: Path | str | None = None,
        events_per_job: int | None = None,
        settings: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> Exported:
        """Write what another system takes as its input for just these events: a folder, or one file.

        `system` is panda, ganga, crab, edmpick or pool; `stage` aod, esd or raw. With `site` only its copies are named.
        `run` is the user's program, and `settings` are what the system calls its own.
        """
        from tagsel.api.exporting import export

        return export(
            self._home(),
            self,
            system,
            Path(out),
            stage=stage,
            site=site,
            run=run,
            events_per_job=events_per_job,
            settings=settings,
            force=force,
        )

    def submit(
        self,
        run: Path | str,
        *,
        dry_run: bool = False,
        output: str = "",
        by: str = "events",
        events_per_job: int | None = None,
        min_events: int | None = None,
        bytes_per_job: int | None = None,
        on: str = "local",
        settings: Mapping[str, str] | None = None,
        wait: bool = True,
        refresh: bool = False,
        memory: str = "",
    ) -> Any:
        """Run `process(events)` of a script over these events: split, run, merge, register the output.

        A `WorkspaceJob`; with `dry_run` the plan as a record, and nothing is done. `on` is an engine (`local`,
        `condor`, `slurm`, `dask`) with its `settings`, `memory` of a piece, and `wait=False` hands the pieces to it and
        returns; `refresh` as for `map`.
        """
        from tagsel.api.submission import submit

        return submit(
            self._home(),
            self,
            Path(run),
            dry_run=dry_run,
            output=output,
            by=by,
            events_per_job=events_per_job,
            min_events=min_events,
            bytes_per_job=bytes_per_job,
            on=on,
            settings=settings,
            wait=wait,
            refresh=refresh,
            memory=memory,
        )


def load(path: Path | str, home: Home | None = None) -> Events:
    """The event list in a file of any form, bound to a workspace where one is given."""
    return Events.of(read_events(path), home)


@dataclass(frozen=True, eq=False)
class Rebased:
    """What a rebase found: the new list, the ledger, and of the `old` list what vanished or is ambiguous.

    `onto` and `came_from` are the snapshots, `name@3`, of the new list and the old one.
    """

    events: Events
    old: EventList
    onto: tuple[str, ...]
    came_from: tuple[str, ...]
    found: Locations

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


def rebase(home: Home, events: EventList, onto: str) -> Rebased:
    """Look the events of a list up in the datasets `onto`; each is kept, moved, vanished or ambiguous."""
    query = query_of(home, onto, [])
    _same_kind(query, events)
    came_from, former = tuple(own_snapshots(events)), frozenset[str]()
    samples = _samples(home, query, events)
    if query.simulation:
        own = [origin for origin in origins(events.provenance) if str(origin) in came_from]
        former = former.union(*(_former(home, origin) for origin in own))
    found = find(query, events, former, samples)
    targets = tuple(i.pinned for i in query.inputs)
    history = {
        **EventList._derived("rebase", events),
        **named_inputs(query.inputs),
        "rebase": {"from": list(came_from), "onto": list(targets), "events": len(events), **found.ledger.to_json()},
    }
    made = Events.of(rebased_list(query, found, events, history), home)
    said = f"rebase of {events.digest[:16]}"
    home.catalog.record(
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


def _samples(home: Home, query: Query, events: EventList) -> Mapping[str, str]:
    """What the list's samples are called now: a dataset that was given no sample's name goes by its own.

    EventListError where none of them is a sample of the target.
    """
    if events.sample is None or not len(events):
        return {}
    names = set(home.catalog.names())
    now = {s: home.catalog.dataset(s).sample or s if s in names else s for s in events.sample.values}
    targets = {i.sample or i.dataset for i in query.inputs}
    if not targets & set(now.values()):
        raise EventListError(
            f"the list is of {', '.join(sorted(set(now.values())))}, the dataset of {', '.join(sorted(targets))}: "
            "simulated events of other samples are other events",
            hint="tagsel ingest FILES --dataset NAME --sample SAMPLE says of which sample a dataset is, later too",
            samples=sorted(targets),
        )
    return now


def _former(home: Home, origin: Origin) -> frozenset[str]:
    """The AOD files of a snapshot; of one whose parts are gone, as its log names them."""
    folder = home_of_origin(home, origin)[0] / DATA / origin.name
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
    guids = set()
    for source in sources:
        aod_files = cast("list[dict[str, str]]", source.bookkeeping.get("aod", []))
        guids.add(source.guid)
        guids.update(file["guid"] for file in aod_files)
    return frozenset(guids)
