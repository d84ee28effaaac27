"""Files as TAG records: one module a format, each a function from a path to a TagSource."""

from tagsel.ingest.derive import derive_source_schema
from tagsel.ingest.find import OPENERS, open_source
from tagsel.ingest.report import IngestReport, ReportLine
from tagsel.ingest.source import BATCH_ROWS, AodFile, TagSource

__all__ = [
    "BATCH_ROWS",
    "OPENERS",
    "AodFile",
    "IngestReport",
    "ReportLine",
    "TagSource",
    "derive_source_schema",
    "open_source",
]
