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

from tagsel.base.atomic_write import sync
from tagsel.base.fail_points import fail_point
from tagsel.errors import StoreError
from tagsel.schema import IDS, Schema
from tagsel.store import disk, log, pins, unsettled, zones
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
        for number in reversed(log.manifests(folder)):
            remembered = log.read_manifest(folder, number)
            if remembered is not None and remembered.rows:
                raise StoreError(
                    f"{folder} holds a dataset of {remembered.rows:,} events whose log, _delta_log, is gone",
                    hint="put the log back from a backup, or move the folder away",
                    path=str(folder / "_delta_log"),
                )
            _forget(folder, number)  # of a dataset that was here before
        commits = log.commits_folder(folder)
        columns = disk.write_document(commits, schema.to_json())
        record = {"format": log.FORMAT, "op": "create", "schema": columns, "nonce": uuid.uuid4().hex}
        properties = CommitProperties(custom_metadata={log.MARK: disk.write_document(commits, record)})
        fail_point("store.commit")
        try:
            DeltaTable.create(str(folder), nullable(schema), configuration=_CONFIGURATION, commit_properties=properties)
        except DeltaError as error:
            raise StoreError(f"cannot create a dataset in {folder}: {error}", path=str(folder)) from error
        _sync_entry(folder, 0)
    return log.latest(folder)


def commit(folder: Path, change: Callable[[State], Change]) -> Snapshot:
    """Commit what `change` makes of the latest state; it is made again when another writer came first."""
    with disk.locked(folder / "_tagsel"), disk.saying("commit to", folder):
        log.check_whole(folder)
        for _ in range(_RETRIES):
            newest = log.newest_version(folder)
            before = log.latest(folder)
            planned = change(before)
            record = {**planned.record, "format": log.FORMAT, "nonce": uuid.uuid4().hex}
            name = disk.write_document(log.commits_folder(folder), record)
            unsettled.note(folder, before.number + 1)
            fail_point("store.commit")
            reason = _delta(folder, before, newest, planned, name)
            if not reason:
                break
        else:
            raise StoreError(
                f"{folder} was not changed, in {_RETRIES} tries: {reason}",
                hint="try again when no other program writes to it",
                path=str(folder),
            )
        fail_point("store.logged")
        state = next(s for s in log.states(folder, before) if log.record_of(folder, s.version) == name)
        _sync_entry(folder, state.version)
    fail_point("store.manifest")
    log.write_manifest(folder, state)
    snapshot = Snapshot(folder, state)
    _mark(snapshot, before, str(planned.record["op"]))
    _prune(folder, state.number)
    return snapshot


def _delta(folder: Path, before: State, newest: int, planned: Change, record: str) -> str:
    """Commit to the Delta log, which had the version `newest` and the state `before`; "", or why this must be tried
    again: another writer changed the table meanwhile. StoreError: the log has other parts than that state."""
    from deltalake import CommitProperties, DeltaTable
    from deltalake import Schema as DeltaSchema
    from deltalake.exceptions import CommitFailedError, DeltaError
    from deltalake.transaction import RemoveAction

    now = int(time.time() * 1000)  # for other engines: nothing of ours goes by it
    properties = CommitProperties(custom_metadata={log.MARK: record})
    gone = [RemoveAction(p.name, True, now, p.bytes, {}) for p in planned.removed]
    came = [_add(folder, p, planned.schema, now) for p in planned.added]
    try:
        table = DeltaTable(str(folder))
        if table.version() != newest:
            return f"Delta reads version {table.version()}, and the files in _delta_log go to version {newest}"
        log.need_agreement(folder, table, before)
        have = set(table.schema().to_arrow().names)
        new = [f for f in nullable(planned.schema) if f.name not in have]
        if new:
            table.alter.add_columns(DeltaSchema.from_arrow(_fields(new)).fields)
            table = DeltaTable(str(folder))
        table.create_write_transaction([*gone, *came], "append", table.schema(), commit_properties=properties)
    except CommitFailedError as error:
        return f"another writer came first ({error})"
    except DeltaError as error:
        raise StoreError(f"cannot commit to {folder}: {error}", path=str(folder)) from error
    return ""


def _fields(fields: list[pa.Field]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(fields)


def _add(folder: Path, part: PartRecord, schema: Schema, now: int) -> Any:
    """The log's entry for a part."""
    from deltalake.transaction import AddAction

    return AddAction(part.name, part.bytes, {}, now, True, json.dumps(statistics(folder, part, schema)))


def statistics(folder: Path, part: PartRecord, schema: Schema) -> dict[str, Any]:
    """What the log says of a part's rows, for other engines: of the ids only, for those of floats mislead where there
    is NaN. StoreError: the part is damaged."""
    kinds = kinds_of(schema)
    listed: Any = disk.read_document(log.commits_folder(folder), part.columns)
    sidecar = zones.Zones(folder / part.name, part.bytes, len(part.groups), {c: kinds[c] for c in listed}, part.rows)
    bounds = {c: sidecar.zone(c) for c in IDS}
    return {
        "numRecords": part.rows,
        "minValues": {c: int(z.min.min()) for c, z in bounds.items()},
        "maxValues": {c: int(z.max.max()) for c, z in bounds.items()},
        "nullCount": dict.fromkeys(IDS, 0),
    }


def _sync_entry(folder: Path, version: int) -> None:
    sync(log.entry_path(folder, version))
    sync(folder / "_delta_log")


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
            identity = snapshot.schema.identity.split()
            rows = extend(rows, snapshot.parts[:known], snapshot.parts[known:], identity)
        save(duplicates_path(snapshot.folder, snapshot.number), rows, snapshot.marks.binding())
    except StoreError as error:
        logging.getLogger("tagsel").warning("duplicates of %s are not marked yet: %s", snapshot.folder, error)


def _prune(folder: Path, newest: int) -> None:
    """Drop caches of snapshots that are neither recent nor pinned."""
    try:
        keep = pins.read(folder)
    except StoreError as error:  # after the commit: all caches stay, and gc names the file
        logging.getLogger("tagsel").warning("%s", error.message)
        return
    for number in log.manifests(folder):
        if number <= newest - _KEPT and number not in keep:
            _forget(folder, number)


def _forget(folder: Path, number: int) -> None:
    log.manifest_path(folder, number).unlink(missing_ok=True)
    duplicates_path(folder, number).unlink(missing_ok=True)
