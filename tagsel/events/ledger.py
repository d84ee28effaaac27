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
        """The counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, document: Mapping[str, int]) -> Self:
        """The ledger that `to_json` wrote."""
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Ledger(_Counts):
    """Where the TAG rows of a selection went.

    Each row is in the first that applies: unreadable, duplicate, masked (by a good-run list), rejected,
    accepted.

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
        """The rows that the counts add up to."""
        return self.accepted + self.rejected + self.masked + self.duplicate + self.unreadable

    def check(self, read: int) -> None:
        """EventListError unless the counts add up to `read`, the number of rows that the commit log gives."""
        if self.read != read or min(self.to_json().values()) < 0:
            raise EventListError(
                f"the selection ledger does not close: {read} rows in the dataset, {self.read} accounted for",
                ledger=self.to_json(),
                read=read,
            )


@dataclass(frozen=True, slots=True)
class RebaseLedger(_Counts):
    """Where the events of a list went when they were looked up again.

    `kept`: in the same file at the same entry; `moved`: in another file or at another entry; `vanished`: nowhere;
    `ambiguous`: in several rows, none of which is the one by any rule; `repeated`: further rows of the list that said
    the same event.

    >>> RebaseLedger(kept=12, moved=3, vanished=1).check(16)
    """

    kept: int = 0
    moved: int = 0
    vanished: int = 0
    ambiguous: int = 0
    repeated: int = 0

    @property
    def lost(self) -> int:
        """Events that the new list does not hold."""
        return self.vanished + self.ambiguous

    def check(self, events: int) -> None:
        """EventListError unless the counts add up to the list's `events`."""
        counts = self.to_json()
        if sum(counts.values()) != events or min(counts.values()) < 0:
            raise EventListError(
                f"the ledger of the rebase does not close: {events} events in the list, {sum(counts.values())} "
                "accounted for",
                ledger=counts,
            )


@dataclass(frozen=True, slots=True)
class DeliveryLedger(_Counts):
    """Where the accepted events of a list went: delivered, unreadable (no AOD to read), or failed (in a job).

    >>> DeliveryLedger(accepted=17, delivered=16, unreadable=1).check()
    """

    accepted: int = 0
    delivered: int = 0
    unreadable: int = 0
    failed: int = 0

    def check(self) -> None:
        """EventListError unless `accepted = delivered + unreadable + failed`."""
        found = self.delivered + self.unreadable + self.failed
        if self.accepted != found or min(self.to_json().values()) < 0:
            raise EventListError(
                f"the delivery ledger does not close: {self.accepted} accepted, {found} accounted for",
                ledger=self.to_json(),
            )
