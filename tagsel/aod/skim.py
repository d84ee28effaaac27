"""Skims: the selected entries of the AOD, slimmed to the branches asked for, as a ROOT or Parquet file.

Invariant: an output stands under its name only after it was read back and found to hold exactly the events
delivered, in the list's order, every value as read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.aod.ids import id_names
from tagsel.aod.mapping import EventMap
from tagsel.aod.read import Batch, Reading, example_of, forecast, reading, template
from tagsel.aod.report import ReadReport, provenance_of
from tagsel.aod.verify import Fingerprint, read_back
from tagsel.aod.write import ParquetWriter, RootWriter, Writer, collections_of
from tagsel.base.output_file import check_output, output_file
from tagsel.errors import AccessError
from tagsel.events import DeliveryLedger, EventList
from tagsel.rootio import RootFile, id_columns, is_remote, plain_name

BATCH = 20_000
"""Events written at once: a basket of the output."""

USUAL_IDS = {"run": ("run", "int32"), "lumi": ("luminosityBlock", "int32"), "event": ("event", "int64")}
"""Names and types of the ids in an output whose input has none that can be read."""

TREES = {"EventData": "CollectionTree"}
"""An RNTuple's name → that of the TTree written; others keep theirs. "Events" where no input is known."""


@dataclass(frozen=True, slots=True)
class SkimReport:
    """What a skim did, or would do (`dry_run`): `digest` is that of the list of delivered events, `verdict` the map's
    on whether the list is worth it."""

    path: str
    events: int
    branches: tuple[str, ...]
    bytes_written: int
    digest: str
    read: ReadReport
    dry_run: bool = False
    verdict: str = ""

    @property
    def ledger(self) -> DeliveryLedger:
        """accepted = delivered + unreadable + failed."""
        return self.read.ledger

    def to_json(self) -> dict[str, object]:
        """All of it, JSON-ready."""
        return {
            "path": self.path,
            "events": self.events,
            "branches": list(self.branches),
            "bytes_written": self.bytes_written,
            "digest": self.digest,
            "dry_run": self.dry_run,
            "verdict": self.verdict,
            **self.read.to_json(),
        }


@dataclass(frozen=True)
class _Shape:
    """What the output is made of: its tree, the ids' names, the collections of lists, empty events."""

    tree: str
    ids: Mapping[str, tuple[str, str]]
    collections: Mapping[str, str]
    like: Any


def skim(
    event_map: EventMap,
    events: EventList,
    out: Path | str,
    branches: str | Sequence[str],
    *,
    dry_run: bool = False,
    force: bool = False,
) -> SkimReport:
    """Write the AOD branches of just these events to `out`, `.root` or `.parquet`, in the list's order.

    The ids come along under the input's own names, so that the output can be ingested; counters come along
    with lists in ROOT. Events that cannot be read are counted and named in the report. AccessError where `out`
    exists (`force` replaces a file that tagsel wrote), where no event can be read at all, for an unknown pattern
    or suffix, and where what was written is not what was read.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in (".root", ".parquet"):
        raise AccessError(f"{out}: a skim is .root or .parquet", hint=f"{out.stem}.root", path=str(out))
    _refuse_inputs(event_map, out)
    check_output(out, force=force)
    if dry_run:
        return _plan(event_map, events, out, branches)
    types: dict[str, str] = {}
    written = None
    read = opened = 0
    while written is None:  # a file with a wider type than those before begins it anew
        source = reading(event_map, events, branches, BATCH, types)
        written = _write(source, event_map, events, out, branches, force)
        types = dict(source.types)
        read += source.report.bytes_read
        opened += source.report.bytes_opened
    shape, fingerprint, rows, size = written
    report = replace(source.report, bytes_read=read, bytes_opened=opened)
    report.ledger.check()
    return SkimReport(
        str(out),
        fingerprint.rows,
        tuple(shape.like.fields),
        size,
        events[rows].digest,
        report,
        verdict=event_map.verdict,
    )


def _write(
    source: Reading, event_map: EventMap, events: EventList, out: Path, branches: str | Sequence[str], force: bool
) -> tuple[_Shape, Fingerprint, npt.NDArray[np.int64], int] | None:
    """Write what the reading gives; None, and no output, where a later file turns out to need a wider type."""
    batches = iter(source)
    first = next(batches, None)
    if first is None and len(events):
        reasons = "; ".join(p.reason for p in source.report.problems[:3]) or "no event has an address"
        raise AccessError(
            f"none of {len(events):,} events can be read: {reasons}", ledger=source.report.ledger.to_json()
        )
    types = dict(source.types)
    shape = _shape(source, event_map, branches, first)
    fingerprint = Fingerprint()
    delivered: list[Any] = []
    try:
        with output_file(out, force=force) as temporary:
            with _writer(temporary, out.suffix.lower(), shape, provenance_of(events)) as writer:
                for batch in chain([first] if first else [], batches):
                    if source.types != types:
                        raise _WiderTypeError
                    named = _named(batch.events, shape.ids)
                    writer.write(named)
                    fingerprint.add(named)
                    delivered.append(batch.rows)
            rows = np.concatenate(delivered) if delivered else np.empty(0, np.int64)
            _check(temporary, out, shape, fingerprint, events, rows)
            size = temporary.stat().st_size
    except _WiderTypeError:
        return None
    return shape, fingerprint, rows, size


class _WiderTypeError(Exception):
    """A file has a type that the output cannot hold."""


def _refuse_inputs(event_map: EventMap, out: Path) -> None:
    """AccessError where the output would take the place of a file that the events are read from."""
    inputs: set[Path] = set()
    for file in event_map.files:
        local = (path for path in (file.pfn, *file.others) if path and not is_remote(path))
        inputs.update(Path(path).resolve() for path in local)
    if event_map.example:
        inputs.add(Path(event_map.example).resolve())
    if out.resolve() in inputs:
        raise AccessError(f"{out} is a file that events are read from", hint="write to another file", path=str(out))


def _plan(event_map: EventMap, events: EventList, out: Path, branches: str | Sequence[str]) -> SkimReport:
    """What a skim would read and deliver, found by opening the files and reading nothing but ids."""
    report = forecast(event_map, events, branches)
    names = tuple(template(example_of(event_map, branches), branches, event_map.layout).fields)
    return SkimReport(
        str(out), report.ledger.delivered, names, 0, events.digest, report, dry_run=True, verdict=event_map.verdict
    )


def _shape(source: Reading, event_map: EventMap, branches: str | Sequence[str], first: Batch | None) -> _Shape:
    """The output's shape, from the first batch, or from the example file where there is no event."""
    columns = source.branch_names
    tree, ids = source.tree_name or "Events", source.id_names
    place = "" if first else example_of(event_map, branches)
    if place:
        with RootFile(place) as file:
            example = file.events(event_map.layout.tree or None)
            columns = [plain_name(c) for c in example.columns()]
            tree = example.name
            ids = id_names(example, id_columns(example, event_map.layout.ids))
    ids = {**USUAL_IDS, **ids}
    like = _named(first.events[:0] if first else template(place, branches, event_map.layout), ids)
    return _Shape(TREES.get(tree, tree), ids, collections_of(like.fields, columns), like)


def _named(events: Any, ids: Mapping[str, tuple[str, str]]) -> Any:
    """The events with their ids under the input's own names and types, each once, before the branches."""
    import awkward as ak

    named = {column: ak.values_astype(events[name], kind) for name, (column, kind) in ids.items()}
    rest = {f: events[f] for f in events.fields if f not in ("run", "lumi", "event", *named)}
    return ak.zip({**named, **rest}, depth_limit=1)


def _writer(path: Path, suffix: str, shape: _Shape, note: Mapping[str, object]) -> Writer:
    if suffix == ".parquet":
        return ParquetWriter(path, shape.like, note)
    return RootWriter(path, shape.tree, shape.like, shape.collections, note)


def _check(path: Path, out: Path, shape: _Shape, expected: Fingerprint, events: EventList, rows: Any) -> None:
    """AccessError unless the file at `path` holds what was meant: number, ids in order, every value."""
    fields = list(shape.like.fields)
    read = Fingerprint()
    ids: dict[str, list[Any]] = {name: [] for name in shape.ids}
    for part in read_back(path, fields, BATCH, shape.tree):
        read.add(part)
        for name, (column, _) in shape.ids.items():
            ids[name].append(np.asarray(part[column]).astype(np.int64))
    if read.rows != len(rows):
        raise AccessError(f"{out}: {len(rows)} events were written and {read.rows} read back", path=str(out))
    for name, parts in ids.items():
        if parts and not np.array_equal(np.concatenate(parts), getattr(events, name)[rows]):
            raise AccessError(f"{out}: the column {shape.ids[name][0]} is not the list's {name}", path=str(out))
    wrong = [b for b, digest in read.digests().items() if expected.digests().get(b, digest) != digest]
    if wrong:
        raise AccessError(f"{out}: branch {wrong[0]} read back differs from what was written", path=str(out))
