"""POOL file catalogs: PoolFileCatalog.xml, which says where the file of a GUID lies.

Invariant: GUIDs are upper-case, each occurs once in what is returned, and no external entity is ever fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagsel.errors import AccessError
from tagsel.rootio.tokens import canonical_guid


@dataclass(frozen=True, slots=True)
class PoolFile:
    """A file of a POOL catalog: GUID, physical names in the catalog's order, logical name or ""."""

    guid: str
    pfns: tuple[str, ...]
    lfn: str = ""


def read_pool_file_catalog(path: Path | str) -> list[PoolFile]:
    """The files of a PoolFileCatalog.xml, in its order; entries that repeat a GUID are merged into the first.

    A GUID in lower case, several physical names and an empty <logical/> are all normal. Raises AccessError
    naming the file where it is missing, not well-formed, declares entities, or an entry has no GUID.
    """
    path = Path(path)
    merged: dict[str, PoolFile] = {}
    for number, element in enumerate(_root(path).iter("File"), start=1):
        try:
            guid = canonical_guid(element.get("ID", ""))
        except AccessError as error:
            message = f"{path}: entry {number}: {error.message}"
            raise AccessError(message, path=str(path), entry=number) from error
        pfns = _names(element.iterfind("physical/pfn"))
        lfn = next(iter(_names(element.iterfind("logical/lfn"))), "")
        before = merged.get(guid, PoolFile(guid, ()))
        merged[guid] = PoolFile(guid, tuple(dict.fromkeys((*before.pfns, *pfns))), before.lfn or lfn)
    return list(merged.values())


def _names(elements: Iterable[Any]) -> list[str]:
    return [name for e in elements if (name := e.get("name", "").strip())]


def _root(path: Path) -> Any:
    # defusedxml refuses entity declarations (bombs, files, addresses) and leaves an external DTD unfetched.
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root = fromstring(path.read_bytes())
    except OSError as error:
        raise AccessError(f"{path}: cannot be opened: {error.strerror}", path=str(path)) from error
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AccessError(f"{path}: not a well-formed POOL file catalog: {error}", path=str(path)) from error
    if root.tag != "POOLFILECATALOG":
        raise AccessError(f"{path}: no POOL file catalog: its root element is <{root.tag}>", path=str(path))
    return root
