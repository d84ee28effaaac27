"""The caches of a workspace and of this process: list them, clear them."""

from __future__ import annotations

from tagsel.api.home import Home
from tagsel.base import cache
from tagsel.base.text_table import Table
from tagsel.engine import bitmap_files
from tagsel.errors import CatalogError, did_you_mean
from tagsel.kernels import kernel_cache
from tagsel.store import disk, eventindex, stacked, zones

ALL = "all"
"""What stands for the names of all caches."""

ON_DISK = tuple(room.ON_DISK.name for room in (zones, stacked, eventindex, bitmap_files, kernel_cache))
"""The names of the caches on disk. To read them loads each room that has one, and so registers it."""

COLUMNS = ("name", "where", "entries", "bytes")


def caches(home: Home, clear: str = "") -> Table:
    """List the caches that have entries; with `clear`, remove the entries of one cache, or of "all".

    CatalogError where no cache has this name; StoreError where a file cannot be removed.
    """
    if not clear:
        usage = cache.caches(home.folder)
    else:
        name = "" if clear == ALL else clear
        with disk.saying("clear the caches of", home.folder):
            try:
                usage = cache.clear(name, home.folder)
            except KeyError:
                raise _unknown(clear) from None
    return Table(COLUMNS, tuple((one.name, one.where, one.entries, one.nbytes) for one in usage))


def _unknown(name: str) -> CatalogError:
    names = [*cache.names(), ALL]
    hint = did_you_mean(name, names) or f"caches on disk: {', '.join(ON_DISK)}"
    return CatalogError(f"no cache {name!r}", hint=hint)
