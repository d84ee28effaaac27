"""Pins: snapshots that stay readable, for a reason of their own or for an event list.

Invariant: a pin counts where the dataset's own file or the catalog has it; a reader, who may write neither, leaves a
file where the workspace says.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tagsel.api.home import Home
from tagsel.api.inputs import DATA, one_dataset
from tagsel.api.origins import home_of_origin, origins
from tagsel.base.text_table import Table
from tagsel.catalog import Catalog, DatasetSpec, Pin, PinRecord, Unpin, others, reader_pins
from tagsel.errors import CatalogError, StoreError, after
from tagsel.events import EventList
from tagsel.store import Table as StoreTable
from tagsel.store import pins
from tagsel.store.log import record_of

log = logging.getLogger("tagsel")


def pin(home: Home, dataset: str, reason: str) -> str:
    """Keep a snapshot, `name@3`, readable for ever, for a reason; `name` is the latest. What was pinned."""
    spec, table, catalog = _table(home, dataset)
    number = table.snapshot(spec.snapshot).number
    if not reason.strip():
        raise CatalogError("a pin needs a reason", hint="--reason 'paper draft 2'", dataset=dataset)
    if reader_pins.folder_of(catalog.folder) is None:
        catalog.need_writable()
    pin_snapshot(catalog, table, spec.pattern, number, reason)
    return f"{spec.pattern}@{number}"


def unpin(home: Home, dataset: str, reason: str = "") -> list[str]:
    """Take back a pin of a snapshot, `name@3`, or without a reason all pins of it; the reasons taken back.

    Somebody who may only read the workspace takes back the pins that they left as a reader, and no others.
    """
    spec, table, catalog = _table(home, dataset)
    if spec.snapshot is None:
        raise CatalogError(f"{dataset!r} names no snapshot", hint=f"as in {spec.pattern}@3", dataset=dataset)
    left = reader_pins.read(catalog.folder, catalog.dataset(spec.pattern))
    theirs = [pin for pin in left if pin.snapshot == spec.snapshot and reason in ("", pin.reason)]
    kept = table.pins()
    recorded = _with_recorded(kept, catalog.pins(spec.pattern))
    own = [why for why in recorded.get(spec.snapshot, ()) if reason in ("", why)]
    my_pins = [pin for pin in theirs if reader_pins.is_mine(pin)]
    if my_pins and not catalog.may_write():
        own, theirs = [], my_pins
    elif own or not theirs:
        catalog.need_writable()
        if not own:
            raise StoreError(
                f"snapshot {spec.snapshot} is not pinned for {reason or 'anything'}",
                hint=f"pinned: {recorded or 'none'}",
            )
        if set(own) & set(kept.get(spec.snapshot, ())):
            table.unpin(spec.snapshot, reason or None)
        with after(f"{spec.pattern}@{spec.snapshot} is not pinned any more"):
            catalog.record(*(Unpin(spec.pattern, spec.snapshot, why) for why in own))
    for pin in theirs:
        reader_pins.remove(pin)
    return [*own, *(pin.reason for pin in theirs)]


def pin_table(home: Home, dataset: str = "") -> Table:
    """Pinned snapshots, of one dataset or of all: why, when, and by whom; those that readers pinned, too.

    A pin counts where the dataset's own file or the catalog has it; a warning names a file that lacks some.
    """
    if dataset:
        names = [one_dataset(dataset).pattern]
        home.catalog.dataset(names[0])
    else:
        files = (home.folder / DATA).glob("*/_tagsel/pins.json")
        names = sorted({path.parts[-3] for path in files} | {pin.dataset for pin in home.catalog.pins()})
    said = {(p.dataset, p.snapshot, p.reason): p for p in home.catalog.pins(dataset or None)}
    rows = []
    for name in names:
        recorded = [pin for pin in said.values() if pin.dataset == name]
        kept = pins.read(home.folder / DATA / name)
        _warn_lacking(pins.path_of(home.folder / DATA / name), kept, recorded)
        for number, reasons in sorted(_with_recorded(kept, recorded).items()):
            for reason in reasons:
                known = said.get((name, number, reason))
                rows.append((name, number, reason, *((known.updated, known.who) if known else ("", ""))))
    left = reader_pins.read(home.folder)
    rows += [(p.dataset, p.snapshot, p.reason, p.updated, p.who) for p in left if dataset in ("", p.dataset)]
    return Table(("dataset", "snapshot", "reason", "when", "who"), tuple(rows))


def _table(home: Home, dataset: str) -> tuple[DatasetSpec, StoreTable, Catalog]:
    """Which snapshot of one dataset was asked for, the dataset on disk, and the catalog that has it."""
    spec = one_dataset(dataset)
    folder, catalog = others.home_of(home.folder, home.catalog, spec.pattern)
    catalog.dataset(spec.pattern)
    return spec, StoreTable.open(folder / DATA / spec.pattern), catalog


def _with_recorded(kept: pins.Pins, recorded: Iterable[PinRecord]) -> dict[int, tuple[str, ...]]:
    """The pins of a dataset's own file and those that the catalog has, each once."""
    both = dict(kept)
    for pin in recorded:
        reasons = both.get(pin.snapshot, ())
        if pin.reason not in reasons:
            both[pin.snapshot] = (*reasons, pin.reason)
    return both


def _warn_lacking(path: Path, kept: pins.Pins, recorded: Iterable[PinRecord]) -> None:
    """Say in the log where the file of a dataset's pins lacks some that the catalog has."""
    lacking = pins.lacking(kept, [(pin.snapshot, pin.reason) for pin in recorded])
    if lacking:
        log.warning("%s lacks %s that the catalog has: %s", path, pins.in_words(len(lacking)), pins.REMEDY)


def pin_list(home: Home, events: EventList) -> None:
    """Pin every snapshot that a list's provenance names, for the list's digest.

    The dataset keeps the pin, which is what counts; the catalog is told, for its queries and audit.
    """
    reason = f"event list {events.digest[:16]}"
    for name, number, table, catalog in _named_snapshots(home, events):
        if _may_pin(catalog, table):
            pin_snapshot(catalog, table, name, number, reason)


def pin_snapshot(catalog: Catalog, table: StoreTable, name: str, number: int, reason: str) -> None:
    """Keep a snapshot readable: by the dataset's own pins, or as a reader by a file where its workspace says."""
    if not _may_write_pins(catalog, table):
        record = catalog.dataset(name)
        with table.keeping():
            gone = [part.path for part in table.snapshot(number).parts if not part.path.exists()]
            if gone:
                raise CatalogError(f"{name}@{number} cannot be pinned: {gone[0]} is gone", dataset=name)
            reader_pins.add(catalog.folder, record, number, reason)
        return
    table.pin(number, reason)
    said = {(p.snapshot, p.reason) for p in catalog.pins(name)}
    if name in catalog.names() and (number, reason) not in said:
        with after(f"{name}@{number} is pinned"):
            catalog.record(Pin(name, number, reason))


def check_pins(home: Home, events: EventList) -> None:
    """StoreError where `pin` would be refused: a snapshot that is gone, pins that are damaged. Nothing is written."""
    for _, number, table, catalog in _named_snapshots(home, events):
        if _may_pin(catalog, table):
            table.snapshot(number)
            table.pins()


def not_pinned(home: Home, events: EventList) -> dict[str, dict[str, object]]:
    """The snapshots of a list that this user may not pin, by `name@3`: the Delta version, commit record and parts.

    A part's name is its content's hash, so a list that carries them says what it rests on, whatever becomes of it.
    """
    found: dict[str, dict[str, object]] = {}
    for name, number, table, catalog in _named_snapshots(home, events):
        if _may_pin(catalog, table):
            continue
        state = table.snapshot(number).state
        found[f"{name}@{number}"] = {
            "version": state.version,
            "commit": record_of(table.folder, state.version),
            "parts": [part.name for part in state.parts],
        }
    return found


def _may_pin(catalog: Catalog, table: StoreTable) -> bool:
    """Whether this user may keep a snapshot of a dataset that a catalog has."""
    return _may_write_pins(catalog, table) or reader_pins.may_add(catalog.folder)


def _may_write_pins(catalog: Catalog, table: StoreTable) -> bool:
    """Whether this user may write the dataset's own pins."""
    pins = table.folder / "_tagsel"
    return catalog.may_write() and os.access(pins, os.W_OK, effective_ids=True)


def _named_snapshots(home: Home, events: EventList) -> Iterator[tuple[str, int, StoreTable, Catalog]]:
    """Name, snapshot, table and catalog of the datasets that a list names, here or in named workspaces."""
    for origin in origins(events.provenance):
        place, catalog = home_of_origin(home, origin)
        folder = place / DATA / origin.name
        if origin.snapshot is not None and StoreTable.exists(folder):
            yield origin.name, origin.snapshot, StoreTable.open(folder), catalog
