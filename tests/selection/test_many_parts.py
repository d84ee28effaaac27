"""10^4 parts under a small limit of open files, and a table larger than the address space, asked by every kind of scan.

Rows 61 and 62 of the faults, as batch systems set the limits: `ulimit -n 256`, and 2 GB of address space. Each limit
holds for a child, which asks `count`, `select`, `cutflow` and `hist` by both evaluators, and then as a Dask worker
does: pieces of the question, unpickled and answered by four threads. Parts are copies of a few (`part_copies`), so what
is right is a count over their columns, times the copies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import GUIDS, IDS, batch
from part_copies import copies

from tagsel.schema import Attribute, Schema
from tagsel.store import Source, Table, write_part

MET = Attribute("MET_pt", "float32", unit="GeV")
NARROW = Schema((*(a for a in IDS if a.role == "id"), MET), "many parts")
WIDE = Schema((*IDS, MET, *(Attribute(f"zero{k}", "float64") for k in range(64))), "large parts")
"""64 columns of zeros beside the one that is asked for: 1 kB a row more that is mapped."""

Right = tuple[int, int, list[int]]
"""Events with MET_pt > 10 GeV and with MET_pt > 20 GeV, and those in bins of 10 GeV from 0 to 40."""

CHILD = """
import json, pickle, resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

folder, pieces_of, limits = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
verbs_by = sys.argv[4:]
for name, value in limits.items():
    resource.setrlimit(getattr(resource, name), (value, value))
from tagsel.selection import Input, Query, count, cutflow, select
from tagsel.selection.partial_result import merged
from tagsel.selection.binning import read_specs
from tagsel.selection.histogram import histograms
from tagsel.selection.tasks import answer, split
from tagsel.selection.run import prepare
from tagsel.store import Table

snapshot = Table.open(folder).snapshot()

def query(tier, *cuts):
    named = tuple((cut, cut) for cut in cuts)
    return Query((Input("d", snapshot, True, "d"),), named, remember=False, tier=tier, threads=2)

def verbs(tier):
    flow = cutflow(query(tier, "MET_pt > 10 GeV", "MET_pt > 20 GeV"))
    filled, _ = histograms(query(tier, "true"), read_specs(["MET_pt: 4, 0, 40"]))
    events, _ = select(query(tier, "MET_pt > 20 GeV"))
    return {
        "count": count(query(tier, "MET_pt > 10 GeV")).accepted, "select": len(events),
        "cutflow": [step.sequential.n for step in flow.steps], "hist": filled[0].values[1:-1].tolist(),
    }

def by_four_threads(tier):
    question = prepare(query(tier, "MET_pt > 10 GeV"))
    settled, _, pieces = split(question, "count", None, pieces_of)
    sent = [pickle.dumps(piece) for piece in pieces]
    with ThreadPoolExecutor(4) as worker:
        answers = list(worker.map(lambda data: answer(pickle.loads(data)), sent))
    (passing,) = merged([settled, *answers]).yields
    return {"pieces": len(sent), "count": passing.n}

answers = {}
for tier in ("interpreter", "kernel"):
    answers[tier] = {"worker": by_four_threads(tier), **(verbs(tier) if tier in verbs_by else {})}
print(json.dumps(answers))
"""


def columns(seed: int, rows: int) -> dict[str, np.ndarray]:
    """The columns of one part."""
    random = np.random.default_rng(seed)
    entries = np.arange(rows, dtype=np.int64)
    zeros = {f"zero{k}": np.zeros(rows) for k in range(64)}
    return {
        "run": np.full(rows, 7, np.int32),
        "lumi": np.full(rows, 1, np.int32),
        "event": entries,
        "aod_guid": np.full(rows, GUIDS[1], object),
        "aod_entry": entries,
        "menu": np.zeros(rows, np.int64),
        "MET_pt": random.exponential(20, rows).astype(np.float32),
        **zeros,
    }


def dataset(folder: Path, schema: Schema, seeds: int, rows: int, parts: int) -> Right:
    """Write `parts` parts, as many of each of the seeds, in one commit."""
    table = Table.create(folder, schema)
    guids = (f"00000000-0000-4000-9000-{number:012X}" for number in range(parts))
    each = parts // seeds
    written, values = [], []
    for seed in range(seeds):
        made = columns(seed, rows)
        part = write_part(folder, schema, [batch(made, schema)], [Source(next(guids), "first", rows, 0, {})])
        assert part is not None
        written += [part, *copies(folder, part, guids, each - 1)]
        values.append(made["MET_pt"])
    table.append(written, schema, {})
    met = np.concatenate(values)
    bins = np.histogram(met, bins=[0, 10, 20, 30, 40])[0]
    return int((met > 10).sum()) * each, int((met > 20).sum()) * each, (bins * each).tolist()


def answers_of_a_child(folder: Path, pieces_of: int, verbs_by: Sequence[str], **limits: int) -> dict[str, Any]:
    """What a child with these limits answers, by evaluator; those of `verbs_by` answer all verbs."""
    arguments = [str(folder), str(pieces_of), json.dumps(limits), *verbs_by]
    command = [sys.executable, "-c", CHILD, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def all_verbs(right: Right) -> dict[str, Any]:
    """What the verbs answer where they are right."""
    above_10, above_20, bins = right
    return {"count": above_10, "select": above_20, "cutflow": [above_10, above_20], "hist": bins}


@pytest.mark.slow
def test_fault_61_ten_thousand_parts_where_256_files_may_be_open(tmp_path: Path) -> None:
    """10,000 parts of 20 rows; pieces of 1,000 parts each."""
    right = dataset(tmp_path / "d", NARROW, seeds=4, rows=20, parts=10_000)
    worker = {"pieces": 10, "count": right[0]}
    answers = answers_of_a_child(tmp_path / "d", 20_000, ["kernel"], RLIMIT_NOFILE=256)
    assert answers == {"interpreter": {"worker": worker}, "kernel": {"worker": worker, **all_verbs(right)}}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the address space in use is read from /proc")
def test_fault_62_a_table_larger_than_the_address_space(tmp_path: Path) -> None:
    """36 parts of 70 MB, which are sparse files, where 2 GB may be mapped; pieces of 6 parts each."""
    limit = 2 << 30
    right = dataset(tmp_path / "d", WIDE, seeds=2, rows=131_072, parts=36)
    assert sum(part.bytes for part in Table.open(tmp_path / "d").snapshot().parts) > limit
    expected = {"worker": {"pieces": 6, "count": right[0]}, **all_verbs(right)}
    answers = answers_of_a_child(tmp_path / "d", 6 * 131_072, ["kernel", "interpreter"], RLIMIT_AS=limit)
    assert answers == {"interpreter": expected, "kernel": expected}
