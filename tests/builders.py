"""Datasets for tests, made of plain columns: written by the store, registered in a workspace's catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tagsel.api import Workspace
from tagsel.ingest.registration import register
from tagsel.schema import Attribute, Menu, Schema
from tagsel.store import Source, Table, arrow_schema, write_part

GUIDS = [f"00000000-0000-4000-8000-{i:012X}" for i in range(100)]

IDS = (
    Attribute("run", "int32", role="id"),
    Attribute("lumi", "int32", role="id", aliases=("luminosityBlock",)),
    Attribute("event", "int64", role="id"),
    Attribute("aod_guid", "string", role="reference", hot=False),
    Attribute("aod_entry", "int64", role="reference"),
    Attribute("menu", "int64", role="menu", hot=False),
)
VALUES = (
    Attribute("MET_pt", "float32", unit="GeV"),
    Attribute("weight", "float64", role="weight"),
    Attribute("nMuon", "int32", role="counter"),
    Attribute("Muon.pt", "float32", unit="GeV", is_list=True, counter="nMuon"),
    Attribute("trigger_0", "bits32", role="trigger"),
)
SCHEMA = Schema((*IDS, *VALUES), "test")
MENU = Menu({"HLT_mu10": ("trigger_0", 0), "HLT_mu20": ("trigger_0", 3)})
OTHER_MENU = Menu({"HLT_mu10": ("trigger_0", 5)})


def rows(n: int, seed: int = 1, **given: Any) -> dict[str, Any]:
    """`n` random events as columns; `given` columns replace them."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, n).astype(np.int32)
    columns: dict[str, Any] = {
        "run": np.sort(random.integers(7, 10, n)).astype(np.int32),
        "lumi": random.integers(1, 6, n).astype(np.int32),
        "event": (np.arange(n) + 1000 * seed).astype(np.int64),
        "aod_guid": np.array([GUIDS[i % 3] for i in range(n)], object),
        "aod_entry": np.arange(n, dtype=np.int64) // 3,
        "menu": np.full(n, MENU.id, np.int64),
        "MET_pt": random.exponential(30, n).astype(np.float32),
        "weight": np.round(random.normal(1, 1, n), 3),
        "nMuon": counts,
        "Muon_pt": [random.exponential(20, c).astype(np.float32) for c in counts],
        "trigger_0": random.integers(0, 16, n).astype(np.int32),
    }
    return {**columns, **given}


def batch(columns: Mapping[str, Any], schema: Schema = SCHEMA) -> pa.RecordBatch:
    """The columns as a record batch of the schema."""
    target = arrow_schema(schema)
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in target], schema=target)


def build(
    home: Workspace,
    name: str,
    *parts: Mapping[str, Any],
    schema: Schema = SCHEMA,
    simulation: bool = False,
    menus: Sequence[Menu] = (MENU, OTHER_MENU),
    bookkeeping: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Table:
    """Make (or add to) a dataset of a workspace: one part for each set of columns, all in one commit."""
    folder = home.folder / "data" / name
    table = Table.open(folder) if (folder / "_delta_log").is_dir() else Table.create(folder, schema)
    start = len(table.snapshot().sources)
    keep = {"simulation": simulation, **(bookkeeping or {})}
    written = []
    for k, columns in enumerate(parts):
        source = Source(GUIDS[50 + start + k], f"{name}-{start + k}", len(columns["run"]), 0, keep)
        part = write_part(folder, schema, [batch(columns, schema)], [source])
        if part is not None:
            written.append(part)
    table.append(written, schema, {m.id: m for m in menus}, evolve=True)
    register(home.catalog, name, table.snapshot(), facts)
    return table


def workspace(path: Path) -> Workspace:
    """A new workspace."""
    return Workspace.init(path / "W")
