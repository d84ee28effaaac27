"""The note that an output of tagsel carries: how its events were selected, and whether they are simulation.

It is one JSON object under the name `NOTE`: a TObjString in a ROOT file, a key of the metadata in a Parquet file.
Invariant: reading a note reads no event; a file of anybody else has none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tagsel.errors import AccessError
from tagsel.rootio.file import RootFile

NOTE = "tagsel"
"""Name of the note in a file."""

UNITS = "tagsel.units"
"""Name, in the metadata of a Parquet file, of the units of its columns: a JSON object, column → unit."""


def note_of(path: Path | str) -> dict[str, Any] | None:
    """The note of a ROOT or Parquet file, or None, as of any other file; AccessError where it cannot be read."""
    path = Path(path)
    with path.open("rb") as file:
        magic = file.read(4)
    text: bytes | str | None = None
    if magic == b"PAR1":
        text = _in_parquet(path)
    elif magic == b"root":
        text = _in_root(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AccessError(f"{path}: its note of provenance is damaged: {error}", path=str(path)) from error
    return found if isinstance(found, dict) else None


def _in_parquet(path: Path) -> bytes | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowNotImplementedError:  # it has types that tagsel never writes
        return None
    except (pa.ArrowException, OSError) as error:
        raise AccessError(f"{path}: cannot be read: {error}", path=str(path)) from error
    found = metadata.get(NOTE.encode())
    return bytes(found) if found is not None else None


def _in_root(path: Path) -> str | None:
    with RootFile(path) as file:
        return file.text(NOTE)
