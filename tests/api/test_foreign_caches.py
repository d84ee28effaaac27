"""Each derived file says what it belongs to: another's in its place, or a damaged one, changes no answer.

Two datasets of two parts, each cache of each kind: the files of a kind change places, or bits of their heads flip, and
a new process asks again. Its answers are those of arithmetic on the columns, `datasets check --deep` finds no fault in
any part, and what lies in the caches afterwards is what lay there before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import GUIDS, IDS, MENU, VALUES, build, workspace

from tagsel.schema import Schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Schema((*IDS, *VALUES[:2]), "foreign caches")
ROWS = 100_000
"""Events of a part: from so many on, masks are kept on disk."""

DATASETS = {"a.TAG": (0, 1), "b.TAG": (2, 3)}
"""The parts of each dataset; the second one of each repeats some events of the first."""

REPEATED = {1: 5, 3: 7}
"""By part: rows that repeat the first events of the part before."""

GOOD = (3, 17)
"""The luminosity blocks of the good-run list, for every run."""


def columns(part: int) -> dict[str, Any]:
    """Events of run 100 + part, of one AOD file, 1,000 a luminosity block; no two parts have a column in common."""
    event = np.arange(ROWS, dtype=np.int64)
    run = np.full(ROWS, 100 + part, np.int32)
    run[: REPEATED.get(part, 0)] -= 1
    return {
        "run": run,
        "lumi": (event // 1_000 + 1).astype(np.int32),
        "event": event,
        "aod_guid": np.full(ROWS, GUIDS[part], object),
        "aod_entry": event + 1_000 * part,
        "menu": np.full(ROWS, MENU.id, np.int64),
        "MET_pt": (event % 100 + 100 * part).astype(np.float32),
        "weight": (event % 10 * (part + 1)).astype(np.float64),
    }


def expected(dataset: str) -> dict[str, Any]:
    """The right answers, from the columns."""
    parts = [columns(part) for part in DATASETS[dataset]]
    met, weight, run, lumi, event, entry = (
        np.concatenate([part[name] for part in parts])
        for name in ("MET_pt", "weight", "run", "lumi", "event", "aod_entry")
    )
    counts = np.ones(2 * ROWS, np.bool_)
    counts[ROWS : ROWS + REPEATED[DATASETS[dataset][1]]] = False
    good = (lumi >= GOOD[0]) & (lumi <= GOOD[1])
    passed = {
        "MET_pt > 150": met > 150,
        "weight > 15": weight > 15,
        "MET_pt > 150 && weight > 15": (met > 150) & (weight > 15),
        "run == 100": run == 100,
        "run == 103": run == 103,
    }
    few = counts & (event % 25_000 == 17)
    return {
        "counts": {
            cut: [int((counts & rows).sum()), int((counts & rows & good).sum())] for cut, rows in passed.items()
        },
        "first snapshot": int((met[:ROWS] > 250).sum()),
        "duplicates": int((~counts).sum()),
        "entries": sorted(entry[few].tolist()),
        "row of event 70000": [
            int(np.flatnonzero((run == r) & (event == 70_000))[0]) for r in sorted(set(run.tolist()))
        ],
    }


PROGRAM = """
import json, sys
import numpy as np
from dataclasses import replace
from tagsel.api import Workspace
from tagsel.quality import LumiSet
from tagsel.engine import bitmap_files, compiled_scan
from tagsel.selection import count, select
from tagsel.store import lookup

compiled_scan.MASKS_PAY = 0
home = Workspace(sys.argv[1])
cuts, names, first, last = json.loads(sys.argv[2])
answers = {}
for name in names:
    good = LumiSet.from_ranges([(run, first, last) for run in range(100, 104)])

    def counted(cut, tier, **options):
        return count(replace(home[name].query([cut], **options), tier=tier))

    counts = {}
    for cut in cuts:
        one, other = (
            [counted(cut, tier).accepted, counted(cut, tier, lumi=good).accepted] for tier in ("kernel", "interpreter")
        )
        assert one == other, (cut, one, other)
        counts[cut] = one
    snapshot = home.home.table(name).snapshot()
    parts = snapshot.parts
    runs = sorted(set(100 + p for p in json.loads(sys.argv[3])[name]))
    ids = np.array(runs, np.int32), np.full(len(runs), 70_000, np.int64)
    rows = {}
    for part, which, there in lookup.find(parts, *ids):
        rows.update(zip(which.tolist(), (there + part.first_row).tolist()))
    found, _ = select(home[name].query(["event % 25000 == 17"]))
    answers[name] = {
        "counts": counts,
        "first snapshot": count(home[f"{name}@1"].query(["MET_pt > 250"])).accepted,
        "duplicates": counted("true", "interpreter").ledger.duplicate,
        "entries": sorted(e.entry for e in found),
        "row of event 70000": [rows[k] for k in range(len(runs))],
    }
bitmap_files.wait()
checked = home.datasets.check("*", deep=True)
corrupt = [str(finding) for finding in checked.findings if finding.kind == "corrupt"]
print(json.dumps({"answers": answers, "corrupt": corrupt}))
"""


def asked(home: Path, cache: Path) -> dict[str, Any]:
    """What a new process answers, and what it finds wrong."""
    cuts = list(expected("a.TAG")["counts"])
    words = [json.dumps([cuts, list(DATASETS), *GOOD]), json.dumps(DATASETS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TAGSEL_CACHE": str(cache)}
    command = [sys.executable, "-c", PROGRAM, str(home), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


RIGHT = {"answers": {name: expected(name) for name in DATASETS}, "corrupt": []}

KINDS = {
    "zones": "W/data/*/_tagsel/zones/*.zones",
    "stacks": "W/data/*/_tagsel/stacked/*.stack",
    "index": "W/data/*/_tagsel/index/*.index",
    "masks": "cache/masks/*/*.mask",
    "kernels": "cache/kernels/*.kernel",
    "manifests": "W/data/*/_tagsel/manifest-2.json",
    "duplicates": "W/data/*/_tagsel/duplicates-[12].rows",
}
"""By kind of derived file: where its files lie."""

HIDING = {"zones": "W/data/*/_tagsel/stacked", "kernels": "cache/masks"}
"""By kind: the cache that answers instead, as long as it is there."""

HEADS = {"kernels": 270}
"""By kind: bytes of a file's head where they are not 64."""

DAMAGE = ("next", "half", "flip")
"""Each file becomes a copy of the next one, or of its counterpart in the other dataset; or bits of its head flip."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace and the cache, with every kind of file that the questions leave."""
    folder = tmp_path_factory.mktemp("pristine")
    home = workspace(folder)
    for name, parts in DATASETS.items():
        for part in parts:
            build(home, name, columns(part), schema=SCHEMA)
    for _ in range(2):
        assert asked(folder / "W", folder / "cache") == RIGHT
    return folder


def files(folder: Path, kind: str) -> list[Path]:
    """The files of a kind, sorted: first those of the first dataset."""
    return sorted(folder.glob(KINDS[kind]))


def spoil(good: Mapping[Path, bytes], damage: str, head: int) -> dict[Path, bytes]:
    """Damage all files of a kind, whose heads have so many bytes; their content then."""
    contents = list(good.values())
    shift = {"next": 1, "half": len(good) // 2}.get(damage, 0)
    spoilt = {}
    for at, path in enumerate(good):
        data = bytearray(contents[(at + shift) % len(good)])
        if damage == "flip":
            bit = np.random.default_rng([head, at]).integers(0, 8 * min(len(data), head))
            data[bit // 8] ^= 1 << bit % 8
        spoilt[path] = bytes(data)
        path.write_bytes(data)
    return spoilt


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_no_derived_file_is_believed_of_another(pristine: Path, tmp_path: Path, kind: str, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    for other in folder.glob(HIDING.get(kind, "none")):
        shutil.rmtree(other)
    before = {path: path.read_bytes() for path in files(folder, kind)}
    assert len(before) > 1
    spoilt = spoil(before, damage, HEADS.get(kind, 64))
    assert asked(folder / "W", folder / "cache") == RIGHT
    after = {path: path.read_bytes() for path in files(folder, kind)}
    if kind == "kernels":  # symbols differ from compilation to compilation; not all kernels are asked for
        asked_for = {path: data for path, data in after.items() if data != spoilt[path]}
        keys = [json.loads(data.partition(b"\n")[0])["key"] for data in asked_for.values()]
        assert keys == [path.stem for path in asked_for] and len(keys) > 1
    else:
        assert after == before
