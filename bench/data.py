"""The events that are asked about: a workspace of ours, and copies of what the questions need for each rival.

Everything lies in `.bench/<events>` and is made once. A rival's copy has its best layout: Parquet that is PLAIN and
uncompressed, DuckDB's own table, an uncompressed TTree; with `file` (the number of the AOD file) in place of its GUID,
and only the columns that questions name. Invariant: all copies hold the rows of our dataset in its order.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "data" / "sample"))
from generator import batches  # noqa: E402 - they lie beside the sample
from objects import object_batches  # noqa: E402

TAG, OBJECTS = "bench.TAG", "bench.NANO"
ADDRESS = ("run", "lumi", "event", "file", "entry")
ROW_GROUP = 131_072
KINDS, BASKET = ("Jet", "Muon", "Electron"), 8_192
"""Collections, and events of a basket, of the NanoAOD-like file."""


@dataclass(frozen=True)
class Data:
    """A dataset in a workspace of ours."""

    workspace: Path
    dataset: str

    def parts(self) -> list[Path]:
        """Its Parquet parts in order."""
        from tagsel.api import Workspace

        return [p.path for p in Workspace(self.workspace).home.table(self.dataset).snapshot().parts]


@dataclass(frozen=True)
class Copies:
    """The same rows for rivals, and the GUIDs that `file` numbers."""

    folder: Path
    guids: tuple[str, ...]

    @property
    def parquet(self) -> str:
        """One Parquet file."""
        return str(self.folder / "events.parquet")

    @property
    def table(self) -> str:
        """A DuckDB file with the table `events`."""
        return str(self.folder / "events.duckdb")

    @property
    def root(self) -> str:
        """A ROOT file with the TTree `events`."""
        return str(self.folder / "events.root")


def good_ranges() -> list[tuple[int, int, int]]:
    """A good-run list of 500 ranges, (run, first block, last block): every other block of the first four runs."""
    return [(run, block, block) for run in range(141_000, 141_004) for block in range(1, 251, 2)]


def once(folder: Path, what: str, make: Callable[[Path], None], say: Callable[[str], None]) -> Path:
    """`folder`, made by `make` in a folder aside if it is not there; how long that took is said and kept."""
    if not folder.is_dir():
        aside = folder.with_name(f"{folder.name}.making")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        started = time.perf_counter()
        make(aside)
        took = time.perf_counter() - started
        (aside / "made.json").write_text(json.dumps({"what": what, "seconds": round(took, 1)}), encoding="utf-8")
        aside.rename(folder)
        say(f"made {what} in {took:.1f} s (once; it stays in {folder})")
    return folder


def tags(folder: Path, events: int, say: Callable[[str], None] = print) -> Data:
    """`events` TAG records of 251 columns and 1 kB as a dataset of ours."""
    return _dataset(folder / str(events) / "tags", TAG, batches(events), f"{events:,} TAG records", say)


def objects(folder: Path, events: int, say: Callable[[str], None] = print) -> Data:
    """`events` events with lists of jets, muons and electrons, 240 bytes each, as a dataset of ours."""
    source = object_batches(events)
    return _dataset(folder / str(events) / "objects", OBJECTS, source, f"{events:,} events with lists", say)


def _dataset(folder: Path, name: str, source: Iterator[Any], what: str, say: Callable[[str], None]) -> Data:
    """Arrow batches as a dataset of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tagsel.api import Workspace

    def make(aside: Path) -> None:
        path = aside / "events.parquet"
        first = next(source)
        with pq.ParquetWriter(path, first.schema) as writer:
            for batch in (first, *source):
                writer.write_table(pa.Table.from_batches([batch]))
        Workspace.init(aside / "W").ingest(path, dataset=name)
        path.unlink()

    made = once(folder, f"{what}, ingested", make, say)
    return Data(made / "W", name)


def copies(data: Data, wanted: Sequence[str], say: Callable[[str], None] = print) -> Copies:
    """The rivals' copies of `data` with the columns `wanted`; made anew where other columns are wanted."""
    names = [n for n in sorted(wanted) if n not in ADDRESS]
    key = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]
    folder = data.workspace.parent.parent / f"{data.dataset}.{key}"
    made = once(folder, f"copies of {data.dataset} for rivals", lambda aside: _copy(data, names, aside), say)
    return Copies(made, tuple(json.loads((made / "guids.json").read_text(encoding="utf-8"))))


def _copy(data: Data, names: Sequence[str], folder: Path) -> None:
    """Parquet first; the others from that."""
    import pyarrow.parquet as pq

    guids: dict[str, int] = {}
    writer = None
    for table in _rows(data, names, guids):
        if writer is None:
            writer = pq.ParquetWriter(
                folder / "events.parquet",
                table.schema,
                compression="NONE",
                use_dictionary=False,
                column_encoding=dict.fromkeys(_leaves(table.schema), "PLAIN"),
            )
        writer.write_table(table, row_group_size=ROW_GROUP)
    if writer is not None:
        writer.close()
    (folder / "guids.json").write_text(json.dumps(list(guids)), encoding="utf-8")
    made = Copies(folder, ())
    _duckdb(made)
    _root(made)


def _leaves(schema: Any) -> list[str]:
    """Paths of the columns in a Parquet file."""
    import pyarrow as pa

    return [f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in schema]


def _rows(data: Data, names: Sequence[str], guids: dict[str, int]) -> Iterator[Any]:
    """Row groups of our parts as Arrow tables of `ADDRESS` and `names`; GUIDs are numbered as they come."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in data.parts():
        file = pq.ParquetFile(path)
        have = {f.name.replace(".", "_"): f.name for f in file.schema_arrow}
        for group in range(file.num_row_groups):
            columns = ["run", "lumi", "event", "aod_guid", "aod_entry", *(have[n] for n in names)]
            table = file.read_row_group(group, columns=columns).combine_chunks()
            encoded = table["aod_guid"].combine_chunks().dictionary_encode()
            codes = pa.array([guids.setdefault(g, len(guids)) for g in encoded.dictionary.to_pylist()], pa.int32())
            arrays = [table["run"], table["lumi"], table["event"], codes.take(encoded.indices), table["aod_entry"]]
            arrays += [table[have[n]] for n in names]
            fields = [pa.field(n, a.type, nullable=False) for n, a in zip((*ADDRESS, *names), arrays, strict=True)]
            yield pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _duckdb(made: Copies) -> None:
    """DuckDB's own table."""
    import duckdb

    with duckdb.connect(made.table) as connection:
        connection.sql(f"CREATE TABLE events AS SELECT * FROM read_parquet('{made.parquet}')")


def _root(made: Copies) -> None:
    """An uncompressed TTree, a basket a row group; lists with their counters."""
    import awkward as ak
    import pyarrow.parquet as pq
    import uproot

    file = pq.ParquetFile(made.parquet)
    with uproot.recreate(made.root, compression=None) as out:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            arrays = {n: ak.from_arrow(table[n].combine_chunks()) for n in table.column_names}
            arrays = {n: ak.to_numpy(a) if a.ndim == 1 else ak.drop_none(a) for n, a in arrays.items()}
            if group == 0:
                kinds = {n: a.dtype if hasattr(a, "dtype") else a.type.content for n, a in arrays.items()}
                tree = out.mktree("events", kinds, counter_name=lambda name: f"n{name}")
            tree.extend(arrays)


def nano_file(folder: Path, events: int, say: Callable[[str], None] = print) -> Path:
    """`events` events with lists as a NanoAOD-like ROOT file: a TTree, zlib, baskets of 8,192 events."""
    import awkward as ak
    import uproot

    def make(aside: Path) -> None:
        with uproot.recreate(aside / "nano.root", compression=uproot.ZLIB(1)) as out:
            for batch in object_batches(events):
                arrays = {n: batch[n].to_numpy() for n in ("run", "luminosityBlock", "event", "MET_pt", "MET_phi")}
                for kind in KINDS:
                    names = [n for n in batch.schema.names if n.startswith(f"{kind}_")]
                    number = batch[f"n{kind}"].to_numpy()
                    lists = {n.partition("_")[2]: ak.unflatten(batch[n].flatten().to_numpy(), number) for n in names}
                    arrays[kind] = ak.zip(lists)
                if "Events" not in out:
                    out.mktree("Events", branch_types(arrays))
                for start in range(0, batch.num_rows, BASKET):
                    out["Events"].extend({n: a[start : start + BASKET] for n, a in arrays.items()})

    return once(folder / str(events) / "nano", f"a NanoAOD-like file of {events:,} events", make, say) / "nano.root"


def branch_types(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What `mktree` wants to know of arrays, of lists by their collection."""
    return {n: a.type.content if n in KINDS else a.dtype for n, a in arrays.items()}
