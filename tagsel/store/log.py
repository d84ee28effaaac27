"""What a snapshot is: the commits of the Delta log folded, one after another, and the manifest that
remembers the result.

Each of our Delta commits names a *commit record* (a JSON document named by its hash, written before the
commit) that says what it did: `create`, `append`, `compact`, `extend`, `retract` or `restore`. Versions of the Delta
log without a record change the table's columns only and are no snapshots. Everything here is JSON: no Parquet or Delta
library is loaded.

Invariant: a state is a function of the log alone; a manifest is a cache of it that is checked against the
log's newest version. Order is that of the log's versions, never of time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.base.atomic_write import write_bytes
from tagsel.base.checksum import file_sha256
from tagsel.errors import StoreError
from tagsel.store import disk

if TYPE_CHECKING:
    from deltalake import DeltaTable

FORMAT = 1
"""Version of commit records."""

MANIFEST = 2
"""Version of manifests; those of version 1 do not say which log entry they belong to: the log is read instead."""

MARK = "tagsel.commit"
"""Key in a Delta commit's information under which the record's name stands."""


@dataclass(frozen=True)
class PartRecord:
    """A part as the log knows it; `columns` is the name of the document that lists its columns."""

    name: str
    rows: int
    bytes: int
    groups: tuple[int, ...]
    columns: str


@dataclass(frozen=True)
class State:
    """The content of one snapshot; `schema`, `menus` and `sources` are names of documents.

    `sources` holds (record, first row) of each append, `guids` the ids of all ingested files, `retractions` the records
    of the commits that took files out.
    """

    number: int
    version: int  # of the Delta log
    schema: str
    parts: tuple[PartRecord, ...] = ()
    menus: tuple[str, ...] = ()
    sources: tuple[tuple[str, int], ...] = ()
    guids: tuple[str, ...] = ()
    retractions: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(p.rows for p in self.parts)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> State:
        """The state whose `asdict` is `document`."""
        parts = tuple(
            PartRecord(p["name"], p["rows"], p["bytes"], tuple(p["groups"]), p["columns"]) for p in document["parts"]
        )
        return cls(
            document["number"],
            document["version"],
            document["schema"],
            parts,
            tuple(document["menus"]),
            tuple((str(r), int(n)) for r, n in document["sources"]),
            tuple(document["guids"]),
            tuple(document.get("retractions", ())),  # manifests of old do not say
        )


def commits_folder(folder: Path) -> Path:
    """Where the commit records and the documents that they name lie."""
    return folder / "_tagsel" / "commits"


def manifest_path(folder: Path, number: int) -> Path:
    """Where the manifest of a snapshot lies."""
    return folder / "_tagsel" / f"manifest-{number}.json"


def entry_path(folder: Path, version: int) -> Path:
    """Where an entry of the Delta log lies."""
    return folder / "_delta_log" / f"{version:020d}.json"


def has_entry(folder: Path, version: int) -> bool:
    """Whether the Delta log has an entry of that version."""
    return os.access(f"{folder}/_delta_log/{version:020d}.json", os.F_OK)  # a Path takes longer than the answer


def newest_version(folder: Path, at_least: int = -1) -> int:
    """The log's newest version, -1: none; `at_least`, one known to exist, may save listing the folder."""
    if at_least >= 0 and not has_entry(folder, at_least + 1) and has_entry(folder, at_least):
        return at_least
    return max(versions(folder), default=-1)


def versions(folder: Path) -> list[int]:
    """The versions of which the Delta log has an entry, ascending."""
    with disk.saying("list", folder / "_delta_log"):
        names = [p.stem for p in (folder / "_delta_log").iterdir() if p.suffix == ".json"]
    return sorted(int(name) for name in names if name.isdigit())


def begins_at_0(folder: Path) -> bool:
    """Whether the log has its oldest entries; Delta's own clean-up removes those before a checkpoint."""
    return has_entry(folder, 0)


def check_whole(folder: Path) -> None:
    """StoreError, naming the first, where entries of the log are missing: between others, or newest ones that a
    manifest remembers. Those before a checkpoint of Delta may have been cleaned up."""
    present = versions(folder)
    first = _checkpoint(folder)
    missing = sorted(set(range(first, max(present, default=-1) + 1)) - set(present))
    if missing:
        raise _missing_entry(folder, missing[0], f"the log goes on to version {present[-1]}")
    ahead = beyond(folder, max(present, default=-1))
    if ahead is not None:
        raise _missing_entry(folder, ahead.version, f"the manifest of snapshot {ahead.number} knows it")


def delta_table(folder: Path) -> DeltaTable:
    """The dataset as Delta's own library reads it. StoreError: its log lacks an entry, or cannot be read."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    check_whole(folder)
    try:
        return DeltaTable(str(folder))
    except DeltaError as error:
        raise StoreError(
            f"{folder / '_delta_log'} cannot be read: {error}",
            hint=f"tagsel datasets check {folder.name} says what is damaged",
            path=str(folder / "_delta_log"),
        ) from error


def need_agreement(folder: Path, table: DeltaTable, state: State) -> None:
    """StoreError where the Delta log has other parts than tagsel's records: a commit would build on the difference."""
    live = {name.rpartition("/")[2] for name in table.file_uris()}
    odd = sorted(live ^ {part.name for part in state.parts})
    if odd:
        parts = f"{len(odd):,} part{'s' if len(odd) > 1 else ''}"
        raise StoreError(
            f"dataset {folder.name}: its Delta log and tagsel's records differ in {parts}, {odd[0]} for one",
            hint=f"put {folder / '_delta_log'} back from a backup; tagsel datasets check {folder.name} names the parts",
            path=str(folder / "_delta_log"),
        )


def _checkpoint(folder: Path) -> int:
    """The version of Delta's newest checkpoint, 0 where there is none."""
    names = [p.name.partition(".")[0] for p in (folder / "_delta_log").glob("*.checkpoint*.parquet")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def beyond(folder: Path, newest: int) -> State | None:
    """The newest state in a manifest that lies beyond the log's `newest` version: evidence of missing entries."""
    for number in reversed(manifests(folder)):
        state = read_manifest(folder, number)
        if state is not None and state.version > newest:
            return state
    return None


def _missing_entry(folder: Path, version: int, evidence: str) -> StoreError:
    path = entry_path(folder, version)
    return StoreError(
        f"dataset {folder.name}: its log entry {path} is missing: {evidence}",
        hint="put it back from a backup of _delta_log; else tagsel workspace recover says what can be had without it",
        path=str(path),
    )


def entry_actions(folder: Path, version: int) -> list[dict[str, Any]]:
    """The actions of a log entry, one a line. StoreError, naming the file: it is missing, or no JSON."""
    path = entry_path(folder, version)
    if not has_entry(folder, version):
        raise _missing_entry(folder, version, f"the log goes on to version {newest_version(folder)}")
    with disk.saying("read", path):
        data = path.read_bytes()
    try:
        actions = [json.loads(line) for line in data.decode("utf-8").split("\n") if line]
    except ValueError as error:
        raise _damaged_entry(path, str(error)) from error
    if not actions or not all(isinstance(action, dict) for action in actions):
        raise _damaged_entry(path, "one JSON object a line was expected")
    return actions


def _damaged_entry(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"{path} is damaged: {reason}", hint="put the entry back from a backup of _delta_log", path=str(path)
    )


def entry_sha256(folder: Path, version: int) -> str:
    """SHA-256 (hex) of a log entry, "" where there is none."""
    try:
        return file_sha256(entry_path(folder, version))
    except OSError:
        return ""


def record_of(folder: Path, version: int) -> str | None:
    """The name of the commit record of a version; None where it only changed the table's columns.

    StoreError: the version is gone, or another program changed the table's files in it.
    """
    path = entry_path(folder, version)
    actions = entry_actions(folder, version)
    for action in actions:
        commit = action.get("commitInfo")
        name = commit.get(MARK) if isinstance(commit, dict) else None
        if name:
            return str(name)
    if any("add" in a or "remove" in a for a in actions):
        raise StoreError(
            f"version {version} of {folder} was not written by tagsel: its rows have no bookkeeping",
            hint="ingest the data that the other program wrote, and restore the table to the version before",
            path=str(path),
        )
    return None


def apply(folder: Path, state: State | None, name: str, version: int) -> State:
    """The state after the commit record `name`, which stands at `version` of the log."""
    record: Any = disk.read_document(commits_folder(folder), name)
    if record["format"] != FORMAT:
        raise StoreError(f"commit record {name} has format {record['format']}, this program knows {FORMAT}")
    if record["op"] == "create":
        return State(0, version, record["schema"])
    if state is None:
        raise StoreError(f"the log of {folder} does not begin with a create")
    return _FOLD[record["op"]](replace(state, number=state.number + 1, version=version), name, record)


def _append(state: State, name: str, record: Mapping[str, Any]) -> State:
    parts = State.from_json({**_BLANK, "parts": record["parts"]}).parts
    return replace(
        state,
        schema=record["schema"],
        menus=tuple(dict.fromkeys((*state.menus, *record["menus"]))),
        sources=(*state.sources, (name, state.rows)),
        guids=tuple(dict.fromkeys((*state.guids, *record["guids"]))),
        parts=(*state.parts, *parts),
    )


def _compact(state: State, name: str, record: Mapping[str, Any]) -> State:
    """Each bin of neighbouring parts gives way to one part with the same rows in the same order."""
    parts = list(state.parts)
    for names, packed in record["bins"]:
        at = next((i for i, p in enumerate(parts) if p.name == names[0]), -1)
        if at < 0 or [p.name for p in parts[at : at + len(names)]] != names:
            raise StoreError(f"commit record {name} packs parts that are not side by side in snapshot {state.number}")
        parts[at : at + len(names)] = State.from_json({**_BLANK, "parts": [packed]}).parts
    return replace(state, parts=tuple(parts))


def _extend(state: State, name: str, record: Mapping[str, Any]) -> State:
    """Parts give way, each to one with the same rows in the same order and more columns."""
    new = {old: State.from_json({**_BLANK, "parts": [part]}).parts[0] for old, part in record["parts"]}
    old = {p.name: p.rows for p in state.parts}
    if any(old.get(name) != part.rows for name, part in new.items()):
        raise StoreError(f"commit record {name} extends parts that are not those of snapshot {state.number}")
    return replace(state, schema=record["schema"], parts=tuple(new.get(p.name, p) for p in state.parts))


def _retract(state: State, name: str, record: Mapping[str, Any]) -> State:
    """Parts give way to ones with fewer rows, or to none; the files that are left have moved up."""
    new = {old: State.from_json({**_BLANK, "parts": [part] if part else []}).parts for old, part in record["parts"]}
    if not set(new) <= {p.name for p in state.parts}:
        raise StoreError(f"commit record {name} retracts from parts that are not those of snapshot {state.number}")
    parts = chain.from_iterable(new.get(part.name, (part,)) for part in state.parts)
    return replace(
        state,
        parts=tuple(parts),
        sources=tuple((str(r), int(n)) for r, n in record["sources"]),
        guids=tuple(g for g in state.guids if g not in set(record["guids"])),
        retractions=(*state.retractions, name),
    )


def _restore(state: State, name: str, record: Mapping[str, Any]) -> State:
    return replace(State.from_json(record["state"]), number=state.number, version=state.version)


_FOLD = {"append": _append, "compact": _compact, "extend": _extend, "retract": _retract, "restore": _restore}
_BLANK: dict[str, Any] = {"number": 0, "version": 0, "schema": "", "menus": (), "sources": (), "guids": ()}


def manifests(folder: Path) -> list[int]:
    """Numbers of the snapshots that have a manifest, ascending."""
    names = [p.stem.removeprefix("manifest-") for p in (folder / "_tagsel").glob("manifest-*.json")]
    return sorted(int(n) for n in names if n.isdigit())


def read_manifest(folder: Path, number: int) -> State | None:
    """The state in a manifest; None when it is absent, damaged, of another format, or not of the log's entry.

    One whose log entry is missing is returned: it is the evidence that there was one. Then it must be of this dataset.
    """
    try:
        data = manifest_path(folder, number).read_bytes()
        document = json.loads(data)
        check, entry = str(document["check"]), str(document.get("entry", ""))
        body = data[len(_head(document["format"], check, entry)) : -1]
        if document["format"] not in (1, MANIFEST) or _check(entry, body) != check:
            return None
        state = State.from_json(document["state"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if state.number != number or not _is_of(folder, state, entry):
        return None
    return state


def _is_of(folder: Path, state: State, entry: str) -> bool:
    """Whether a manifest's state is one of the dataset: `entry` is the SHA-256 of its log entry, "" where unknown.

    The log's entry of that version decides, where the manifest names one or the log is whole. Where that entry is gone,
    or the manifest names none and the log begins later, all documents that the state names must be here: records of
    commits are never those of another dataset, nor of another history of this one.
    """
    present = entry_sha256(folder, state.version)
    if present and (entry or begins_at_0(folder)):
        return entry == present
    columns = (part.columns for part in state.parts)
    records = (record for record, _ in state.sources)
    names = {state.schema, *columns, *state.menus, *records, *state.retractions}
    return all((commits_folder(folder) / f"{name}.json").exists() for name in names)


def write_manifest(folder: Path, state: State) -> None:
    """Remember a state; a disk that cannot take it is no error, since the log says it all."""
    entry = entry_sha256(folder, state.version)
    if not entry:  # gone meanwhile
        return
    body = json.dumps(asdict(state), separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        write_bytes(manifest_path(folder, state.number), _head(MANIFEST, _check(entry, body), entry) + body + b"}")


def _check(entry: str, body: bytes) -> str:
    """The checksum of a manifest: of the hash of its log entry, and of its state."""
    return hashlib.sha256(entry.encode() + body).hexdigest()


def _head(version: object, check: str, entry: str) -> bytes:
    bound = f',"entry":"{entry}"' if version == MANIFEST else ""
    return f'{{"format":{version},"check":"{check}"{bound},"state":'.encode()


def states(folder: Path, start: State | None = None) -> Iterator[State]:
    """The states of the snapshots after `start` (None: from the first), in the log's order.

    StoreError, naming it, for an entry with the commit of an earlier one: each commit record is unique.
    """
    state = start
    earlier = {record for record, _ in start.sources} | set(start.retractions) if start else set()
    for version in range(state.version + 1 if state else 0, newest_version(folder) + 1):
        name = record_of(folder, version)
        if name is None:
            continue
        if name in earlier:
            raise _damaged_entry(entry_path(folder, version), "it repeats the commit of an earlier entry")
        earlier.add(name)
        state = apply(folder, state, name, version)
        yield state


def latest(folder: Path) -> State:
    """The newest snapshot's state: its manifest's if the log has not gone on, else folded and kept.

    StoreError where the log lacks an entry that a manifest knows: a snapshot has a log entry, or is none.
    """
    best = _nearest(folder)
    newest = newest_version(folder, best.version if best else -1)
    if best is not None and newest == best.version:
        return best
    if best is not None and newest < best.version:
        raise _missing_entry(folder, best.version, f"the manifest of snapshot {best.number} knows it")
    later = deque(states(folder, best), maxlen=1)
    if later:
        write_manifest(folder, later[0])
        return later[0]
    if best is None:
        raise StoreError(f"{folder} holds no dataset of tagsel", path=str(folder))
    return best


def _nearest(folder: Path, most: int | None = None) -> State | None:
    """The state of the newest manifest that can be used, of those of snapshots up to `most`."""
    for number in reversed(manifests(folder)):
        if most is None or number <= most:
            state = read_manifest(folder, number)
            if state is not None:
                return state
    return None


def at(folder: Path, number: int) -> State:
    """The state of snapshot `number`; from the nearest manifest at or before it. StoreError: there is none."""
    start = _nearest(folder, number)
    if start is not None and start.number == number:
        return start
    for state in states(folder, start):
        if state.number == number:
            return state
    raise StoreError(f"dataset {folder.name} has no snapshot {number}", snapshot=number, path=str(folder))


def live_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """The files of the table's newest version as the Delta log itself says, without a look at our own records; with
    what it says of each.

    The log must have its oldest entries.
    """
    live: dict[str, dict[str, Any]] = {}
    for version in versions(folder):
        for action in entry_actions(folder, version):
            if "add" in action:
                live[str(action["add"]["path"])] = action["add"]
            if "remove" in action:
                live.pop(str(action["remove"]["path"]), None)
    return live
