"""Brokering: at which site each file of a job is read, from which copy, and why not elsewhere.

A file is processed at a usable site that holds it, so that nothing moves; where there is none, at the usable site that
its bytes reach soonest from a site that can still give them. Invariant: every file has a choice or a refusal, each with
its reasons; the same map and topology give the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from math import inf
from typing import Any

from tagsel.aod import EventMap
from tagsel.aod.mapping import MappedFile, places
from tagsel.rootio import is_remote


@dataclass(frozen=True)
class Standing:
    """A site as jobs see it: `closed` says why none goes there, `silent` why its storage gives nothing; "" is none.

    `slots` is how many pieces run there at once, 0 where that is not known; `remedy` is what would make it usable.
    """

    name: str
    closed: str = ""
    silent: str = ""
    slots: int = 0
    remedy: str = ""


@dataclass(frozen=True)
class Topology:
    """Sites by name, and how fast files go between them, in MB/s, by (from, to)."""

    sites: Mapping[str, Standing] = field(default_factory=dict)
    rates: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def standing(self, name: str) -> Standing:
        """A site; one that nothing is known of is usable."""
        return self.sites.get(name, Standing(name))


@dataclass(frozen=True)
class Choice:
    """Where a file is processed: at `site`, read from the copy at `source`; `moved` bytes cross the network for it.

    `seconds` is how long that takes, where a link says so; `site` is "" where no catalog knows a site of the file.
    `refused` are sites that hold it and are not used, with the reason; `others` are usable ones that hold it, too.
    `problem` says why a file can be processed nowhere, and `remedy` what would help most.
    """

    guid: str
    lfn: str
    events: int
    site: str = ""
    source: str = ""
    bytes: int = 0
    moved: int = 0
    seconds: float = 0.0
    refused: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Brokered:
    """The choice of each file of a map, in the map's order."""

    choices: tuple[Choice, ...]

    @property
    def refused(self) -> tuple[Choice, ...]:
        """Files with copies that can be processed nowhere; those of which no copy is known come out as unreadable."""
        return tuple(c for c in self.choices if c.problem and c.refused)

    @property
    def moved(self) -> int:
        """Bytes that cross the network."""
        return sum(c.moved for c in self.choices)

    def to_json(self) -> list[dict[str, object]]:
        """All choices, JSON-ready."""
        return [asdict(c) for c in self.choices]


def sites_in_turn(piece: Mapping[str, Any], choices: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where a piece of a plan may go, in the order to try: its site, then others that hold most of its files.

    >>> choices = [{"guid": "A", "others": ["X", "Y"]}, {"guid": "B", "others": ["Y"]}]
    >>> sites_in_turn({"site": "S", "files": [{"guid": "A"}, {"guid": "B"}]}, choices)
    ['S', 'Y', 'X']
    """
    guids = {file["guid"] for file in piece["files"]}
    files_at: Counter[str] = Counter()
    for choice in choices:
        if choice["guid"] in guids:
            files_at.update(choice["others"])
    files_at.pop(piece["site"], None)
    return [piece["site"], *sorted(files_at, key=lambda site: (-files_at[site], site))]


Copies = Mapping[str, Iterable[tuple[str, str]]]
"""Where files are: pairs (site, path or URL) by GUID."""


def broker(event_map: EventMap, copies: Copies, topology: Topology) -> tuple[Brokered, EventMap]:
    """A site and a copy for each mapped file; and the map with each file's places in the order in which to try them.

    Files of one site go together as far as its slots allow: of several sites that hold a file, the one with the least
    bytes a slot takes it; where no slots are known, the one that holds most of the wanted events.
    """
    held = {guid: list(pairs) for guid, pairs in copies.items()}
    office = _Office(topology, _wanted(event_map, held))
    largest_first = sorted(event_map.files, key=lambda f: (-touched(f), f.guid))
    chosen = {f.guid: office.choose(f, held.get(f.guid, [])) for f in largest_first}
    ordered = tuple(_ordered(f, chosen[f.guid], held.get(f.guid, []), topology) for f in event_map.files)
    return Brokered(tuple(chosen[f.guid] for f in event_map.files)), replace(event_map, files=ordered)


def touched(file: MappedFile) -> int:
    """Bytes that reading the wanted entries is estimated to take; 1 an event where the size is not known."""
    return int(file.touched * file.bytes) if file.bytes > 0 else len(file.entries)


def _wanted(event_map: EventMap, held: Mapping[str, list[tuple[str, str]]]) -> dict[str, int]:
    """Wanted events that each site holds."""
    found: dict[str, int] = {}
    for file in event_map.files:
        for site in {s for s, _ in held.get(file.guid, [])}:
            found[site] = found.get(site, 0) + len(file.entries)
    return found


@dataclass
class _Office:
    """What the choices so far have come to: the bytes that each site was given, and ways out that were looked up."""

    topology: Topology
    wanted: Mapping[str, int]
    load: dict[str, float] = field(default_factory=dict)
    ways: dict[tuple[str, ...], tuple[float, str, str] | None] = field(default_factory=dict)

    def choose(self, file: MappedFile, pairs: list[tuple[str, str]]) -> Choice:
        """The choice for a file with copies at some sites, counted against its site."""
        blank = Choice(file.guid, file.lfn, len(file.entries), bytes=touched(file))
        sites = {site for site, _ in pairs}
        holders = [self.topology.standing(site) for site in sorted(sites)]
        choice = self._among(blank, holders) if holders else _unknown(blank, bool(file.pfn))
        self.load[choice.site] = self.load.get(choice.site, 0.0) + choice.bytes
        return choice

    def _among(self, blank: Choice, holders: list[Standing]) -> Choice:
        refused = {s.name: s.closed or s.silent for s in holders if s.closed or s.silent}
        usable = [s for s in holders if s.name not in refused]
        if usable:
            best = min(usable, key=self._cost).name
            others = tuple(s.name for s in usable if s.name != best)
            return replace(blank, site=best, source=best, refused=refused, others=others)
        return replace(self._elsewhere(blank, holders), refused=refused)

    def _cost(self, site: Standing) -> tuple[float, int, str]:
        return (self.load.get(site.name, 0.0) / site.slots if site.slots else inf, -self.wanted[site.name], site.name)

    def _elsewhere(self, blank: Choice, holders: list[Standing]) -> Choice:
        """The usable site that the bytes reach soonest, from a storage that answers; or why there is none."""
        key = tuple(s.name for s in holders)
        if key not in self.ways:
            self.ways[key] = self._fastest([s.name for s in holders if not s.silent])
        if (way := self.ways[key]) is None:
            answers = any(not s.silent for s in holders)
            why = "no usable site has a link to one with a copy" if answers else "no site with a copy gives it"
            nearest = min(holders, key=lambda s: (bool(s.silent), s.name))
            remedy = nearest.remedy or "tagsel transfers request EVENTS SITE, of this list to a site that can be used"
            return replace(blank, problem=why, remedy=remedy)
        rate, site, source = way
        seconds = round(blank.bytes / 1e6 / rate, 3) if rate else 0.0
        remedy = f"tagsel transfers request EVENTS {site} makes it local there"
        return replace(blank, site=site, source=source, moved=blank.bytes, seconds=seconds, remedy=remedy)

    def _fastest(self, sources: list[str]) -> tuple[float, str, str] | None:
        """(rate, to, from) of the fastest link from a source to a usable site; any site where no link is known."""
        rates = self.topology.rates
        targets = [s.name for s in self.topology.sites.values() if not (s.closed or s.silent)]
        links = [link for link in product(sources, targets) if link in rates or not rates]
        if not links:
            return None
        source, site = min(links, key=lambda link: (-rates.get(link, 0.0), link[1], link[0]))
        return rates.get((source, site), 0.0), site, source


def _unknown(blank: Choice, has_place: bool) -> Choice:
    """A file of which no site is known: it is read where it lies, if that is known."""
    if has_place:
        return blank
    remedy = "tagsel catalogs sync, or ingest --aod"
    return replace(blank, problem="no catalog knows where it is", remedy=remedy)


def _ordered(file: MappedFile, choice: Choice, pairs: list[tuple[str, str]], topology: Topology) -> MappedFile:
    """The file with its places in the order to try: the chosen source, other usable ones, those of silent sites."""

    def rank(place: str) -> int:
        sites = [s for s, p in pairs if p.removeprefix("file://") == place]
        if choice.source in sites or (not sites and not is_remote(place)):
            return 0
        return 1 if not sites or any(not topology.standing(s).silent for s in sites) else 2

    known = places(filter(None, (file.pfn, *file.others)))
    best, *others = sorted(known, key=rank) or [""]
    return replace(file, pfn=best, others=tuple(others), site=choice.site)
