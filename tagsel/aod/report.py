"""What a reading of selected entries did: bytes, files, and where every event went.

Invariant: `ledger` closes: every event that was asked for is delivered or unreadable, and each unreadable one
belongs to a problem that names its file, or has no address.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tagsel.events import DeliveryLedger, EventList


def provenance_of(events: EventList) -> dict[str, object]:
    """What an output says of the list that it was made from: digest, kind, ledger, cut and all that it knows."""
    return {
        "list": events.digest,
        "events": len(events),
        "simulation": events.simulation,
        "samples": [] if events.sample is None else list(events.sample.values),
        "ledger": None if events.ledger is None else events.ledger.to_json(),
        "provenance": dict(events.provenance),
    }


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file whose events could not be had, why, and how many they are."""

    guid: str
    lfn: str
    pfn: str
    reason: str
    events: int


@dataclass(frozen=True, slots=True)
class ReadReport:
    """Figures of one reading.

    `bytes_read`: compressed bytes of the baskets or pages that were read, as often as they were; `bytes_opened`: what
    else was asked of the files, to open them and to find these; `bytes_branches`: what the same branches take for all
    entries of the files read; `bytes_total`: sizes of these files; `unchecked`: files without readable ids, whose GUID
    and entry count alone were checked.
    """

    bytes_read: int
    bytes_branches: int
    bytes_total: int
    files: int
    ledger: DeliveryLedger
    problems: tuple[FileProblem, ...] = ()
    unchecked: tuple[str, ...] = ()
    bytes_opened: int = 0

    @property
    def bytes_asked(self) -> int:
        """All that was asked of the files: what a server of them counts, but for the headers of its protocol."""
        return self.bytes_read + self.bytes_opened

    @property
    def amount(self) -> str:
        """How much was read, in words: a part of the files, or more than they hold."""
        if self.bytes_asked <= self.bytes_total:
            return f"{self.bytes_asked:,} of {self.bytes_total:,} B read in {self.files} files"
        return f"{self.bytes_asked:,} B read in {self.files} files of {self.bytes_total:,} B, parts more than once"

    def to_json(self) -> dict[str, object]:
        """All figures by name, JSON-ready."""
        return {**asdict(self), "ledger": self.ledger.to_json(), "bytes_asked": self.bytes_asked}
