"""Parquet, Arrow IPC and Feather as TAGs: the columns of any source schema, or whatever a file has beside its ids.

A file's metadata may carry, as JSON, the trigger menus of its column `menu` (`tagsel.menus`: menu id →
`Menu.to_json()`), its processed luminosity blocks (`tagsel.processed`: [[run, block], …]) and the units of its columns
(`tagsel.units`: column → unit), which count more than those of a source schema. Invariant: the id of a menu is that of
its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagsel.errors import IngestError
from tagsel.ingest import bookkeeping
from tagsel.ingest.body import body_makers
from tagsel.ingest.columnar import columnar_format, identity_of_keys, open_columnar
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Maker, Same, Scalar, in_units
from tagsel.ingest.plan import Plan, head_makers, says_simulation
from tagsel.ingest.readers import ParquetReader
from tagsel.ingest.source import TagSource, files_of
from tagsel.rootio import UNITS, canonical_guid
from tagsel.schema import Menu, SourceSchema, base_attributes

MENUS_KEY = b"tagsel.menus"
PROCESSED_KEY = b"tagsel.processed"


def open_tag_parquet(path: Path, source: SourceSchema) -> TagSource:
    """A file of columns as TAGs; its identity is made of the SHA-256 of its bytes and of the keys of its folders."""
    with open_columnar(path) as file:
        columns = file.columns()
        metadata = file.metadata
        menus = _menus(path, metadata)
        head = head_makers(source, columns, "", own=False)
        body, packed = body_makers(source, columns, head)
        head[-1] = _menu(source, columns, menus, packed) or head[-1]
        body = in_units(body, _units(path, metadata))
        guid, reader = _content_guid(path, file.folder_keys), ParquetReader(path)
        return TagSource(
            path=path,
            format=columnar_format(path),
            guid=guid,
            lfn=path.name,
            entries=file.rows,
            plan=Plan((*head, *body), menus | packed, source.name),
            reader=reader,
            bookkeeping=_bookkeeping(path, metadata),
            aod=files_of(head, reader),
            columns=columns,
            is_simulation=says_simulation(source, columns, reader),
        )


def _menu(source: SourceSchema, columns: Columns, menus: dict[int, Menu], packed: dict[int, Menu]) -> Maker | None:
    attribute = base_attributes(source)[-1]
    stored = columns.first(["menu"])
    if stored is not None and menus:
        return Scalar(attribute, stored)
    only = packed or (menus if len(menus) == 1 else {})
    return Same(attribute, next(iter(only))) if only else None


def _menus(path: Path, metadata: dict[bytes, bytes]) -> dict[int, Menu]:
    text = metadata.get(MENUS_KEY)
    if text is None:
        return {}
    try:
        menus = {int(key): Menu.from_json(menu) for key, menu in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise IngestError(f"{path}: its metadata tagsel.menus cannot be read: {error!r}", path=str(path)) from error
    for key, menu in menus.items():
        if menu.id != key:
            raise IngestError(
                f"{path}: tagsel.menus calls a menu {key} whose content has the id {menu.id}", path=str(path), menu=key
            )
    return menus


def _units(path: Path, metadata: dict[bytes, bytes]) -> dict[str, str]:
    """The units of columns, as the file has them."""
    text = metadata.get(UNITS.encode())
    if text is None:
        return {}
    try:
        return {str(column): str(unit) for column, unit in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise IngestError(f"{path}: its metadata {UNITS} cannot be read: {error!r}", path=str(path)) from error


def _bookkeeping(path: Path, metadata: dict[bytes, bytes]) -> dict[str, Any]:
    record = bookkeeping.nothing("the Parquet file's metadata holds no tagsel.processed")
    text = metadata.get(PROCESSED_KEY)
    if text is None:
        return record
    try:
        blocks = sorted({(int(run), int(lumi)) for run, lumi in json.loads(text)})
    except (ValueError, TypeError) as error:
        raise IngestError(f"{path}: its metadata tagsel.processed cannot be read: {error!r}", path=str(path)) from error
    return {**record, "processed": [list(b) for b in blocks], "processed_reason": None}


def _content_guid(path: Path, folder_keys: Mapping[str, int | str]) -> str:
    with path.open("rb") as file:
        digest: Any = hashlib.file_digest(file, "sha256")
    digest.update(identity_of_keys(folder_keys))
    return canonical_guid(digest.hexdigest()[:32])
