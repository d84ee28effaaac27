"""Make the sample: TAGs of two streams, the AODs they point to, good-run list, menus, file catalog, checksums.

Beside them a file of NanoAOD-like events with lists of objects (objects.py), one for sixteen collisions of
the streams.

    python data/sample/generate.py OUT [--seed 2009] [--events 22000]

Invariant: row k of a stream's TAGs is entry k of its AODs, so every TAG row points to an event that exists.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from generator import MENUS, Columns, collisions, decisions, guid_of, menus_json, tag_columns
from objects import object_batches, object_schema

PROJECT = "data09_900GeV"
RUNS = (140541, 141749, 141811, 142154, 142165, 142193)
BLOCKS = (24, 40, 64, 48, 16, 56)  # luminosity blocks of each run
FIRST_EVENT = (1, 1_000, 50_000, 7, 400_000, 3_000_000_000)  # the last run's need all 32 bits
MENU_OF_RUN = ("300", "300", "300", "301", "301", "301")
NOISY = {140541: (5, 9), 141811: (30, 31), 142154: (1, 12)}  # blocks that the good-run list leaves out
BAD_RUN = 142165

STREAMS = {"physics_MinBias": "EF_mbMbts_2", "physics_Muon": "EF_mu4"}
AOD_RUNS = {"physics_MinBias": ((0, 1), (2,), (3, 4), (5,)), "physics_Muon": ((0, 1, 2), (3, 4, 5))}
TAG_AODS = {"physics_MinBias": ((0, 1), (2, 3)), "physics_Muon": ((0, 1),)}
OBJECTS = "data18_13TeV.Objects.NANOAOD._0001.parquet"
REPEATED = {"physics_MinBias": 6, "physics_Muon": 3}  # events written twice into the stream's second AOD


@dataclass(frozen=True)
class Universe:
    """Every collision of the sample, ordered as recorded: where and when, what happened, what fired."""

    run: np.ndarray  # index into RUNS
    lumi: np.ndarray
    event: np.ndarray
    found: Mapping[str, Columns]
    fired: Mapping[str, np.ndarray]


def rows_of(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> Columns:
    """The given events of columns whose events stand along the first axis, or along the last of a vector."""
    return {name: v[:, rows] if name == "vertex" else v[rows] for name, v in columns.items()}


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> Columns:
    """The events of several sets of columns, one after the other."""
    return {name: np.concatenate([p[name] for p in parts], axis=int(name == "vertex")) for name in parts[0]}


def universe(seed: int, events: int) -> Universe:
    """About `events` collisions: 9 of 11 taken by the minimum-bias trigger, the rest by the muon trigger only."""
    rng = np.random.default_rng(seed)
    soft = collisions(rng, events * 9 // 11)
    hard = collisions(rng, events, enriched=True)
    fired_soft = decisions(soft, np.ones(soft["jet"]["n"].size, bool))
    fired_hard = decisions(hard, np.zeros(events, bool))
    taken = np.flatnonzero(fired_hard["EF_mu4"])[: events * 2 // 11]
    found = {kind: joined([soft[kind], rows_of(hard[kind], taken)]) for kind in soft}
    fired = joined([fired_soft, rows_of(fired_hard, taken)])
    size = found["jet"]["n"].size
    order = rng.permutation(size)
    run, lumi, event = recorded(rng, size)
    return Universe(run, lumi, event, {k: rows_of(c, order) for k, c in found.items()}, rows_of(fired, order))


def recorded(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(index of run, luminosity block, event number): blocks in order, event numbers shuffled within them."""
    block = np.sort(rng.integers(0, sum(BLOCKS), size))
    first = np.cumsum((0, *BLOCKS))
    run = np.searchsorted(first, block, side="right") - 1
    lumi = block - first[run] + 1
    number = np.cumsum(rng.integers(1, 40, size))
    start = np.searchsorted(run, np.arange(len(RUNS)))
    event = number - np.append(number, 0)[start][run] + np.array(FIRST_EVENT)[run]
    shuffled = np.lexsort((rng.random(size), block))
    return run, lumi, event[shuffled]


# -- one stream: which collisions, in which files


@dataclass(frozen=True)
class Stream:
    """One stream's rows, in the order of its AODs' entries: indices of collisions, AOD of each and entry in it."""

    name: str
    rows: np.ndarray
    aod: np.ndarray
    entry: np.ndarray

    def file(self, stage: str, number: int, suffix: str = "root") -> str:
        """Name of the stream's `number`-th file of a stage."""
        return f"{PROJECT}.{self.name}.{stage}._{number + 1:04d}.{suffix}"

    def run_file(self, stage: str, run: int, suffix: str) -> str:
        """Name of the stream's file of a stage that is kept by run."""
        return f"{PROJECT}.{RUNS[run]:08d}.{self.name}.{stage}.{suffix}"


def stream_of(name: str, world: Universe) -> Stream:
    """The collisions that a stream took, a few of them twice."""
    taken = np.flatnonzero(world.fired[STREAMS[name]])
    number = np.zeros(len(RUNS), int)
    for file, runs in enumerate(AOD_RUNS[name]):
        number[list(runs)] = file
    files = [taken[number[world.run[taken]] == file] for file in range(len(AOD_RUNS[name]))]
    files[1] = np.concatenate([files[1], files[1][10 : 10 + REPEATED[name]]])
    aod = np.concatenate([np.full(rows.size, file) for file, rows in enumerate(files)])
    entry = np.concatenate([np.arange(rows.size) for rows in files])
    return Stream(name, np.concatenate(files), aod, entry)


def token(guid: str, container: str, entry: int) -> str:
    """A POOL Token: file, container and entry."""
    place = f"[CNT={container}][CLID=4DDBD295-EFCE-472A-9EC8-15CD35A9EB8D][TECH=00000202]"
    return f"[DB={guid}]{place}[OID=00000003-{entry:08X}]"


def references(stream: Stream, world: Universe) -> dict[str, list[str]]:
    """Token columns: AODs that exist here, ESD and RAW files that are named only, one a run."""
    run = world.run[stream.rows]
    position = np.arange(run.size)
    within = np.empty(run.size, int)
    for number in range(len(RUNS)):
        rows = np.flatnonzero(run == number)
        within[rows] = position[: rows.size]
    aods = [guid_of(stream.file("AOD", number)) for number in range(len(AOD_RUNS[stream.name]))]
    columns = {
        "StreamAOD_ref": [
            token(aods[f], "CollectionTree(DataHeader)", e)
            for f, e in zip(stream.aod.tolist(), stream.entry.tolist(), strict=True)
        ]
    }
    for stage, suffix, container in (("ESD", "pool.root", "POOLContainer(DataHeader)"), ("RAW", "data", "RAW")):
        guids = [guid_of(stream.run_file(stage, number, suffix)) for number in range(len(RUNS))]
        columns[f"Stream{stage}_ref"] = [
            token(guids[r], container, e) for r, e in zip(run.tolist(), within.tolist(), strict=True)
        ]
    return columns


# -- files


def write_tags(folder: Path, stream: Stream, world: Universe) -> None:
    """The stream's TAGs as Parquet: columns of the ATLAS TAG of 2011, menus and processed blocks as metadata."""
    found = {kind: rows_of(columns, stream.rows) for kind, columns in world.found.items()}
    run = world.run[stream.rows]
    chance = found["event"]["chance"]
    columns = {
        "RunNumber": np.array(RUNS, np.uint32)[run],
        "LumiBlockN": world.lumi[stream.rows].astype(np.uint32),
        "EventNumber": world.event[stream.rows].astype(np.uint32),
        "EventTime": (1_259_000_000 + 86_400 * run + 60 * world.lumi[stream.rows]).astype(np.uint32),
        "BunchId": np.where(chance < 0.001, 2**32 - 1, 1 + (chance * 2**20).astype(int) % 16 * 200).astype(np.uint32),
        "LArFlags": np.where((chance > 0.3) & (chance < 0.31), 0x80000001, 0).astype(np.uint32),
        **tag_columns(found, rows_of(world.fired, stream.rows), np.array(MENU_OF_RUN)[run]),
    }
    # What is stored past a counter means nothing: some of it is no zero. And some sums were not computed.
    stale = (columns["NLooseMuon"] == 1) & (chance < 0.1)
    columns["LooseMuonPt2"] = np.where(stale, np.float32(77_777.0), columns["LooseMuonPt2"])
    columns["CellMissingET"] = np.where(np.abs(chance - 0.5) < 4e-4, np.float32(np.nan), columns["CellMissingET"])
    table = pa.table({**columns, **references(stream, world)})
    for number, aods in enumerate(TAG_AODS[stream.name]):
        runs = [r for aod in aods for r in AOD_RUNS[stream.name][aod]]
        blocks = [[RUNS[r], lumi] for r in runs for lumi in range(1, BLOCKS[r] + 1)]
        menus = {MENU_OF_RUN[r] for r in runs}
        kept = {i: m for i, m in json.loads(menus_json()).items() if m["key"] in menus}
        metadata = {"tagsel.menus": json.dumps(kept), "tagsel.processed": json.dumps(blocks)}
        part = table.filter(pa.array(np.isin(stream.aod, aods))).replace_schema_metadata(metadata)
        pq.write_table(part, folder / stream.file("TAG", number, "parquet"), compression="zstd", compression_level=15)


def write_aods(folder: Path, stream: Stream, world: Universe) -> None:
    """The stream's AODs: a TTree `Events` each, laid out as NanoAOD, in GeV."""
    for number in range(len(AOD_RUNS[stream.name])):
        name = stream.file("AOD", number)
        rows = stream.rows[stream.aod == number]
        with uproot.recreate(folder / name, uuid_function=lambda name=name: _uuid(name)) as file:
            for start in range(0, max(rows.size, 1), 1_000):  # a basket of each branch every 1,000 events
                batch = aod_batch(world, rows[start : start + 1_000])
                if start == 0:
                    file.mktree(
                        "Events", {n: a.dtype if isinstance(a, np.ndarray) else a.type for n, a in batch.items()}
                    )
                file["Events"].extend(batch)


def _uuid(name: str) -> object:
    import uuid

    return uuid.UUID(guid_of(name))


def aod_batch(world: Universe, rows: np.ndarray) -> dict[str, object]:
    """The branches of some events."""
    found = {kind: rows_of(columns, rows) for kind, columns in world.found.items()}
    event = found["event"]
    iso = {"iso": np.rint(found["muon"]["pt"] * 37 % 16) / 64}
    return {
        "run": np.array(RUNS, np.uint32)[world.run[rows]],
        "luminosityBlock": world.lumi[rows].astype(np.uint32),
        "event": world.event[rows].astype(np.uint64),
        "PV_npvs": event["vertices"].astype(np.int32),
        "PV_ntrk": event["tracks"].astype(np.int32),
        "PV_z": event["vertex"][2].astype(np.float32),
        "MET_pt": event["met"].astype(np.float32),
        "MET_phi": event["met_phi"].astype(np.float32),
        "HLT_mu4": world.fired["EF_mu4"][rows],
        "HLT_mbMbts_2": world.fired["EF_mbMbts_2"][rows],
        "Muon": jagged({**found["muon"], **iso}),
        "Electron": jagged(found["electron"]),
        "Photon": jagged(found["photon"]),
        "Jet": jagged(found["jet"]),
    }


def jagged(columns: Columns) -> ak.Array:
    """Objects of (n, slots) columns as lists of records, without the empty slots."""
    there = columns["pt"] > 0
    types = {"charge": np.int32}
    members = {n: v[there].astype(types.get(n, np.float32)) for n, v in columns.items() if n != "n"}
    return ak.unflatten(ak.zip(members), there.sum(axis=1))


def write_objects(path: Path, seed: int, events: int) -> None:
    """NanoAOD-like events with lists of objects, as Parquet; the processed blocks are its metadata."""
    table = pa.Table.from_batches(object_batches(events, seed), object_schema())
    blocks = sorted(set(zip(table["run"].to_pylist(), table["luminosityBlock"].to_pylist(), strict=True)))
    table = table.replace_schema_metadata({"tagsel.processed": json.dumps(blocks)})
    pq.write_table(table, path, compression="zstd", compression_level=15, write_statistics=False)


def write_good_runs(path: Path) -> None:
    """The good-run list: all runs but one, without their noisy blocks, as ATLAS writes it."""
    lines = ['<?xml version="1.0" ?>', "<!DOCTYPE LumiRangeCollection SYSTEM 'http://atlas-runquery.cern.ch/"]
    lines[1] += "LumiRangeCollection.dtd'>"
    lines += [
        "<LumiRangeCollection>",
        "   <NamedLumiRange>",
        "      <Name>sample</Name>",
        "      <Version>1.0</Version>",
    ]
    for run, last in sorted(zip(RUNS, BLOCKS, strict=True), reverse=True):
        if run == BAD_RUN:
            continue
        low, high = NOISY.get(run, (last + 1, last))
        spans = [(a, b) for a, b in ((1, low - 1), (high + 1, last)) if a <= b]
        lines += ["      <LumiBlockCollection>", f"         <Run>{run}</Run>"]
        lines += [f'         <LBRange Start="{a}" End="{b}"/>' for a, b in spans]
        lines += ["      </LumiBlockCollection>"]
    path.write_text("\n".join([*lines, "   </NamedLumiRange>", "</LumiRangeCollection>", ""]))


def write_catalog(path: Path, streams: Sequence[Stream]) -> None:
    """A POOL file catalog: AODs that lie beside it, ESD and RAW files by their logical names only."""
    entries = []
    for stream in streams:
        entries += [(name := stream.file("AOD", n), name) for n in range(len(AOD_RUNS[stream.name]))]
        for stage, suffix in (("ESD", "pool.root"), ("RAW", "data")):
            entries += [(stream.run_file(stage, run, suffix), "") for run in range(len(RUNS))]
    lines = ['<?xml version="1.0" encoding="UTF-8" standalone="no" ?>']
    lines += ['<!DOCTYPE POOLFILECATALOG SYSTEM "InMemory">', "<POOLFILECATALOG>"]
    for lfn, pfn in entries:
        physical = f'<physical><pfn filetype="ROOT_All" name="{pfn}"/></physical>' if pfn else "<physical/>"
        lines += [f'  <File ID="{guid_of(lfn)}">', f"    {physical}", f'    <logical><lfn name="{lfn}"/></logical>']
        lines += ["  </File>"]
    path.write_text("\n".join([*lines, "</POOLFILECATALOG>", ""]))


def generate(folder: Path, seed: int = 2009, events: int = 22_000) -> None:
    """Write the whole sample into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    world = universe(seed, events)
    streams = [stream_of(name, world) for name in STREAMS]
    for stream in streams:
        write_tags(folder, stream, world)
        write_aods(folder, stream, world)
    write_objects(folder / OBJECTS, seed, events // 16)
    write_good_runs(folder / "good_runs.xml")
    write_catalog(folder / "PoolFileCatalog.xml", streams)
    (folder / "menus.json").write_text(menus_json() + "\n")
    made = sorted(p for p in folder.iterdir() if p.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in made]
    (folder / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    assert set(MENU_OF_RUN) == set(MENUS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--seed", type=int, default=2009)
    parser.add_argument("--events", type=int, default=22_000, help="collisions, about")
    chosen = parser.parse_args()
    generate(chosen.out, chosen.seed, chosen.events)
