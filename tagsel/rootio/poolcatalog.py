"""POOL file catalogs: PoolFileCatalog.xml, which says where the file of a GUID lies, read and written.

Invariant: GUIDs are upper-case, each occurs once in what is returned, no external entity is ever fetched, and what
`format_pool_file_catalog` writes is read back equal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagsel.base.documents import CATALOG_BYTES, parse_xml, read_bounded
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


def format_pool_file_catalog(files: Iterable[PoolFile]) -> str:
    """The text of a PoolFileCatalog.xml with these files, in their order, repeated GUIDs and names merged.

    AccessError for a name that XML, or a reader of it, would not give back: empty, with control characters, with
    blanks at an end.

    >>> print(format_pool_file_catalog([PoolFile("81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C", ("/a/1.root",))]))
    <?xml version="1.0" encoding="UTF-8" standalone="no" ?>
    <!DOCTYPE POOLFILECATALOG SYSTEM "InMemory">
    <POOLFILECATALOG>
      <File ID="81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C">
        <physical>
          <pfn filetype="ROOT_All" name="/a/1.root"/>
        </physical>
        <logical/>
      </File>
    </POOLFILECATALOG>
    <BLANKLINE>
    """
    merged: dict[str, PoolFile] = {}
    for file in files:
        guid = canonical_guid(file.guid)
        before = merged.get(guid, PoolFile(guid, ()))
        pfns = tuple(dict.fromkeys((*before.pfns, *file.pfns)))
        merged[guid] = PoolFile(guid, pfns, before.lfn or file.lfn)
    lines = list(_HEAD)
    for file in merged.values():
        lines.extend(_element(file))
    lines.extend(("</POOLFILECATALOG>", ""))
    return "\n".join(lines)


_HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>',
    '<!DOCTYPE POOLFILECATALOG SYSTEM "InMemory">',
    "<POOLFILECATALOG>",
)


def _nested(tag: str, children: list[str]) -> list[str]:
    """Return the lines of an element with these children."""
    if not children:
        return [f"    <{tag}/>"]
    return [f"    <{tag}>", *children, f"    </{tag}>"]


def _element(file: PoolFile) -> list[str]:
    physical = [f'      <pfn filetype="ROOT_All" name={_quoted(pfn, file.guid)}/>' for pfn in file.pfns]
    logical = [f"      <lfn name={_quoted(file.lfn, file.guid)}/>"] if file.lfn else []
    return [
        f'  <File ID="{file.guid}">',
        *_nested("physical", physical),
        *_nested("logical", logical),
        "  </File>",
    ]


def _quoted(name: str, guid: str) -> str:
    """A name as an attribute's value, quotes and all."""
    from xml.sax.saxutils import quoteattr

    unfit = any(unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" for c in name)
    if not name or name != name.strip() or unfit:
        raise AccessError(
            f"file {guid}: the name {name[:120]!r} cannot stand in a POOL file catalog",
            hint="no control characters, no blanks at the ends",
            guid=guid,
        )
    return quoteattr(name)


def _names(elements: Iterable[Any]) -> list[str]:
    return [name for e in elements if (name := e.get("name", "").strip())]


def _root(path: Path) -> Any:
    try:
        root = parse_xml(read_bounded(path, CATALOG_BYTES), CATALOG_BYTES)
    except OSError as error:
        raise AccessError(f"{path}: cannot be opened: {error.strerror}", path=str(path)) from error
    except ValueError as error:
        raise AccessError(f"{path}: not a well-formed POOL file catalog: {error}", path=str(path)) from error
    if root.tag != "POOLFILECATALOG":
        raise AccessError(f"{path}: no POOL file catalog: its root element is <{root.tag}>", path=str(path))
    return root
