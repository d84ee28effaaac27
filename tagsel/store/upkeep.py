"""Compaction and clean-up: what to pack, how, and which files nobody needs any more.

Invariant: packing keeps every row and its place in the snapshot; nothing that the latest or a pinned
snapshot holds, and nothing younger than the grace period, is ever garbage.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tagsel.base.atomic_write import TEMPORARY
from tagsel.errors import StoreError
from tagsel.schema import Attribute, Schema
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
_PART_STEM = re.compile(r"[0-9a-f]{32}-\d+\.")
_DOCUMENT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CompactPlan:
    """Which neighbouring parts would become one: their names, bin by bin; rows and bytes to rewrite."""

    bins: tuple[tuple[str, ...], ...]
    rows: int
    bytes: int


def plan(snapshot: Snapshot) -> CompactPlan:
    """Bins of two or more neighbours with the same columns, packed until they are no longer small.

    A bitmap of nulls that a part lacks says that it has none: such columns may differ.
    """
    bitmaps = {a.column for a in snapshot.schema if a.role == "null"}
    bins: list[list[Part]] = []
    for part in snapshot.parts:
        if bins and _fits(part, bins[-1], bitmaps):
            bins[-1].append(part)
        else:
            bins.append([part])
    packed = [b for b in bins if len(b) > 1]
    parts = list(chain.from_iterable(packed))
    names = []
    for neighbours in packed:
        names.append(tuple(part.name for part in neighbours))
    return CompactPlan(tuple(names), sum(p.rows for p in parts), sum(p.bytes for p in parts))


def _fits(part: Part, neighbours: list[Part], bitmaps: set[str]) -> bool:
    """Whether a part goes with its neighbours: one of the two is small, both together are not too large, all alike."""
    rows = sum(p.rows for p in neighbours)
    if rows + part.rows > LARGE or min(rows, part.rows) >= SMALL:
        return False
    return neighbours[0].columns - bitmaps == part.columns - bitmaps


def pack(snapshot: Snapshot, names: Sequence[str]) -> tuple[NewPart, Schema]:
    """Write the rows of neighbouring parts as one new part; the schema holds the columns that they have."""
    parts = [p for p in snapshot.parts if p.name in set(names)]
    columns = frozenset().union(*(p.columns for p in parts))
    schema = Schema(tuple(a for a in snapshot.schema if a.column in columns))
    packed = write_part(snapshot.folder, schema, _batches(parts, schema))
    if packed is None or packed.rows != sum(p.rows for p in parts):
        raise StoreError(f"packing {len(parts)} parts of {snapshot.folder} lost rows: the new part is not used")
    return packed, schema


def _batches(parts: Sequence[Part], schema: Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for part in parts:
        for group in range(len(part.groups)):
            arrays = [_column(part, group, a) for a in schema]
            yield pa.RecordBatch.from_arrays(arrays, names=[a.column for a in schema])


def _column(part: Part, group: int, attribute: Attribute) -> pa.Array:
    """A column of a row group; false in every place of a bitmap of nulls that the part lacks."""
    import pyarrow as pa

    if attribute.column in part.columns:
        return part.arrow(group, attribute.column)
    if not attribute.is_list:
        return pa.array(np.zeros(part.groups[group], np.bool_))
    counts = part.read(group, [attribute.counter])[attribute.counter]
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(offsets[-1], np.bool_)))


def garbage(folder: Path, grace_s: float, keep_snapshots: Iterable[int] = ()) -> list[Path]:
    """Files that nobody needs and that nothing touched for `grace_s` seconds, sorted.

    StoreError where the pins are damaged or the log lacks an entry: then nobody can say what is needed.
    """
    log.check_whole(folder)
    now = time.time()

    def old(path: Path) -> bool:
        return now - path.stat().st_mtime >= grace_s

    latest = log.latest(folder)
    pinned = sorted({*pins.read(folder), *keep_snapshots})
    states = [latest, *(log.at(folder, number) for number in pinned if number < latest.number)]
    parts_of = []
    for state in states:
        parts_of.append([part.name for part in state.parts])
    keep = set(chain.from_iterable(parts_of))
    left = _left(folder)
    garbage_parts = []
    for path in folder.glob("*.parquet"):
        is_needed = path.name in keep or not _PART.fullmatch(path.name)
        if not is_needed and old(path) and old(left.get(path.name, path)):
            garbage_parts.append(path)
    stay = {path.stem for path in folder.glob("*.parquet")} - {path.stem for path in garbage_parts}
    candidates = [
        *_caches_of_others(folder, stay),
        *stacked.useless(folder, parts_of),
        *_temporaries(folder),
        *_unnamed(folder),
    ]
    return sorted(garbage_parts + [path for path in candidates if old(path)])


def _caches_of_others(folder: Path, parts: set[str]) -> Iterator[Path]:
    """Files of the caches beside the parts that belong to none of these."""
    for cache in caches_of(folder / f"*{SUFFIX}"):
        for path in cache.parent.glob(cache.name):
            if path.stem not in parts:
                yield path


def _temporaries(folder: Path) -> Iterator[Path]:
    """Files that a write left behind."""
    own = folder / "_tagsel"
    for place in (folder, own, *[own / sub for sub in ("commits", "zones", "index", "stacked")]):
        yield from place.glob(f"{TEMPORARY}*")
    yield from (folder / "_delta_log").glob("*.tmp")


def left_by_the_killed(folder: Path, grace_s: float) -> list[Path]:
    """What an ingest that was killed before its first commit left in a folder that is no table yet, sorted.

    Only files that tagsel names: parts, the caches beside them, and temporary files; none younger than `grace_s`.
    """
    if (folder / "_delta_log").exists():
        return []
    now = time.time()
    garbage = []
    for place in (folder, *(folder / "_tagsel" / sub for sub in ("", "zones", "index"))):
        for path in place.glob("*"):
            ours = path.name.startswith(TEMPORARY) or _PART_STEM.match(path.name)
            if ours and path.is_file() and now - path.stat().st_mtime >= grace_s:
                garbage.append(path)
    return sorted(garbage)


def _unnamed(folder: Path) -> list[Path]:
    """Commit records, and documents beside them, that no entry of the log leads to: of commits that did not land."""
    commits = log.commits_folder(folder)
    if not log.begins_at_0(folder):
        return []
    named: set[str] = set()
    for version in range(log.newest_version(folder) + 1):
        record = log.record_of(folder, version)
        if record is not None:
            disk.read_document(commits, record)  # whole, or an error
            text = (commits / f"{record}.json").read_text("utf-8")
            named |= {record, *_DOCUMENT.findall(text)}
    return [p for p in commits.glob("*.json") if p.stem not in named]


def _left(folder: Path) -> dict[str, Path]:
    """Parts that some commit took out, and its log entry: its age is how long readers were given."""
    if not log.begins_at_0(folder):  # then the parts' own age counts
        return {}
    left: dict[str, Path] = {}
    held: set[str] = set()
    for state in log.states(folder):
        names = {p.name for p in state.parts}
        left.update(dict.fromkeys(held - names, log.entry_path(folder, state.version)))
        held = names
    return left
