"""A generator of odd files: names that collide or cannot be written, counters that lie, lists of unequal length, types
that no attribute holds; as TTree, RNTuple, Parquet and Arrow. Seeded by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from hypothesis import strategies as st

ROWS = 6
LENGTHS = {"a": np.array([0, 2, 1, 3, 0, 1]), "b": np.array([1, 1, 0, 2, 2, 0])}
"""Two ways in which lists of one file differ in length."""

NAMES = (
    "Muon",
    "Muon_pt",
    "Muon_eta",
    "Muon.pt",
    "muon_pt",
    "nMuon",
    "nmuon",
    "nMuon_pt",
    "jet_pt",
    "jet_m_x",
    "njet",
    "jet",
    "x",
    "X",
    "x_2",
    "nx",
    "nnx",
    "_",
    "_a",
    "__a_b",
    "run",
    "lumi",
    "event",
    "menu",
    "aod_guid",
    "aod_entry",
    "raw_guid",
    "trigger_0",
    "flag_0",
    "HLT_a",
    "HLT_b",
    "L1_c",
    "HLT_a_prescale",
    "Flag_d",
    "HLT_*",
    "in",
    "not",
    "1st",
    "my col",
    "value",
    "nvalue",
    "RunNum",
    "EvtNum",
    "evtNum",
    "lumiSec",
    "eventID",
    "LumiBlockNum",
    "Event.Number",
)

TEXTS = ('quote"d', "back\\slash", "new\nline", "tab\t", "\x7f", "ä€😀", "", ".", "a.b.c", "#", "AuxDyn.", "[ids]")
"""Names that Parquet and Arrow take beside those."""

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def scalar(base: str, seed: int) -> np.ndarray[Any, Any]:
    """Numbers of a type, its extremes and small ones among them."""
    random = np.random.default_rng(seed)
    if base == "bool":
        return random.integers(0, 2, ROWS).astype(bool)
    if base in INTEGERS:
        limits = np.iinfo(base)
        small = random.integers(0, 3, ROWS).astype(base)
        pool = np.concatenate([small, np.array([limits.min, limits.max], base)])
        return pool[random.integers(0, 6 + 2 * (seed % 3 == 0), ROWS)]
    pool = np.array([0.5, -1.0, 3.0, np.nan, np.inf, 1e30], base)
    return pool[random.integers(0, 6, ROWS)]


def numbers(base: str, seed: int, lengths: str) -> ak.Array:
    """Lists of numbers with the lengths `a` or `b`."""
    counts = LENGTHS[lengths]
    flat = np.resize(scalar(base, seed), int(counts.sum()))
    return ak.unflatten(flat, counts)


BASES = st.sampled_from(("bool", *INTEGERS, "float32", "float64"))
SEEDS = st.integers(0, 99)
SCALARS = st.builds(scalar, BASES, SEEDS)
LISTS = st.builds(numbers, BASES, SEEDS, st.sampled_from("ab"))
COUNTERS = st.sampled_from("ab").map(lambda key: LENGTHS[key].astype(np.int32))
OF_ROOT = st.one_of(SCALARS, LISTS, COUNTERS)


def structures(base: str, seed: int, lengths: str) -> pa.Array:
    """A list of structures, with a field that no attribute holds."""
    lists = numbers(base, seed, lengths)
    rows = [[{"pt": value, "b": b"x", "t": "text"} for value in row] for row in lists.to_list()]
    kind = pa.struct([("pt", pa.from_numpy_dtype(np.dtype(base))), ("b", pa.binary()), ("t", pa.string())])
    return pa.array(rows, pa.list_(kind))


ODD = (
    pa.array([b"x"] * ROWS),
    pa.array([1] * ROWS, pa.timestamp("us")),
    pa.array([[[1]]] * ROWS),
    pa.nulls(ROWS),
    pa.array([{"a": 1, "b": [2.5], "c": {"d": "x"}}] * ROWS),
    pa.array(["x", "y"] * 3).dictionary_encode(),
    pa.array(["a", "", "ü", "d", "e", "f"]),
    pa.array([["a"], []] * 3),
    pa.array([1, None] * 3),
    pa.array([[1], None] * 3),
    pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)),
    pa.array(np.ones(ROWS, np.float16)),
    pa.array([1] * ROWS, pa.decimal128(38)),
)
"""Columns of types that ROOT has not."""

STRUCTURES = st.builds(structures, st.sampled_from((*INTEGERS, "float32")), SEEDS, st.sampled_from("ab"))
OF_ARROW = st.one_of(OF_ROOT, STRUCTURES, st.sampled_from(ODD))

ROOT_NAMES = st.sampled_from([name for name in NAMES if "*" not in name])
ROOT_COLUMNS = st.dictionaries(ROOT_NAMES, OF_ROOT, min_size=1, max_size=12)
ARROW_COLUMNS = st.dictionaries(st.sampled_from(NAMES + TEXTS), OF_ARROW, min_size=1, max_size=14)


def as_tree(path: Path, columns: dict[str, Any]) -> None:
    """A TTree; uproot writes a counter `nX` of its own for a list X, so no column may have that name."""
    lists = [name for name, values in columns.items() if isinstance(values, ak.Array)]
    kept = {name: values for name, values in columns.items() if name not in [f"n{other}" for other in lists]}
    with uproot.recreate(path) as file:
        types = {name: getattr(values, "type", None) or values.dtype for name, values in kept.items()}
        file.mktree("ntuple", types).extend(kept)


def as_rntuple(path: Path, columns: dict[str, Any]) -> None:
    """An RNTuple."""
    with uproot.recreate(path) as file:
        file.mkrntuple("ntuple", {name: ak.Array(values) for name, values in columns.items()})


def arrow_table(columns: dict[str, Any]) -> pa.Table:
    """The columns as an Arrow table."""
    arrays = {}
    for name, values in columns.items():
        if isinstance(values, ak.Array):
            values = ak.to_arrow(values, extensionarray=False)
        arrays[name] = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.table(arrays)


def as_parquet(path: Path, columns: dict[str, Any]) -> None:
    """A Parquet file."""
    pq.write_table(arrow_table(columns), path)


def as_arrow(path: Path, columns: dict[str, Any]) -> None:
    """An Arrow IPC file."""
    table = arrow_table(columns)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


Writer = Callable[[Path, dict[str, Any]], None]
