"""Small TAG tables for the store's tests, and a program that appends one: it is run to be killed, or beside others.

python tagmaker.py append|compact|extend|retract FOLDER [FIRST_EVENT ROWS [TIMES]]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from tagsel.schema import Attribute as A
from tagsel.schema import Schema
from tagsel.store import NewPart, Part, Snapshot, Source, Table, write_part
from tagsel.store.extend import user_attributes
from tagsel.store.retract import losses

IDS = (
    A("run", "int32", role="id"),
    A("lumi", "int32", role="id"),
    A("event", "int64", role="id"),
    A("aod_guid", "string", role="reference", hot=False),
    A("aod_entry", "int64", role="reference"),
    A("menu", "int64", role="menu", hot=False),
)
VALUES = (
    A("trigger_0", "bits32", role="trigger"),
    A("word", "bits64", role="flag"),
    A("good", "bool", role="flag"),
    A("stable", "bool", role="flag", hot=False),
    A("MET_pt", "float32", unit="GeV"),
    A("weight", "float64", role="weight", hot=False),
    A("nMuon", "int32", role="counter"),
    A("Muon.pt", "float32", unit="GeV", is_list=True, counter="nMuon"),
    A("Muon.charge", "int32", is_list=True, counter="nMuon", hot=False),
    A("Muon.tight", "bool", is_list=True, counter="nMuon"),
    A("stream", "string", hot=False),
)
SCHEMA = Schema(IDS + VALUES, "test")
GUIDS = [f"{i:08X}-0000-4000-8000-00000000000{i}" for i in range(4)]


def lists(counts: np.ndarray, values: np.ndarray) -> pa.Array:
    """Lists of the given lengths over the values one after another."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def columns(rows: int, *, run: int = 1, first_event: int = 0, seed: int = 1) -> dict[str, np.ndarray]:
    """Values of every column by name; lists as values one after another, words of bits unsigned."""
    rng = np.random.default_rng(seed)
    n = rng.integers(0, 4, rows).astype(np.int32)
    muons = int(n.sum())
    met = rng.exponential(30, rows).astype(np.float32)
    met[rng.random(rows) < 0.05] = np.nan
    met[rng.random(rows) < 0.02] = np.inf
    return {
        "run": np.full(rows, run, np.int32),
        "lumi": (np.arange(rows) // 50 + 1).astype(np.int32),
        "event": np.arange(first_event, first_event + rows, dtype=np.int64),
        "aod_guid": np.array([GUIDS[i] for i in np.arange(rows) * len(GUIDS) // max(rows, 1)], object),
        "aod_entry": np.arange(rows, dtype=np.int64),
        "menu": np.full(rows, 77, np.int64),
        "trigger_0": rng.integers(0, 1 << 32, rows, dtype=np.uint32),
        "word": rng.integers(0, 1 << 64, rows, dtype=np.uint64),
        "good": rng.random(rows) < 0.9,
        "stable": rng.random(rows) < 0.5,
        "MET_pt": met,
        "weight": rng.normal(1, 3, rows),
        "nMuon": n,
        "Muon_pt": rng.exponential(20, muons).astype(np.float32),
        "Muon_charge": rng.choice([-1, 1], muons).astype(np.int32),
        "Muon_tight": rng.random(muons) < 0.7,
        "stream": rng.choice(["MinBias", "Muon"], rows).astype(object),
    }


def batch(values: dict[str, np.ndarray], schema: Schema = SCHEMA) -> pa.RecordBatch:
    """The columns of `schema` as Arrow, in its order and types."""
    arrays = []
    for a in schema:
        array = values[a.column]
        if a.type in ("bits32", "bits64"):
            array = array.view(array.dtype.name.removeprefix("u"))
        of = pa.array(array, pa.string()) if a.type == "string" else pa.array(array)
        arrays.append(lists(values[a.counter], array) if a.is_list else of)
    return pa.RecordBatch.from_arrays(arrays, names=[a.column for a in schema])


def part(folder: Path, rows: int, schema: Schema = SCHEMA, guid: str = "", **how: int) -> NewPart:
    """A part of `rows` rows from one source file, written but not committed."""
    folder.mkdir(exist_ok=True)
    given = Source(guid or f"G-{how}", f"{how}.root", rows, 0, {"processed": [[1, 1]]})
    made = write_part(folder, schema, [batch(columns(rows, **how), schema)], [given])
    assert made is not None
    return made


def score(part: Part, group: int) -> dict[str, np.ndarray]:
    """Values of the user's attribute `user.score`: half of the event number, missing where that is odd."""
    event = part.read(group, ["event"])["event"]
    return {"user_score_known": (event % 2 == 0).astype(np.int32), "user_score": (event / 2).astype(np.float32)}


def retracted(table: Table, guid: str) -> Snapshot:
    """The snapshot without the rows of a file; what its other files processed is not known any more."""
    said = {"guid": guid, "lfn": "bad.root", "reason": "bad", "who": "me", "when": "2018-06-01"}
    return table.retract(losses(table.snapshot(), guid), said, lambda source, rows: {"processed": None, "gone": rows})


def main(verb: str, folder: Path, first: int = 0, rows: int = 100, times: int = 1) -> None:
    """Append `times` parts of `rows` rows, or compact, or extend, or retract the AOD file `GUIDS[1]`."""
    if verb == "compact":
        Table.open(folder).compact()
        return
    if verb == "retract":
        retracted(Table.open(folder), GUIDS[1])
        return
    if verb == "extend":
        made = Table.open(folder)
        attributes = user_attributes("score", "float32")
        made.extend(made.snapshot(), attributes, score, {})
        return
    for i in range(times):
        new = part(folder, rows, first_event=first + i * rows, seed=first + i)
        Table.open(folder).append([new], SCHEMA, {})
        print(new.name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
