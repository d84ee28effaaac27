"""From an event list to files, entries and sites, and what reading them will cost.

Invariant: every row of the list is in exactly one mapped file or among `unmapped`; none is dropped. No file
is opened here: costs are estimated from sizes alone (`forecast` in `aod.read` measures them).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tagsel.events import EventList
from tagsel.rootio import is_remote

Ints = npt.NDArray[np.int64]

CLUSTER_BYTES = 30_000_000
"""Compressed bytes that ROOT flushes together by default (TTree::SetAutoFlush): the least that a read
costs."""

WORTH = 0.5
"""Above this share of all bytes a full scan, which reads in one go, costs no more than reading selected
entries."""


@dataclass(frozen=True)
class Layout:
    """Where a kind of file keeps its events: the name of the tree and the columns of the ids, both "usual"
    if empty.

    `ids` maps run, lumi, event to the names to look for first; a source schema's `ids` fit.
    """

    tree: str = ""
    ids: Mapping[str, Sequence[str]] = field(default_factory=dict)


USUAL = Layout()
"""NanoAOD, PHYSLITE and plain trees called like theirs."""


class KnownFile(Protocol):
    """What the map needs to know of a file: `entries` and `bytes` are -1 where unknown, names "" where
    unknown."""

    @property
    def guid(self) -> str: ...
    @property
    def lfn(self) -> str: ...
    @property
    def pfn(self) -> str: ...
    @property
    def entries(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class KnownReplica(Protocol):
    """A copy of a file: at which site, and under which physical name."""

    @property
    def site(self) -> str: ...
    @property
    def pfn(self) -> str: ...


@dataclass(frozen=True, eq=False)
class MappedFile:
    """A file that holds selected events: row `rows[i]` of the list is its entry `entries[i]`.

    `rows`, `entries`: (n,) int64, `entries` rising; `pfn` is where it is best read, a path or a URL, or "", and
    `others` are where else; `site` is where it is to be processed, once a broker said so; `lfn` is "" where no catalog
    knows the GUID; `file_entries` and `bytes` are -1 where unknown.
    """

    guid: str
    lfn: str
    pfn: str
    entries: Ints
    rows: Ints
    sites: tuple[str, ...] = ()
    file_entries: int = -1
    bytes: int = -1
    others: tuple[str, ...] = ()
    site: str = ""

    @property
    def touched(self) -> float:
        """Estimated share of the file, 0 to 1, that reading the entries touches: whole clusters, evenly
        filled."""
        if self.file_entries <= 0 or self.bytes <= 0:
            return 1.0
        size = self.cluster
        return min(1.0, len(np.unique(self.entries // size)) * size / self.file_entries)

    @property
    def cluster(self) -> int:
        """Estimated entries in a cluster; entry and size of the file must be known."""
        clusters = max(1, round(self.bytes / CLUSTER_BYTES))
        return max(1, -(-self.file_entries // clusters))


@dataclass(frozen=True, eq=False, repr=False)
class EventMap:
    """Where the events of a list are; `files` by GUID, `unmapped` the rows that have no address at `stage`.

    `files_total`, `bytes_total` and `entries_total` count all files that were given, touched or not (0 where the size
    or entries of one are unknown); `example` is a local file of them, from which types are known even of no event.
    """

    files: tuple[MappedFile, ...]
    unmapped: Ints
    events: int
    stage: str = "aod"
    files_total: int = 0
    bytes_total: int = 0
    example: str = ""
    layout: Layout = USUAL
    entries_total: int = 0

    def __repr__(self) -> str:
        return f"<EventMap: {self.events:,} events in {len(self.files):,} files; {self.verdict}>"

    @property
    def unknown_files(self) -> list[str]:
        """GUIDs that the list points to and no catalog knows."""
        return [f.guid for f in self.files if not f.lfn and not f.pfn]

    @property
    def fullest_site(self) -> tuple[str, int]:
        """The site that holds most of the files, and how many; ("", 0) where no site is known."""
        files_by_site: Counter[str] = Counter()
        for file in self.files:
            files_by_site.update(file.sites)
        return min(files_by_site.items(), key=lambda item: (-item[1], item[0]), default=("", 0))

    @property
    def bytes_touched_estimate(self) -> int:
        """Estimated compressed bytes that reading the selected entries, whole, touches."""
        return round(sum(f.touched * f.bytes for f in self.files if f.bytes > 0))

    @property
    def share(self) -> float:
        """Share of everything, 0 to 1, that is touched: of the bytes where sizes are known, else of the
        files."""
        if self.bytes_total > 0:
            return min(1.0, self.bytes_touched_estimate / self.bytes_total)
        return len(self.files) / max(self.files_total, len(self.files)) if self.files else 0.0

    @property
    def worth_it(self) -> bool:
        """Whether reading just these events beats a full scan: they touch at most `WORTH` of everything."""
        return self.share <= WORTH

    @property
    def verdict(self) -> str:
        """Whether it is worth it, with the reason, for people: what `map`, `skim` and `submit` say of a list.

        It rests on the list and the sizes of files alone, so that it does not depend on the branches that are read.
        """
        if not self.files:
            return "nothing to read: no event has an address"
        touched = f"touches {len(self.files):,} of {max(self.files_total, len(self.files)):,} files"
        if len(self.unknown_files) == len(self.files):
            return f"{touched}, none of which a catalog knows: nothing can be said of a full scan"
        size = f", about {_size(self.bytes_touched_estimate)} of {_size(self.bytes_total)}" if self.bytes_total else ""
        share = f" ({self.share:.0%})"
        if self.worth_it:
            return f"{touched}{size}{share}: worth it against a full scan"
        return f"{touched}{size}{share}: a full scan costs about the same"

    def to_json(self) -> dict[str, object]:
        """All that the map says, JSON-ready."""
        return {
            "stage": self.stage,
            "events": self.events,
            "files": [
                {
                    "guid": f.guid,
                    "lfn": f.lfn,
                    "pfn": f.pfn,
                    "others": list(f.others),
                    "entries": f.entries.tolist(),
                    "sites": list(f.sites),
                }
                for f in self.files
            ],
            "unmapped": self.unmapped.tolist(),
            "unknown_files": self.unknown_files,
            "files_touched": len(self.files),
            "files_total": self.files_total,
            "bytes_touched_estimate": self.bytes_touched_estimate,
            "bytes_total": self.bytes_total,
            "worth_it": self.worth_it,
            "verdict": self.verdict,
        }


def map_events(
    events: EventList,
    files: Sequence[KnownFile],
    replicas: Mapping[str, Sequence[KnownReplica]],
    *,
    stage: str = "aod",
    layout: Layout = USUAL,
) -> EventMap:
    """Files, entries and sites of the events of a list at a stage of processing.

    `files` are all files of that stage that the datasets have; `replicas` maps a GUID to its copies; `layout`
    is that of files which are not of a usual kind. EventListError where the list has no references to the
    stage.
    """
    reference = events.stage(stage)
    known = {f.guid: f for f in files}
    addressed = reference.guid.known() & (reference.entry >= 0)
    rows = np.flatnonzero(addressed)
    # Rows are grouped by file and then by entry; ties keep the list's order, so a repeated address stays in
    # order.
    order = rows[np.lexsort((reference.entry[rows], reference.guid.codes[rows]))]
    codes = reference.guid.codes[order]
    bounds = np.searchsorted(codes, np.arange(len(reference.guid.values) + 1))
    mapped = [
        _mapped(guid, known.get(guid), replicas.get(guid, ()), order[first:last], reference.entry)
        for guid, first, last in zip(reference.guid.values, bounds[:-1], bounds[1:], strict=True)
        if last > first
    ]
    return EventMap(
        files=tuple(mapped),
        unmapped=np.flatnonzero(~addressed),
        events=len(events),
        stage=stage,
        files_total=len(files),
        bytes_total=sum(f.bytes for f in files) if all(f.bytes >= 0 for f in files) else 0,
        example=_example(mapped, files, replicas),
        layout=layout,
        entries_total=sum(f.entries for f in files) if all(f.entries >= 0 for f in files) else 0,
    )


def _mapped(guid: str, record: KnownFile | None, copies: Sequence[KnownReplica], rows: Ints, entry: Ints) -> MappedFile:
    sites = tuple(sorted({c.site for c in copies}))
    names = [record.pfn] if record else []
    best, *others = places([*names, *(c.pfn for c in copies)]) or ("",)
    return MappedFile(
        guid=guid,
        lfn=record.lfn if record else "",
        pfn=best,
        others=tuple(others),
        entries=entry[rows],
        rows=rows,
        sites=sites,
        file_entries=record.entries if record else -1,
        bytes=record.bytes if record else -1,
    )


def _example(
    mapped: Iterable[MappedFile], files: Sequence[KnownFile], replicas: Mapping[str, Sequence[KnownReplica]]
) -> str:
    """The first local file that exists, mapped ones first; else the first of another machine; "" where none is."""
    candidates = [file.pfn for file in mapped]
    for record in files:
        copies = [replica.pfn for replica in replicas.get(record.guid, ())]
        candidates.extend(places([record.pfn, *copies])[:1])
    for path in candidates:
        if path and Path(path).is_file():
            return path
    return next(filter(is_remote, candidates), "")


def places(names: Iterable[str]) -> tuple[str, ...]:
    """Where a file can be read, each once, by cost: local files that exist, then URLs, then paths that do not exist.

    >>> places(["/nowhere/a.root", "root://far.example.org//a.root", "srm://tape.example.org/a.root"])
    ('root://far.example.org//a.root', '/nowhere/a.root')
    """
    distinct = list(dict.fromkeys(name.removeprefix("file://") for name in names if name))
    paths = [name for name in distinct if "://" not in name]
    existing = [path for path in paths if Path(path).is_file()]
    absent = [path for path in paths if path not in existing]
    return (*existing, *filter(is_remote, distinct), *absent)


def _size(count: int) -> str:
    """Bytes for people.

    >>> _size(1_234_567)
    '1.23 MB'
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
