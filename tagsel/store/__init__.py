"""TAG datasets on disk: parts, commits, snapshots, zones."""

from tagsel.store.bus_error import watch, watched
from tagsel.store.conform import arrow_schema
from tagsel.store.frame import Frame, OpenParts
from tagsel.store.layout import ROW_GROUP, NewPart, Source, write_part
from tagsel.store.parts import Part
from tagsel.store.places import Stretches
from tagsel.store.snapshots import Snapshot, at_least
from tagsel.store.table import Table
from tagsel.store.upkeep import CompactPlan
from tagsel.store.zones import Zone

__all__ = [
    "ROW_GROUP",
    "CompactPlan",
    "Frame",
    "NewPart",
    "OpenParts",
    "Part",
    "Snapshot",
    "Source",
    "Stretches",
    "Table",
    "Zone",
    "arrow_schema",
    "at_least",
    "watch",
    "watched",
    "write_part",
]
