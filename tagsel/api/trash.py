"""Datasets that are not wanted any more: kept until a day, dropped into the workspace's trash, put back, or removed.

Invariant: an interrupted drop or recovery leaves the dataset whole: the next process that opens the workspace finds it
in the catalog with its files in `data`, or in the trash. Only `empty` removes files, and only from there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.api.origins import is_parent
from tagsel.api.trash_folder import (
    BETWEEN,
    MOVED,
    RECORD,
    TRASH,
    Dropped,
    alone,
    move,
    paths_of,
    read_record,
    remove,
    settle,
)
from tagsel.base.atomic_write import atomic_write, sync
from tagsel.base.fail_points import fail_point
from tagsel.base.local_path import disk_usage
from tagsel.catalog import DropDataset, SetMeta, reader_pins, who
from tagsel.catalog.changes import RecoverDataset
from tagsel.catalog.constraints import STATES, unpin_commands
from tagsel.errors import CatalogError, StoreError, TagselError, after, did_you_mean
from tagsel.store import disk, pins

if TYPE_CHECKING:
    from tagsel.catalog import Catalog

log = logging.getLogger("tagsel")


UNTIL = "keep_until"
"""The free key of a dataset that says the last day, in UTC, on which it is wanted."""


NEVER = "never"
"""The last day of a dataset that is wanted for ever."""


def expire(home: Home, dataset: str, after: date | str) -> str:
    """Set the last day on which a dataset is wanted, NEVER for none; nothing is dropped by that. The day as text."""
    record = home.catalog.dataset(dataset)
    try:
        day = "" if after == NEVER else date.fromisoformat(str(after)).isoformat()
    except ValueError as error:
        raise CatalogError(f"{after!r} is not a day: {error}", hint="--after 2027-12-31", dataset=dataset) from error
    if day and record.state == STATES[-1]:
        raise CatalogError(f"dataset {dataset} is frozen: it stays for ever", dataset=dataset)
    home.catalog.record(SetMeta(dataset, {UNTIL: day or None}))
    return day


def expired(home: Home) -> dict[str, str]:
    """The datasets whose last day is over, each with what keeps it all the same (a pin, a container), or ""."""
    catalog, today = home.catalog, datetime.now(UTC).date().isoformat()
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
        raise CatalogError(f"dataset {name} is pinned ({reasons})", hint=unpin_commands(name, kept), dataset=name)
    left = reader_pins.read(catalog.folder, catalog.dataset(name))
    if left:
        by_whom = "; ".join(f"by {pin.who} (@{pin.snapshot}: {pin.reason})" for pin in left[:5])
        more = f"; and {len(left) - 5:,} more" if len(left) > 5 else ""
        commands = unpin_commands(name, [(pin.snapshot, pin.reason) for pin in left])
        raise CatalogError(f"dataset {name} is pinned {by_whom}{more}", hint=f"ask them, or {commands}", dataset=name)


def drop(home: Home, datasets: Sequence[str], *, dry_run: bool = False) -> list[Dropped]:
    """Move datasets into the trash; with `dry_run` only what would go is said.

    All or none: CatalogError for one that is frozen, pinned, held by a container, or another catalog's.
    """
    catalog, datasets = home.catalog, tuple(dict.fromkeys(datasets))
    for name in datasets:
        owner = str(catalog.dataset(name).meta.get("catalog", ""))
        if owner in {c.name for c in catalog.catalogs()}:
            raise CatalogError(
                f"dataset {name} is {owner}'s: the next sync would bring it back",
                hint=f"tagsel catalogs forget {owner}",
                dataset=name,
            )
    catalog.check(*map(DropDataset, datasets))
    for name in datasets:
        _refuse_pinned(catalog, name)
    if dry_run:
        return [_described(home, name) for name in datasets]
    catalog.need_writable()
    (home.folder / TRASH).mkdir(exist_ok=True)
    try:
        with alone(home.folder, catalog):
            return _drop(home, datasets)
    except BaseException:
        with suppress(TagselError, OSError):  # the first error counts, and the next verb of the trash settles
            settle(home.folder, catalog)  # as where one was pinned meanwhile
        raise


def _drop(home: Home, names: Sequence[str]) -> list[Dropped]:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with ExitStack() as rights:
        for name in sorted(names):
            rights.enter_context(disk.changing(home.folder / DATA / name))
        going = [_begin(home, _described(home, name, stamp)) for name in names]
        home.catalog.record(*map(DropDataset, names))
    fail_point("trash.drop")
    with after(f"{', '.join(names)}: dropped", "the next `tagsel trash list` puts it right"):
        for one in going:
            place = home.folder / TRASH / one.id
            with disk.saying("note in the trash", place):
                (place / BETWEEN).rename(place / RECORD)
            fail_point("trash.drop")
    return going


def _described(home: Home, name: str, stamp: str = "") -> Dropped:
    """A dataset that is there, as it is to go."""
    made = tuple(child.name for child in home.catalog.children(name, partial(is_parent, home)).links)
    events, folder = home.catalog.dataset(name).events, home.folder / DATA / name
    return Dropped(name, f"{name}@{stamp}" if stamp else "", stamp, who(), events or 0, disk_usage(folder)[1], made)


def _begin(home: Home, gone: Dropped) -> Dropped:
    """Write down what is known of a dataset that is to go, and move its files away."""
    place = home.folder / TRASH / gone.id
    with disk.saying("note in the trash", place):
        place.mkdir()
    told = {**gone.to_json(), "rows": home.catalog.owned_rows(gone.name)}
    with atomic_write(place / BETWEEN) as temporary:
        temporary.write_text(json.dumps(told) + "\n", "utf-8")
    with disk.saying("note in the trash", place):
        sync(place.parent)
    fail_point("trash.drop")
    if (folder := home.folder / DATA / gone.name).is_dir():
        move(folder, place / MOVED)
        fail_point("trash.drop")
    return gone


class Trash:
    """The datasets of a workspace that were dropped and not yet removed, the last dropped first; `ws.trash`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def list(self) -> tuple[Dropped, ...]:
        """The dropped datasets, the last dropped first."""
        settle(self._home.folder, self._home.catalog)
        names = [field.name for field in fields(Dropped)]
        dropped = []
        for path in paths_of(self._home.folder, RECORD):
            record = read_record(path)
            dropped.append(Dropped(*(record[name] for name in names)))
        return tuple(sorted(dropped, key=lambda one: (one.dropped, one.name), reverse=True))

    def recover(self, dataset: str) -> Dropped:
        """Put a dataset back as it was: by its name what was dropped last, or by `name@time`, its `id`.

        CatalogError where it is not in the trash, or where there is a dataset of its name again.
        """
        home, dropped = self._home, self.list()
        one = next((one for one in dropped if dataset in (one.name, one.id)), None)
        if one is None:
            hint = did_you_mean(dataset, [other.name for other in dropped])
            raise CatalogError(f"{dataset} is not in the trash", hint=hint or "`tagsel trash list` shows what is")
        place, folder = home.folder / TRASH / one.id, home.folder / DATA / one.name
        with alone(home.folder, home.catalog):
            change = RecoverDataset(one.name, read_record(place / RECORD)["rows"])
            home.catalog.check(change)
            if folder.exists() and (place / MOVED).exists():
                raise CatalogError(f"{folder} exists, and is no dataset's", hint="move it away", path=str(folder))
            (place / RECORD).rename(place / BETWEEN)
            fail_point("trash.recover")
            home.catalog.record(change)
            fail_point("trash.recover")
            with after(f"{one.name} is in the catalog again", "the next `tagsel trash list` puts it right"):
                if (place / MOVED).exists():
                    move(place / MOVED, folder)
                fail_point("trash.recover")
                with disk.saying("remove", place):
                    remove(place)
        return one

    def empty(self, *, older_than: int = 0, dry_run: bool = False) -> tuple[Dropped, ...]:
        """Remove for good what was dropped at least `older_than` days ago; `dry_run` only says what that would be."""
        home, limit = self._home, datetime.now(UTC) - timedelta(days=older_than)
        old = tuple(one for one in self.list() if datetime.fromisoformat(one.dropped) <= limit)
        if old and not dry_run:
            with alone(home.folder, home.catalog):
                for number, one in enumerate(old):
                    place = home.folder / TRASH / one.id
                    with after(f"{number} of {len(old)} datasets are removed"), disk.saying("remove", place):
                        remove(place)
        return old

    def __iter__(self) -> Iterator[Dropped]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def __repr__(self) -> str:
        return f"<Trash of {self._home.folder}>"
