"""The trash of a workspace on disk: a folder for each dataset that was dropped, with its record and its files.

Invariant: a dataset whose way into the trash, or out of it, was interrupted is whole in one of the two places after
`settle`.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tagsel.api.inputs import DATA
from tagsel.base.atomic_write import sync
from tagsel.base.fail_points import fail_point
from tagsel.catalog import Catalog
from tagsel.errors import CatalogError
from tagsel.store import disk

log = logging.getLogger("tagsel")

TRASH, RECORD, BETWEEN, MOVED = "trash", "record.json", "between.json", "data"
"""The folder of a workspace with what was dropped, one folder each: what was known of it, and its files where it had
any. While a dataset goes there, or comes back, its record has the second name."""


GONE = ".gone-"
"""How folders of the trash are called that are being removed."""


@dataclass(frozen=True)
class Dropped:
    """A dataset in the trash, or with `dry_run` one that would go there: `bytes` on disk below the workspace, and the
    datasets that were made `from_it`, which stay."""

    name: str
    id: str
    dropped: str
    who: str
    events: int
    bytes: int
    from_it: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


def look_up(folder: Path) -> tuple[dict[Path, dict[str, Any]], list[CatalogError]]:
    """The records of what lies in a workspace's trash, by their folders, and why others cannot be read; nothing is
    written."""
    records: dict[Path, dict[str, Any]] = {}
    damaged: list[CatalogError] = []
    for path in (*paths_of(folder, RECORD), *paths_of(folder, BETWEEN)):
        try:
            record = read_record(path)
        except CatalogError as error:
            damaged.append(error)
            continue
        if path.name == RECORD:
            records[path.parent] = record
    return records, damaged


def settle(folder: Path, catalog: Catalog) -> None:
    """Put every dataset of a workspace that was broken off between its two places where the catalog says: into `data`
    if it is there, into the trash if not. A reader, who may not do so, changes nothing."""
    if not catalog.may_write():
        return
    if paths_of(folder, BETWEEN) or any((folder / TRASH).glob(f"{GONE}*")):
        with alone(folder, catalog):
            return


@contextmanager
def alone(folder: Path, catalog: Catalog) -> Iterator[None]:
    """Hold the lock of a workspace's trash, with all settled that was broken off."""
    with disk.locked(folder / TRASH, action="moving datasets to or from the trash"):
        names = set(catalog.names())
        for record in paths_of(folder, BETWEEN):
            try:
                name = read_record(record)["name"]
            except CatalogError as error:  # it holds up nothing else
                log.warning("%s", error.message)
                continue
            moved = record.with_name(MOVED)
            here = folder / DATA / name
            if name not in names or (moved.exists() and here.exists()):  # or another has its name meanwhile
                record.rename(record.with_name(RECORD))
                continue
            if moved.exists():
                move(moved, here)
            remove(record.parent)
        for left in (folder / TRASH).glob(f"{GONE}*"):
            shutil.rmtree(left)
        yield


def move(source: Path, target: Path) -> None:
    """Rename a folder of the workspace while nobody commits to it."""
    with disk.saying("move", source):
        source.rename(target)
        sync(target.parent)
        sync(source.parent)


def remove(place: Path) -> None:
    """Remove a folder of the trash, which is none of it any more from the first moment on."""
    gone = place.with_name(GONE + place.name)
    place.rename(gone)
    fail_point("trash.remove")
    shutil.rmtree(gone)


def paths_of(folder: Path, record: str) -> list[Path]:
    """The records of that name in a workspace's trash."""
    found = (folder / TRASH).glob(f"*/{record}")
    return sorted(path for path in found if not path.parent.name.startswith(GONE))


def read_record(path: Path) -> dict[str, Any]:
    """The record of a dataset that was dropped. CatalogError: it is damaged."""
    try:
        record = json.loads(path.read_text("utf-8"))
        facts = {field.name: record[field.name] for field in fields(Dropped)}
        return {**facts, "from_it": tuple(record["from_it"]), "rows": dict(record["rows"])}
    except KeyError as error:
        reason = f"it lacks {error}"
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    hint = f"put it back from a backup; files of the dataset are in {path.with_name(MOVED)}"
    raise CatalogError(f"{path} cannot be read: {reason}", hint=hint, path=str(path))
