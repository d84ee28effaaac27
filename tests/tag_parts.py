"""Generated tables as a dataset of several parts with small row groups, and what a plain loop selects from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle as slow
import pyarrow as pa
from strategies import MENUS, SCHEMA, Table

from tagsel.language import Node
from tagsel.quality import LumiSet
from tagsel.schema import Attribute, Schema
from tagsel.selection import Input
from tagsel.store import Source, arrow_schema, write_part
from tagsel.store import Table as Dataset

GUIDS = [f"00000000-0000-4000-8000-{i:012X}" for i in range(20)]
"""AOD files that the events of all parts lie in: few, so that parts share them."""

PLACES = (Attribute("aod_guid", "string", role="reference"), Attribute("aod_entry", "int64", role="reference"))

Event = tuple[int, int, int, str, int]


def numbered(table: Table, first: int, repeat: bool) -> Table:
    """The table as a dataset takes it: unique event numbers, or (with `repeat`) some twice; no list without counter."""
    rng = np.random.default_rng(table.seed)
    events = np.arange(first, first + table.rows)
    if repeat and table.rows:
        events = rng.choice(max(table.rows // 2, 1), table.rows)
    lacks = table.absent.union(a.column for a in SCHEMA if a.is_list and a.counter in table.absent)
    return replace(table, columns={**table.columns, "event": events.astype(np.int64)}, absent=lacks)


def places(table: Table) -> tuple[list[str], list[int]]:
    """GUID and entry of each row: two files, in an order that is not theirs."""
    names = [GUIDS[(table.seed + (at >= table.rows // 2)) % len(GUIDS)] for at in range(table.rows)]
    return names, [table.rows - at if table.seed % 3 == 0 else at for at in range(table.rows)]


def dataset(folder: Path, tables: Sequence[Table]) -> Dataset:
    """The tables as parts, each without the columns that it lacks, all in one commit."""
    whole = Schema((*SCHEMA, *PLACES))
    made, parts, empty = Dataset.create(folder, whole), [], []
    for number, table in enumerate(tables):
        schema = Schema((*(a for a in SCHEMA if a.column not in table.absent), *PLACES))
        source = Source(f"00000000-0000-4000-9000-{number:012X}", f"{number}.root", table.rows, 0, {})
        part = write_part(folder, schema, [_batch(table, schema)], [source])
        if part is None:
            empty.append(source)
        else:
            parts.append(part)
    made.append(parts, whole, MENUS, empty, evolve=True)
    return made


def _batch(table: Table, schema: Schema) -> pa.RecordBatch:
    names, entries = places(table)
    arrays = []
    for field in arrow_schema(schema):
        a = schema.by_column[field.name]
        if field.name in ("aod_guid", "aod_entry"):
            arrays.append(pa.array(names if field.name == "aod_guid" else entries, field.type))
            continue
        values = table.columns[field.name]
        if a.type.startswith("bits"):
            values = values.view(np.int32 if a.type == "bits32" else np.int64)
        if not a.is_list:
            arrays.append(pa.array(values, field.type))
            continue
        ends = np.concatenate([[0], np.cumsum(table.lengths[a.counter])]).astype(np.int32)
        flat = pa.array(values, field.type.value_type)
        arrays.append(pa.ListArray.from_arrays(ends, flat, type=field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema))


def opened(name: str, made: Dataset, simulation: bool = False) -> Input:
    """The dataset's newest snapshot as an input."""
    return Input(name, made.snapshot(), simulation, name)


def by_hand(
    node: Node, tables: Sequence[Table], policy: str, good: LumiSet | None
) -> tuple[list[Event], dict[str, int]]:
    """The accepted events in the list's order, and the ledger, by a loop over rows; slow.Unanswerable as it comes."""
    rows: list[tuple[Event, Any]] = []
    for table in tables:
        for at, (guid, entry) in enumerate(zip(*places(table), strict=True)):
            row = table.row(at)
            rows.append(((row["run"], row["lumi"], row["event"], guid, entry), row))
    best: dict[tuple[int, int], tuple[str, int, int]] = {}
    for n, ((run, _, event, guid, entry), _) in enumerate(rows):
        best[run, event] = min(best.get((run, event), (guid, entry, n)), (guid, entry, n))
    ledger = dict.fromkeys(("accepted", "rejected", "masked", "duplicate", "unreadable"), 0)
    found = []
    for n, (event, row) in enumerate(rows):
        fate = "accepted"
        if policy == "first" and best[event[0], event[2]][2] != n:
            fate = "duplicate"
        elif good is not None and not good.contains(np.array([event[0]]), np.array([event[1]]))[0]:
            fate = "masked"
        elif not slow.oracle(node, row):
            fate = "rejected"
        ledger[fate] += 1
        found += [event] if fate == "accepted" else []
    return sorted(found, key=lambda e: (e[3], e[4], e[0], e[1], e[2])), ledger
