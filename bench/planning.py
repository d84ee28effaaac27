"""Planning alone, over a thousand parts and a billion rows and more: what is read are zones, never data.

How such a dataset is made: one real part of the generated TAGs (or of 50 of its columns) stands in it under a thousand
names, as hard links (of 100,000 parts there are the names alone). Each has a sidecar of zones of its own, with the
values of the real one's. The log entry is written by the store's own commit. Each call plans another threshold, in an
open dataset; *first call* is a new process's first, which opens dataset, manifest and all sidecars.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import data as made
from bench.context import Context
from bench.data import Data
from bench.timing import OURS, Row, WrongAnswer

CUT = "NLooseMuon >= 2 && abs(LooseMuonPt1) > {low} && abs(LooseMuonEta1) < 2 && run > 0"
SIZES = {"plan1000": (1_000, 0), "plan1000x50": (1_000, 50), "plan100k": (100_000, 50)}
"""By row: parts, and columns (0: all)."""

MOST_LINKS = 1_000
"""Parts up to which each has a file, too: a link to the real part's."""

HOW = __doc__.partition("\n\n")[2]


def planning(context: Context) -> list[Row]:
    """The rows of the section."""
    tags = made.tags(context.folder, context.events, context.say)
    rows = []
    for name, (parts, columns) in SIZES.items():
        if context.wants(name):
            folder = tags.workspace.parent.parent / name
            made.once(folder, name, lambda aside, p=parts, c=columns: many(tags, aside / "data", p, c), context.say)
            rows.append(_row(name, folder / "data", parts, columns, context))
    return rows


def many(tags: Data, folder: Path, parts: int, columns: int) -> None:
    """The dataset: `parts` names of one real part with `columns` columns."""
    from tagsel.api import Workspace
    from tagsel.store import Table, disk, duplicates, log
    from tagsel.store.commits import Change, commit
    from tagsel.store.zones import bound, sidecar_path

    snapshot = Workspace(tags.workspace).home.table(tags.dataset).snapshot()
    schema = narrowed(snapshot.schema, columns)
    state = Table.create(folder, schema).snapshot().state
    documents = log.commits_folder(folder)
    for name in snapshot.state.menus:
        disk.write_document(documents, disk.read_document(log.commits_folder(snapshot.folder), name))
    real = snapshot.parts[0]
    path = slim(folder, schema, real.path) if columns else real.path
    listed = disk.write_document(documents, [a.column for a in schema])
    one = log.PartRecord(path.name, real.rows, path.stat().st_size, real.groups, listed)
    records = [replace(one, name=f"{_hex(k)}-{real.rows}.parquet") for k in range(parts)]
    sidecar = sidecar_path(path).read_bytes()
    for record in records:
        name = folder / record.name
        if parts <= MOST_LINKS:
            os.link(path, name)
        sidecar_path(name).write_bytes(bound(sidecar, name))
    whole = replace(state, parts=tuple(records), menus=snapshot.state.menus)
    commit(folder, lambda _: Change({"op": "restore", "of": 0, "state": asdict(whole)}, schema))
    marks = Table.open(folder).snapshot().marks
    duplicates.save(marks.path, np.zeros(0, "<i8"), marks.binding())  # else all ids would be read to look for some


def _hex(k: int) -> str:
    return hashlib.sha256(str(k).encode()).hexdigest()[:32]


def slim(folder: Path, schema: Any, path: Path) -> Path:
    """A real part with the columns of `schema`, in `folder`."""
    import pyarrow.parquet as pq

    from tagsel.store import layout

    columns = [a.column for a in schema]
    new = layout.write_part(folder, schema, pq.ParquetFile(path).iter_batches(made.ROW_GROUP, columns=columns))
    assert new is not None
    return folder / new.name


def narrowed(schema: Any, columns: int) -> Any:
    """The schema with the ids, what the cut needs and others up to `columns`; all of it for 0."""
    from tagsel.schema import Schema

    first = ("run", "lumi", "event", "aod_guid", "aod_entry", "menu", "NLooseMuon", "LooseMuonPt1", "LooseMuonEta1")
    ordered = sorted(schema, key=lambda a: a.name not in first)
    chosen = {a.name for a in ordered[: columns or None]}
    return Schema(tuple(a for a in schema if a.name in chosen))


def planned(folder: Path, low: float) -> Any:
    """The plan of the cut, from the name of the folder on."""
    from tagsel.selection import Input, Query, prepare
    from tagsel.store import Table

    snapshot = Table.open(folder).snapshot()
    return prepare(Query((Input("many", snapshot),), (("", CUT.format(low=low)),))).plan


def _row(name: str, folder: Path, parts: int, columns: int, context: Context) -> Row:
    """Time plans; what is planned is compared with one part's plan, times the number of parts."""
    code = "from bench.planning import *; import time, tagsel.selection, tagsel.store.table; t = time.perf_counter()"
    code += f"; planned(Path({str(folder)!r}), 3.0); print(time.perf_counter() - t)"
    fresh = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    plan = planned(folder, 3.0)
    rows = sum(plan.rows(verdict) for verdict in {u.verdict for u in plan.units})
    if len(plan.units) % parts or rows % parts:
        raise WrongAnswer(f"{name}: {len(plan.units)} row groups and {rows} rows planned in {parts} parts")
    times = []
    for k in range(context.repeat):
        started = time.perf_counter()
        planned(folder, 3.25 + k)
        times.append(time.perf_counter() - started)
    what = f"{parts:,} parts, {rows:,} rows, {columns or 'all 250'} columns"
    return Row(name, what, rows, {OURS: statistics.median(times)}, first={OURS: statistics.median(fresh)})
