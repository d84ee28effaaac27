"""Planning over very many parts: a dataset made of its log and zones alone, and how long a plan of it takes.

    python bench/manyparts.py [--parts 1000] [--columns 250] [--repeat 5] [--folder .bench/parts]

No events are made: each part is an entry of the log, under a name of its own, and a sidecar that states the bounds of
`GROUPS` row groups of 131,072 rows, as a part of a million events would. Cuts that its zones decide can be counted,
others planned. The first plan reads every sidecar, the later ones the stacks that it left.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tagsel.schema import Attribute, Schema
from tagsel.store import disk, log, places, zones
from tagsel.store.duplicates import save
from tagsel.store.layout import ROW_GROUP
from tagsel.store.snapshots import newest

ROOT = Path(__file__).resolve().parent.parent
GROUPS = 8
IDS = (
    Attribute("run", "int32", role="id"),
    Attribute("lumi", "int32", role="id"),
    Attribute("event", "int64", role="id"),
)
CUT = "x0 > 30 && x1 < 5 && x2 > 1"


def schema_of(columns: int) -> Schema:
    """Ids and `columns` numbers x0, x1, …"""
    return Schema((*IDS, *(Attribute(f"x{k}", "float32") for k in range(columns))), "many parts")


def blocks_of(part: int, columns: int) -> dict[str, np.ndarray]:
    """The zones of a part: x0 from `part % 100` to 10 more, so that a cut at 30 decides most parts; others 0 to 10."""
    blocks = {a.column: np.zeros((len(zones.FIELDS), GROUPS), np.int64) for a in schema_of(columns)}
    first = part * GROUPS * ROW_GROUP + np.arange(GROUPS) * ROW_GROUP
    for block in blocks.values():
        block[5] = block[8] = ROW_GROUP
    blocks["run"][:2], blocks["lumi"][:2] = 1000 + part, 1
    blocks["event"][0], blocks["event"][1] = first, first + ROW_GROUP - 1
    for k in range(columns):
        low = float(part % 100) if k == 0 else 0.0
        blocks[f"x{k}"][:2].view("<f8")[:] = [[low], [low + 10]]
    return blocks


def make(folder: Path, parts: int, columns: int) -> None:
    """The log, the sidecars and the manifest of a dataset of `parts` parts; there are no files of events."""
    schema = schema_of(columns)
    kinds = {a.column: (a.type, a.is_list) for a in schema}
    commits = log.commits_folder(folder)
    for place in (commits, folder / "_tagsel" / "zones", folder / "_delta_log"):
        place.mkdir(parents=True)
    listed = disk.write_document(commits, [a.column for a in schema])
    rows = GROUPS * ROW_GROUP
    records = [
        log.PartRecord(f"{part:032x}-{rows}.parquet", rows, 1, (ROW_GROUP,) * GROUPS, listed) for part in range(parts)
    ]
    for part, record in enumerate(records):
        run = np.array([(1000 + part) << 32 | 1], np.int64)
        ids = places.Stretches(
            np.zeros(1, np.int64), {"run": np.array([1000 + part], np.int32), "lumi": np.ones(1, np.int32)}
        )
        lumis = [(run, np.array([ROW_GROUP], np.int64))] * GROUPS
        data = zones._encode(blocks_of(part, columns), kinds, lumis, places.encode({"ids": ids}))
        path = folder / record.name
        zones.sidecar_path(path).write_bytes(zones.bound(data, path))
    (folder / "_delta_log" / f"{0:020d}.json").write_text(json.dumps({"commitInfo": {}}))
    state = log.State(1, 0, disk.write_document(commits, schema.to_json()), tuple(records))
    log.write_manifest(folder, state)
    marks = newest(folder).marks
    save(marks.path, np.zeros(0, np.int64), marks.binding())


PROGRAM = """
import sys, time
from pathlib import Path
folder, cut, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
from tagsel.selection import Input, Query
from tagsel.selection.run import count, prepare
from tagsel.store.snapshots import newest
prepared = None
for _ in range(int(sys.argv[4])):
    begun = time.perf_counter()
    query = Query((Input("many", newest(folder)),), (("", cut),))
    answer = count(query) if what == "count" else prepare(query).plan
    print(time.perf_counter() - begun)
    for bound in () if what == "count" else answer.inputs:
        bound.input.snapshot.memo.clear()  # the next one binds and plans anew, with the zones at hand
"""


def seconds(folder: Path, what: str, times: int = 1, cut: str = CUT) -> list[float]:
    """Seconds of each of several plans (or counts) of one fresh process, its imports apart."""
    command = [sys.executable, "-c", PROGRAM, str(folder), cut, what, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the dataset if it is not there, plan, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--columns", type=int, default=250)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench" / "parts")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder / f"{chosen.parts}x{chosen.columns}"
    if not folder.exists():
        make(folder, chosen.parts, chosen.columns)
    shutil.rmtree(folder / "_tagsel" / "stacked", ignore_errors=True)
    first = seconds(folder, "plan")[0]
    cold = statistics.median(seconds(folder, "plan")[0] for _ in range(chosen.repeat))
    warm = statistics.median(seconds(folder, "plan", chosen.repeat + 1)[1:])
    print(f"{chosen.parts:,} parts of {GROUPS} row groups and {chosen.columns + len(IDS)} columns; a cut of 3 columns")
    print(f"  plan in a new process, no stacks {first * 1e3:9.1f} ms")
    print(f"  plan in a new process            {cold * 1e3:9.1f} ms")
    print(f"  plan again in the same process   {warm * 1e3:9.1f} ms")
    for name, cut in (("none pass", "x0 < 0"), ("all pass", "x1 >= 0")):
        spent = statistics.median(seconds(folder, "count", cut=cut)[0] for _ in range(chosen.repeat))
        print(f"  count that zones decide, {name:9} {spent * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
