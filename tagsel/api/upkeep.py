"""The upkeep of datasets: small parts packed, files that no snapshot needs removed, old snapshots restored.

Invariant: nothing that a snapshot in use or a pin needs is removed.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from tagsel.api.home import Home
from tagsel.api.inputs import DATA, one_dataset
from tagsel.catalog import reader_pins
from tagsel.errors import CatalogError, TagselError
from tagsel.store import CompactPlan, Snapshot, Table, disk
from tagsel.store.log import manifests
from tagsel.store.upkeep import left_by_the_killed

log = logging.getLogger("tagsel")


def compact(home: Home, dataset: str, *, dry_run: bool) -> CompactPlan | Snapshot:
    """Pack small parts; the catalog learns of the new snapshot."""
    if not dry_run:
        home.catalog.need_writable()
    done = home.table(dataset).compact(dry_run=dry_run)
    if isinstance(done, Snapshot):
        _register(home, dataset, done)
    return done


def gc(home: Home, dataset: str, *, dry_run: bool, grace_s: float) -> list[Path]:
    """Remove what no snapshot needs of a dataset, or of all; a dataset that cannot be looked at holds up no other.

    AccessError, before anything is looked at, where this user may not change the workspace.
    """
    if not dry_run:
        home.catalog.need_writable()
    if dataset:
        return _gc_one(home, dataset, dry_run, grace_s)
    found: list[Path] = []
    for folder in sorted((home.folder / DATA).glob("*")):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not Table.exists(folder):
            if folder.name in home.catalog.names() or manifests(folder):
                log.warning("%s: nothing is removed: its log, _delta_log, is gone", folder.name)
                continue
            found += _gc_unborn(folder, dry_run, grace_s)
            continue
        try:
            found += _gc_one(home, folder.name, dry_run, grace_s)
        except TagselError as error:
            log.warning("%s: nothing is removed: %s", folder.name, error.message)
    return found


def _gc_one(home: Home, dataset: str, dry_run: bool, grace_s: float) -> list[Path]:
    record = home.catalog.dataset(dataset)

    def pinned() -> list[int]:
        own = [pin.snapshot for pin in home.catalog.pins(dataset)]
        return [*own, *(pin.snapshot for pin in reader_pins.read(home.folder, record))]

    return home.table(dataset).gc(dry_run=dry_run, grace_s=grace_s, keep=pinned)


def _gc_unborn(folder: Path, dry_run: bool, grace_s: float) -> list[Path]:
    """Remove what is left of a dataset that never came to be, with its folders as far as they are empty."""
    found = left_by_the_killed(folder, grace_s)
    if dry_run or not found:
        return found
    with disk.saying("clean up", folder):
        for path in found:
            path.unlink(missing_ok=True)
    own = folder / "_tagsel"
    for place in (own / "zones", own / "index", own, folder):
        with suppress(OSError):
            place.rmdir()
    return found


def restore(home: Home, dataset: str) -> Snapshot:
    """`name@3`: a new snapshot with the content of snapshot 3."""
    spec = one_dataset(dataset)
    if spec.snapshot is None:
        raise CatalogError(f"{dataset!r} names no snapshot", hint=f"as in {spec.pattern}@3")
    home.catalog.need_writable()
    with disk.changing(home.folder / DATA / spec.pattern):
        home.catalog.need_open(spec.pattern)
        snapshot = home.table(spec.pattern).restore(spec.snapshot)
        _register(home, spec.pattern, snapshot)
    return snapshot


def _register(home: Home, dataset: str, snapshot: Snapshot) -> None:
    from tagsel.ingest.registration import register

    register(home.catalog, dataset, snapshot, {})
