"""What an ingest says of files that had been taken out of the dataset: which are back, and which are still out.

Invariant: a file that was retracted never comes in, or stays out, without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

from tagsel.store import Snapshot, Source
from tagsel.store.retraction import Retraction


def remarks(before: Snapshot | None, landed: Sequence[Source], already: Collection[str]) -> tuple[str, ...]:
    """Warnings on the ingested files `landed`, and on those, by GUID, that were in the dataset `already`."""
    if before is None or not before.state.retractions:
        return ()
    last = {r.guid: r for r in before.retractions}
    out = [r for r in last.values() if r.in_force(before.source_guids)]
    texts: list[str] = []
    for source in landed:
        texts += _of(source, out)
    names = {s.guid: s.lfn or s.guid for s in before.sources}
    for guid in sorted(already):
        for r in out:
            lacks = (r.partly or {}).get(guid)
            if lacks is not None:
                texts.append(f"{names.get(guid, guid)} stays without {lacks:,} rows of {r.name}, which {_when(r)}")
    return tuple(dict.fromkeys(texts))


def _of(source: Source, out: Sequence[Retraction]) -> Iterator[str]:
    """What there is to say of one file that came in."""
    aod = {a["guid"] for a in cast("list[dict[str, Any]]", source.bookkeeping.get("aod", []))}
    name = source.lfn or source.guid
    for r in out:
        if source.guid == r.guid:
            yield f"{name} is in again: it {_when(r)}"
        elif source.guid in r.sources:
            yield f"{name} is in again, which went with {r.name}: that {_when(r)}"
        elif r.guid in aod:
            yield f"rows of {name} point to {r.name}, which {_when(r)}"


def _when(r: Retraction) -> str:
    return f"was retracted at {r.when} (snapshot {r.snapshot}, {r.who}): {r.reason}"
