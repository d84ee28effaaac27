"""Compaction and clean-up: what to pack, how, and which files nobody needs any more.

Invariant: packing keeps every row and its place in the snapshot; nothing that the latest or a pinned
snapshot holds, and nothing younger than the grace period, is ever garbage.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.errors import StoreError
from tagsel.schema import Schema
from tagsel.store import disk, log, pins, stacked
from tagsel.store.footers import SUFFIX
from tagsel.store.layout import NewPart, caches_of, write_part
from tagsel.store.parts import Part
from tagsel.store.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

SMALL = 1_000_000
"""Parts of fewer rows are packed with their neighbours."""

LARGE = 8_000_000
"""Packed parts have at most as many rows."""

_PART = re.compile(r"[0-9a-f]{32}-\d+\.parquet")
_DOCUMENT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CompactPlan:
    """Which neighbouring parts would become one: their names, bin by bin; rows and bytes to rewrite."""

    bins: tuple[tuple[str, ...], ...]
    rows: int
    bytes: int


def plan(snapshot: Snapshot) -> CompactPlan:
    """Bins of two or more neighbours with the same columns, packed until they are no longer small."""
    bins: list[list[Part]] = []
    for part in snapshot.parts:
        last = bins[-1] if bins else []
        rows = sum(p.rows for p in last)
        fits = last and last[0].columns == part.columns and rows + part.rows <= LARGE
        if fits and (rows < SMALL or part.rows < SMALL):
            last.append(part)
        else:
            bins.append([part])
    packed = [b for b in bins if len(b) > 1]
    parts = [p for b in packed for p in b]
    names = tuple(tuple(p.name for p in b) for b in packed)
    return CompactPlan(names, sum(p.rows for p in parts), sum(p.bytes for p in parts))


def pack(snapshot: Snapshot, names: Sequence[str]) -> tuple[NewPart, Schema]:
    """Write the rows of neighbouring parts as one new part; the schema holds the columns that they have."""
    parts = [p for p in snapshot.parts if p.name in set(names)]
    schema = Schema(tuple(a for a in snapshot.schema if a.column in parts[0].columns))
    packed = write_part(snapshot.folder, schema, _batches(parts, schema))
    if packed is None or packed.rows != sum(p.rows for p in parts):
        raise StoreError(f"packing {len(parts)} parts of {snapshot.folder} lost rows: the new part is not used")
    return packed, schema


def _batches(parts: Sequence[Part], schema: Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for part in parts:
        for group in range(len(part.groups)):
            arrays = [part.arrow(group, a.column) for a in schema]
            yield pa.RecordBatch.from_arrays(arrays, names=[a.column for a in schema])


def garbage(folder: Path, grace_s: float) -> list[Path]:
    """Files that nobody needs and that nothing touched for `grace_s` seconds, sorted."""
    now = time.time()

    def old(path: Path) -> bool:
        return now - path.stat().st_mtime >= grace_s

    kept = [log.latest(folder), *(log.at(folder, number) for number in pins.read(folder))]
    keep = {p.name for state in kept for p in state.parts}
    left = _left(folder)
    found = [
        path
        for path in folder.glob("*.parquet")
        if _PART.fullmatch(path.name) and path.name not in keep and old(path) and old(left.get(path.name, path))
    ]
    gone = {p.stem for p in found}
    parts = {p.stem for p in folder.glob("*.parquet")} - gone
    for cache in caches_of(folder / f"*{SUFFIX}"):
        found += [p for p in cache.parent.glob(cache.name) if p.stem not in parts and old(p)]
    found += [p for p in stacked.useless(folder, [[p.name for p in s.parts] for s in kept]) if old(p)]
    for place in (folder, *(folder / "_tagsel" / sub for sub in ("", "commits", "zones", "index", "stacked"))):
        found += [p for p in place.glob(f"{disk.TEMPORARY}*") if old(p)]
    found += [p for p in (folder / "_delta_log").glob("*.tmp") if old(p)]
    found += [p for p in _unnamed(folder) if old(p)]
    return sorted(found)


def _unnamed(folder: Path) -> list[Path]:
    """Commit records, and documents beside them, that no entry of the log leads to: of commits that did not land."""
    commits = log.commits_folder(folder)
    named: set[str] = set()
    try:
        for version in range(log.newest_version(folder) + 1):
            record = log.record_of(folder, version)
            if record is not None:
                text = (commits / f"{record}.json").read_text()
                named |= {record, *_DOCUMENT.findall(text)}
    except (StoreError, OSError):  # old log entries are gone: nothing can be said
        return []
    return [p for p in commits.glob("*.json") if p.stem not in named]


def _left(folder: Path) -> dict[str, Path]:
    """Parts that some commit took out, and its log entry: its age is how long readers were given."""
    left: dict[str, Path] = {}
    held: set[str] = set()
    try:
        for state in log.states(folder):
            names = {p.name for p in state.parts}
            left.update(dict.fromkeys(held - names, log.entry_path(folder, state.version)))
            held = names
    except StoreError:  # old log entries are gone: then the parts' own age counts
        return {}
    return left
