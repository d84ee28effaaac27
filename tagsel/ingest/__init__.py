"""Files as TAG records: one module a format, each a function from a path to a TagSource."""

from tagsel.ingest.find import open_source
from tagsel.ingest.source import BATCH_ROWS, AodFile, TagSource

__all__ = ["BATCH_ROWS", "AodFile", "TagSource", "open_source"]
