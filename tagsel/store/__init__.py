"""TAG datasets on disk: parts, commits, snapshots, zones."""

from tagsel.store.conform import arrow_schema
from tagsel.store.frame import Frame
from tagsel.store.layout import ROW_GROUP, NewPart, Source, write_part
from tagsel.store.parts import Part
from tagsel.store.places import Stretches
from tagsel.store.snapshots import Snapshot
from tagsel.store.table import Table
from tagsel.store.upkeep import CompactPlan
from tagsel.store.zones import Zone

__all__ = [
    "ROW_GROUP",
    "CompactPlan",
    "Frame",
    "NewPart",
    "Part",
    "Snapshot",
    "Source",
    "Stretches",
    "Table",
    "Zone",
    "arrow_schema",
    "write_part",
]
