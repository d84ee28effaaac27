"""How a dataset goes from one snapshot to the next: all of it, or nothing.

A commit goes: parts (already fsynced), commit record, Delta commit, fsync of the log entry; then, as
caches, the manifest and the duplicate marks. It is acknowledged when the log entry is on the disk.
Invariant: whenever the process dies, the dataset is at the old snapshot or at the new one, and an
acknowledged one is never lost.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.errors import StoreError
from tagsel.faults import step
from tagsel.schema import IDS, Schema
from tagsel.store import disk, log, pins, zones
from tagsel.store.conform import arrow_schema, kinds_of
from tagsel.store.duplicates import extend, save
from tagsel.store.log import PartRecord, State
from tagsel.store.snapshots import Snapshot, duplicates_path

if TYPE_CHECKING:
    import pyarrow as pa

_RETRIES = 20  # of commits that another writer forestalled
_KEPT = 3  # manifests and duplicate marks of the newest snapshots
_CONFIGURATION = {
    "delta.enableExpiredLogCleanup": "false",  # else versions are lost after 30 days
    "delta.deletedFileRetentionDuration": "interval 5200 weeks",  # else a foreign vacuum takes pinned parts
}


@dataclass(frozen=True)
class Change:
    """What a commit does: its record, and the parts and columns that the Delta table gains and loses."""

    record: Mapping[str, Any]
    schema: Schema
    added: tuple[PartRecord, ...] = ()
    removed: tuple[PartRecord, ...] = ()


def nullable(schema: Schema) -> pa.Schema:
    """The Delta table's columns: nullable, since a part may lack some."""
    import pyarrow as pa

    return pa.schema([f.with_nullable(True) for f in arrow_schema(schema)])


def create(folder: Path, schema: Schema) -> State:
    """Make snapshot 0 in an empty or missing folder. StoreError: there is a dataset already."""
    from deltalake import CommitProperties, DeltaTable
    from deltalake.exceptions import DeltaError

    with disk.saying("create a dataset in", folder):
        for name in ("zones", "commits"):
            (folder / "_tagsel" / name).mkdir(parents=True, exist_ok=True)
    with disk.locked(folder / "_tagsel"), disk.saying("create a dataset in", folder):
        if (folder / "_delta_log").exists() and log.newest_version(folder) >= 0:
            raise StoreError(f"there is a dataset in {folder} already", hint="open it, or choose another folder")
        for number in log.manifests(folder):  # of a dataset that was here before
            _forget(folder, number)
        commits = log.commits_folder(folder)
        columns = disk.write_document(commits, schema.to_json())
        record = {"format": log.FORMAT, "op": "create", "schema": columns, "nonce": uuid.uuid4().hex}
        properties = CommitProperties(custom_metadata={log.MARK: disk.write_document(commits, record)})
        step("store.commit")
        try:
            DeltaTable.create(str(folder), nullable(schema), configuration=_CONFIGURATION, commit_properties=properties)
        except DeltaError as error:
            raise StoreError(f"cannot create a dataset in {folder}: {error}", path=str(folder)) from error
        _sync_entry(folder, 0)
    return log.latest(folder)


def commit(folder: Path, change: Callable[[State], Change]) -> Snapshot:
    """Commit what `change` makes of the latest state; it is made again when another writer came first."""
    with disk.locked(folder / "_tagsel"), disk.saying("commit to", folder):
        for _ in range(_RETRIES):
            before = log.latest(folder)
            made = change(before)
            record = {**made.record, "format": log.FORMAT, "nonce": uuid.uuid4().hex}
            name = disk.write_document(log.commits_folder(folder), record)
            step("store.commit")
            if _delta(folder, made, name):
                break
        else:
            raise StoreError(
                f"{_RETRIES} commits to {folder} were forestalled by other writers",
                hint="try again when they are done",
            )
        step("store.logged")
        state = next(s for s in log.states(folder, before) if log.record_of(folder, s.version) == name)
        _sync_entry(folder, state.version)
    step("store.manifest")
    log.write_manifest(folder, state)
    snapshot = Snapshot(folder, state)
    _mark(snapshot, before, str(made.record["op"]))
    _prune(folder, state.number)
    return snapshot


def _delta(folder: Path, made: Change, record: str) -> bool:
    """Commit to the Delta log; False when another writer changed the table meanwhile."""
    from deltalake import CommitProperties, DeltaTable
    from deltalake import Schema as DeltaSchema
    from deltalake.exceptions import CommitFailedError, DeltaError
    from deltalake.transaction import RemoveAction

    now = int(time.time() * 1000)  # for other engines: nothing of ours goes by it
    properties = CommitProperties(custom_metadata={log.MARK: record})
    gone = [RemoveAction(p.name, True, now, p.bytes, {}) for p in made.removed]
    came = [_add(folder, p, made.schema, now) for p in made.added]
    try:
        table = DeltaTable(str(folder))
        have = set(table.schema().to_arrow().names)
        new = [f for f in nullable(made.schema) if f.name not in have]
        if new:
            table.alter.add_columns(DeltaSchema.from_arrow(_fields(new)).fields)
            table = DeltaTable(str(folder))
        table.create_write_transaction([*gone, *came], "append", table.schema(), commit_properties=properties)
    except CommitFailedError:
        return False
    except DeltaError as error:
        raise StoreError(f"cannot commit to {folder}: {error}", path=str(folder)) from error
    return True


def _fields(fields: list[pa.Field]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(fields)


def _add(folder: Path, part: PartRecord, schema: Schema, now: int) -> Any:
    """The log's entry for a part; statistics of the ids only: those of floats mislead where there is NaN."""
    from deltalake.transaction import AddAction

    kinds = kinds_of(schema)
    listed: Any = disk.read_document(log.commits_folder(folder), part.columns)
    sidecar = zones.Zones(folder / part.name, part.bytes, len(part.groups), {c: kinds[c] for c in listed})
    bounds = {c: sidecar.zone(c) for c in IDS}
    statistics = {
        "numRecords": part.rows,
        "minValues": {c: int(z.min.min()) for c, z in bounds.items()},
        "maxValues": {c: int(z.max.max()) for c, z in bounds.items()},
        "nullCount": dict.fromkeys(IDS, 0),
    }
    return AddAction(part.name, part.bytes, {}, now, True, json.dumps(statistics))


def _sync_entry(folder: Path, version: int) -> None:
    disk.sync(log.entry_path(folder, version))
    disk.sync(folder / "_delta_log")


def _mark(snapshot: Snapshot, before: State, op: str) -> None:
    """Make the new duplicate marks from the old ones; where that fails they are made when asked for."""
    if op == "restore":
        return
    try:
        rows = Snapshot(snapshot.folder, before).marks.rows()
        if op == "retract" and len(rows):  # rows have moved, and a row may have stayed alone
            return
        if op == "append":
            known = len(before.parts)
            rows = extend(rows, snapshot.parts[:known], snapshot.parts[known:])
        save(duplicates_path(snapshot.folder, snapshot.number), rows)
    except StoreError as error:
        logging.getLogger("tagsel").warning("duplicates of %s are not marked yet: %s", snapshot.folder, error)


def _prune(folder: Path, newest: int) -> None:
    """Drop caches of snapshots that are neither recent nor pinned."""
    keep = pins.read(folder)
    for number in log.manifests(folder):
        if number <= newest - _KEPT and number not in keep:
            _forget(folder, number)


def _forget(folder: Path, number: int) -> None:
    log.manifest_path(folder, number).unlink(missing_ok=True)
    duplicates_path(folder, number).unlink(missing_ok=True)
