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

    `bytes_read`: compressed bytes of the baskets or pages touched; `bytes_branches`: what the same branches
    take for all entries of the files read; `bytes_total`: sizes of these files; `unchecked`: files without
    readable ids, whose GUID and entry count alone were checked.
    """

    bytes_read: int
    bytes_branches: int
    bytes_total: int
    files: int
    ledger: DeliveryLedger
    problems: tuple[FileProblem, ...] = ()
    unchecked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """All figures by name, JSON-ready."""
        return {**asdict(self), "ledger": self.ledger.to_json()}
