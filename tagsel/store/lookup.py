"""Where events are: the rows of parts that carry given (run, event), by the parts' event indexes.

An index that is absent, damaged or of another part is made again from the part and kept, where that is possible.
Invariant: the rows are those that a look at every row of every part finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tagsel.base.atomic_write import write_bytes
from tagsel.base.cache import Cache, memoize
from tagsel.errors import StoreError
from tagsel.store.bus_error import watch
from tagsel.store.columns import Array
from tagsel.store.eventindex import EventIndex, encode, index_path
from tagsel.store.footers import identity_of
from tagsel.store.mapping import MAPPED_FILES, Identity, Mapping, identity, identity_by
from tagsel.store.parts import Part

_AT_ONCE = 1 << 20  # ids looked up together: bounds the memory
_WIDEST = (0, np.iinfo(np.int32).max, 0, np.iinfo(np.int64).max)

_unwritten: Cache[Identity, EventIndex] = Cache("event-index", entries=16)
"""Indexes that no file holds, of a read-only dataset."""

_id_spans: Cache[tuple[Path, tuple[str, ...]], Array] = Cache("id-spans", entries=16)
"""The runs and events that sets of parts span."""


def find(parts: Sequence[Part], run: Array, event: Array) -> Iterator[tuple[Part, Array, Array]]:
    """Part by part, in their order: which of the wanted, and a row of the part that carries it, (n,) int64 each.

    `run` and `event`, (n,) int32 and int64, rise together and repeat nothing. Only indexes of parts that may hold one
    are touched; the wanted of one part come in several pieces where they are many. StoreError: a part is damaged, and
    its index is not there.
    """
    if not len(parts) or not len(run):
        return
    spans = _spans(parts)
    starts, ends = np.searchsorted(run, spans[0]), np.searchsorted(run, spans[1], "right")
    for at in np.flatnonzero(starts < ends).tolist():
        start, end = int(starts[at]), int(ends[at])
        if spans[0][at] == spans[1][at]:  # of one run: then the wanted events rise, too
            inside = event[start:end]
            end = start + int(np.searchsorted(inside, spans[3][at], "right"))
            start += int(np.searchsorted(inside, spans[2][at]))
        for piece in range(start, end, _AT_ONCE):
            these = slice(piece, min(piece + _AT_ONCE, end))
            which, rows = find_in(parts[at], run[these], event[these])
            if len(rows):
                yield parts[at], which + piece, rows


def near(parts: Sequence[Part], run: int, event: int) -> list[Part]:
    """The parts that may hold an event, by the runs and events that they span; damaged ones may hold any."""
    if not len(parts):
        return []
    spans = _spans(parts)
    inside = (spans[0] <= run) & (run <= spans[1]) & (spans[2] <= event) & (event <= spans[3])
    return [parts[at] for at in np.flatnonzero(inside).tolist()]


def find_in(part: Part, run: Array, event: Array) -> tuple[Array, Array]:
    """As `find`, in one part, which is not looked at where its index is there."""
    path = index_path(part.path)
    try:
        file = identity_by(str(path), path.stat())
        with watch:
            watch.note(str(path), file[2])
            return _mapped(file, part.path, part.rows).find(run, event)
    except (OSError, ValueError):
        pass
    except StoreError as error:
        if error.fields.get("path") != str(path):
            raise
    return _made(part).find(run, event)


def distinct(run: Array, event: Array) -> tuple[Array, Array, Array]:
    """The (run, event) rising together and each once, as `find` asks for them, and the place there of each given."""
    if _rises(run, event):
        return run, event, np.arange(len(run))
    small = not len(run) or int(event.max()) < 2**32
    order = np.argsort(run.astype(np.int64) << 32 | event) if small else np.lexsort((event, run))
    runs, events = run[order], event[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (runs[1:] != runs[:-1]) | (events[1:] != events[:-1])
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    return runs[new], events[new], place


def _rises(run: Array, event: Array) -> bool:
    """Whether (run, event) rise together and repeat nothing, as those of a list of unknown places do."""
    same = run[1:] == run[:-1]
    return bool(((run[1:] > run[:-1]) | same & (event[1:] > event[:-1])).all())


def build(part: Part) -> EventIndex:
    """Make the index of a part by reading its runs and events; written beside it where that is possible.

    StoreError: the part is damaged.
    """
    with watch:  # it is left before anything is written
        groups = [part.read(group, ("run", "event")) for group in range(len(part.groups))]
        ids = []
        for column, kind in _IDS:
            values = [group[column] for group in groups]
            ids.append(np.concatenate([np.zeros(0, kind), *values]))
    run, event = ids
    data = encode(run, event, identity_of(part.path))
    made = EventIndex(np.frombuffer(data, np.uint8), identity_of(part.path), part.rows)
    path = index_path(part.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    except OSError:  # a cache: a read-only or full disk is no error here
        _unwritten[identity(part.path, part.bytes)] = made
    return made


_IDS = (("run", np.int32), ("event", np.int64))


def _made(part: Part) -> EventIndex:
    return _unwritten.get(identity(part.path, part.bytes)) or build(part)


@memoize(MAPPED_FILES, entries=1024)
def _mapped(file: Identity, part: Path, rows: int) -> EventIndex:
    """The index in a file, whose bytes its arrays keep. OSError, ValueError: it is gone, or not that of the part."""
    return EventIndex(Mapping(file).bytes(), identity_of(part), rows)


def _spans(parts: Sequence[Part]) -> Array:
    """Lowest and highest run, lowest and highest event of each part, (4, n) int64: the widest where it is damaged."""
    key = parts[0].path.parent, tuple(p.name for p in parts)
    spans = _id_spans.get(key)
    if spans is None:
        part_spans = [_span(part) for part in parts]
        spans = np.array([span or _WIDEST for span in part_spans], np.int64).T
        if all(part_spans):
            _id_spans[key] = spans
    return spans


def _span(part: Part) -> tuple[int, int, int, int] | None:
    try:
        zones = part.zones(("run", "event"))
    except StoreError:
        return None
    run, event = zones["run"], zones["event"]
    return int(run.min.min()), int(run.max.max()), int(event.min.min()), int(event.max.max())
