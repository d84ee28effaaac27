"""A part that is cut short while a question reads it: every verb says so, whatever it reads after its scan.

Row 65 of the faults. A file that shrinks loses pages (SIGBUS) or the end of a page (which reads as zeros); both are
tried on each verb, right after the verb has mapped a column of the part and before it looks at it. One child asks all
verbs, since a read that nobody watches ends the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from builders import MENU, SCHEMA, batch, rows

from tagsel.store import Source, Table, write_part

ROWS = 6_000

CHILD = """
import json, os, sys
from pathlib import Path
import numpy as np
from tagsel.base.cache import clear_memory
from tagsel.errors import StoreError
from tagsel.events import EventList
from tagsel.selection import Input, Query, count, cutflow, pick, select, why
from tagsel.selection.contents import addresses
from tagsel.selection.binning import read_specs
from tagsel.selection.triggers import chain_counts
from tagsel.selection.contents import contents
from tagsel.selection.user_attributes import Computed, Joined
from tagsel.selection.head import head
from tagsel.selection.histogram import histograms
from tagsel.selection.query import bind_query
from tagsel.selection.rebase import find
from tagsel.selection.regions import regions
from tagsel.selection.sample import estimate
from tagsel.selection.sweep import sweep
from tagsel.store import Table, columns, duplicates, lookup, watch, zones
from tagsel.store.frame import OpenParts
from tagsel.store.mapping import MAPPED_FILES, identity
from tagsel.store.parts import Part

folder = Path(sys.argv[1])
whole = {part.path: part.path.read_bytes() for part in Table.open(folder).snapshot().parts}
victim = list(whole)[1]
armed, left, unwatched = [False], [0], []
read, memory, chunk_bytes = Part.read, OpenParts.memory, columns.chunk_bytes

def cut():
    if armed[0]:
        armed[0] = False
        os.truncate(victim, left[0])

def then_cut(self, group, names):
    names = list(names)
    values = read(self, group, names)
    if self.path == victim and self.columns & set(names):
        cut()
    return values

def memory_then_cut(self, *given):
    found = memory(self, *given)
    cut()
    return found

def noted(part, *given):
    if not watch.is_on:
        unwatched.append(part[0])
    return chunk_bytes(part, *given)

Part.read, OpenParts.memory, columns.chunk_bytes = then_cut, memory_then_cut, noted

def asked(snapshot, tier, cut="MET_pt * 2 > 30 GeV", **more):
    return Query((Input("d", snapshot, False, "d"),), (("", cut),), tier=tier, remember=False, threads=2, **more)

def events():
    ids = np.arange(1000, 7000, 3)
    return EventList.from_arrays(np.full(len(ids), 8), np.full(len(ids), -1), ids)

def computed(snapshot, tier):
    new = Computed.of("double", "MET_pt * 2", bind_query(asked(snapshot, tier))[0], "", "")
    return [new(part, 0) for part in snapshot.parts]

def joined(snapshot, tier):
    table = Joined(np.full(3, 8, np.int32), np.arange(2000, 2003), None, None, (), ())
    return table.counted(snapshot.parts, False)

values_of = zones.read_values

def values_then_cut(*given):
    values = values_of(*given)
    cut()
    return values

def built(snapshot, tier):
    part = snapshot.parts[1]
    sidecar = zones.sidecar_path(part.path)
    before = sidecar.read_bytes()
    zones.read_values = values_then_cut
    try:
        return zones.build(identity(part.path, part.bytes), part.kinds)
    finally:
        zones.read_values = values_of
        assert sidecar.read_bytes() == before  # nothing was written of zeros

def indexed(snapshot, tier):
    path = lookup.index_path(snapshot.parts[1].path)
    before = path.read_bytes()
    try:
        return lookup.build(snapshot.parts[1])
    finally:
        assert path.read_bytes() == before

VERBS = {
    "count": lambda s, t: count(asked(s, t)),
    "weighted": lambda s, t: count(asked(s, t, weight="weight")),
    "select": lambda s, t: select(asked(s, t)),
    "select all": lambda s, t: select(asked(s, t, "true")),
    "select weighted": lambda s, t: select(asked(s, t, weight="weight * 2")),
    "top": lambda s, t: select(asked(s, t), top=(5, "MET_pt")),
    "cutflow": lambda s, t: cutflow(asked(s, t)),
    "cutflow weighted": lambda s, t: cutflow(asked(s, t, weight="weight")),
    "hist": lambda s, t: histograms(asked(s, t), read_specs("MET_pt: 10, 0, 100")),
    "hist of objects": lambda s, t: histograms(asked(s, t, weight="weight"), read_specs("Muon.pt: 10, 0, 100")),
    "regions": lambda s, t: regions(asked(s, t), {"a": "nMuon > 1", "b": "MET_pt < 40 GeV"}),
    "sweep": lambda s, t: sweep(asked(s, t), "MET_pt > {x} GeV", ["10", "20"]),
    "why": lambda s, t: [reason.detail for run in (7, 8, 9) for reason in why(asked(s, t), run, 7500).rows],
    "pick": lambda s, t: pick(asked(s, t), events()),
    "rebase": lambda s, t: find(asked(s, t), events(), {}),
    "estimate": lambda s, t: estimate(asked(s, t), sample=0.5),
    "head": lambda s, t: head(asked(s, t), 10**6, ["event", "Muon.pt"]),
    "contents": lambda s, t: contents(s),
    "addresses": lambda s, t: addresses(s, deep=True).lost,
    "chains": lambda s, t: chain_counts(asked(s, t)),
    "computed": computed,
    "joined": joined,
    "two datasets": lambda s, t: count(
        Query((Input("d", s, False, "d"), Input("e", s, False, "e")), (("", "MET_pt > 5 GeV"),), tier=t)
    ),
    "marks": lambda s, t: duplicates.extend(np.zeros(0, np.int64), s.parts[:1], s.parts[1:]),
    "index": indexed,
    "zones": built,
}
answers = {}
trials = [(name, tier, 0) for name in ("count", "select", "hist") for tier in ("kernel", "interpreter")]
trials += [(name, "interpreter", 0) for name in VERBS if name not in ("count", "select", "hist")]
trials += [(name, "interpreter", len(whole[victim]) - 9) for name in VERBS]
for name, tier, left[0] in trials:
    trial = f"{name} by {tier}, {left[0]} bytes left"
    snapshot = Table.open(folder).snapshot()
    armed[0] = True
    try:
        answers[trial] = repr(VERBS[name](snapshot, tier))[:300]
    except StoreError as error:
        answers[trial] = error.message
    if armed[0]:
        answers[trial] = "the part was not read"
    armed[0] = False
    for path, data in whole.items():
        path.write_bytes(data)
    clear_memory(MAPPED_FILES)
answers["unwatched"] = unwatched
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts whose rows change luminosity block and file all the time, so that no stretches are kept."""
    folder = tmp_path_factory.mktemp("cut-short") / "d"
    table, parts = Table.create(folder, SCHEMA), []
    for k in (1, 2):
        part = write_part(folder, SCHEMA, [batch(rows(ROWS, seed=k))], [Source(f"G{k}", f"{k}", ROWS, 0, {})])
        assert part is not None
        parts.append(part)
    table.append(parts, SCHEMA, {MENU.id: MENU})
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="faults in mappings are told of on Linux")
def test_fault_65_every_verb_names_a_part_that_is_cut_short_meanwhile(dataset: Path) -> None:
    """26 verbs, three of them by both evaluators, whose part is cut to nothing, or by 9 bytes."""
    name = Table.open(dataset).snapshot().parts[1].name
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(dataset)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    answers = json.loads(done.stdout)
    assert answers.pop("unwatched") == []
    assert len(answers) == 26 + 3 + 26
    wrong = {verb: said for verb, said in answers.items() if name not in said or "cut short" not in said}
    assert wrong == {}
