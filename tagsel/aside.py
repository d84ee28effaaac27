"""Files written aside: whoever reads a path sees the old file or the new one, never half of one.

Invariant: after an error nothing of the new file is left, and what stood at the path before still does.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.errors import AccessError


@contextmanager
def aside(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it is fsynced and takes `path`'s name.

    A symlink is followed; what is no regular file (a pipe, `/dev/null`) is written directly. An OSError of
    the block or of the renaming becomes an AccessError that names `path`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with aside(Path(folder, "a.txt")) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    target = Path(path).resolve()
    special = target.exists() and not target.is_file()
    if target.is_dir():
        raise AccessError(f"{path} is a folder: a file name was expected", path=str(path))
    if not target.parent.is_dir():
        raise AccessError(f"cannot write {path}: there is no folder {target.parent}", path=str(path))
    temporary = target if special else target.with_name(f".tmp-{target.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
        if not special:
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
    except OSError as error:
        raise AccessError(f"cannot write {path}: {error.strerror or error}", path=str(path)) from error
    finally:
        if not special:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file or folder to the disk; a failure aborts the writing, it is never tried again."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
