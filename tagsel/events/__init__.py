"""Event lists: their algebra, their files, and the ledgers that account for every event."""

from tagsel.events.eventlist import Event, EventList, Overlap
from tagsel.events.files import read_events, write_events
from tagsel.events.forms import FORMS
from tagsel.events.history import History
from tagsel.events.ledger import DeliveryLedger, Ledger, RebaseLedger
from tagsel.events.names import UNKNOWN, Names, Reference

__all__ = [
    "FORMS",
    "UNKNOWN",
    "DeliveryLedger",
    "Event",
    "EventList",
    "History",
    "Ledger",
    "Names",
    "Overlap",
    "RebaseLedger",
    "Reference",
    "read_events",
    "write_events",
]
