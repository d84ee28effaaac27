"""The one place where what goes wrong in reading an input file becomes an error that names the file.

Invariant: whatever libraries raise on damaged input, only IngestErrors leave `reading`, so that one file's damage
never stops the others. A process with a limit on its memory says how much is left where that does not suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagsel.base import memory_limit
from tagsel.errors import IngestError, MemoryLimitError, TagselError

MORE_MEMORY = "raise the limit (ulimit -v, ulimit -d, or what the batch job asks for), or use --processes 1"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error but an IngestError into one that names `path`; the cause is kept."""
    try:
        yield
    except IngestError:
        raise
    except TagselError as error:
        message = error.message if str(path) in error.message else f"{path}: {error.message}"
        hint = MORE_MEMORY if isinstance(error, MemoryLimitError) else error.hint
        raise IngestError(message, hint=hint, **{"path": str(path), **error.fields}) from error
    except Exception as error:
        if memory_limit.is_refusal(error) and memory_limit.memory_left() is not None:
            refused = memory_limit.exhausted(error, str(path))
            raise IngestError(refused.message, hint=MORE_MEMORY, path=str(path), **refused.fields) from error
        # Damage shows as KeyError, struct.error, zlib.error, MemoryError: whatever a decoder runs into first.
        cause = type(error).__name__
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise IngestError(f"{path}: cannot be read: {cause}: {first}", path=str(path), cause=cause) from error
