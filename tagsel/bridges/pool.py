"""For POOL and what reads its catalogs, Athena among others: the files of a list as a PoolFileCatalog.xml.

Invariant: a file is in it with all its known names, or is not in it, and is named as lost.
"""

from __future__ import annotations

from tagsel.bridges.order import Order, Written
from tagsel.rootio import PoolFile, format_pool_file_catalog

CATALOG = "PoolFileCatalog.xml"


def write(order: Order) -> Written:
    """The catalog."""
    copies = order.copies
    files = [PoolFile(f.guid, copies[f.guid], f.lfn) for f in order.map.files if copies.get(f.guid)]
    return Written({CATALOG: format_pool_file_catalog(files)})
