"""The log of outputs: the SHA-256 of each file that tagsel wrote where a user said.

A log is a folder with a small sealed document for each output, named by the digest; so writers need no lock, and a
look-up reads one file. `W/outputs` is the log of a workspace; outputs elsewhere are in the user's own state folder.

Invariant: the log says that a content was written by tagsel, never where it is now.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from tagsel.base.atomic_write import write_bytes
from tagsel.base.checksum import Damaged, seal, unseal

FOLDER = "outputs"
"""Name of the log's folder in a workspace."""

VERSION = 1
"""Version of an entry; one of a newer version counts, too: its name is the digest."""

_log = logging.getLogger("tagsel")


def record(folder: Path, path: Path, digest: str) -> None:
    """Write down that tagsel writes a content to `path`.

    A log that cannot be written is a warning of the logger, no error: the output is whole, only `--force` will not
    recognize it.
    """
    document = {
        "version": VERSION,
        "digest": digest,
        "path": str(path.absolute()),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / f"{digest}.json", seal(document), durable=False)
    except OSError as error:
        _log.warning("%s is not in the log of outputs %s: %s", path, folder, error.strerror)


def knows(folder: Path, digest: str) -> bool:
    """Whether a content is in a log; a damaged entry counts as none."""
    try:
        document = unseal((folder / f"{digest}.json").read_bytes())
    except (OSError, Damaged):
        return False
    return document.get("digest") == digest


def user_folder() -> Path:
    """The log of outputs that are in no workspace."""
    import platformdirs

    return Path(platformdirs.user_state_dir("tagsel"), FOLDER)
