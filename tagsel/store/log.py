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
from pathlib import Path
from typing import Any

from tagsel.errors import StoreError
from tagsel.store import disk

FORMAT = 1
"""Version of commit records and manifests."""

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
            document["number"], document["version"], document["schema"], parts, tuple(document["menus"]),
            tuple((str(r), int(n)) for r, n in document["sources"]), tuple(document["guids"]),
            tuple(document.get("retractions", ())),  # manifests of old do not say
        )  # fmt: skip


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
    if at_least >= 0 and not has_entry(folder, at_least + 1):
        return at_least
    with disk.saying("list", folder / "_delta_log"):
        names = [p.stem for p in (folder / "_delta_log").iterdir() if p.suffix == ".json"]
    return max((int(n) for n in names if n.isdigit()), default=-1)


def record_of(folder: Path, version: int) -> str | None:
    """The name of the commit record of a version; None where it only changed the table's columns.

    StoreError: the version is gone, or another program changed the table's files in it.
    """
    path = entry_path(folder, version)
    with disk.saying("read", path):
        text = path.read_text()
    try:
        actions = [json.loads(line) for line in text.splitlines() if line]
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}", path=str(path)) from error
    for action in actions:
        name = action.get("commitInfo", {}).get(MARK)
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
    return replace(
        state,
        parts=tuple(q for p in state.parts for q in new.get(p.name, (p,))),
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
    """The state in a manifest; None when it is absent, damaged or of another format."""
    try:
        data = manifest_path(folder, number).read_bytes()
        document = json.loads(data)
        body = data[len(_head(document["check"])) : -1]
        if document["format"] != FORMAT or hashlib.sha256(body).hexdigest() != document["check"]:
            return None
        state = State.from_json(document["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if state.number == number else None


def write_manifest(folder: Path, state: State) -> None:
    """Remember a state; a disk that cannot take it is no error, since the log says it all."""
    body = json.dumps(asdict(state), separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        disk.write_file(manifest_path(folder, state.number), _head(hashlib.sha256(body).hexdigest()) + body + b"}")


def _head(check: str) -> bytes:
    return f'{{"format":{FORMAT},"check":"{check}","state":'.encode()


def states(folder: Path, start: State | None = None) -> Iterator[State]:
    """The states of the snapshots after `start` (None: from the first), in the log's order."""
    state = start
    for version in range(state.version + 1 if state else 0, newest_version(folder) + 1):
        name = record_of(folder, version)
        if name is not None:
            state = apply(folder, state, name, version)
            yield state


def latest(folder: Path) -> State:
    """The newest snapshot's state: its manifest's if the log has not gone on, else folded and kept."""
    best = next((s for n in reversed(manifests(folder)) if (s := read_manifest(folder, n))), None)
    if best and newest_version(folder, best.version) == best.version:
        return best
    later = deque(states(folder, best), maxlen=1)
    if later:
        write_manifest(folder, later[0])
        return later[0]
    if best is None:
        raise StoreError(f"{folder} holds no dataset of tagsel", path=str(folder))
    return best


def at(folder: Path, number: int) -> State:
    """The state of snapshot `number`, which must exist; from the nearest manifest at or before it."""
    start = next((s for n in reversed(manifests(folder)) if n <= number and (s := read_manifest(folder, n))), None)
    if start and start.number == number:
        return start
    return next(s for s in states(folder, start) if s.number == number)
