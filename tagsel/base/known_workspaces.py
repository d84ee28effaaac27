"""The workspaces that a user has opened, and whether a file is registered in one of them.

An output must not replace a file that is registered anywhere, and a workspace that is not open in this process knows
that, too. So each workspace that a user opens leaves its folder in the user's state folder, and its journal is asked.

Invariant: nothing here fails a command; a workspace that is away says nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from tagsel.base.atomic_write import write_bytes
from tagsel.base.checksum import Damaged, seal, unseal

FOLDER = "workspaces"
"""Name of the list's folder in the user's state folder: a small sealed document for each workspace."""

VERSION = 1
"""Version of an entry."""

MOST = 200
"""Workspaces that are kept in mind, those opened last."""

JOURNAL = "catalog.journal"
"""The file of a workspace that says what is, or was, registered in it."""

_log = logging.getLogger("tagsel")


def record(workspace: Path) -> None:
    """Keep in mind that this user opened a workspace."""
    entry = _entry(workspace)
    if entry is None:
        return
    try:
        if _folder_in(entry) == workspace:
            os.utime(entry)
            return
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(entry, seal({"version": VERSION, "folder": str(workspace)}), durable=False)
        for old in _by_age(entry.parent)[MOST:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.info("%s is not kept in mind in %s: %s", workspace, entry.parent, error.strerror)


def forget(workspace: Path) -> None:
    """Keep a workspace in mind no more: one that goes with its process."""
    entry = _entry(workspace)
    if entry is None:
        return
    try:
        entry.unlink(missing_ok=True)
    except OSError as error:
        _log.info("%s stays in mind in %s: %s", workspace, entry.parent, error.strerror)


def folders() -> list[Path]:
    """The workspaces that this user opened, the last one first; those that are away, or damaged entries, left out."""
    entry = _entry(Path("/"))
    opened = []
    for path in _by_age(entry.parent) if entry is not None else ():
        folder = _folder_in(path)
        if folder is not None and (folder / JOURNAL).is_file():
            opened.append(folder)
    return opened


def _folder_in(entry: Path) -> Path | None:
    """The workspace that an entry names; None where it is absent, damaged, or another workspace's."""
    try:
        folder = Path(unseal(entry.read_bytes())["folder"])
    except (OSError, Damaged, KeyError, TypeError):
        return None
    return folder if entry.name == _name(folder) else None


def registered_in(path: Path, workspace: Path) -> bool:
    """Whether a file is, or was, registered in a workspace, by its journal.

    That is: a physical name leads to it, or a logical one below the prefix of a site.
    """
    target = path.absolute().parent.resolve() / path.name
    names = {json.dumps(path.name)[1:-1].encode(), path.name.encode("utf-8", "surrogateescape")}
    try:
        lines = (workspace / JOURNAL).read_bytes().splitlines()
    except OSError:
        return False
    prefixes: set[str] = set()
    registered: set[str] = set()
    for line in lines:
        if b'"prefix"' in line:
            prefixes.update(_values(line, ("prefix",)))
        if any(name in line for name in names):
            registered.update(_values(line, ("pfn", "lfn", "replicas")))
    same = [name for name in registered if name.rpartition("/")[2] == target.name]
    return any(_leads_to(name, target, prefixes) for name in same)


def _leads_to(name: str, target: Path, prefixes: Collection[str]) -> bool:
    """Whether a physical or logical name is that of a file."""
    local = name.removeprefix("file://")
    if local.startswith("/"):
        places = [Path(local)]
    else:
        places = [Path(prefix.removeprefix("file://"), local) for prefix in prefixes]
    for place in places:
        try:
            if place == target or place.samefile(target):
                return True
        except (OSError, ValueError):  # not there, or no path
            continue
    return False


def _values(line: bytes, keys: Collection[str]) -> Iterator[str]:
    """The texts that stand under some keys in a line of a journal; of copies, pairs of GUID and name, the name."""
    try:
        stack = [json.loads(line)]
    except ValueError:  # damaged: opening the catalog reports it
        return
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for key in keys:
                named = value.get(key)
                entries = [entry[-1] for entry in named if entry] if isinstance(named, list) else [named]
                yield from (entry for entry in entries if isinstance(entry, str))
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _entry(workspace: Path) -> Path | None:
    """The entry of a workspace; None where the user has no state folder."""
    import platformdirs

    state = Path(platformdirs.user_state_dir("tagsel"))
    if not state.is_absolute():
        return None
    return state / FOLDER / _name(workspace)


def _name(workspace: Path) -> str:
    """The name of a workspace's entry: a hash of its folder."""
    return f"{hashlib.sha256(os.fsencode(workspace)).hexdigest()[:32]}.json"


def _by_age(folder: Path) -> list[Path]:
    """Entries, the one that was used last first; those that another process removes meanwhile are left out."""
    times: dict[Path, float] = {}
    try:
        for path in folder.glob("*.json"):
            with suppress(FileNotFoundError):
                times[path] = path.stat().st_mtime
    except OSError as error:  # the folder is away, or closed
        _log.info("no workspaces are in mind: %s: %s", folder, error.strerror)
    return sorted(times, key=lambda path: times[path], reverse=True)
