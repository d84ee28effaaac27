"""Where the rows of a snapshot say that their events are, and what of that is there: the columns themselves are read.

Invariant: rows = rows with a GUID + rows without + rows of parts that cannot be read; each is in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.errors import StoreError
from tagsel.events import Names
from tagsel.store import Part, Snapshot, watch
from tagsel.store.places import stretches

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """Entries of one file that rows point to, as `first` and `length` of neighbours, (n,) int64 each."""

    first: Ints
    length: Ints

    def __add__(self, other: Spans) -> Spans:
        return Spans(np.concatenate([self.first, other.first]), np.concatenate([self.length, other.length]))

    @property
    def rows(self) -> int:
        """Rows that point into the file."""
        return int(self.length.sum())

    def covered(self) -> int:
        """How many different entries they point to.

        >>> Spans(np.array([0, 2, 9]), np.array([4, 3, 1])).covered()
        6
        """
        order = np.argsort(self.first, kind="stable")
        first, end = self.first[order], (self.first + self.length)[order]
        reached = np.maximum.accumulate(np.append(0, end))[:-1] if len(end) else end
        return int(np.maximum(end - np.maximum(first, reached), 0).sum())

    def beyond(self, entries: int) -> int:
        """Rows that point to an entry from `entries` on."""
        end = self.first + self.length
        return int(np.maximum(end - np.maximum(self.first, entries), 0).sum())


@dataclass(frozen=True)
class Addresses:
    """What reading every part gave: `spans` by GUID of the AOD, rows `without` one, the luminosity `blocks` that have
    rows (n, 2), and `lost`, by part, the rows that cannot be read and why."""

    rows: int
    spans: dict[str, Spans]
    without: int
    blocks: Ints
    lost: dict[str, tuple[int, str]]


def addresses(snapshot: Snapshot, *, deep: bool = False) -> Addresses:
    """Read ids and addresses of all rows, with `deep` every column; a part that is damaged is noted, with its rows."""
    spans: dict[str, Spans] = {}
    lost: dict[str, tuple[int, str]] = {}
    blocks = [np.zeros((0, 2), np.int64)]
    for part in snapshot.parts:
        try:
            with watch:
                found = list(_read(part, deep))
        except StoreError as error:
            lost[part.name] = part.rows, error.message
            continue
        for here, mine in found:
            blocks.append(here)
            for guid, more in mine.items():
                spans[guid] = spans[guid] + more if guid in spans else more
    nowhere = spans.pop("", None)
    every = np.unique(np.concatenate(blocks), axis=0)
    return Addresses(snapshot.rows, spans, nowhere.rows if nowhere is not None else 0, every, lost)


def _read(part: Part, deep: bool) -> Iterator[tuple[Ints, dict[str, Spans]]]:
    """Luminosity blocks and spans of each row group. StoreError: it is damaged."""
    for group, rows in enumerate(part.groups):
        columns = part.read(group, ["run", "lumi", "event", "aod_entry"])
        if deep:
            for column in sorted(part.columns):
                part.read(group, [column])
            part.check_lists(group)
        at = stretches({name: columns[name] for name in ("run", "lumi")})
        ids = np.stack([columns["run"][at], columns["lumi"][at]], axis=1).astype(np.int64)
        yield np.unique(ids, axis=0), _spans(part, group, rows, columns.get("aod_entry"))


def _spans(part: Part, group: int, rows: int, entry: npt.NDArray[np.int64] | None) -> dict[str, Spans]:
    """The spans of a row group by GUID; "" has the rows without one."""
    if entry is None or "aod_guid" not in part.columns:
        return {"": Spans(np.zeros(1, np.int64), np.array([rows], np.int64))}
    guid = Names.of(*part.read_codes(group, "aod_guid"))
    names = (*(name for name in guid.values if name), "")  # "" sorts first
    code = guid.codes.astype(np.int64) - (len(guid.values) - len(names) + 1)
    code[(code < 0) | (entry < 0)] = len(names) - 1
    at = stretches({"code": code, "entry": entry}, "entry")
    first, length, of = entry[at].astype(np.int64), np.diff(np.append(at, rows)), code[at]
    order = np.argsort(of, kind="stable")
    ends = np.searchsorted(of[order], np.arange(len(names) + 1))
    pieces = {name: order[ends[k] : ends[k + 1]] for k, name in enumerate(names)}
    return {name: Spans(first[some], length[some]) for name, some in pieces.items() if len(some)}
