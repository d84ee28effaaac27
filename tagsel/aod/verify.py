"""Reading back what was written, and comparing it with what was meant.

Invariant: two files have equal fingerprints exactly when they hold the same rows in the same order,
whatever the batches, widths of integers or list encodings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.errors import AccessError
from tagsel.rootio import RootFile, note_of

PARQUET_ROWS = 65_536


class Fingerprint:
    """SHA-256 of each branch, fed batch by batch: lengths of lists, and values, each in one type."""

    def __init__(self) -> None:
        self.rows = 0
        self._states: dict[str, list[Any]] = {}

    def add(self, events: Any) -> None:
        """Feed a record array."""
        self.rows += len(events)
        for name in events.fields:
            states = self._states.setdefault(name, [])
            for level, part in enumerate(_parts(events[name])):
                if level == len(states):
                    states.append(hashlib.sha256())
                states[level].update(part)

    def digests(self) -> dict[str, str]:
        """Branch → digest."""
        digests = {}
        for name, states in sorted(self._states.items()):
            digests[name] = "".join(state.hexdigest() for state in states)
        return digests


def _parts(array: Any) -> Iterator[bytes]:
    """The lengths of each level of lists, then the values, as canonical bytes."""
    import awkward as ak

    while array.ndim > 1:
        yield ak.to_numpy(ak.num(array, axis=1)).astype("<i8").tobytes()
        array = ak.flatten(array, axis=1)
    if "string" in str(array.type):
        yield "\0".join(array.to_list()).encode() + b"\0"
        return
    values = np.asarray(ak.to_numpy(array))
    kind = "<i8" if values.dtype.kind in "bi" or (values.dtype.kind == "u" and values.dtype.itemsize < 8) else None
    yield values.astype(kind or values.dtype.newbyteorder("<")).tobytes()


def read_back(path: Path, branches: Sequence[str], batch: int, tree_name: str = "") -> Iterator[Any]:
    """Batches of an output, ROOT or Parquet by content, with the branches asked for."""
    import awkward as ak

    if _is_parquet(path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for part in file.iter_batches(PARQUET_ROWS, columns=list(branches)):
                yield ak.from_arrow(pa.Table.from_batches([part]))
        return
    with RootFile(path) as opened:
        tree = opened.events(tree_name or None)
        columns = {b: tree.find(b) or b for b in branches}
        for start in range(0, tree.entries, batch):
            raw = tree.arrays(list(columns.values()), start, min(start + batch, tree.entries))
            yield ak.zip({b: raw[c] for b, c in columns.items()}, depth_limit=1)


def read_note(path: Path | str) -> dict[str, object]:
    """The provenance that a skim carries: cut, datasets, digest, ledgers, cutflow. AccessError where it has
    none."""
    note = note_of(path)
    if note is None:
        raise AccessError(f"{path}: no provenance of tagsel in this file", path=str(path))
    return note


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"
