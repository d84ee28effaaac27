"""Datasets that are not wanted any more: kept until a day, dropped into the workspace's trash, put back, or removed.

Invariant: a dataset whose drop or return was broken off is whole, and whoever opens the workspace next finds it where
it belongs: in the catalog with its files in `data`, or in the trash. Only `empty` removes files, and only from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.inputs import DATA
from tagsel.aside import aside, sync
from tagsel.catalog import DropDataset, SetMeta, who
from tagsel.catalog.standing import STATES
from tagsel.catalog.trash import RecoverDataset, owned
from tagsel.errors import CatalogError, did_you_mean
from tagsel.faults import step
from tagsel.store import disk

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace
    from tagsel.catalog import Catalog

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
    except CatalogError as error:
        return error.message
    return ""


def drop(workspace: Workspace, datasets: Sequence[str], *, dry_run: bool = False) -> list[Dropped]:
    """Move datasets into the trash; with `dry_run` only what would go is said.

    All or none: CatalogError for one that is frozen, pinned, held by a container, or another catalog's.
    """
    catalog, datasets = workspace.catalog, tuple(dict.fromkeys(datasets))
    for name in datasets:
        owner = str(catalog.dataset(name).meta.get("catalog", ""))
        if owner in {c.name for c in catalog.catalogs()}:
            raise CatalogError(f"dataset {name} is {owner}'s: the next sync would bring it back",
                               hint=f"tagsel catalog forget {owner}", dataset=name)  # fmt: skip
    catalog.check(*map(DropDataset, datasets))
    if dry_run:
        return [_described(workspace, name) for name in datasets]
    (workspace.folder / TRASH).mkdir(exist_ok=True)
    try:
        with _alone(workspace.folder, catalog):
            return _drop(workspace, datasets)
    except BaseException:
        settle(workspace.folder, catalog)  # as where one was pinned meanwhile
        raise


def _drop(workspace: Workspace, names: Sequence[str]) -> list[Dropped]:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with ExitStack() as rights:
        for name in sorted(names):
            rights.enter_context(disk.changing(workspace.folder / DATA / name))
        going = [_begin(workspace, _described(workspace, name, stamp)) for name in names]
        workspace.catalog.record(*map(DropDataset, names))
    step("trash.drop")
    for one in going:
        place = workspace.folder / TRASH / one.id
        (place / BETWEEN).rename(place / RECORD)
        step("trash.drop")
    return going


def _described(workspace: Workspace, name: str, stamp: str = "") -> Dropped:
    """A dataset that is there, as it is to go."""
    made = tuple(child.name for child in workspace.catalog.children(name).links)
    events, folder = workspace.catalog.dataset(name).events, workspace.folder / DATA / name
    return Dropped(name, f"{name}@{stamp}" if stamp else "", stamp, who(), events or 0, _size(folder), made)


def _begin(workspace: Workspace, gone: Dropped) -> Dropped:
    """Write down what is known of a dataset that is to go, and move its files away."""
    place = workspace.folder / TRASH / gone.id
    place.mkdir()
    told = {**gone.to_json(), "rows": owned(workspace.catalog, gone.name)}
    with aside(place / BETWEEN) as temporary:
        temporary.write_text(json.dumps(told) + "\n", "utf-8")
    sync(place.parent)
    step("trash.drop")
    if (folder := workspace.folder / DATA / gone.name).is_dir():
        _move(folder, place / MOVED)
        step("trash.drop")
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
        step("trash.recover")
        workspace.catalog.record(back)
        step("trash.recover")
        if (place / MOVED).exists():
            _move(place / MOVED, folder)
        step("trash.recover")
        _remove(place)
    return found


def empty(workspace: Workspace, older_than: int = 0, *, dry_run: bool = False) -> list[Dropped]:
    """Remove for good what was dropped at least so many days ago; what was, or with `dry_run` would be, removed."""
    limit = datetime.now(UTC) - timedelta(days=older_than)
    old = [d for d in trash(workspace) if datetime.fromisoformat(d.dropped) <= limit]
    if old and not dry_run:
        with _alone(workspace.folder, workspace.catalog):
            for one in old:
                _remove(workspace.folder / TRASH / one.id)
    return old


def settle(folder: Path, catalog: Catalog) -> None:
    """Put every dataset of a workspace that was broken off between its two places where the catalog says: into `data`
    if it is there, into the trash if not."""
    if _all(folder, BETWEEN) or any((folder / TRASH).glob(f"{GONE}*")):
        with _alone(folder, catalog):
            return


@contextmanager
def _alone(folder: Path, catalog: Catalog) -> Iterator[None]:
    """Hold the lock of a workspace's trash, with all settled that was broken off."""
    with disk.locked(folder / TRASH):
        names = set(catalog.names())
        for record in _all(folder, BETWEEN):
            name, moved = _read(record)["name"], record.with_name(MOVED)
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
    step("trash.remove")
    shutil.rmtree(gone)


def _all(folder: Path, record: str) -> list[Path]:
    """The records of that name in a workspace's trash."""
    found = (folder / TRASH).glob(f"*/{record}")
    return sorted(path for path in found if not path.parent.name.startswith(GONE))


def _read(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}", path=str(path)) from error
    return {**told, "from_it": tuple(told["from_it"])}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
