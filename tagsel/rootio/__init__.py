"""One way to open a ROOT file: TTree and RNTuple alike, highest cycles, GUIDs, Tokens, baskets of given entries."""

from tagsel.rootio.file import EVENT_TREES, RootFile, guid_of
from tagsel.rootio.notes import NOTE, note_of
from tagsel.rootio.poolcatalog import PoolFile, format_pool_file_catalog, read_pool_file_catalog
from tagsel.rootio.remote import is_remote
from tagsel.rootio.tokens import Token, canonical_guid, parse_token
from tagsel.rootio.trees import EventTree
from tagsel.rootio.typenames import ColumnType, parse_typename, plain_name

__all__ = [
    "EVENT_TREES",
    "NOTE",
    "ColumnType",
    "EventTree",
    "PoolFile",
    "RootFile",
    "Token",
    "canonical_guid",
    "format_pool_file_catalog",
    "guid_of",
    "is_remote",
    "note_of",
    "parse_token",
    "parse_typename",
    "plain_name",
    "read_pool_file_catalog",
]
