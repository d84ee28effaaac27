"""One way to open a ROOT file: TTree and RNTuple alike, highest cycles, GUIDs, Tokens, baskets of given entries."""

from tagsel.rootio.entry_lists import TreeEntries, entry_lists
from tagsel.rootio.file import EVENT_TREES, RootFile, guid_of
from tagsel.rootio.ids import ID_COLUMNS, id_columns
from tagsel.rootio.metering import Meter, metered
from tagsel.rootio.notes import NOTE, UNITS, note_of
from tagsel.rootio.poolcatalog import PoolFile, format_pool_file_catalog, read_pool_file_catalog
from tagsel.rootio.remote import is_remote
from tagsel.rootio.tokens import Token, canonical_guid, parse_token
from tagsel.rootio.trees import EventTree
from tagsel.rootio.typenames import ColumnType, parse_typename, plain_name

__all__ = [
    "EVENT_TREES",
    "ID_COLUMNS",
    "NOTE",
    "UNITS",
    "ColumnType",
    "EventTree",
    "Meter",
    "PoolFile",
    "RootFile",
    "Token",
    "TreeEntries",
    "canonical_guid",
    "entry_lists",
    "format_pool_file_catalog",
    "guid_of",
    "id_columns",
    "is_remote",
    "metered",
    "note_of",
    "parse_token",
    "parse_typename",
    "plain_name",
    "read_pool_file_catalog",
]
