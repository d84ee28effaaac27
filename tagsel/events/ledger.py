"""The two ledgers: every TAG row that was read, and every accepted event, is accounted for.

Invariant: a ledger that does not close is an error, never a warning. Silent event loss is the worst bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tagsel.errors import EventListError


class _Counts:
    """What both ledgers share: adding, and the form in JSON."""

    __slots__: tuple[str, ...] = ()

    def __add__(self, other: Self) -> Self:
        mine, theirs = self.to_json(), other.to_json()
        return type(self)(**{name: mine[name] + theirs[name] for name in mine})

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, document: Mapping[str, int]) -> Self:
        """Make a ledger from the output of `to_json`."""
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Ledger(_Counts):
    """Numbers of TAG rows of a selection. Each row counts once, in the first that applies.

    Attributes
    ----------
    unreadable : int
        Rows of damaged row groups.
    duplicate : int
        Rows that repeat an event which another row represents.
    masked : int
        Rows outside the good-run lists.
    rejected : int
        Rows that fail a cut.
    accepted : int
        Rows that pass all cuts.

    Examples
    --------
    >>> ledger = Ledger(accepted=17, rejected=23)
    >>> ledger.read
    40
    """

    accepted: int = 0
    rejected: int = 0
    masked: int = 0
    duplicate: int = 0
    unreadable: int = 0

    @property
    def read(self) -> int:
        """Number of rows: the sum of the counts."""
        return self.accepted + self.rejected + self.masked + self.duplicate + self.unreadable

    def check(self, read: int) -> None:
        """Compare the sum of the counts with the number of rows in the commit log.

        Parameters
        ----------
        read : int
            Number of rows in the commit log.

        Raises
        ------
        EventListError
            The ledger does not close.
        """
        if self.read != read or min(self.to_json().values()) < 0:
            raise EventListError(
                f"the selection ledger does not close: {read} rows in the dataset, {self.read} accounted for",
                ledger=self.to_json(),
                read=read,
            )


@dataclass(frozen=True, slots=True)
class RebaseLedger(_Counts):
    """Numbers of events of a list that was rebased.

    Attributes
    ----------
    kept : int
        Events in the same file at the same entry.
    moved : int
        Events in another file or at another entry.
    vanished : int
        Events in no row.
    ambiguous : int
        Events in several rows, where no rule decides.
    repeated : int
        Further rows of the list with the same event.

    Examples
    --------
    >>> RebaseLedger(kept=12, moved=3, vanished=1).check(16)
    """

    kept: int = 0
    moved: int = 0
    vanished: int = 0
    ambiguous: int = 0
    repeated: int = 0

    @property
    def lost(self) -> int:
        """Number of events that the new list lacks."""
        return self.vanished + self.ambiguous

    def check(self, events: int) -> None:
        """Compare the sum of the counts with the number of events in the list; EventListError if they differ."""
        counts = self.to_json()
        if sum(counts.values()) != events or min(counts.values()) < 0:
            raise EventListError(
                f"the ledger of the rebase does not close: {events} events in the list, {sum(counts.values())} "
                "accounted for",
                ledger=counts,
            )


@dataclass(frozen=True, slots=True)
class DeliveryLedger(_Counts):
    """Numbers of accepted events of a list after a skim or job.

    Attributes
    ----------
    accepted : int
        Events of the list.
    delivered : int
        Events in the output.
    unreadable : int
        Events without a readable AOD.
    failed : int
        Events of failed pieces of a job.

    Examples
    --------
    >>> DeliveryLedger(accepted=17, delivered=16, unreadable=1).check()
    """

    accepted: int = 0
    delivered: int = 0
    unreadable: int = 0
    failed: int = 0

    def check(self) -> None:
        """Compare `accepted` with `delivered + unreadable + failed`; EventListError if they differ."""
        total = self.delivered + self.unreadable + self.failed
        if self.accepted != total or min(self.to_json().values()) < 0:
            raise EventListError(
                f"the delivery ledger does not close: {self.accepted} accepted, {total} accounted for",
                ledger=self.to_json(),
            )
