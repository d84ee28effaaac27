"""Ingest on one core: of 1 kB TAG records in Parquet, beside a plain copy of the file by pyarrow; of a NanoAOD-like
ROOT file, beside uproot's own reading of all its branches.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import data as made
from bench.context import Context
from bench.timing import OURS, Row, WrongAnswer, in_turns, seconds_of

ARROW, NANO = "ingest_arrow", "ingest_nano"
MOST = 500_000


def ingesting(context: Context) -> list[Row]:
    """The rows of the section."""
    events = min(context.events, MOST)
    rows = []
    if context.wants(ARROW):
        path = _tag_file(context, events)
        rows.append(_row(ARROW, f"{events:,} TAG records of 1 kB", path, events, context, {"pyarrow copy": _copied}))
    if context.wants(NANO):
        path = made.nano_file(context.folder, events, context.say)
        rows.append(_row(NANO, f"{events:,} events with lists, zlib", path, events, context, {"uproot read": _read}))
    return rows


def _tag_file(context: Context, events: int) -> Path:
    """TAG records as they come: an uncompressed Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def make(aside: Path) -> None:
        source = made.batches(events)
        first = next(source)
        with pq.ParquetWriter(aside / "tags.parquet", first.schema, compression="NONE", use_dictionary=False) as writer:
            for batch in (first, *source):
                writer.write_table(pa.Table.from_batches([batch]))

    what = f"a Parquet file of {events:,} TAG records"
    return made.once(context.folder / str(events) / "tagfile", what, make, context.say) / "tags.parquet"


def _copied(path: Path) -> None:
    """The same columns read and written by pyarrow on one thread."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    with pq.ParquetWriter(
        path.with_suffix(".copy"), file.schema_arrow, compression="NONE", use_dictionary=False
    ) as out:
        for group in range(file.num_row_groups):
            out.write_table(file.read_row_group(group, use_threads=False))
    path.with_suffix(".copy").unlink()


def _read(path: Path) -> None:
    """All branches by uproot, in steps as ours."""
    import uproot

    with uproot.open(path, array_cache=None) as file:
        for _ in file["Events"].iterate(step_size=131_072, library="ak"):
            pass


def _row(
    name: str, what: str, path: Path, events: int, context: Context, beside: dict[str, Callable[[Path], None]]
) -> Row:
    """Time the ingest into a new workspace, which is removed off the clock, and what it is beside."""
    from tagsel.api import Workspace

    home = context.folder / "ingested"

    def ours() -> float:
        shutil.rmtree(home, ignore_errors=True)
        workspace = Workspace.init(home)
        started = time.perf_counter()
        done: Any = workspace.ingest(path, dataset=made.TAG, processes=1)
        took = time.perf_counter() - started
        if done.events != events:
            raise WrongAnswer(f"{name}: {done.events} events of {events} were ingested")
        return took

    calls = {OURS: ours, **{n: (lambda c=call: seconds_of(lambda: c(path))) for n, call in beside.items()}}
    seconds = in_turns(calls, min(context.repeat, 3), enough=60)
    shutil.rmtree(home, ignore_errors=True)
    return Row(name, what, events, seconds, bytes=path.stat().st_size)
