"""Datasets that are not wanted any more: kept until a day, dropped into the workspace's trash, put back, or removed.

Invariant: an interrupted drop or recovery leaves the dataset whole: the next process that opens the workspace finds it
in the catalog with its files in `data`, or in the trash. Only `empty` removes files, and only from there.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.inputs import DATA
from tagsel.api.origins import is_parent
from tagsel.base.atomic_write import atomic_write, sync
from tagsel.base.fail_points import fail_point
from tagsel.base.local_path import disk_usage
from tagsel.catalog import DropDataset, SetMeta, reader_pins, who
from tagsel.catalog.changes import unpinning
from tagsel.catalog.standing import STATES
from tagsel.catalog.trash import RecoverDataset, owned
from tagsel.errors import CatalogError, StoreError, TagselError, after, did_you_mean
from tagsel.store import disk, pins

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace
    from tagsel.catalog import Catalog

log = logging.getLogger("tagsel")

TRASH, RECORD, BETWEEN, MOVED = "trash", "record.json", "between.json", "data"
"""The folder of a workspace with what was dropped, one folder each: what was known of it, and its files where it had
any. While a dataset goes there, or comes back, its record has the second name."""

GONE = ".gone-"
"""How folders of the trash are called that are being removed."""

UNTIL = "keep_until"
"""The free key of a dataset that says the last day, in UTC, on which it is wanted."""


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


def keep(workspace: Workspace, dataset: str, until: date | str | None) -> str:
    """Say the last day on which a dataset is wanted, None for ever; nothing is dropped by that. The day as text."""
    record = workspace.catalog.dataset(dataset)
    try:
        day = date.fromisoformat(str(until)).isoformat() if until is not None else ""
    except ValueError as error:
        raise CatalogError(f"{until!r} is not a day: {error}", hint="--until 2027-12-31", dataset=dataset) from error
    if day and record.state == STATES[-1]:
        raise CatalogError(f"dataset {dataset} is frozen: it stays for ever", dataset=dataset)
    workspace.catalog.record(SetMeta(dataset, {UNTIL: day or None}))
    return day


def expired(workspace: Workspace) -> dict[str, str]:
    """The datasets whose last day is over, each with what keeps it all the same (a pin, a container), or ""."""
    catalog, today = workspace.catalog, datetime.now(UTC).date().isoformat()
    names = [record.name for record in catalog.datasets() if "" < str(record.meta.get(UNTIL, "")) < today]
    return {name: _kept_by(catalog, name) for name in names}


def _kept_by(catalog: Catalog, name: str) -> str:
    try:
        catalog.check(DropDataset(name))
        _refuse_pinned(catalog, name)
    except (CatalogError, StoreError) as error:
        return error.message
    return ""


def _refuse_pinned(catalog: Catalog, name: str) -> None:
    """CatalogError where readers pinned snapshots of a dataset, or where its own file has pins, which the catalog may
    not know. StoreError: that file is damaged."""
    kept = pins.listed(pins.read(catalog.folder / DATA / name))
    if kept:
        reasons = "; ".join(f"@{number}: {reason}" for number, reason in kept[:5])
        raise CatalogError(f"dataset {name} is pinned ({reasons})", hint=unpinning(name, kept), dataset=name)
    left = reader_pins.read(catalog.folder, catalog.dataset(name))
    if left:
        by_whom = "; ".join(f"by {pin.who} (@{pin.snapshot}: {pin.reason})" for pin in left[:5])
        more = f"; and {len(left) - 5:,} more" if len(left) > 5 else ""
        commands = unpinning(name, [(pin.snapshot, pin.reason) for pin in left])
        raise CatalogError(f"dataset {name} is pinned {by_whom}{more}", hint=f"ask them, or {commands}", dataset=name)


def drop(workspace: Workspace, datasets: Sequence[str], *, dry_run: bool = False) -> list[Dropped]:
    """Move datasets into the trash; with `dry_run` only what would go is said.

    All or none: CatalogError for one that is frozen, pinned, held by a container, or another catalog's.
    """
    catalog, datasets = workspace.catalog, tuple(dict.fromkeys(datasets))
    for name in datasets:
        owner = str(catalog.dataset(name).meta.get("catalog", ""))
        if owner in {c.name for c in catalog.catalogs()}:
            raise CatalogError(
                f"dataset {name} is {owner}'s: the next sync would bring it back",
                hint=f"tagsel catalog forget {owner}",
                dataset=name,
            )
    catalog.check(*map(DropDataset, datasets))
    for name in datasets:
        _refuse_pinned(catalog, name)
    if dry_run:
        return [_described(workspace, name) for name in datasets]
    catalog.need_writable()
    (workspace.folder / TRASH).mkdir(exist_ok=True)
    try:
        with _alone(workspace.folder, catalog):
            return _drop(workspace, datasets)
    except BaseException:
        with suppress(TagselError, OSError):  # the first error counts, and the next verb of the trash settles
            settle(workspace.folder, catalog)  # as where one was pinned meanwhile
        raise


def _drop(workspace: Workspace, names: Sequence[str]) -> list[Dropped]:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with ExitStack() as rights:
        for name in sorted(names):
            rights.enter_context(disk.changing(workspace.folder / DATA / name))
        going = [_begin(workspace, _described(workspace, name, stamp)) for name in names]
        workspace.catalog.record(*map(DropDataset, names))
    fail_point("trash.drop")
    with after(f"{', '.join(names)}: dropped", "the next `tagsel datasets trash` puts it right"):
        for one in going:
            place = workspace.folder / TRASH / one.id
            with disk.saying("note in the trash", place):
                (place / BETWEEN).rename(place / RECORD)
            fail_point("trash.drop")
    return going


def _described(workspace: Workspace, name: str, stamp: str = "") -> Dropped:
    """A dataset that is there, as it is to go."""
    made = tuple(child.name for child in workspace.catalog.children(name, partial(is_parent, workspace)).links)
    events, folder = workspace.catalog.dataset(name).events, workspace.folder / DATA / name
    return Dropped(name, f"{name}@{stamp}" if stamp else "", stamp, who(), events or 0, disk_usage(folder)[1], made)


def _begin(workspace: Workspace, gone: Dropped) -> Dropped:
    """Write down what is known of a dataset that is to go, and move its files away."""
    place = workspace.folder / TRASH / gone.id
    with disk.saying("note in the trash", place):
        place.mkdir()
    told = {**gone.to_json(), "rows": owned(workspace.catalog, gone.name)}
    with atomic_write(place / BETWEEN) as temporary:
        temporary.write_text(json.dumps(told) + "\n", "utf-8")
    with disk.saying("note in the trash", place):
        sync(place.parent)
    fail_point("trash.drop")
    if (folder := workspace.folder / DATA / gone.name).is_dir():
        _move(folder, place / MOVED)
        fail_point("trash.drop")
    return gone


def _move(source: Path, target: Path) -> None:
    """Rename a folder of the workspace while nobody commits to it."""
    with disk.saying("move", source):
        source.rename(target)
        sync(target.parent)
        sync(source.parent)


def trash(workspace: Workspace) -> list[Dropped]:
    """What is in the trash, what was dropped last first."""
    settle(workspace.folder, workspace.catalog)
    told = map(_read, _all(workspace.folder, RECORD))
    found = [Dropped(**{f.name: t[f.name] for f in fields(Dropped)}) for t in told]
    return sorted(found, key=lambda d: (d.dropped, d.name), reverse=True)


def look_up(folder: Path) -> tuple[dict[Path, dict[str, Any]], list[CatalogError]]:
    """The records of what lies in a workspace's trash, by their folders, and why others cannot be read; nothing is
    written."""
    records: dict[Path, dict[str, Any]] = {}
    damaged: list[CatalogError] = []
    for path in (*_all(folder, RECORD), *_all(folder, BETWEEN)):
        try:
            record = _read(path)
        except CatalogError as error:
            damaged.append(error)
            continue
        if path.name == RECORD:
            records[path.parent] = record
    return records, damaged


def recover(workspace: Workspace, what: str) -> Dropped:
    """Put a dataset back as it was: by its name what was dropped last, or by `name@time`.

    CatalogError where it is not in the trash, or where there is a dataset of its name again.
    """
    known = trash(workspace)
    found = next((d for d in known if what in (d.name, d.id)), None)
    if found is None:
        hint = did_you_mean(what, [d.name for d in known]) or "`tagsel datasets trash` lists what was dropped"
        raise CatalogError(f"{what} is not in the trash", hint=hint)
    place, folder = workspace.folder / TRASH / found.id, workspace.folder / DATA / found.name
    with _alone(workspace.folder, workspace.catalog):
        back = RecoverDataset(found.name, _read(place / RECORD)["rows"])
        workspace.catalog.check(back)
        if folder.exists() and (place / MOVED).exists():
            raise CatalogError(f"{folder} exists, and is no dataset's", hint="move it away", path=str(folder))
        (place / RECORD).rename(place / BETWEEN)
        fail_point("trash.recover")
        workspace.catalog.record(back)
        fail_point("trash.recover")
        with after(f"{found.name} is in the catalog again", "the next `tagsel datasets trash` puts it right"):
            if (place / MOVED).exists():
                _move(place / MOVED, folder)
            fail_point("trash.recover")
            with disk.saying("remove", place):
                _remove(place)
    return found


def empty(workspace: Workspace, older_than: int = 0, *, dry_run: bool = False) -> list[Dropped]:
    """Remove for good what was dropped at least so many days ago; what was, or with `dry_run` would be, removed."""
    limit = datetime.now(UTC) - timedelta(days=older_than)
    old = [d for d in trash(workspace) if datetime.fromisoformat(d.dropped) <= limit]
    if old and not dry_run:
        with _alone(workspace.folder, workspace.catalog):
            for number, one in enumerate(old):
                place = workspace.folder / TRASH / one.id
                with after(f"{number} of {len(old)} datasets are removed"), disk.saying("remove", place):
                    _remove(place)
    return old


def settle(folder: Path, catalog: Catalog) -> None:
    """Put every dataset of a workspace that was broken off between its two places where the catalog says: into `data`
    if it is there, into the trash if not. A reader, who may not do so, changes nothing."""
    if not catalog.may_write():
        return
    if _all(folder, BETWEEN) or any((folder / TRASH).glob(f"{GONE}*")):
        with _alone(folder, catalog):
            return


@contextmanager
def _alone(folder: Path, catalog: Catalog) -> Iterator[None]:
    """Hold the lock of a workspace's trash, with all settled that was broken off."""
    with disk.locked(folder / TRASH, action="moving datasets to or from the trash"):
        names = set(catalog.names())
        for record in _all(folder, BETWEEN):
            try:
                name = _read(record)["name"]
            except CatalogError as error:  # it holds up nothing else
                log.warning("%s", error.message)
                continue
            moved = record.with_name(MOVED)
            here = folder / DATA / name
            if name not in names or (moved.exists() and here.exists()):  # or another has its name meanwhile
                record.rename(record.with_name(RECORD))
                continue
            if moved.exists():
                _move(moved, here)
            _remove(record.parent)
        for left in (folder / TRASH).glob(f"{GONE}*"):
            shutil.rmtree(left)
        yield


def _remove(place: Path) -> None:
    """Remove a folder of the trash, which is none of it any more from the first moment on."""
    gone = place.with_name(GONE + place.name)
    place.rename(gone)
    fail_point("trash.remove")
    shutil.rmtree(gone)


def _all(folder: Path, record: str) -> list[Path]:
    """The records of that name in a workspace's trash."""
    found = (folder / TRASH).glob(f"*/{record}")
    return sorted(path for path in found if not path.parent.name.startswith(GONE))


def _read(path: Path) -> dict[str, Any]:
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
