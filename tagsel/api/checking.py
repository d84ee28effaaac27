"""Whether datasets are whole: their rows against the AOD files that the catalogs know, copies, duplicates, and blocks.

Invariant: of each dataset, rows = addressed to a file that is known + to one that is not + without an address + of
parts that cannot be read. Only what is missing or corrupt makes a dataset unsound; duplicates and remarks are said.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np

from tagsel.api.closing import changed
from tagsel.api.home import Home
from tagsel.api.inputs import DATA, resolve
from tagsel.api.maps import known_files
from tagsel.base.text_table import Table
from tagsel.catalog import Catalog, FileRecord, Replica, is_whole
from tagsel.errors import StoreError, TagselError
from tagsel.selection import Input
from tagsel.selection.contents import Addresses, Spans, addresses
from tagsel.selection.eligible_rows import across_inputs
from tagsel.store import Snapshot, log, pins
from tagsel.store import Table as StoreTable
from tagsel.store.commits import statistics

MISSING, CORRUPT, DUPLICATE, REMARK = "missing", "corrupt", "duplicate", "remark"

FIRST = 10
"""Names that a finding lists."""


@dataclass(frozen=True)
class Finding:
    """Something found: its `kind` (missing, corrupt, duplicate, remark), how many, and the first names of them."""

    kind: str
    dataset: str
    count: int
    what: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Addressed:
    """The rows of a dataset: to an AOD file that a catalog knows, to another, without address, unreadable."""

    known: int
    unknown: int
    without: int
    unreadable: int


@dataclass(frozen=True, repr=False)
class Checked:
    """What was found of each dataset (`name@snapshot`), the worst first, and where its rows point to."""

    rows: Mapping[str, int]
    addressed: Mapping[str, Addressed]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is missing or corrupt."""
        return not any(f.kind in (MISSING, CORRUPT) for f in self.findings)

    def table(self) -> Table:
        """A row a finding, with the first names."""
        rows = tuple((f.kind, f.dataset, f.count, f.what, ", ".join(f.names)) for f in self.findings)
        return Table(("kind", "dataset", "count", "what", "first"), rows)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "sound": self.sound,
            "datasets": {n: {"rows": self.rows[n], **asdict(a)} for n, a in self.addressed.items()},
            "findings": [asdict(f) for f in self.findings],
        }


def check(home: Home, datasets: str, *, deep: bool = False) -> Checked:
    """Check the datasets that `datasets` names, each by itself, and events that several of them hold."""
    inputs, findings = _opened(home, datasets)
    read = {i.pinned: addresses(i.snapshot, deep=deep) for i in inputs}
    guids: set[str] = set()
    for one in read.values():
        guids.update(one.spans)
    known = _known(home.catalog, guids)
    for source in inputs:
        found = read[source.pinned]
        findings += _bookkept(home.catalog, source, deep=deep)
        findings += _unreadable(source, found)
        findings += _pointing(source, found, known, whole=not _is_selection(home.catalog, source))
        findings += _twins(home.catalog, source)
        findings += _copies(home.catalog, source)
        findings += _blocks(source, found)
        findings += _frozen(home, source) if not found.lost else ()
    findings += _duplicates(inputs, read)
    order = (CORRUPT, MISSING, DUPLICATE, REMARK)
    return Checked(
        {name: found.rows for name, found in read.items()},
        {name: _ledger(found, known) for name, found in read.items()},
        tuple(sorted((f for f in findings if f.count), key=lambda f: order.index(f.kind))),
    )


def _opened(home: Home, datasets: str) -> tuple[list[Input], list[Finding]]:
    """The datasets that can be opened, and of each other one why it cannot."""
    inputs: list[Input] = []
    findings: list[Finding] = []
    for record, number in resolve(home.folder, home.catalog, datasets):
        name = record.name if number is None else f"{record.name}@{number}"
        try:
            log.check_whole(home.folder / DATA / record.name)
            inputs += home.inputs(name)
        except StoreError as error:
            findings.append(Finding(CORRUPT, name, 1, error.message))
    return inputs, findings


def _bookkept(catalog: Catalog, source: Input, *, deep: bool) -> Iterator[Finding]:
    """The dataset's log against the catalog, the caches of the log, and the pins."""
    folder, name = source.snapshot.folder, source.pinned
    record = catalog.dataset(source.dataset)
    newest = StoreTable.open(folder).snapshot()
    if record.snapshot == newest.number:
        lost = abs(record.events - newest.rows)
        yield Finding(CORRUPT, name, lost, "events by which the catalog and the dataset's log differ")
    yield from _log_and_caches(name, newest, deep=deep)
    recorded = [(pin.snapshot, pin.reason) for pin in catalog.pins(source.dataset)]
    try:
        lacking = pins.lacking(pins.read(folder), recorded)
        named = [f"@{number}: {reason}" for number, reason in lacking]
        yield Finding(
            MISSING, name, len(lacking), f"pins of the catalog that {pins.path_of(folder)} lacks", _first(named)
        )
    except StoreError as error:
        yield Finding(CORRUPT, name, 1, error.message)


def _log_and_caches(name: str, newest: Snapshot, *, deep: bool) -> Iterator[Finding]:
    """The newest snapshot, which a manifest may have given, against the log; duplicate marks against the rows."""
    folder = newest.folder
    useless = [str(log.manifest_path(folder, n)) for n in log.manifests(folder) if log.read_manifest(folder, n) is None]
    yield Finding(
        REMARK, name, len(useless), "manifests that are damaged: the log is read in their place", _first(useless)
    )
    problem = newest.marks.problem()
    what = f"a file of duplicate marks, made again from the rows: it {problem}"
    yield Finding(REMARK, name, int(bool(problem)), what, (str(newest.marks.path),))
    if log.begins_at_0(folder):
        try:
            folded = deque(log.states(folder), maxlen=1)
            live = log.live_parts(folder)
        except StoreError as error:
            yield Finding(CORRUPT, name, 1, error.message)
            return
        parts = {part.name for part in newest.state.parts}
        odd = sorted(live.keys() ^ parts)
        yield Finding(
            CORRUPT, name, len(odd), "parts that only the Delta log or only tagsel's records have", _first(odd)
        )
        wrong_parts = _misstated(newest, live)
        what = "parts of which the Delta log states another size or statistics than theirs: other engines go by these"
        yield Finding(CORRUPT, name, len(wrong_parts), what, _first(wrong_parts))
        if not folded or folded[0] != newest.state:
            yield Finding(CORRUPT, name, 1, f"manifest of snapshot {newest.number} that is not what the log says")
    if deep:
        try:
            wrong = len(np.setxor1d(newest.marks.rows(), newest.marks.anew()))
            yield Finding(CORRUPT, name, wrong, "duplicate marks that are not those of the rows")
        except StoreError:  # a damaged part, whose rows are a finding of their own
            return


def _misstated(newest: Snapshot, live: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The parts of which the Delta log says something else than the parts themselves."""
    wrong = []
    for part in newest.state.parts:
        if part.name not in live:  # a finding of its own
            continue
        try:
            right = statistics(newest.folder, part, newest.schema)
        except StoreError:  # rows of a damaged part are a finding of their own
            continue
        entry = live[part.name]
        if entry.get("size") != part.bytes or not _agrees(entry.get("stats"), right):
            wrong.append(part.name)
    return wrong


def _agrees(stated: str | None, right: Mapping[str, Any]) -> bool:
    """Whether all statistics that an entry of the Delta log states, if any, are right."""
    try:
        values = json.loads(stated or "{}")
    except ValueError:
        return False
    return isinstance(values, dict) and all(right.get(key) == value for key, value in values.items())


def _known(catalog: Catalog, guids: set[str]) -> dict[str, FileRecord]:
    """AOD files by GUID of which a catalog says more than that rows point to them."""
    records = known_files(catalog.files(guids=sorted(guids), kind="AOD")) if guids else {}
    copies = catalog.replicas(list(records)) if records else {}
    return {g: f for g, f in records.items() if f.lfn or f.pfn or f.entries >= 0 or copies[g]}


def _is_selection(catalog: Catalog, source: Input) -> bool:
    """Whether the dataset holds a choice of its files' events, and no more is expected."""
    record = catalog.dataset(source.dataset)
    return bool(record.cut or record.lumi)


def _ledger(found: Addresses, known: Mapping[str, FileRecord]) -> Addressed:
    to = {guid: spans.rows for guid, spans in found.spans.items()}
    ledger = Addressed(
        sum(n for guid, n in to.items() if guid in known),
        sum(n for guid, n in to.items() if guid not in known),
        found.without,
        sum(rows for rows, _ in found.lost.values()),
    )
    if found.rows != sum(asdict(ledger).values()):
        raise StoreError(f"{found.rows} rows are not {ledger}: tagsel lost count of them")
    return ledger


def _unreadable(source: Input, found: Addresses) -> Iterator[Finding]:
    rows = sum(n for n, _ in found.lost.values())
    yield Finding(CORRUPT, source.pinned, rows, "rows of parts that cannot be read", _first(found.lost))


def _pointing(source: Input, found: Addresses, known: Mapping[str, FileRecord], *, whole: bool) -> Iterator[Finding]:
    """Rows against files: files that no catalog knows, entries that a file does not have, entries without a row."""
    unknown = {g: s.rows for g, s in found.spans.items() if g not in known}
    yield Finding(
        MISSING,
        source.pinned,
        sum(unknown.values()),
        "rows that point to an AOD file no catalog knows",
        _first(unknown),
    )
    yield Finding(MISSING, source.pinned, found.without, "rows without an address in an AOD file")
    sized = {g: (known[g], s) for g, s in found.spans.items() if g in known and known[g].entries >= 0}
    beyond = {_called(f): n for f, s in sized.values() if (n := s.beyond(f.entries))}
    yield Finding(
        CORRUPT,
        source.pinned,
        sum(beyond.values()),
        "rows that point to an entry that the AOD file lacks",
        _first(beyond),
    )
    lacking = {_called(f): n for f, s in sized.values() if (n := f.entries - _inside(s, f.entries)) > 0}
    yield Finding(
        MISSING if whole and not found.lost else REMARK,
        source.pinned,
        sum(lacking.values()),
        "entries of the AOD files that no row points to",
        _first(lacking),
    )
    unsized = [_called(known[g]) for g in found.spans if g in known and g not in sized]
    yield Finding(REMARK, source.pinned, len(unsized), "AOD files of an unknown number of entries", _first(unsized))


def _inside(spans: Spans, entries: int) -> int:
    """Different entries of the file that rows point to."""
    first = np.clip(spans.first, 0, entries)
    return Spans(first, np.clip(spans.first + spans.length, 0, entries) - first).covered()


def _copies(catalog: Catalog, source: Input) -> Iterator[Finding]:
    """Files that the dataset points to, against their copies: none at all, one that is gone, one far away."""
    files = [f for f in catalog.files(source.dataset) if f.kind != "TAG" and (f.lfn or f.pfn or f.entries >= 0)]
    replicas = catalog.replicas([f.guid for f in files]) if files else {}
    bare, stale, cut, remote = [], [], [], []
    for file in files:
        places = _places(catalog, file, replicas[file.guid])
        if not places:
            bare.append(_called(file))
        for pfn, path in places.items():
            if path is None:
                remote.append(pfn)
            elif not path.is_file():
                stale.append(pfn)
            elif not is_whole(path, file.bytes):
                cut.append(_resized(pfn, path, file))
    yield Finding(MISSING, source.pinned, len(bare), "files without any copy", _first(bare))
    yield Finding(MISSING, source.pinned, len(stale), "copies that are not where the catalog says", _first(stale))
    yield Finding(CORRUPT, source.pinned, len(cut), "copies of another size than their file", _first(cut))
    yield Finding(REMARK, source.pinned, len(remote), "copies on other machines, not looked at", _first(remote))


def _places(catalog: Catalog, file: FileRecord, replicas: Iterable[Replica]) -> dict[str, Path | None]:
    """Where each copy of a file lies on this machine, by its physical name; None for one on another machine."""
    places = {replica.pfn: _place(catalog, replica) for replica in replicas}
    if file.pfn:
        places.setdefault(file.pfn, None if "://" in file.pfn else Path(file.pfn))
    return places


def _twins(catalog: Catalog, source: Input) -> Iterator[Finding]:
    """Input files whose GUIDs other datasets have for other files: no list can tell the two apart."""
    from tagsel.ingest.file_identity import KnownFiles, kept_content

    sources = source.snapshot.sources
    files = KnownFiles(source.dataset, catalog, source.snapshot, [s.guid for s in sources])
    twins = []
    for own in sources:
        content = kept_content(own.bookkeeping, own.guid)
        for other in files.elsewhere(own.guid):
            if other.content.differences(content):
                name = own.bookkeeping.get("path") or own.lfn
                twins.append(f"{name} and {other.path or other.name} of {other.dataset}")
    yield Finding(CORRUPT, source.pinned, len(twins), "files of one GUID with other content", _first(twins))


def _resized(pfn: str, path: Path, file: FileRecord) -> str:
    """A copy with its size, and the one that it should have."""
    return f"{pfn}: {path.stat().st_size:,} of {file.bytes:,} bytes"


def _place(catalog: Catalog, replica: Replica) -> Path | None:
    """Where a copy lies on this machine; None for one on another."""
    try:
        return catalog.local_path(replica)
    except TagselError:  # a name that leads out of its site is the name of no copy
        return catalog.folder


def _blocks(source: Input, found: Addresses) -> Iterator[Finding]:
    """Luminosity blocks that the files say they processed, against those that have rows."""
    records = [(s.lfn, s.bookkeeping.get("processed")) for s in source.snapshot.sources]
    silent = [lfn for lfn, blocks in records if blocks is None]
    yield Finding(
        REMARK,
        source.pinned,
        len(silent),
        "files that do not say which luminosity blocks they processed",
        _first(silent),
    )
    pairs = cast("list[Iterable[Iterable[int]]]", [blocks for _, blocks in records if blocks is not None])
    processed = {(int(run), int(lumi)) for run, lumi in chain.from_iterable(pairs)}
    held = set(map(tuple, found.blocks.tolist()))
    empty = sorted(processed - held) if not found.lost else []
    yield Finding(REMARK, source.pinned, len(empty), "processed luminosity blocks without events", _first(empty))
    outside = sorted(held - processed) if not silent else []
    yield Finding(
        CORRUPT,
        source.pinned,
        len(outside),
        "luminosity blocks with events that no file says it processed",
        _first(outside),
    )


def _frozen(home: Home, source: Input) -> Iterator[Finding]:
    """A frozen dataset that does not hold what it held when it was frozen."""
    other = changed(home, source.dataset)
    yield Finding(CORRUPT, source.pinned, len(other), "digests that are not those of when it was frozen", _first(other))


def _duplicates(inputs: Sequence[Input], read: Mapping[str, Addresses]) -> Iterator[Finding]:
    """Events in several rows: of data by run and event, of simulation by file and entry."""
    data = sorted([i for i in inputs if not i.simulation], key=lambda i: (i.priority, i.dataset))
    yield from _repeated_events(data)
    yield from _repeated_addresses([i for i in inputs if i.simulation], read)


def _repeated_events(data: Sequence[Input]) -> Iterator[Finding]:
    for source in data:
        try:
            rows = source.snapshot.duplicate_rows()
            yield Finding(DUPLICATE, source.pinned, rows, "rows that repeat an event of the dataset")
            split = source.snapshot.split_events()
            if split is not None:
                first = f"{split.run}:{split.event} in blocks {split.blocks[0]} and {split.blocks[1]}"
                what = "rows that repeat an event of another luminosity block"
                yield Finding(CORRUPT, source.pinned, split.rows, what, (first,))
        except StoreError as error:  # a damaged part, whose rows are a finding of their own
            yield Finding(REMARK, source.pinned, 1, f"repeated events are not counted: {error.message}")
    names = ", ".join(i.pinned for i in data)
    try:
        repeated = across_inputs(data, allow_losses=True).rows.values()
        rows = sum(int(mask.sum()) for mask in repeated)
        yield Finding(DUPLICATE, names, rows, "rows that repeat an event of another of the datasets")
    except StoreError as error:  # one event in two luminosity blocks
        yield Finding(CORRUPT, names, 1, error.message)


def _repeated_addresses(simulation: Sequence[Input], read: Mapping[str, Addresses]) -> Iterator[Finding]:
    seen: dict[str, Spans] = {}
    for source in simulation:
        spans = read[source.pinned].spans
        own = sum(s.rows - s.covered() for s in spans.values())
        yield Finding(DUPLICATE, source.pinned, own, "rows that repeat an address of the dataset")
        both = {g: s + seen[g] for g, s in spans.items() if g in seen}
        shared = sum(spans[g].covered() + seen[g].covered() - s.covered() for g, s in both.items())
        yield Finding(DUPLICATE, source.pinned, shared, "addresses that another of the datasets has, too")
        seen |= {**spans, **both}


def _called(file: FileRecord) -> str:
    return file.lfn or file.pfn or file.guid


def _first(names: Iterable[Any]) -> tuple[str, ...]:
    """The first names; of blocks run:lumi, and beside a name how many there are of it."""
    if isinstance(names, Mapping):
        numbers = ((name, n[0] if isinstance(n, tuple) else n) for name, n in names.items())
        names = [f"{name} ({n:,})" for name, n in numbers]
    return tuple(":".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in list(names)[:FIRST])
