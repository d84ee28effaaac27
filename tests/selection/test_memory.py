"""Memory is bounded by blocks and the answer: selections over data that this process may not load.

What is limited is RLIMIT_DATA: memory of its own that a process may write to, which is what loading a column takes.
RLIMIT_AS would forbid mapping the files too, and mapping is no loading: the kernel keeps those pages as long as it
likes and takes them back when it needs them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders import GUIDS, IDS, MENU

from tagsel.api import Workspace
from tagsel.ingest.registration import register
from tagsel.schema import Attribute, Schema
from tagsel.store import Source, Table, arrow_schema, write_part

pytestmark = pytest.mark.slow

BLOCK, BLOCKS, HOT, COLD = 131_072, 24, 8, 4
MORE = 64 << 20
"""Bytes that a selection may add to what the process holds; the hot columns alone have 3 times as many."""

SCHEMA = Schema(
    (
        *IDS,
        *(Attribute(f"hot{k}", "float64") for k in range(HOT)),
        *(Attribute(f"cold{k}", "float64", hot=False) for k in range(COLD)),
    ),
    "large",
)


def values() -> dict[str, np.ndarray]:
    """The columns of one block: every block has the same values, and its own events."""
    random = np.random.default_rng(3)
    hot = {f"hot{k}": random.random(BLOCK) for k in range(HOT)}
    return {**hot, **{f"cold{k}": random.integers(0, 100, BLOCK).astype(np.float64) for k in range(COLD)}}


def blocks(first: int, count: int) -> Iterator[pa.RecordBatch]:
    target, columns = arrow_schema(SCHEMA), values()
    for k in range(first, first + count):
        rows = np.arange(BLOCK, dtype=np.int64)
        ids = {
            "run": np.full(BLOCK, 7, np.int32),
            "lumi": (rows // 4096 + 1).astype(np.int32),
            "event": rows + k * BLOCK,
            "aod_guid": np.full(BLOCK, GUIDS[k], object),
            "aod_entry": rows,
            "menu": np.full(BLOCK, MENU.id),
        }
        if k == 1:
            ids["event"] = rows  # all of block 1 repeats block 0
        yield pa.RecordBatch.from_arrays([pa.array({**ids, **columns}[f.name], f.type) for f in target], schema=target)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 3 million events, 200 MB in hot columns and 100 MB in compressed ones; and a small one."""
    home = Workspace.init(tmp_path_factory.mktemp("large") / "W")
    for name, parts in (("large.TAG", 3), ("small.TAG", 1)):
        table = Table.create(home.folder / "data" / name, SCHEMA)
        size = BLOCKS // 3 if parts == 3 else 2
        written = [
            write_part(
                table.folder,
                SCHEMA,
                blocks(p * size, size),
                [Source(GUIDS[60 + p], f"{name}-{p}", size * BLOCK, 0, {"simulation": False})],
            )
            for p in range(parts)
        ]
        table.append([w for w in written if w is not None], SCHEMA, {MENU.id: MENU})
        register(home.catalog, name, table.snapshot(), {})
    return home.folder


_LIMITED = """
import json, resource, sys
from dataclasses import replace
from tagsel.api import Workspace
from tagsel.quality import LumiSet
from tagsel.selection import count, cutflow, select

home, tier, threads, more = Workspace(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
HOT = " && ".join(f"hot{k} > 0.5" for k in range(8))
COLD = " && ".join(f"cold{k} < 50" for k in range(4))
ANY = " || ".join(f"hot{k} >= 0" for k in range(8))
GOOD = LumiSet.from_ranges([(7, 3, 30)])

def answers(name):
    def query(*cuts, **options):
        return replace(home[name].query(list(cuts), threads=threads, **options), tier=tier)
    hot = select(query(HOT, lumi=GOOD), zones=False)
    cold = select(query(COLD), zones=False)
    return {"hot": hot[1].accepted, "cold": cold[1].accepted, "listed": len(hot[0]) + len(cold[0]),
            "all": count(query(ANY), zones=False).accepted,
            "flow": [s.sequential.n for s in cutflow(query(*HOT.split(" && "), lumi=GOOD)).steps]}

answers("small.TAG")  # libraries, kernels and threads are there
held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held + more, held + more))
try:
    bytearray(2 * more)
    sys.exit("there is no limit here")
except MemoryError:
    print(json.dumps(answers("large.TAG")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tier", ["interpreter", "kernel"])
def test_feature_106_selections_run_where_their_columns_cannot_be_loaded(large: Path, tier: str, threads: int) -> None:
    assert HOT * 8 * BLOCK * BLOCKS >= 3 * MORE
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(large), tier, str(threads), str(MORE)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    columns = values()
    lumi = np.arange(BLOCK) // 4096 + 1
    good = (lumi >= 3) & (lumi <= 30)
    steps = [good.copy()]
    for k in range(HOT):
        steps.append(steps[-1] & (columns[f"hot{k}"] > 0.5))
    cold = np.logical_and.reduce([columns[f"cold{k}"] < 50 for k in range(COLD)])
    times = BLOCKS - 1  # one block repeats another
    hot, soft = int(steps[-1].sum()) * times, int(cold.sum()) * times
    assert hot > 0 and soft > 0
    assert json.loads(done.stdout) == {
        "hot": hot,
        "cold": soft,
        "listed": hot + soft,
        "all": BLOCK * times,
        "flow": [int(s.sum()) * times for s in steps[1:]],
    }
