"""An Arrow file that is cut short while it is ingested: an error that names it, and nothing of it comes in.

Row 65 of the faults. Arrow files are mapped: a page that is gone raises SIGBUS, and a page that is there in part reads
as zeros. A child ingests, since a read that nobody watches ends the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest
from builders import workspace

ROWS, BATCH = 60_000, 20_000

CHILD = """
import json, os, sys
from pathlib import Path
from tagsel.api import Workspace
from tagsel.errors import IngestError
from tagsel.ingest.columnar import ArrowFile

home, victim, other = Workspace(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
whole = victim.read_bytes()
each = ArrowFile._each
now = {}

def then_cut(self, source):
    for batch in each(self, source):
        if self.path == victim:
            now["batches"] += 1
            if now["batches"] == now["step"]:
                os.truncate(victim, now["left"])
        yield batch

ArrowFile._each = then_cut
reports = []
for left, step in json.loads(sys.argv[4]):
    victim.write_bytes(whole)
    now.update(batches=0, step=step, left=len(whole) + left if left < 0 else left)
    try:
        done = home.ingest(victim, other, dataset="d.TAG", processes=1)
        errors = [failure.reason for failure in done.failed]
    except IngestError as error:
        errors = [error.message]
    reports.append([errors, home["d.TAG"].count().read])
print(json.dumps(reports))
"""


def table(first: int) -> pa.Table:
    """Events with a number and a list, larger than a page of memory in every batch."""
    lists = pa.ListArray.from_arrays(np.arange(0, 2 * ROWS + 1, 2, dtype=np.int32), np.arange(2.0 * ROWS))
    return pa.table(
        {
            "run": np.full(ROWS, 7, np.int32),
            "lumi": np.ones(ROWS, np.int32),
            "event": np.arange(first, first + ROWS),
            "x": np.arange(ROWS) / 3,
            "values": lists,
        }
    )


def as_file(rows: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(str(path), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=BATCH)


def as_stream(rows: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=BATCH)


def as_feather(rows: pa.Table, path: Path) -> None:
    pyarrow.feather.write_feather(rows, str(path), chunksize=BATCH)  # compressed


OPENING = 6
"""Batches that are looked at until the file is opened: 3 to find its schema, 3 to count its rows."""

TRIALS = ((0, 2), (0, OPENING + 2), (4096, OPENING + 2), (-9, OPENING + 1), (-9, OPENING + 3))
"""Bytes that are left of the file (below 0: fewer than it had), once so many batches have been found in it."""


@pytest.mark.skipif(sys.platform != "linux", reason="faults in mappings are told of on Linux")
@pytest.mark.parametrize("write", [as_file, as_stream, as_feather])
def test_fault_65_an_arrow_file_cut_short_while_it_is_ingested(
    tmp_path: Path, write: Callable[[pa.Table, Path], None]
) -> None:
    """To nothing, to a page, by 9 bytes; while its rows are counted, or taken. The other file comes in, once."""
    victim, other = tmp_path / "victim.arrow", tmp_path / "other.arrow"
    write(table(0), victim)
    as_file(table(ROWS), other)
    home = workspace(tmp_path).folder
    arguments = [str(home), str(victim), str(other), json.dumps(TRIALS)]
    command = [sys.executable, "-c", CHILD, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    reports = json.loads(done.stdout)
    assert len(reports) == len(TRIALS)
    for errors, events in reports:
        (error,) = errors
        assert str(victim) in error and "was cut short while it was read" in error
        assert events == ROWS
    assert len(list(home.rglob("*.parquet"))) == 1


CATEGORIES = """
import os, sys
from pathlib import Path
from tagsel.errors import IngestError
from tagsel.ingest.columnar import ArrowFile, open_columnar

path, left = Path(sys.argv[1]), int(sys.argv[2])
copy = ArrowFile._copy
slices = []

def cut_before_the_second(self, *slice_and_columns):
    slices.append(slice_and_columns)
    if len(slices) == 2:
        os.truncate(path, left)
    return copy(self, *slice_and_columns)

ArrowFile._copy = cut_before_the_second
with open_columnar(path) as file:
    try:
        for _, arrays in file.chunks(["text"], 5000):
            pass
    except IngestError as error:
        print(error.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="faults in mappings are told of on Linux")
def test_fault_65_an_arrow_file_cut_within_the_places_of_its_categories(tmp_path: Path) -> None:
    """Two slices of one batch use all 5,000 categories, the last first; before the second 50 of their places are left.

    A text that begins at 40 n and ends at 0, as the missing bytes read, has a length below 0.
    """
    categories = pa.array([f"{number:040d}" for number in range(5000)])
    falling = np.arange(5000, dtype=np.int32)[::-1]
    column = pa.DictionaryArray.from_arrays(np.tile(falling, 2), categories)
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(str(path), pa.schema([("text", column.type)])) as writer:
        writer.write_batch(pa.record_batch({"text": column}))
    places = np.arange(0, 40 * 5001, 40, dtype=np.int32).tobytes()
    left = path.read_bytes().index(places) + 4 * 50
    command = [sys.executable, "-c", CATEGORIES, str(path), str(left)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout == f"{path}: was cut short while it was read\n"
