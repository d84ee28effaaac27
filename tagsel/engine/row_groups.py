"""Row groups as the engine meets them: their columns, and which of their rows are eligible before any cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tagsel.kernels.memory import address_of
from tagsel.store import Frame, Part

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Unit:
    """One row group of one part of one input, with its verdict."""

    source: int  # index of the input
    part: Part
    group: int
    rows: int
    verdict: int
    first_row: int  # of the group within its input


class Columns(Mapping[str, npt.NDArray[Any]]):
    """The columns of one row group, each read when it is first asked for; absent ones are not there."""

    def __init__(self, part: Part, group: int) -> None:
        self.part, self.group = part, group
        self.seen: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self.seen:
            if name not in self.part.columns:
                raise KeyError(name)
            self.seen[name] = self.part.read(self.group, [name])[name]
        return self.seen[name]

    def __contains__(self, name: object) -> bool:
        return name in self.part.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.part.columns)

    def __len__(self) -> int:
        return len(self.part.columns)

    @property
    def bytes(self) -> int:
        """Bytes of the columns that were touched."""
        return sum(a.nbytes for a in self.seen.values())


class Judged(NamedTuple):
    """How many rows of a unit are duplicate, masked, alive; and which are alive (None: all, or none)."""

    duplicate: int
    masked: int
    alive: int
    mask: Mask | None = None


class Rows(Protocol):
    """Which rows count, for one row group or for all of an input: worked out here, or where a piece was sent from."""

    def judge(self, unit: Unit, columns: Columns) -> Judged:
        """What becomes of the rows of one unit. StoreError: its part cannot be judged."""

    def fates(self, source: int, frame: Frame) -> Fates:
        """What becomes of the rows of all row groups of one input. StoreError: a part that cannot be judged."""


@dataclass(frozen=True, eq=False)
class Fates:
    """What becomes of the rows of G row groups before any cut: `duplicate`, `masked`, `alive`, (G,) int64.

    `mask(group)`: which rows are alive, (rows,) bool; worked out when asked, so that memory is that of the few in use.
    """

    duplicate: Counts
    masked: Counts
    alive: Counts
    mask: Callable[[int], Mask]

    @property
    def partly(self) -> Mask:
        """Row groups of which some rows are alive and some are not, (G,) bool."""
        return (self.alive > 0) & (self.duplicate + self.masked > 0)

    def masks(self, groups: Counts) -> dict[int, Mask]:
        """The masks of some row groups, of those where only some rows are alive."""
        return {group: self.mask(group) for group in groups[self.partly[groups]].tolist()}


def addresses(masks: Mapping[int, Mask], groups: Counts) -> npt.NDArray[np.uint64]:
    """Where the masks of some row groups lie; 0 where all rows are alive."""
    places = np.zeros(len(groups), np.uint64)
    for at, group in enumerate(groups.tolist() if masks else ()):
        if group in masks:
            places[at] = address_of(masks[group])
    return places


@dataclass(frozen=True)
class Fate:
    """How many rows met each fate, bytes of the columns that were read, and why rows were unreadable."""

    duplicate: int = 0
    masked: int = 0
    unreadable: int = 0
    alive: int = 0
    bytes: int = 0
    losses: tuple[str, ...] = ()
    remembered: int = 0

    @classmethod
    def of_eligible(cls, eligible: Fates, size: int, spared: int = 0) -> Fate:
        """The rows of an input by their end before the cut, where every row group is readable."""
        duplicate, masked, alive = (int(rows.sum()) for rows in (eligible.duplicate, eligible.masked, eligible.alive))
        return cls(duplicate, masked, 0, alive, size, (), spared)

    def __add__(self, other: Fate) -> Fate:
        return Fate(
            self.duplicate + other.duplicate,
            self.masked + other.masked,
            self.unreadable + other.unreadable,
            self.alive + other.alive,
            self.bytes + other.bytes,
            tuple(dict.fromkeys((*self.losses, *other.losses))),
            self.remembered + other.remembered,
        )
