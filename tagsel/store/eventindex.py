"""The event index: of each (run, event) the rows of a part that carry it, one compressed, mapped file a part.

It is a cache, as zones are: deleted, damaged or of another part, it is made again by reading the part. The rows are
sorted by (run, event, row) and cut into blocks of `BLOCK` within a run. Of a block the file keeps its first event,
the others' distances from it (from counting on, where events differ), and the rows as distances from the lowest
(less their place, so that rows in order take no bits), each with as few bits as the largest needs.

File, little-endian: header (magic, hash of the part's name, rows, runs, blocks, words of both packings, CRC), the
directory (`_Directory`; the header's CRC covers header and directory), the words of the events, those of the rows.
The words have a CRC a `_PAGE`, looked at when a page is first touched. Version: in the magic.

Invariant: what it finds is what a look at every row finds.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from tagsel.kernels import finding, kernel_cache
from tagsel.kernels.layouts import FINDING_JOB
from tagsel.kernels.memory import address_of
from tagsel.store.columns import Array
from tagsel.store.disk import dataset_caches
from tagsel.store.packing import BLOCK, Opened, Packed, joined, pack

_MAGIC = b"TAGSELE1"
_HEADER = struct.Struct("<8s16sQQQQQQ")
_PAGE = 1 << 16
_AT_ONCE = 4_096  # blocks encoded together: bounds the memory
_MANY = 2_048  # of so many ids the search in blocks costs by the numbers read, of fewer by the rounds
_BINARY = tuple((BLOCK >> k, 1) for k in range(BLOCK.bit_length()))
_COARSE = ((16, BLOCK // 16), (1, 15))
"""Rounds of the search in a block: how far apart the places are that are looked at, and how many."""
_NONE = np.zeros(0, np.int64)


ON_DISK = dataset_caches("event-index", "index/*.index")


def index_path(part: Path) -> Path:
    """Where the event index of a part lies."""
    return part.parent / "_tagsel" / "index" / f"{part.stem}.index"


@dataclass(frozen=True)
class _Directory:
    """What is read whole: of runs, blocks and pages. (Eight-byte columns come first, so that all are aligned.)"""

    sizes: Array  # of each run: its rows
    first_block: Array  # of each run, and one past the last
    first_event: Array  # of each block
    base_row: Array
    event_starts: Array  # of each block: its first word
    row_starts: Array
    runs: Array  # rising
    crcs: Array  # of each page of words
    event_bits: Array  # of each block
    row_bits: Array
    steps: Array  # of each block: 1 where its events are kept as distances from counting on


_TYPES = ("<i8",) * 6 + ("<i4", "<u4") + ("u1",) * 3


class EventIndex:
    """The index in `data`, the bytes (mapped or not) of an index file. ValueError: not that of the part, or damaged."""

    def __init__(self, data: Array, part: bytes, rows: int) -> None:
        if len(data) < _HEADER.size:
            raise ValueError("the index is too short")
        head = data[: _HEADER.size].tobytes()
        magic, of, held, runs, blocks, events, places, crc = _HEADER.unpack(head)
        if (magic, of, held) != (_MAGIC, part, rows):
            raise ValueError("not an index of this part")
        pages = _pages((events + places) * 8)
        counts = (runs, runs + 1, *(blocks,) * 4, runs, pages, *(blocks,) * 3)
        sizes = [n * np.dtype(t).itemsize for n, t in zip(counts, _TYPES, strict=True)]
        end = _HEADER.size + -(-sum(sizes) // 8) * 8
        if len(data) != end + (events + places) * 8:
            raise ValueError("the index is too short or too long")
        if zlib.crc32(data[_HEADER.size : end].data, zlib.crc32(head[:-8])) != crc:
            raise ValueError("the index is damaged")
        starts = np.cumsum([_HEADER.size, *sizes]).tolist()
        columns = zip(counts, _TYPES, starts, strict=False)
        self._is = _Directory(*(np.ndarray((n,), t, buffer=data, offset=at) for n, t, at in columns))
        self._words = data[end:]
        self._seen = np.zeros(pages, np.bool_)
        self._events = Packed(self._words[: events * 8].view("<u8"), self._is.event_bits, self._is.event_starts)
        self._rows = Packed(self._words[events * 8 :].view("<u8"), self._is.row_bits, self._is.row_starts)
        self._count = rows
        self._check()

    def _check(self) -> None:
        """See that all that the search reads lies in the index. ValueError: it does not."""
        index = self._is
        per_run = -(-index.sizes // BLOCK)
        runs = bool((index.sizes > 0).all()) and int(index.sizes.sum()) == self._count
        if not runs or index.first_block.tolist() != [0, *np.cumsum(per_run).tolist()]:
            raise ValueError("the index has other rows than its part")
        before = _counted(per_run) * BLOCK
        sizes = np.minimum(np.repeat(index.sizes, per_run) - before, BLOCK)
        for packed in (self._events, self._rows):
            if len(sizes) != len(packed.starts) or not packed.lie_inside(sizes):
                raise ValueError("the index has blocks that lie beyond it")

    def find(self, run: Array, event: Array) -> tuple[Array, Array]:
        """Which of the wanted, and a row that carries it: (n,) int64 each, in the order of the wanted, then of rows.

        `run` and `event`, (n,) int32 and int64, rise together and repeat nothing. ValueError: the index is damaged.
        """
        which, rows = self._searched(run, event) if _compiled(len(run)) else self._found(run, event)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self._count:
            raise ValueError("the index names rows that its part does not have")
        return which, rows

    def _searched(self, run: Array, event: Array) -> tuple[Array, Array]:
        """`find`, by compiled code."""
        rows = self._by_kernel(run, event)
        several = np.flatnonzero(rows == finding.SEVERAL)
        which = np.flatnonzero(rows >= 0)
        if not len(several):
            return which, rows[which]
        among, more = self._found(run[several], event[several])
        which, rows = np.concatenate([which, several[among]]), np.concatenate([rows[which], more])
        order = np.argsort(which, kind="stable")
        return which[order], rows[order]

    def _by_kernel(self, run: Array, event: Array) -> Array:
        """The row of each of the wanted; `finding.NOBODY`, or SEVERAL."""
        run, event = np.ascontiguousarray(run, np.int32), np.ascontiguousarray(event, np.int64)
        answers, index = np.empty(len(run), np.int64), self._is
        job = FINDING_JOB.filled(
            runs=address_of(index.runs),
            run_count=len(index.runs),
            first_block=address_of(index.first_block),
            sizes=address_of(index.sizes),
            first_event=address_of(index.first_event),
            base_row=address_of(index.base_row),
            steps=address_of(index.steps),
            event_words=address_of(self._events.words),
            event_starts=address_of(self._events.starts),
            event_bits=address_of(self._events.bits),
            row_words=address_of(self._rows.words),
            row_starts=address_of(self._rows.starts),
            row_bits=address_of(self._rows.bits),
            wanted_runs=address_of(run),
            wanted_events=address_of(event),
            answers=address_of(answers),
        )
        for loop in _SEARCH:
            kernel_cache.function(loop)(address_of(job), 0, 0, len(run))
            if loop is finding.find_blocks and not self._seen.all():
                blocks = np.unique(answers[answers >= 0])
                for these in (blocks, np.minimum(blocks + 1, len(index.first_event) - 1)):
                    self._open(self._events, these)
                    self._open(self._rows, these)
        return answers

    def _found(self, run: Array, event: Array) -> tuple[Array, Array]:
        """`find`, by arrays of all ids at once."""
        of_run = np.searchsorted(self._is.runs, run)
        which = np.flatnonzero(of_run < len(self._is.runs))
        which = which[self._is.runs[of_run[which]] == run[which]]
        of_run, wanted = of_run[which], event[which]
        rank = self._lower(of_run, wanted)
        there = self._holds(of_run, rank, wanted)
        which, of_run, wanted, rank = (a[there] for a in (which, of_run, wanted, rank))
        copies = np.ones(len(which), np.int64)
        more = self._holds(of_run, rank + 1, wanted)
        if len(more):
            copies[more] = self._upper(of_run[more], wanted[more]) - rank[more]
            rank = np.repeat(rank, copies) + _counted(copies)
            which, of_run = np.repeat(which, copies), np.repeat(of_run, copies)
        block, place = self._is.first_block[of_run] + rank // BLOCK, rank % BLOCK
        rows: Array = self._is.base_row[block] + place + self._open(self._rows, block).at(place)
        return which, rows

    def _holds(self, of_run: Array, rank: Array, wanted: Array) -> Array:
        """Which of the ranks (within their run) hold the wanted event; a rank past the run's end does not."""
        inside = np.flatnonzero(rank < self._is.sizes[of_run])
        block, place = self._is.first_block[of_run[inside]] + rank[inside] // BLOCK, rank[inside] % BLOCK
        event = self._is.first_event[block] + place * self._is.steps[block] + self._open(self._events, block).at(place)
        found: Array = inside[event == wanted[inside]]
        return found

    def _upper(self, of_run: Array, wanted: Array) -> Array:
        """Rank, within its run, of the first event above each wanted one."""
        last = np.iinfo(np.int64).max
        above = self._lower(of_run, np.minimum(wanted, last - 1) + 1)
        return np.where(wanted == last, self._is.sizes[of_run], above)

    def _lower(self, of_run: Array, wanted: Array) -> Array:
        """Rank, within its run, of the first event that is not below each wanted one; past the end where all are."""
        block = np.empty(len(wanted), np.int64)
        bounds = np.flatnonzero(np.diff(of_run, prepend=-1, append=-1)).tolist()
        for low, high in pairwise(bounds):
            first, past = self._is.first_block[of_run[low] : of_run[low] + 2].tolist()
            at = np.searchsorted(self._is.first_event[first:past], wanted[low:high])
            block[low:high] = first + np.maximum(at - 1, 0)
        before = (block - self._is.first_block[of_run]) * BLOCK
        size = np.minimum(self._is.sizes[of_run] - before, BLOCK)
        distance, steps = wanted - self._is.first_event[block], self._is.steps[block].astype(np.int64)
        events, place = self._open(self._events, block), np.zeros(len(wanted), np.int64)
        for step, tries in _COARSE if len(wanted) < _MANY else _BINARY:
            tried = place + step * np.arange(1, tries + 1)[:, None]
            last = np.minimum(tried, size) - 1
            below = (tried <= size) & (events.at(last) + last * steps < distance)
            place += step * below.sum(axis=0)
        return before + place

    def _open(self, packed: Packed, blocks: Array) -> Opened:
        """The blocks, once the CRC of every page that they touch was found right. ValueError: it was not."""
        offset = 0 if packed is self._events else self._events.words.nbytes
        first = (packed.starts[blocks] * 8 + offset) // _PAGE
        if not (self._seen[first].all() and self._seen[np.minimum(first + 1, len(self._seen) - 1)].all()):
            for page in np.unique([first, np.minimum(first + 1, len(self._seen) - 1)]).tolist():
                if not self._seen[page]:
                    if zlib.crc32(self._words[page * _PAGE : (page + 1) * _PAGE].data) != self._is.crcs[page]:
                        raise ValueError("the index is damaged")
                    self._seen[page] = True
        return packed.of(blocks)


_SEARCH = finding.find_blocks, finding.find_rows


def _compiled(ids: int) -> bool:
    """Whether the compiled search is there for so many ids: few of them do not wait for it, nor have it compiled."""
    if ids >= _MANY:
        return kernel_cache.at_hand(*_SEARCH)
    if all(map(kernel_cache.ready, _SEARCH)):
        return True
    _load()
    return False


@cache
def _load() -> None:
    """Load the compiled search behind the answers, if it is on the disk: asked once."""
    if all(map(kernel_cache.kept, _SEARCH)):
        kernel_cache.soon(_SEARCH)


def _pages(size: int) -> int:
    return -(-size // _PAGE)


def _counted(copies: Array) -> Array:
    """0, 1, … within each of the groups of so many members."""
    starts = np.cumsum(copies) - copies
    counted: Array = np.arange(int(copies.sum())) - np.repeat(starts, copies)
    return counted


def encode(run: Array, event: Array, part: bytes) -> bytes:
    """The index file of rows with these runs and events, (n,) int32 and int64; `part` as `footers.identity_of`."""
    order = _order(run, event)
    run, event = run[order], event[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(run)), np.bool_), run[1:] != run[:-1]]))
    sizes = np.diff(starts, append=len(run))
    blocks = -(-sizes // BLOCK)
    first_block = np.concatenate([[0], np.cumsum(blocks)])
    before = _counted(blocks) * BLOCK  # rows of the run before each block
    start, size = np.repeat(starts, blocks) + before, np.minimum(np.repeat(sizes, blocks) - before, BLOCK)
    pieces = [
        _encoded(event, order, start[at : at + _AT_ONCE], size[at : at + _AT_ONCE])
        for at in range(0, len(start), _AT_ONCE)
    ]
    events, rows = joined([p[0] for p in pieces]), joined([p[1] for p in pieces])
    base = [_NONE, *(p[2] for p in pieces)]
    steps = [_NONE, *(p[3] for p in pieces)]
    words = events.words.tobytes() + rows.words.tobytes()
    crcs = [zlib.crc32(words[at : at + _PAGE]) for at in range(0, len(words), _PAGE)]
    columns = (
        sizes,
        first_block,
        event[start],
        np.concatenate(base),
        events.starts,
        rows.starts,
        run[starts],
        crcs,
        events.bits,
        rows.bits,
        np.concatenate(steps),
    )
    body = b"".join(np.asarray(c).astype(t).tobytes() for c, t in zip(columns, _TYPES, strict=True))
    body += bytes(-len(body) % 8)
    counts = (len(run), len(starts), len(start), len(events.words), len(rows.words))
    head = _HEADER.pack(_MAGIC, part, *counts, 0)[:-8]
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(8, "little") + body + words


def _order(run: Array, event: Array) -> Array:
    """Rows by (run, event, row)."""
    rises = (run[1:] > run[:-1]) | ((run[1:] == run[:-1]) & (event[1:] >= event[:-1]))
    return np.arange(len(run)) if rises.all() else np.lexsort((event, run))


Packing = tuple[Array, Array, Array]


def _encoded(event: Array, order: Array, start: Array, size: Array) -> tuple[Packing, Packing, Array, Array]:
    """Events and rows of some blocks, packed; base rows; steps."""
    place = np.minimum(np.arange(BLOCK)[:, None], size - 1)  # past a block's end its last number again
    rank = start + place
    distance = event[rank] - event[start]
    steps = ((distance - place).min(axis=0) >= 0).astype(np.int64)
    rows = order[rank] - place
    base = rows.min(axis=0)
    packed = (pack(values.astype(np.uint64), size) for values in (distance - place * steps, rows - base))
    return next(packed), next(packed), base, steps
