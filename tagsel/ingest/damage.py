"""The one place where what goes wrong in reading an input file becomes an error that names the file.

Invariant: whatever libraries raise on damaged input, only IngestErrors leave `reading`, so that one file's damage
never stops the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.errors import IngestError, TagselError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error but an IngestError into one that names `path`; the cause is kept."""
    try:
        yield
    except IngestError:
        raise
    except TagselError as error:
        message = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise IngestError(message, hint=error.hint, **{"path": str(path), **error.fields}) from error
    except Exception as error:
        # Damage shows as KeyError, struct.error, zlib.error, MemoryError: whatever a decoder runs into first.
        cause = type(error).__name__
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise IngestError(f"{path}: cannot be read: {cause}: {first}", path=str(path), cause=cause) from error
